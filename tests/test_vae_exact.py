"""Chapter 5: exact sums over one latent, and two estimators of a gradient, against closed forms and quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from imgbook import vae, vae_exact

SHAPE = (3, 3, 1)


def small_model(seed: int = 0, latent_dim: int = 1) -> vae.VAE:
    config = vae.VAEConfig(image_shape=SHAPE, hidden=5, latent_dim=latent_dim)
    graphdef, state = vae.init(config, jax.random.key(seed))
    loud = jax.tree_util.tree_map_with_path(  # a decoder that does something
        lambda path, p: 2 * p + 0.1 if "decoder" in str(path) else p, state.params
    )
    return vae.training.as_module(graphdef, state._replace(params=loud))


def binary(n: int, seed: int = 0) -> jax.Array:
    return jax.random.bernoulli(jax.random.key(seed), shape=(n, *SHAPE)).astype(jnp.float32)


def test_log_marginal_is_that_of_quadrature():
    model, x = small_model(), binary(3)
    found = vae_exact.on_grid(model, x)

    def density(z, image):
        logits = np.asarray(model.decoder(jnp.full((1, 1), z)), np.float64)[0]
        probability = 1 / (1 + np.exp(-logits))
        return np.prod(np.where(image == 1, probability, 1 - probability)) * stats.norm.pdf(z)

    for image, log_marginal in zip(np.asarray(x), found.log_marginal, strict=True):
        total, _ = integrate.quad(density, -8, 8, args=(image,), limit=200)
        assert log_marginal == pytest.approx(np.log(total), abs=1e-4)


def test_probabilities_of_all_images_sum_to_one():
    bits = np.indices((2,) * 9).reshape(9, -1).T  # every image of 3 x 3 binary pixels
    found = vae_exact.on_grid(small_model(), jnp.asarray(bits, jnp.float32).reshape(-1, *SHAPE))
    assert np.exp(found.log_marginal).sum() == pytest.approx(1, abs=1e-4)


def test_bound_by_sampling_and_gap_make_up_the_marginal():
    model, x = small_model(1), binary(4)
    found = vae_exact.on_grid(model, x)
    assert (found.gap > 0).all()
    draws = np.stack([vae.elbo(model, x, jax.random.key(i))[0] for i in range(400)])
    tolerance = 4 * draws.std(0) / 20 + 1e-3
    assert (np.abs(draws.mean(0) - found.elbo) < tolerance).all()
    assert (np.abs(draws.mean(0) + found.gap - found.log_marginal) < tolerance).all()


def test_posterior_and_proposal_are_densities():
    found = vae_exact.on_grid(small_model(), binary(4))
    spacing = found.codes[1] - found.codes[0]
    assert np.allclose(np.exp(found.log_posterior).sum(1) * spacing, 1, atol=1e-3)
    assert np.allclose(np.exp(found.log_proposal).sum(1) * spacing, 1, atol=1e-3)


def test_grids_that_cannot_be_right_are_refused():
    with pytest.raises(ValueError, match="2 latents; a grid is for latent_dim = 1"):
        vae_exact.on_grid(small_model(latent_dim=2), binary(1))
    with pytest.raises(ValueError, match=r"grid a spacing of 4; take \d+ points or more"):
        vae_exact.on_grid(small_model(), binary(1), points=5)
    with pytest.raises(ValueError, match="the grid to 2; take a larger reach"):
        vae_exact.on_grid(small_model(), binary(1), reach=2.0)


def test_both_estimators_have_the_gradient_as_mean_and_their_known_variances():
    mean, logvar = jnp.array([0.7, -0.2]), jnp.array([0.0, -1.0])
    sigma, count = np.exp(np.asarray(logvar) / 2), 200_000
    estimates = vae_exact.gradient_estimates(
        lambda z: (z**2).sum(), mean, logvar, jax.random.key(0), count
    )
    for name, values in estimates.items():
        values = np.asarray(values, np.float64)
        error = values.std(0) / count**0.5
        assert (np.abs(values.mean(0) - 2 * np.asarray(mean)) < 4 * error).all(), name
    slope = np.asarray(estimates["reparameterised"]).var(0)
    assert slope == pytest.approx(4 * sigma**2, rel=0.02)  # the variance of 2 z
    score = np.asarray(estimates["score function"]).var(0)
    assert (score > slope).all()


def test_score_function_has_the_variance_of_its_moments():
    """One latent, f(z) = z, mean m, deviation s: z (z - m) / s^2 has the variance m^2 / s^2 + 2."""
    m, s, count = 3.0, 0.5, 200_000
    for baseline, expected in ((0.0, m**2 / s**2 + 2), (m, 2.0)):
        estimates = vae_exact.gradient_estimates(
            lambda z: z[0], jnp.array([m]), jnp.array([2 * np.log(s)]), jax.random.key(1), count, baseline
        )  # fmt: skip
        values = np.asarray(estimates["score function"], np.float64)
        assert values.mean() == pytest.approx(1, abs=4 * (expected / count) ** 0.5)
        assert values.var() == pytest.approx(expected, rel=0.03)
