"""The two fast layers against the stock ones, SciPy, the adjoint identity and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import normal
from flax import nnx
from jax.test_util import check_grads
from scipy import signal

from imgbook import weights
from imgbook.layers import ConvTranspose, conv_transpose, max_pool_2x2, strided_conv

# (kernel, stride, size of the small image): every kernel 2..5 and stride 1..3, odd and even sizes.
GEOMETRIES = [
    (k, s, size) for k in (2, 3, 4, 5) for s, size in ((1, (5, 4)), (2, (4, 7)), (3, (3, 2)))
]


def layer_pair(kernel: int, stride: int) -> tuple[nnx.Module, nnx.Module]:
    """This package's transposed convolution and Flax's, 3 to 2 channels, with the same random weights."""
    sizes = dict(kernel_size=(kernel, kernel), strides=(stride, stride))
    ours = ConvTranspose(3, 2, **sizes, rngs=nnx.Rngs(0))
    stock = nnx.ConvTranspose(3, 2, **sizes, padding="SAME", rngs=nnx.Rngs(1))
    shapes = [
        {name: array.shape for name, array in weights.flatten(nnx.state(layer, nnx.Param)).items()}
        for layer in (ours, stock)
    ]
    assert shapes[0] == shapes[1]
    for layer in (ours, stock):
        layer.kernel[...] = jnp.asarray(normal((kernel, kernel, 3, 2), 2))
        layer.bias[...] = jnp.asarray(normal((2,), 3))
    return ours, stock


def values_and_gradients(layer: nnx.Module, x: jax.Array) -> dict[str, np.ndarray]:
    """Output, and gradients of a random linear function of it with respect to input, kernel and bias."""
    graphdef, params = nnx.split(layer)
    weights = jnp.asarray(normal(jax.eval_shape(layer, x).shape, 4))

    @jax.jit
    def run(params, x):
        y, vjp = jax.vjp(lambda params, x: nnx.merge(graphdef, params)(x), params, x)
        return y, vjp(weights)

    y, (grads, x_grad) = run(params, x)
    return {"y": y, "x": x_grad, "kernel": grads["kernel"][...], "bias": grads["bias"][...]}


@pytest.mark.parametrize(("kernel", "stride", "size"), GEOMETRIES)
def test_conv_transpose_equals_flax_in_values_and_gradients(kernel, stride, size):
    x = jnp.asarray(normal((2, *size, 3)))
    ours, stock = (values_and_gradients(layer, x) for layer in layer_pair(kernel, stride))
    assert ours["y"].shape == (2, size[0] * stride, size[1] * stride, 2)
    for name, value in ours.items():
        np.testing.assert_allclose(value, stock[name], rtol=1e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(("kernel", "stride", "size"), GEOMETRIES)
def test_conv_transpose_is_the_adjoint(kernel, stride, size):
    """<C y, x> = <y, C^T x>, with C a convolution that SciPy does: full correlation, cropped and strided."""
    height, width = size[0] * stride, size[1] * stride
    y, x, weights = normal((height, width), 0), normal(size, 1), normal((kernel, kernel), 2)
    # SAME pads max(k - s, 0) zeros in all, the smaller half before the image.
    first = kernel - 1 - max(kernel - stride, 0) // 2
    c_y = signal.correlate2d(y, weights)[first:, first:][::stride, ::stride][: size[0], : size[1]]
    expand = (None, slice(None), slice(None), None)
    four_d = jnp.asarray(weights)[:, :, None, None]
    np.testing.assert_allclose(
        strided_conv(y[expand], four_d, (stride, stride))[0, :, :, 0], c_y, rtol=1e-4, atol=1e-5
    )
    ct_x = conv_transpose(x[expand], four_d, (stride, stride))[0, :, :, 0]
    assert ct_x.shape == y.shape
    np.testing.assert_allclose(np.vdot(c_y, x), np.vdot(y, ct_x), rtol=1e-4, atol=1e-4)
    # And what a transposed convolution does: zeros between the pixels, then a full convolution, cropped.
    stretched = np.zeros((height, width))
    stretched[::stride, ::stride] = x
    lead = kernel - 1 - first
    expected = signal.convolve2d(stretched, weights)[lead : lead + height, lead : lead + width]
    np.testing.assert_allclose(ct_x, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", [3, 5])
def test_strided_conv_at_stride_one_is_correlate2d(kernel):
    x, weights = normal((2, 7, 6, 2)), normal((kernel, kernel, 2, 3), 1)
    expected = np.array(
        [
            [
                sum(
                    signal.correlate2d(image[..., a], weights[..., a, b], mode="same")
                    for a in (0, 1)
                )
                for b in range(3)
            ]
            for image in x
        ]
    )
    found = strided_conv(jnp.asarray(x), jnp.asarray(weights), (1, 1))
    np.testing.assert_allclose(found, expected.transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (3, 2), (3, 1)])
def test_first_and_second_derivatives_against_finite_differences(kernel, stride):
    """Of y = f(x, k), and of x, k -> (the gradients with y itself as cotangent): a cubic, so the error is eps^2."""
    x, weights = jnp.asarray(normal((1, 3, 2, 2))), jnp.asarray(normal((kernel, kernel, 1, 2), 1))
    run = jax.jit(lambda x, k: conv_transpose(x, k, (stride, stride)))
    check_grads(run, (x, weights), order=2, modes=["rev"], eps=0.02, atol=5e-3, rtol=5e-3)


def test_gradient_of_a_gradient_equals_flax():
    """A gradient penalty: how the squared norm of the input's gradient changes with the kernel."""
    x = jnp.asarray(normal((2, 3, 3, 3)))

    def penalty(params, graphdef):
        def inner(x):
            return (nnx.merge(graphdef, params)(x) ** 3).sum()

        return (jax.grad(inner)(x) ** 2).sum()

    ours, stock = (jax.grad(penalty)(*nnx.split(layer)[::-1]) for layer in layer_pair(4, 2))
    scale = float(jnp.abs(stock["kernel"][...]).max())
    assert scale > 1
    np.testing.assert_allclose(
        ours["kernel"][...], stock["kernel"][...], rtol=1e-4, atol=1e-5 * scale
    )


def test_conv_transpose_inside_jit_and_vmap():
    x, kernels = jnp.asarray(normal((3, 2, 4, 5, 2))), jnp.asarray(normal((3, 4, 4, 1, 2), 1))

    def loss(x, kernel):
        return (conv_transpose(x, kernel, (2, 2)) ** 2).sum()

    alone = [jax.grad(loss, (0, 1))(a, k) for a, k in zip(x, kernels, strict=True)]
    together = jax.jit(jax.vmap(jax.grad(loss, (0, 1))))(x, kernels)
    for i in (0, 1):
        np.testing.assert_allclose(
            together[i], np.stack([a[i] for a in alone]), rtol=1e-4, atol=1e-4
        )
    values = jax.jit(jax.vmap(lambda x, k: conv_transpose(x, k, (2, 2))))(x, kernels)
    np.testing.assert_allclose(
        values[1], conv_transpose(x[1], kernels[1], (2, 2)), rtol=1e-5, atol=1e-5
    )


def test_layer_without_bias_and_unequal_strides():
    layer = ConvTranspose(2, 3, (3, 4), (1, 2), use_bias=False, rngs=nnx.Rngs(0))
    assert layer.bias is None
    assert layer(jnp.zeros((2, 5, 6, 2))).shape == (2, 5, 12, 3)
    stock = nnx.ConvTranspose(2, 3, (3, 4), (1, 2), use_bias=False, rngs=nnx.Rngs(0))
    stock.kernel[...] = layer.kernel[...]
    x = jnp.asarray(normal((2, 5, 6, 2)))
    np.testing.assert_allclose(layer(x), stock(x), rtol=1e-5, atol=1e-5)


# --- pooling --------------------------------------------------------------------------------------------------


def stock_pool(x: jax.Array) -> jax.Array:
    return nnx.max_pool(x, (2, 2), strides=(2, 2), padding="VALID")


@pytest.mark.parametrize("size", [(4, 6), (5, 6), (4, 7), (5, 7), (2, 2), (3, 3)])
def test_max_pool_equals_flax_in_values_and_gradient(size):
    rng = np.random.default_rng(0)
    x = (
        rng.permutation(2 * size[0] * size[1] * 3).reshape(2, *size, 3).astype(np.float32)
    )  # no ties
    ours, ours_vjp = jax.vjp(max_pool_2x2, jnp.asarray(x))
    stock, stock_vjp = jax.vjp(stock_pool, jnp.asarray(x))
    np.testing.assert_array_equal(ours, stock)
    cotangent = jnp.asarray(normal(stock.shape))
    np.testing.assert_array_equal(ours_vjp(cotangent)[0], stock_vjp(cotangent)[0])


@pytest.mark.parametrize(
    ("window", "gradient"),
    [
        ([[0, 0], [0, 0]], [[0.25, 0.25], [0.25, 0.25]]),
        ([[3, 1], [2, 3]], [[0.5, 0], [0, 0.5]]),
        ([[3, 3], [2, 3]], [[1 / 3, 1 / 3], [0, 1 / 3]]),
        ([[1, 2], [3, 4]], [[0, 0], [0, 1]]),
    ],
)
def test_max_pool_shares_the_gradient_between_equal_maxima(window, gradient):
    x = jnp.asarray(window, jnp.float32)[None, :, :, None]
    np.testing.assert_allclose(
        jax.grad(lambda x: max_pool_2x2(x).sum())(x)[0, :, :, 0], gradient, rtol=1e-6
    )
