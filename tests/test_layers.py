"""The layers against Flax's, SciPy, the adjoint identity, finite differences, and the program they become."""

import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import normal
from flax import nnx
from jax import lax
from scipy import signal

from imgbook import cnn, convolution, layers
from imgbook.layers import Conv, ConvTranspose, conv, conv_kernel, conv_transpose, max_pool, window

PAIRS = {"Conv": (Conv, nnx.Conv), "ConvTranspose": (ConvTranspose, nnx.ConvTranspose)}
UNEVEN = ((1, 2), (0, 3))

# (kernel, strides, padding, size, channels in and out): odd and even, not square, smaller than the stride, strides
# larger than the kernel, a padding larger than the kernel.
GEOMETRIES = [
    ((1, 1), 1, "SAME", (4, 5), (1, 2)),
    ((1, 1), 3, "SAME", (2, 3), (3, 1)),
    ((1, 1), 2, "VALID", (5, 4), (2, 5)),
    ((2, 2), (2, 2), "SAME", (5, 4), (3, 4)),
    ((2, 2), (3, 3), UNEVEN, (4, 5), (2, 3)),
    ((2, 2), (1, 2), "VALID", (2, 7), (1, 1)),
    ((3, 3), (1, 1), "SAME", (7, 6), (3, 4)),
    ((3, 3), 3, "SAME", (2, 1), (4, 2)),
    ((3, 3), (1, 2), UNEVEN, (1, 2), (5, 1)),
    ((3, 3), 2, "VALID", (8, 3), (1, 3)),
    ((4, 4), (2, 2), "SAME", (7, 6), (3, 2)),
    ((4, 4), 1, "SAME", (2, 5), (2, 2)),
    ((4, 4), 3, "VALID", (4, 9), (2, 1)),
    ((4, 4), (1, 2), 4, (3, 4), (1, 2)),
    ((5, 5), (2, 2), "SAME", (3, 8), (1, 5)),
    ((5, 5), (3, 3), UNEVEN, (6, 7), (2, 2)),
    ((5, 5), 1, "VALID", (5, 6), (1, 2)),
    ((2, 3), (1, 2), "SAME", (5, 5), (4, 3)),
    ((2, 3), 3, "VALID", (4, 4), (2, 1)),
    ((5, 1), (1, 2), "VALID", (6, 3), (3, 2)),
    ((5, 1), 2, "SAME", (3, 6), (2, 2)),
]


# Compiles in half the time: most programs here run once.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def noise(key: jax.Array, shape: tuple[int, ...], dtype: object = jnp.float32) -> jax.Array:
    """An initialiser that compiles nothing."""
    return jnp.asarray(normal(shape, len(shape)), dtype)


def pair(name: str, *args: object, **kwargs: object) -> tuple[nnx.Module, nnx.Module]:
    """This package's layer and Flax's, with the same random kernel and bias."""
    options = dict(kernel_init=noise, bias_init=noise, **kwargs)
    return tuple(make(*args, **options, rngs=nnx.Rngs(0)) for make in PAIRS[name])


def values_and_gradients(layers: tuple[nnx.Module, ...], x: jax.Array) -> list[dict]:
    """Of each layer: the output, and the gradients of a random linear function of it by input and parameters."""
    split = [nnx.split(layer) for layer in layers]

    @quick_jit
    def run(all_params, x):
        found = []
        for (graphdef, _), params in zip(split, all_params, strict=True):
            y, vjp = jax.vjp(lambda p, x, g=graphdef: nnx.merge(g, p)(x), params, x)
            grads, x_grad = vjp(jnp.asarray(normal(y.shape, 4), y.dtype))
            found.append({"y": y, "x": x_grad, **nnx.to_pure_dict(grads)})
        return found

    return run([params for _, params in split], jnp.asarray(x))


def assert_close(ours: jax.Array, stock: jax.Array, of: float = 1e-5, name: str = "") -> None:
    """Equal up to `of` times the largest entry, of one shape and type."""
    assert (ours.shape, ours.dtype) == (stock.shape, stock.dtype), name
    ours, stock = (np.asarray(a, np.float64) for a in (ours, stock))
    largest = np.abs(stock).max(initial=0)
    np.testing.assert_allclose(ours, stock, rtol=0, atol=of * largest, err_msg=name)


def assert_all_close(ours: dict, stock: dict, of: float = 1e-5) -> None:
    assert ours.keys() == stock.keys()
    for name, value in ours.items():
        assert_close(value, stock[name], of, name)


def lowered(function: Callable, *args: object, platform: str = "cpu") -> str:
    """The program for a platform, which need not be here."""
    return jax.jit(function).trace(*args).lower(lowering_platforms=(platform,)).as_text()


# --- against Flax ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(("kernel", "strides", "padding", "size", "channels"), GEOMETRIES)
def test_values_and_gradients_equal_flax(name, kernel, strides, padding, size, channels):
    layers = pair(name, *channels, kernel, strides, padding=padding)
    ours, stock = values_and_gradients(layers, normal((2, *size, channels[0])))
    assert set(ours) == {"y", "x", "kernel", "bias"}
    assert_all_close(ours, stock)


@pytest.mark.parametrize("name", PAIRS)
def test_parameters_equal_flax_bit_for_bit(name):
    for options in ({}, {"use_bias": False}, {"param_dtype": jnp.bfloat16, "strides": 2}):
        ours, stock = (make(3, 4, (4, 2), **options, rngs=nnx.Rngs(7)) for make in PAIRS[name])
        a, b = (nnx.to_pure_dict(nnx.state(layer)) for layer in (ours, stock))
        assert a.keys() == b.keys()
        assert set(a) == ({"kernel"} if "use_bias" in options else {"kernel", "bias"})
        for key, value in a.items():
            assert value.dtype == b[key].dtype
            np.testing.assert_array_equal(value, b[key])


@pytest.mark.parametrize("make", [Conv, ConvTranspose])
def test_equal_layers_have_equal_structure(make):
    """So that a training step is compiled once for all networks of one shape."""
    first, second, other = (
        nnx.split(make(1, 2, (3, 3), rngs=nnx.Rngs(seed), strides=strides))[0]
        for seed, strides in ((0, 1), (1, 1), (0, 2))
    )
    assert first == second
    assert hash(first) == hash(second)
    assert first != other


@pytest.mark.parametrize("name", PAIRS)
def test_no_bias_and_other_numbers_of_batch_dimensions(name):
    layers = pair(name, 2, 3, (4, 3), (2, 1), use_bias=False)
    assert layers[0].bias is None
    for batch in ((), (2,), (3, 2)):
        ours, stock = values_and_gradients(layers, normal((*batch, 5, 4, 2)))
        assert ours["y"].ndim == len(batch) + 3
        assert_all_close(ours, stock)


@pytest.mark.parametrize("name", PAIRS)
def test_an_empty_batch(name):
    ours, stock = values_and_gradients(
        pair(name, 2, 3, (3, 3), 2), np.zeros((0, 4, 5, 2), np.float32)
    )
    assert ours["y"].size == 0
    assert not np.any(ours["kernel"])
    assert_all_close(ours, stock)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision(name, dtype):
    """As near to the values in float32 as the format allows, and of Flax's types."""
    sizes = (5, 4, (2, 3), 2)
    x = normal((4, 7, 6, 5))
    half, wide = pair(name, *sizes, dtype=dtype), pair(name, *sizes, param_dtype=dtype)
    full = pair(name, *sizes)[1]
    ours, stock, wide_ours, wide_stock, exact = values_and_gradients((*half, *wide, full), x)
    eps = float(jnp.finfo(dtype).eps)
    for key, value in ours.items():
        assert value.dtype == stock[key].dtype == (dtype if key == "y" else jnp.float32)
        if key != "bias":  # a plain sum, which XLA does in half precision
            assert_close(value.astype(jnp.float32), exact[key], 2 * eps, key)
    # Parameters in half precision and an input in float32: computed in float32.
    assert wide_ours["y"].dtype == jnp.float32
    assert_close(wide_ours["y"], wide_stock["y"])
    assert_close(wide_ours["kernel"], wide_stock["kernel"], 2 * eps)
    # Both in half precision.
    assert [jax.eval_shape(layer, x.astype(dtype)).dtype for layer in wide] == [dtype, dtype]


MASK = np.tri(9, 8, dtype=np.float32).reshape(3, 3, 2, 4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Conv", {"feature_group_count": 2}),
        ("Conv", {"kernel_dilation": 2}),
        ("Conv", {"kernel_dilation": (1, 2)}),
        ("Conv", {"input_dilation": 2, "padding": UNEVEN}),
        ("Conv", {"padding": ((-1, 2), (0, 1))}),
        ("Conv", {"precision": "highest"}),
        ("ConvTranspose", {"mask": MASK}),
        ("ConvTranspose", {"kernel_dilation": 2}),
        ("ConvTranspose", {"kernel_dilation": (2, 1)}),
        ("ConvTranspose", {"padding": "CIRCULAR", "strides": 2}),
        ("ConvTranspose", {"padding": ((-1, 2), (3, 1))}),
        ("ConvTranspose", {"precision": lax.Precision.HIGHEST}),
        ("ConvTranspose", {"transpose_kernel": True, "strides": 2}),
    ],
)
def test_what_the_engine_does_not_do_is_left_to_flax(name, options):
    layers = pair(name, 2, 4, (3, 3), **options)
    x = normal((2, 5, 4, 2))
    assert_all_close(*values_and_gradients(layers, x))
    assert "stablehlo.convolution" in lowered(layers[0], x)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Conv", {"mask": MASK}),
        ("Conv", {"padding": "CIRCULAR"}),
        ("Conv", {"padding": 1, "kernel_dilation": 1, "strides": None}),
        ("ConvTranspose", {"kernel_dilation": 1}),
        ("ConvTranspose", {"kernel_dilation": (1, 1)}),
    ],
)
def test_options_that_flax_prepares_and_the_engine_does(name, options):
    layers = pair(name, 2, 4, (3, 3), **options)
    x = normal((2, 5, 4, 2))
    assert_all_close(*values_and_gradients(layers, x))
    assert "stablehlo.convolution" not in lowered(layers[0], x)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(
    ("kernel", "shape"),
    [(3, (2, 5, 2)), ((3,), (1, 2, 5, 2)), ((2, 3, 2), (4, 3, 4, 2)), ((2, 1, 3), (1, 4, 3, 4, 2))],
)
def test_other_dimensions_are_left_to_flax(name, kernel, shape):
    assert_all_close(*values_and_gradients(pair(name, 2, 3, kernel), normal(shape)))


@pytest.mark.parametrize("name", PAIRS)
def test_a_wider_output_type_is_left_to_flax(name):
    try:
        layers = pair(name, 2, 3, (3, 3), dtype=jnp.bfloat16, preferred_element_type=jnp.float32)
    except TypeError:
        pytest.skip("an option of Flax 0.12")
    ours, stock = values_and_gradients(layers, normal((2, 4, 5, 2)))
    assert ours["y"].dtype == jnp.float32
    assert_all_close(ours, stock)


# --- against SciPy, and the three forms against each other ----------------------------------------------------

FORMS = [(g[0], g[1], UNEVEN if g[2] == 4 else g[2], g[3]) for g in GEOMETRIES[1::2]]


def operands(w: layers.Window, channels: tuple[int, int] = (2, 3), n: int = 2) -> tuple:
    a, b = channels
    shapes = (n, *w.image, a), (*w.kernel, a, b), (n, *w.output, b)
    return tuple(jnp.asarray(normal(shape, seed)) for seed, shape in enumerate(shapes))


@partial(quick_jit, static_argnums=3)
def forms(x: jax.Array, k: jax.Array, y: jax.Array, w: layers.Window) -> list[jax.Array]:
    """C x, C' y and G(x, y), by the engine and by XLA's convolutions as on a GPU."""
    return [
        *(conv(x, k, w), conv_transpose(y, k, w), conv_kernel(x, y, w)),
        *(convolution.conv_xla(x, k, w), convolution.conv_transpose_xla(y, k, w)),
        convolution.conv_kernel_xla(x, y, w),
    ]


@pytest.mark.parametrize(("kernel", "strides", "padding", "size"), FORMS)
def test_the_three_forms_equal_scipy_and_are_adjoint(kernel, strides, padding, size):
    w = window(size, kernel, strides, padding)
    x, k, y = operands(w)
    found = [np.asarray(a, np.float64) for a in forms(x, k, y, w)]
    (top, left), (sh, sw) = (p[0] for p in w.padding), w.strides
    padded = np.pad(np.asarray(x), ((0, 0), *w.padding, (0, 0))).astype(np.float64)
    stretched = np.zeros(
        (2, *(1 + (n - 1) * s for n, s in zip(w.output, w.strides, strict=True)), 3)
    )
    stretched[:, ::sh, ::sw] = y
    c, c_adjoint, g = (np.zeros(a.shape) for a in found[:3])
    room = np.zeros(padded.shape[1:3])
    for n, a, b in np.ndindex(2, 2, 3):
        c[n, ..., b] += signal.correlate2d(padded[n, ..., a], k[..., a, b], "valid")[::sh, ::sw]
        full = signal.convolve2d(stretched[n, ..., b], k[..., a, b])
        room[:] = 0
        room[: full.shape[0], : full.shape[1]] = full
        c_adjoint[n, ..., a] += room[top : top + size[0], left : left + size[1]]
        g[..., a, b] += signal.correlate2d(padded[n, ..., a], stretched[n, ..., b], "valid")[
            : kernel[0], : kernel[1]
        ]
    for value, xla, expected in zip(found[:3], found[3:], (c, c_adjoint, g), strict=True):
        assert_close(value, expected)
        assert_close(xla, expected)
    sizes = [np.vdot(found[0], y), np.vdot(x, found[1]), np.vdot(k, found[2])]
    scale = np.linalg.norm(found[0]) * np.linalg.norm(y)
    np.testing.assert_allclose(sizes, sizes[0], rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("form", [conv, conv_transpose, conv_kernel])
def test_three_orders_of_derivatives_against_finite_differences(form):
    """Of its squared norm, a polynomial of degree four, for which differences over five points are exact."""
    w = window((3, 4), (2, 3), (1, 2), ((0, 1), (2, 1)))
    x, k, y = operands(w, (1, 2), 1)
    args = {conv: (x, k), conv_transpose: (y, k), conv_kernel: (x, y)}[form]

    def along(function, direction):
        def derivative(args):
            slopes = zip(jax.grad(function)(args), direction, strict=True)
            return sum(jnp.vdot(slope, d) for slope, d in slopes)

        return derivative

    function = jax.jit(lambda args: (form(*args, w) ** 2).mean())
    for seed in (5, 6, 7):
        direction = [jnp.asarray(normal(a.shape, seed)) for a in args]
        derivative = jax.jit(along(function, direction))
        at = {
            t: float(function([a + t * d for a, d in zip(args, direction, strict=True)]))
            for t in (-2, -1, 1, 2)
        }
        difference = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / 12
        scale = max(map(abs, at.values()))
        assert float(derivative(list(args))) == pytest.approx(difference, abs=1e-5 * scale)
        assert abs(difference) > 1e-3 * scale
        function = derivative


class Critic(nnx.Module):
    """A small network with every layer of the module, or with Flax's."""

    def __init__(self, conv: type, transpose: type, pool: Callable):
        rngs = nnx.Rngs(0)
        self.first = conv(2, 3, (3, 3), kernel_init=noise, rngs=rngs)
        self.second = conv(3, 4, (2, 2), 2, kernel_init=noise, rngs=rngs)
        self.up = transpose(4, 2, (3, 3), 2, kernel_init=noise, rngs=rngs)
        self.head = nnx.Linear(12, 1, kernel_init=noise, rngs=rngs)
        self.pool = pool

    def __call__(self, x):  # [N, 6, 5, 2] -> [N]
        h = nnx.leaky_relu(self.first(x), 0.2)
        h = nnx.leaky_relu(self.second(h), 0.2)  # [N, 3, 3, 4]
        h = self.pool(self.up(h) ** 2, (2, 3), strides=(2, 3))  # [N, 6, 6, 2] -> [N, 3, 2, 2]
        return self.head(h.reshape(len(h), -1))[:, 0]


def test_the_gradient_of_a_gradient_penalty_equals_flax():
    x = jnp.asarray(normal((3, 6, 5, 2)))
    ours = Critic(Conv, ConvTranspose, max_pool)
    stock = Critic(nnx.Conv, nnx.ConvTranspose, nnx.max_pool)

    @partial(jax.jit, static_argnums=0)
    def penalty_gradient(graphdef, params):
        def penalty(params):
            slope = jax.grad(lambda x: nnx.merge(graphdef, params)(x).sum())(x)
            return ((jnp.sqrt((slope**2).sum((1, 2, 3))) - 1) ** 2).mean()

        return jax.value_and_grad(penalty)(params)

    (value, grads), (stock_value, stock_grads) = (
        penalty_gradient(*nnx.split(m)) for m in (ours, stock)
    )
    assert_close(value, stock_value)
    grads, stock_grads = nnx.to_pure_dict(grads), nnx.to_pure_dict(stock_grads)
    for name in ("first", "second", "up"):
        assert np.any(stock_grads[name]["kernel"])
        assert_close(grads[name]["kernel"], stock_grads[name]["kernel"], name=name)


def test_third_derivatives_equal_xla():
    w = window((4, 3), (3, 2), 2, "SAME")
    x, k, _ = operands(w)

    def third(form):
        first = jax.grad(lambda x, k: (form(x, k) ** 3).sum())
        second = jax.grad(lambda x, k: (first(x, k) ** 2).sum(), 1)
        return jax.jit(jax.grad(lambda x, k: (second(x, k) ** 2).sum(), (0, 1)))(x, k)

    ours = third(lambda x, k: conv(x, k, w))
    for value, expected in zip(
        ours, third(lambda x, k: convolution.conv_xla(x, k, w)), strict=True
    ):
        assert_close(value, expected, 2e-5)


@pytest.mark.parametrize("derivative", [jax.jacfwd, jax.hessian])
def test_forward_mode_says_that_it_is_not_there(derivative):
    w = window((2, 2), (2, 2))
    x, k, _ = operands(w, (1, 1), 1)
    for function in (lambda x: (conv(x, k, w) ** 2).sum(), lambda x: max_pool(x, (2, 2)).sum()):
        with pytest.raises(TypeError, match="forward-mode"):
            derivative(function)(x)


def test_nested_reverse_mode_does_what_a_hessian_does():
    w = window((2, 3), (2, 2))
    x, k, _ = operands(w, (1, 2), 1)
    found, expected = (
        jax.jit(jax.jacrev(jax.jacrev(lambda x, f=f: (f(x, k, w) ** 2).sum())))(x)
        for f in (conv, convolution.conv_xla)
    )
    assert_close(found, expected)


# --- inside other transformations -----------------------------------------------------------------------------

W = window((6, 5), (2, 3), 2)


def work(x: jax.Array, k: jax.Array) -> jax.Array:
    """All three layers on one image or a batch `[N, 6, 5, 2]`; a scalar."""
    y = max_pool(conv(x, k, W), (2, 2), padding="SAME")
    return (conv_transpose(y, k, W) ** 2).sum()


gradients = jax.grad(work, (0, 1))


@pytest.fixture(scope="module")
def alone() -> tuple:
    """Three batches, three kernels, and the gradients of `work` for each."""
    xs, ks = jnp.asarray(normal((3, 2, 6, 5, 2))), jnp.asarray(normal((3, 2, 3, 2, 3), 1))
    run = jax.jit(gradients)
    each = [run(x, k) for x, k in zip(xs, ks, strict=True)]
    return xs, ks, [jnp.stack(g) for g in zip(*each, strict=True)]


def test_inside_scan_and_fori_loop(alone):
    xs, ks, expected = alone

    def body(i, sums):
        return [total.at[i].set(g) for total, g in zip(sums, gradients(xs[i], ks[i]), strict=True)]

    _, scanned = jax.jit(lambda xs, ks: lax.scan(lambda c, xk: (c, gradients(*xk)), 0, (xs, ks)))(
        xs, ks
    )
    looped = jax.jit(lambda: lax.fori_loop(0, 3, body, [jnp.zeros_like(e) for e in expected]))()
    for found in (scanned, looped):
        for value, e in zip(found, expected, strict=True):
            assert_close(value, e)


def test_gradient_through_scan(alone):
    """The loop inside the derivative: as over one batch of all images."""
    xs, ks, _ = alone

    def summed(k):
        return lax.scan(lambda total, x: (total + work(x, k), None), 0.0, xs)[0]

    together = jax.jit(jax.grad(lambda k: work(xs.reshape(6, 6, 5, 2), k)))(ks[0])
    assert_close(jax.jit(jax.grad(summed))(ks[0]), together)
    assert_close(jax.jit(jax.grad(jax.checkpoint(summed)))(ks[0]), together)


def test_under_vmap(alone):
    xs, ks, expected = alone
    mapped = jax.jit(jax.vmap(gradients))(xs, ks)
    for value, e in zip(mapped, expected, strict=True):
        assert_close(value, e)
    # Over kernels, images of a batch, and both nested.
    over_kernels = jax.jit(jax.vmap(gradients, (None, 0)))(xs[1], ks)
    assert_close(over_kernels[1][1], expected[1][1])
    over_images = jax.jit(jax.vmap(lambda x: gradients(x[None], ks[0])))(xs[0])
    assert_close(over_images[0][:, 0], expected[0][0])
    assert_close(over_images[1].sum(0), expected[1][0])
    nested = jax.jit(jax.vmap(lambda x: jax.vmap(lambda k: work(x, k))(ks)))(xs)
    assert_close(nested[1, 1], jax.jit(work)(xs[1], ks[1]))
    assert nested.shape == (3, 3)


def test_checkpoint_and_donated_arguments(alone):
    xs, ks, expected = alone
    repeated = jax.jit(jax.grad(jax.checkpoint(work), (0, 1)))(xs[0], ks[0])
    step = jax.jit(lambda k, x: k - gradients(x, k)[1], donate_argnums=0)
    assert_close(step(ks[0] + 0, xs[0]), ks[0] - expected[1][0])
    for value, e in zip(repeated, expected, strict=True):
        assert_close(value, e[0])


# --- max pooling ----------------------------------------------------------------------------------------------


def awkward_images(size: tuple[int, int], dtype: object = np.float32) -> np.ndarray:
    """`[8, *size, 2]`: noise, ties, a constant, zeros of both signs, after a ReLU, all and partly -inf, NaN."""
    noise = normal((8, *size, 2), 1)
    few = np.random.default_rng(0).integers(0, 3, noise.shape).astype(np.float32)
    noise[1], noise[2], noise[3] = few[1], 1.5, np.copysign(0, noise[3])
    noise[4] = np.maximum(noise[4], 0)
    noise[5], noise[6], noise[7] = -np.inf, np.where(few[6] > 0, -np.inf, noise[6]), noise[7]
    noise[7] = np.where(few[7] > 1, np.nan, noise[7])
    return noise.astype(dtype)


def pooled(x: jax.Array, *args: object, **options: object) -> list[tuple[jax.Array, jax.Array]]:
    """Of this package and of Flax: values, and the gradient for whole numbers (whose sums are exact in any order)."""

    def run(pool, x):
        y, vjp = jax.vjp(lambda x: pool(x, *args, **options), x)
        return y, vjp(cotangent(y))[0]

    return quick_jit(lambda x: [run(pool, x) for pool in (max_pool, nnx.max_pool)])(x)


def cotangent(y: jax.Array) -> jax.Array:
    return jnp.asarray(np.random.default_rng(3).integers(-9, 10, y.shape), y.dtype)


@pytest.mark.parametrize(
    ("shape", "strides", "padding", "size"),
    [
        ((1, 1), None, "VALID", (2, 3)),
        ((2, 2), (2, 2), "VALID", (5, 6)),
        ((2, 2), (2, 2), "SAME", (5, 7)),
        ((2, 2), None, "VALID", (4, 3)),
        ((3, 3), (1, 1), "SAME", (4, 5)),
        ((3, 3), (2, 2), "SAME", (6, 7)),
        ((3, 3), (2, 2), ((1, 1), (1, 1)), (6, 5)),
        ((2, 3), (1, 2), ((1, 0), (0, 2)), (3, 5)),
        ((2, 2), (3, 3), "VALID", (6, 8)),
        ((2, 2), (1, 3), ((3, 3), (2, 4)), (3, 4)),
        ((5, 1), (2, 3), "SAME", (3, 7)),
        ((4, 3), (4, 3), "VALID", (4, 3)),
    ],
)
def test_max_pool_equals_flax_bit_for_bit(shape, strides, padding, size):
    (y, grad), (stock_y, stock_grad) = pooled(
        jnp.asarray(awkward_images(size)), shape, strides=strides, padding=padding
    )
    np.testing.assert_array_equal(y, stock_y)
    np.testing.assert_array_equal(grad, stock_grad)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_max_pool_in_half_precision(dtype):
    x = jnp.asarray(awkward_images((5, 4), dtype))
    ours, stock = pooled(x, (3, 2), strides=(2, 1), padding="SAME")
    for value, expected in zip(ours, stock, strict=True):
        assert value.dtype == dtype
        np.testing.assert_array_equal(value.astype(jnp.float32), expected.astype(jnp.float32))


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_max_pool_takes_any_number_of_batch_dimensions(batch):
    x = jnp.asarray(normal((*batch, 4, 5, 2)))
    for ours, stock in zip(*pooled(x, (2, 2)), strict=True):
        assert_close(ours, stock, 0)


def test_max_pool_of_whole_numbers():
    x = np.arange(-6, 6).reshape(1, 3, 4, 1)
    found = max_pool(jnp.asarray(x), (2, 2), (2, 2), "SAME")
    np.testing.assert_array_equal(found[0, :, :, 0], [[-1, 1], [3, 5]])


def test_second_derivative_through_max_pool_equals_flax():
    x = jnp.asarray(normal((2, 5, 6, 2)))

    def second(pool):
        first = jax.grad(lambda x: (pool(x**3, (3, 2), strides=(2, 1), padding="SAME") ** 2).sum())
        return jax.jit(jax.grad(lambda x: (first(x) ** 2).sum()))(x)

    assert_close(second(max_pool), second(nnx.max_pool))


def test_first_of_equal_maxima_takes_the_gradient():
    x = jnp.asarray([[3, 3, 0, 0], [2, 3, 0, 0]], jnp.float32)[None, :, :, None]
    grad = jax.jit(jax.grad(lambda x: max_pool(x, (2, 2), strides=(2, 2)).sum()))(x)
    np.testing.assert_array_equal(grad[0, :, :, 0], [[1, 0, 1, 0], [0, 0, 0, 0]])


def test_the_pooling_of_other_platforms_has_the_same_values():
    """Flax's, called as on a GPU."""
    w = window((5, 6), (3, 2), 2, "SAME")
    x = jnp.asarray(awkward_images((5, 6)))
    ((y, grad), _) = pooled(x, w.kernel, w.strides, w.padding)
    there = jax.jit(
        lambda x: [
            layers._stock_max_pool(x, w),
            layers._stock_max_pool_gradient(x, cotangent(y), w),
        ]
    )
    np.testing.assert_array_equal(there(x)[0], y)
    np.testing.assert_array_equal(there(x)[1], grad)


# --- errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"padding": "FULL"}, r"padding 'FULL'; allowed: SAME, VALID or \(\(top, bottom\)"),
        ({"padding": "same"}, "padding 'same'; allowed: SAME"),
        ({"padding": 1}, "padding 1; allowed: SAME"),
        ({"padding": ((1, 1),)}, "allowed: SAME"),
        ({"padding": ((0, 0), (0, -1))}, r"padding \(\(0, 0\), \(0, -1\)\); allowed: .* 0 or more"),
        ({"strides": 0}, r"strides \(0, 0\); allowed: \(height, width\), 1 or more"),
        ({"strides": (1, 2, 1)}, r"strides \(1, 2, 1\); allowed"),
        ({"kernel": (0, 1)}, r"kernel \(0, 1\)"),
        ({"kernel": (2,)}, r"kernel \(2,\)"),
        ({"image": (0, 4)}, r"image \(0, 4\)"),
        ({"kernel": (2, 6)}, r"kernel \(2, 6\) is larger than image \(3, 4\)"),
        ({"kernel": (7, 2), "padding": UNEVEN}, r"larger .* with padding \(\(1, 2\), \(0, 3\)\)"),
    ],
)
def test_a_window_that_cannot_be(changes, message):
    arguments = {"image": (3, 4), "kernel": (2, 2), "padding": "VALID", **changes}
    with pytest.raises(ValueError, match=message):
        window(**arguments)


def test_max_pool_says_what_it_does_not_do():
    x = jnp.zeros((2, 3, 4, 1))
    for options, message in (
        ({"window_shape": (4, 2)}, "larger than image"),
        ({"window_shape": (2, 2), "strides": 0}, "strides"),
        ({"window_shape": (2, 2), "padding": "FULL"}, "allowed: SAME"),
        ({"window_shape": (2,)}, r"kernel \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            max_pool(x, **options)
    with pytest.raises(ValueError, match=r"array \(4, 1\); allowed: images"):
        max_pool(x[0, 0], (2, 2))


def test_arrays_that_do_not_fit_are_refused():
    w = window((4, 5), (3, 3), 2)
    x, k, y = operands(w)
    for form, a, b in (
        (conv, x[:, 1:], k),  # another size than the window's
        (conv, x[0], k),
        (conv, x[..., :1], k),
        (conv, x.astype(jnp.bfloat16), k),
        (conv, x, k[1:]),
        (conv_transpose, x, k),
        (conv_transpose, y[..., :2], k),
        (conv_kernel, x[:1], y),
        (conv_kernel, x, x),
    ):
        with pytest.raises(ValueError, match="allowed: one type, and shapes"):
            form(a, b, w)


@pytest.mark.parametrize("make", [Conv, ConvTranspose])
def test_layers_refuse_wrong_channels_and_strides(make):
    with pytest.raises(ValueError, match=r"\(1, 4, 4, 3\).* allowed: one type, and shapes"):
        make(2, 1, (3, 3), rngs=nnx.Rngs(0))(jnp.zeros((1, 4, 4, 3)))
    with pytest.raises(ValueError, match=r"strides \(0, 0\); allowed"):
        make(2, 1, (3, 3), 0, padding="VALID", rngs=nnx.Rngs(0))(jnp.zeros((1, 4, 4, 2)))


def test_conv_refuses_a_kernel_larger_than_the_image():
    layer = Conv(1, 1, (5, 2), padding="VALID", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"kernel \(5, 2\) is larger than image \(4, 4\)"):
        layer(jnp.zeros((1, 4, 4, 1)))


# --- the program ----------------------------------------------------------------------------------------------


def penalty(x: jax.Array, k: jax.Array) -> jax.Array:
    return (gradients(x, k)[0] ** 2).sum()


@pytest.mark.parametrize("function", [work, gradients, jax.grad(penalty, 1)])
def test_chosen_for_the_platform_of_the_program(function):
    """Matrix products on a CPU, XLA's own operations elsewhere."""
    args = jnp.zeros((2, 6, 5, 2)), jnp.zeros((2, 3, 2, 3))
    here = lowered(function, *args)
    assert "stablehlo.dot_general" in here
    for operation in ("convolution", "reduce_window", "select_and_scatter"):
        assert f"stablehlo.{operation}" not in here
    for platform in ("cuda", "tpu"):
        there = lowered(function, *args, platform=platform)
        assert "stablehlo.convolution" in there
        assert "stablehlo.reduce_window" in there
        assert "stablehlo.dot_general" not in there
        assert ("stablehlo.select_and_scatter" in there) == (function is not work)


def test_no_choice_is_left_to_the_run():
    args = jnp.zeros((2, 6, 5, 2)), jnp.zeros((2, 3, 2, 3))
    program = jax.jit(gradients).lower(*args).compile().as_text()
    assert " dot(" in program
    assert "conditional(" not in program


def test_a_training_step_has_no_convolution_on_a_cpu():
    """XLA's own would be a hundred times slower inside the training loop."""
    config = cnn.CNNConfig(image_shape=(14, 12, 3), widths=(3, 4), hidden=5, num_steps=10)
    graphdef, state = jax.eval_shape(partial(cnn.init, config), jax.random.key(0))
    batch = jnp.zeros((4, *config.image_shape), jnp.uint8), jnp.zeros(4, jnp.int32)
    program = lowered(cnn.make_train_step(graphdef, config), state, batch)
    assert "stablehlo.dot_general" in program
    assert "stablehlo.convolution" not in program
    assert "stablehlo.select_and_scatter" not in program


def test_transposed_convolution_in_a_loop_is_several_times_faster_than_flax():
    layers = pair("ConvTranspose", 128, 64, (4, 4), (2, 2))
    x = jnp.asarray(normal((64, 7, 7, 128)))

    def loop(layer):
        graphdef, params = nnx.split(layer)

        def descend(_, params):
            grads = jax.grad(lambda p: (nnx.merge(graphdef, p)(x) ** 2).mean())(params)
            return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)

        run = jax.jit(lambda n, params: lax.fori_loop(0, n, descend, params))
        return lambda n: jax.block_until_ready(run(n, params))

    runs, times = [loop(layer) for layer in layers], [[], []]
    for n in (0, 1, 1):  # the first compiles
        for run, found in zip(runs, times, strict=True):
            start = time.perf_counter()
            run(n)
            found.append(time.perf_counter() - start)
    ours, stock = (min(found[1:]) for found in times)
    assert 3 * ours < stock


@pytest.mark.parametrize("n", [1, 6, 7])
@pytest.mark.parametrize("strides", [1, 2])
def test_images_done_in_parts_give_the_same(monkeypatch, n, strides):
    """Patches that would not stay in the cache are made for a part of the images at a time; 7 images: one by one."""
    w = window((9, 8), (3, 4), strides, "SAME")
    x, k = jnp.asarray(normal((n, 9, 8, 2))), jnp.asarray(normal((3, 4, 2, 3), 1))
    y = jnp.asarray(normal((n, *w.output, 3), 2))
    whole = [conv(x, k, w), conv_transpose(y, k, w), conv_kernel(x, y, w)]
    a_third = (
        4 * 2 * np.prod(w.output) * np.prod(w.kernel) * 2
    )  # bytes of the patches of two images
    monkeypatch.setattr(convolution, "CACHED", a_third)
    need = convolution.patches_bytes(n, w, 2, 4)
    assert convolution.parts(n, need) == {1: 1, 6: 3, 7: 7}[n]
    jax.clear_caches()
    inside = [conv(x, k, w), conv_transpose(y, k, w), conv_kernel(x, y, w)]
    program = jax.jit(lambda x: conv(x, k, w)).lower(x).as_text()
    assert ("stablehlo.while" in program) == (n > 1)
    monkeypatch.undo()
    jax.clear_caches()
    for value, expected in zip(inside, whole, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strides", [1, 2])
def test_a_transposed_convolution_in_two_halves_gives_the_same(monkeypatch, strides):
    """To the last bit: each image is painted alone. The halves are no neighbours, so that a divided batch stays so."""
    w = window((9, 8), (3, 4), strides, "SAME")
    k, y = jnp.asarray(normal((3, 4, 2, 3), 1)), jnp.asarray(normal((6, *w.output, 3), 2))
    whole = conv_transpose(y, k, w)
    monkeypatch.setattr(convolution, "IN_TWO", 1)
    jax.clear_caches()
    program = jax.jit(lambda y: conv_transpose(y, k, w)).lower(y).as_text()
    np.testing.assert_array_equal(conv_transpose(y, k, w), whole)
    assert program.count("dot_general") == 2
    monkeypatch.undo()
    jax.clear_caches()


def test_parts_hold_every_so_many_th_image():
    x = jnp.arange(12).reshape(6, 2)
    split = convolution.divided(x, 3)
    np.testing.assert_array_equal(split[1], x[1::3])
    np.testing.assert_array_equal(convolution.united(split), x)
