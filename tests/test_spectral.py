"""Spectral norms against an SVD; layers that are normalised."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import normal
from flax import nnx

from imgbook import layers
from imgbook.gan_losses import discriminator_loss, gradient_penalty
from imgbook.spectral import SpectralNorm, spectral_norm


@pytest.mark.parametrize("shape", [(7, 5), (3, 3, 2, 6)])
def test_spectral_norm_equals_the_svd(shape):
    kernel = normal(shape)
    singular = np.linalg.svd(kernel.reshape(-1, shape[-1]), compute_uv=False)
    normalised, sigma, u = spectral_norm(jnp.array(kernel), jnp.ones(shape[-1]), 200)
    np.testing.assert_allclose(sigma, singular[0], rtol=1e-5)
    np.testing.assert_allclose(normalised, kernel / singular[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(u), 1, rtol=1e-5)


def test_one_iteration_a_step_is_enough_when_u_is_kept():
    kernel, u = jnp.array(normal((7, 5))), jnp.ones(5)
    sigmas = []
    for _ in range(100):
        _, sigma, u = spectral_norm(kernel, u)
        sigmas.append(float(sigma))
    largest = np.linalg.svd(kernel, compute_uv=False)[0]
    assert sigmas[0] < 0.99 * largest
    assert (np.diff(sigmas) > -1e-5).all()
    np.testing.assert_allclose(sigmas[-1], largest, rtol=1e-5)


def test_spectral_norm_takes_u_and_v_as_constants():
    """d sigma / d kernel is v u^T, and nothing flows back into u."""
    kernel = jnp.array(normal((7, 5)))
    left, _, right = np.linalg.svd(kernel)
    by_kernel, by_u = jax.grad(lambda k, u: spectral_norm(k, u, 200)[1], (0, 1))(
        kernel, jnp.ones(5)
    )
    np.testing.assert_allclose(by_kernel, np.outer(left[:, 0], right[0]), atol=1e-4)
    np.testing.assert_array_equal(by_u, 0)


def test_spectral_norm_of_zeros():
    value, slope = jax.value_and_grad(lambda k: spectral_norm(k, jnp.ones(5))[0].sum())(
        jnp.zeros((7, 5))
    )
    assert value == 0
    assert np.isfinite(slope).all()


def test_spectral_norm_errors():
    with pytest.raises(ValueError, match=r"kernel of shape \[7, 5\], u of shape \[7\]; allowed"):
        spectral_norm(jnp.ones((7, 5)), jnp.ones(7))
    with pytest.raises(ValueError, match=r"kernel of shape \[5\]"):
        spectral_norm(jnp.ones(5), jnp.ones(5))
    with pytest.raises(ValueError, match="num_iterations = 0"):
        spectral_norm(jnp.ones((7, 5)), jnp.ones(5), 0)


LAYERS = {
    "layers.Conv": (lambda rngs: layers.Conv(2, 6, (3, 3), (2, 2), rngs=rngs), (4, 8, 8, 2)),
    "layers.ConvTranspose": (
        lambda rngs: layers.ConvTranspose(2, 6, (4, 4), (2, 2), rngs=rngs),
        (4, 8, 8, 2),
    ),
    "nnx.Linear": (lambda rngs: nnx.Linear(7, 6, rngs=rngs), (4, 7)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_spectrally_normalised_layer(name):
    """As a network of the book runs: split, merged inside a compiled function, u returned among the statistics."""
    make, shape = LAYERS[name]
    x = normal(shape)
    plain = make(nnx.Rngs(0))
    plain.bias[...] = jnp.arange(6.0)
    wrapped = SpectralNorm(make(nnx.Rngs(0)), rngs=nnx.Rngs(1))
    wrapped.layer.bias[...] = jnp.arange(6.0)
    graphdef, params, stats = nnx.split(wrapped, nnx.Param, ...)
    assert [a.shape for a in jax.tree.leaves(stats)] == [(6,)]  # u is all that is not trained

    @jax.jit
    def run(params, stats):
        model = nnx.merge(graphdef, params, jax.tree.map(lambda a: a, stats))
        y = model(x)
        after = jax.tree.leaves(nnx.state(model, nnx.Param))
        return y, nnx.state(model, nnx.Not(nnx.Param)), after

    for _ in range(100):
        y, stats, after = run(params, stats)
    for a, b in zip(after, jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(a, b)  # the weights stay what the optimiser made of them
    kernel = np.asarray(plain.kernel[...])
    sigma = np.linalg.svd(kernel.reshape(-1, 6), compute_uv=False)[0]
    plain.kernel[...] = jnp.array(kernel / sigma)
    np.testing.assert_allclose(y, plain(x), rtol=1e-4, atol=1e-5)

    model = nnx.merge(graphdef, params, stats)
    model.eval()
    before = np.asarray(model.u[...])
    np.testing.assert_allclose(model(x), y, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(model.u[...], before)


def test_spectrally_normalised_layer_learns_and_is_penalised():
    """Gradients by the weights, a gradient penalty through the layer, and u of the new weights, in one program."""
    layer = SpectralNorm(nnx.Linear(6, 1, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
    graphdef, params, stats = nnx.split(layer, nnx.Param, ...)
    x, y = normal((8, 6)), normal((8, 6), 1)

    @jax.jit
    def gradients(params, stats):
        def loss(params):
            def critic(x):
                return nnx.merge(graphdef, params, jax.tree.map(lambda a: a, stats))(x)[:, 0]

            penalty = gradient_penalty(critic, x, y, jax.random.key(0))
            return discriminator_loss(critic(x), critic(y), "wasserstein"), penalty

        (_, penalty), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return penalty, grads

    penalty, grads = gradients(params, stats)
    # One output: the kernel is a vector of length 1 after normalisation, exactly the gradient that the penalty wants.
    np.testing.assert_allclose(penalty, 0, atol=1e-10)
    kernel, slope = params["layer"]["kernel"][...], grads["layer"]["kernel"][...]
    assert np.abs(slope).max() > 1e-3
    np.testing.assert_allclose((kernel * slope).sum(), 0, atol=1e-5)  # its length does not matter


def test_spectral_norm_wants_a_kernel():
    with pytest.raises(TypeError, match="BatchNorm has no kernel; allowed: Conv"):
        SpectralNorm(nnx.BatchNorm(3, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
