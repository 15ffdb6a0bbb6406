"""Sizes against JAX's shapes, receptive fields against gradients, parameters and operations against XLA."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import normal
from flax import nnx
from jax import lax

from imgbook import cnn, cnn_effective, cnn_films, layers
from imgbook import cnn_arithmetic as arithmetic
from imgbook.cnn_arithmetic import Layer

NHWC = ("NHWC", "HWIO", "NHWC")
CALLS = dict(dimension_numbers=("NWC", "WIO", "NWC"))


def line(n: int) -> jax.ShapeDtypeStruct:
    """A picture of one row, `[1, n, 1]`."""
    return jax.ShapeDtypeStruct((1, n, 1), jnp.float32)


# --- sizes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["SAME", "VALID", 0, 1, 3])
def test_conv_sizes_are_those_of_lax(padding):
    explicit = padding if isinstance(padding, str) else [(padding, padding)]
    for n, k, s, d in itertools.product((1, 2, 7, 12), (1, 2, 3, 5), (1, 2, 3), (1, 2)):
        room = np.inf if padding == "SAME" else n + 2 * (0 if padding == "VALID" else padding)
        if d * (k - 1) + 1 > room:
            with pytest.raises(ValueError, match=f"kernel of {k} with dilation {d} spans"):
                arithmetic.conv_output_size(n, k, s, padding, d)
            continue
        shape = jax.eval_shape(
            lambda x, w, s=s, d=d: lax.conv_general_dilated(
                x, w, (s,), explicit, rhs_dilation=(d,), **CALLS
            ),
            line(n),
            jax.ShapeDtypeStruct((k, 1, 1), jnp.float32),
        ).shape
        assert arithmetic.conv_output_size(n, k, s, padding, d) == shape[1]


def test_conv_sizes_count_the_places_of_a_window():
    """One by one: the window begins at every s-th pixel of the padded row, as long as it ends inside."""
    for n, k, s, p, d in itertools.product((4, 9), (2, 3), (1, 2, 3), (0, 2), (1, 2)):
        if d * (k - 1) >= n + 2 * p:
            continue
        begins = [b for b in range(0, n + 2 * p, s) if b + d * (k - 1) < n + 2 * p]
        assert arithmetic.conv_output_size(n, k, s, p, d) == len(begins)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_sizes_are_those_of_flax(padding):
    """`nnx.Conv` and `nnx.ConvTranspose`, the latter with sizes by name."""
    for n, k, s in itertools.product((3, 8), (1, 3, 4), (1, 2, 3)):
        for layer, size in (
            (nnx.Conv, arithmetic.conv_output_size),
            (nnx.ConvTranspose, arithmetic.conv_transpose_output_size),
        ):
            if layer is nnx.Conv and padding == "VALID" and k > n:
                continue
            found = nnx.eval_shape(
                lambda x, layer=layer, k=k, s=s: layer(
                    1, 1, (k,), strides=s, padding=padding, rngs=nnx.Rngs(0)
                )(x),
                line(n),
            )
            assert size(n, k, s, padding) == found.shape[1], (layer, n, k, s)


def transposed_by_lax(n: int, k: int, s: int, padding: object) -> int:
    kernel = jax.ShapeDtypeStruct((k, 1, 1), jnp.float32)
    return jax.eval_shape(
        lambda x, w: lax.conv_transpose(x, w, (s,), padding, **CALLS), line(n), kernel
    ).shape[1]


TRANSPOSED = list(itertools.product((1, 2, 7), (1, 2, 3, 4, 5), (1, 2, 3)))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_transposed_sizes_by_name_are_those_of_lax_and_lead_back(padding):
    for n, k, s in TRANSPOSED:
        size = arithmetic.conv_transpose_output_size(n, k, s, padding)
        assert size == transposed_by_lax(n, k, s, padding)
        assert arithmetic.conv_output_size(size, k, s, padding) == n


def test_transposed_sizes_by_number_are_those_of_lax_and_lead_back():
    """lax pads the input between whose pixels zeros were put: by k - 1 - p before, and o more after."""
    for (n, k, s), p in itertools.product(TRANSPOSED, (0, 1)):
        if (n - 1) * s + k - 2 * p < 1:
            continue
        sizes = {
            arithmetic.conv_transpose_output_size(n, k, s, p, o): [(k - 1 - p, k - 1 - p + o)]
            for o in range(s)
        }
        for size, padding in sizes.items():
            assert size == transposed_by_lax(n, k, s, padding)
            assert arithmetic.conv_output_size(size, k, s, p) == n
        leading_back = [
            m
            for m in range(1, 40)
            if m + 2 * p >= k and arithmetic.conv_output_size(m, k, s, p) == n
        ]
        assert [m for m in leading_back if m >= min(sizes)] == list(sizes)
        assert arithmetic.conv_transpose_output_size(n, k, s, p) == min(sizes)


@pytest.mark.parametrize(
    ("kernel", "padding", "output_padding", "size"),
    # By hand, from 7 pixels with stride 2: the kernel at 0, 2, ... 12 reaches 12 + k pixels; SAME cuts k // 2 off
    # each end. 7 -> 14 is what a 3 x 3 kernel with output padding 1 is for.
    [
        (3, "SAME", 0, 13),
        (3, "SAME", 1, 14),
        (4, "SAME", 0, 12),
        (5, "SAME", 1, 14),
        (3, "VALID", 0, 15),
        (3, "VALID", 1, 16),
        (4, 1, None, 14),
        (3, 1, 1, 14),
        (2, 0, 0, 14),
    ],
)
def test_transposed_sizes_by_hand(kernel, padding, output_padding, size):
    assert arithmetic.conv_transpose_output_size(7, kernel, 2, padding, output_padding) == size


@pytest.mark.parametrize(
    "size", [arithmetic.conv_output_size, arithmetic.conv_transpose_output_size]
)
def test_sizes_refuse_what_is_none(size):
    for arguments, match in (
        ((0, 3), "n = 0; allowed: 1 or more"),
        ((5, -1), "kernel = -1; allowed: 1 or more"),
        ((5, 3, 0), "stride = 0; allowed: 1 or more"),
        ((5, 3, 1, "same"), "padding 'same'; allowed: SAME, VALID or a number"),
        ((5, 3, 1, -1), "padding = -1; allowed: SAME, VALID or 0 or more"),
    ):
        with pytest.raises(ValueError, match=match):
            size(*arguments)
    for arguments, match in (
        ((5.0, 3), r"n = 5\.0; allowed: an integer"),
        ((5, True), "kernel = True; allowed: an integer"),
        ((5, 3, "2"), "stride = '2'; allowed: an integer"),
        ((5, 3, 1, 0.5), r"padding = 0\.5; allowed: an integer"),
        ((5, 3, 1, None), "padding = None; allowed: an integer"),
    ):
        with pytest.raises(TypeError, match=match):
            size(*arguments)
    assert size(np.int64(5), 3) == 5


def test_sizes_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="dilation = 0"):
        arithmetic.conv_output_size(5, 3, 1, "SAME", 0)
    with pytest.raises(ValueError, match=r"spans 5 pixels; n = 4 with padding 'VALID' has 4"):
        arithmetic.conv_output_size(4, 3, 1, "VALID", 2)
    for output_padding in (-1, 2):
        with pytest.raises(ValueError, match=f"{output_padding}; allowed: 0 to stride - 1 = 1"):
            arithmetic.conv_transpose_output_size(5, 3, 2, 1, output_padding)
    with pytest.raises(TypeError, match=r"output_padding = 1\.0; allowed: an integer"):
        arithmetic.conv_transpose_output_size(5, 3, 2, 1, 1.0)
    with pytest.raises(ValueError, match=r"leave -1 pixels; allowed: 1 or more; give less padding"):
        arithmetic.conv_transpose_output_size(1, 3, 2, 2)
    with pytest.raises(ValueError, match="leave 0 pixels"):
        arithmetic.conv_transpose_output_size(1, 2, 2, "SAME", 0)


# --- receptive fields -----------------------------------------------------------------------------------------


def explicit(padding: object, axis: int) -> object:
    """SAME and VALID as they are, a number as zeros before and after."""
    zeros = padding if np.ndim(padding) == 0 else padding[axis]
    return zeros, zeros


def seen_by_all(stack: list[Layer], image: tuple[int, int]) -> np.ndarray:
    """Whether each output sees each pixel, `[h, w, H, W]`: the gradients of convolutions with positive kernels."""
    rng = np.random.default_rng(0)

    def network(x: jax.Array) -> jax.Array:
        x = x[None, :, :, None]
        for layer in stack:
            (kh, sh, _, dh), (kw, sw, _, dw) = layer.along(0), layer.along(1)
            padding = layer.padding
            if not isinstance(padding, str):
                padding = [explicit(padding, 0), explicit(padding, 1)]
            kernel = rng.uniform(0.5, 1, (kh, kw, 1, 1)).astype(np.float32)
            x = lax.conv_general_dilated(
                x, kernel, (sh, sw), padding, rhs_dilation=(dh, dw), dimension_numbers=NHWC
            )
        return x[0, :, :, 0]

    return np.asarray(jax.jacrev(network)(jnp.ones(image))) > 0


STACKS = {
    "one": ([(3, 1)], (6, 7)),
    "without padding": ([Layer((3, 2), 1, "VALID"), Layer(2, 2, "VALID")], (9, 8)),
    "strides, SAME": ([Layer(3, 2), Layer(4, (2, 3)), Layer(3, 1, 1)], (26, 37)),
    "even kernels, SAME": ([Layer(4), Layer(2, 1), Layer((2, 3))], (7, 8)),
    "dilation": ([Layer(3, 1, "VALID"), Layer(3, 1, 2, 2), Layer(3, 1, "SAME", (3, 1))], (15, 12)),
    "gaps": ([Layer(1, 2, 0), Layer(3, 1, 2, 2), Layer(2, 3, 1)], (13, 16)),
    "rectangles": ([Layer((1, 5), (1, 2), (0, 1)), Layer((3, 1), 2, (1, 0))], (9, 12)),
    "much padding": ([Layer(5, 1, "VALID"), Layer(5, 2, 3)], (9, 10)),
    "deep": ([Layer(3), Layer(2, 2, "VALID")] * 2 + [Layer(3)], (24, 28)),
}


@pytest.mark.parametrize("name", STACKS)
def test_gradients_are_not_zero_exactly_on_the_field(name):
    """At each output: on the rows and columns of `field_of`, and inside the image from end to end of the formula's."""
    stack, image = STACKS[name]
    seen = seen_by_all([s if isinstance(s, Layer) else Layer(*s) for s in stack], image)
    size, stride, offset = arithmetic.receptive_field(stack, image)
    inside = 0
    for place in np.ndindex(seen.shape[:2]):
        rows, columns = arithmetic.field_of(stack, place, image)
        mask = np.zeros(image, bool)
        mask[np.ix_(rows, columns)] = True
        np.testing.assert_array_equal(seen[place], mask, err_msg=f"place {place}")
        for axis, found in enumerate((rows, columns)):
            centre = offset[axis] + place[axis] * stride[axis]
            first, last = centre - (size[axis] - 1) / 2, centre + (size[axis] - 1) / 2
            if first >= 0 and last <= image[axis] - 1:
                assert (found[0], found[-1]) == (first, last)
                inside += 1
            elif len(found):
                assert found[0] >= first
                assert found[-1] <= last
    assert inside > 0


def test_field_of_the_articles_network():
    """3 x 3 convolutions and 2 x 2 pooling, three times: fields of 3, 4, 8, 10, 18, 22 pixels."""
    stack = [(3, 1, "VALID"), (2, 2, "VALID")] * 3
    found = [arithmetic.receptive_field(stack[: i + 1]) for i in range(6)]
    assert [f.size for f in found] == [(n, n) for n in (3, 4, 8, 10, 18, 22)]
    assert [f.stride for f in found] == [(n, n) for n in (1, 2, 2, 4, 4, 8)]
    assert [f.offset[0] for f in found] == [1, 1.5, 3.5, 4.5, 8.5, 10.5]
    rows, columns = arithmetic.field_of(stack, (1, 0), (32, 32))
    np.testing.assert_array_equal(rows, np.arange(8, 30))  # the last two rows are left over
    np.testing.assert_array_equal(columns, np.arange(22))


def test_the_articles_network_leaves_two_rows_and_columns_out():
    """Pixels 30 and 31 reach no output of the article's network; all others do."""
    model = cnn.CNN(cnn.CNNConfig(widths=(4, 4, 4), hidden=16), rngs=nnx.Rngs(0))
    x = jnp.asarray(normal((64, 32, 32, 3)))
    gradient = jax.jit(jax.grad(lambda x: jnp.abs(model(x)).sum()))(x)
    seen = np.asarray(jnp.abs(gradient).sum((0, 3)) > 0)  # [32, 32]
    expected = np.zeros((32, 32), bool)
    expected[:30, :30] = True
    np.testing.assert_array_equal(seen, expected)


def test_no_layer_sees_a_pixel():
    assert arithmetic.receptive_field([]) == ((1, 1), (1, 1), (0, 0))
    assert cnn_effective.effective_width([]) == (0, 0)


def test_same_with_stride_needs_the_image():
    with pytest.raises(
        ValueError, match=r"Layer\(kernel=3, stride=2.*give image=\(height, width\)"
    ):
        arithmetic.receptive_field([Layer(3), Layer(3, 2)])
    offsets = {n: arithmetic.receptive_field([(3, 2)], (n, n)).offset for n in (7, 8)}
    assert offsets == {7: (0, 0), 8: (1, 1)}  # zeros on both sides of 7 pixels, only after 8
    assert arithmetic.receptive_field([(1, 2)]).offset == (0, 0)  # nothing to pad


def test_fields_refuse_what_is_none():
    for layer in (3, "SAME", (3,), (3, 1, 0, 1, 1), [3, 1]):
        with pytest.raises(ValueError, match=r"allowed: Layer\(\.\.\.\), or \(kernel, stride\)"):
            arithmetic.receptive_field([layer])
    with pytest.raises(ValueError, match=r"\(3, 3, 3\) has 3 entries; allowed: one, or"):
        Layer((3, 3, 3))
    with pytest.raises(ValueError, match="stride = 0; allowed: 1 or more"):
        arithmetic.receptive_field([(3, 0)])
    with pytest.raises(TypeError, match=r"dilation = 1\.5; allowed: an integer"):
        Layer(3, dilation=(1, 1.5))
    with pytest.raises(ValueError, match="padding 'FULL'"):
        Layer(3, 1, "FULL")
    with pytest.raises(ValueError, match="spans 3 pixels"):
        arithmetic.receptive_field([(3, 1, "VALID")] * 3, (9, 6))
    for place in ((4, 0), (0, -1)):
        with pytest.raises(ValueError, match=r"place .*; allowed along axis .: 0 to 3"):
            arithmetic.field_of([(3, 1, "VALID")], place, (6, 6))
    with pytest.raises(ValueError, match=r"image = 0; allowed: 1 or more"):
        arithmetic.field_of([(1, 1)], (0, 0), (0, 4))


# --- effective fields -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", [[(3, 1)] * 5, [(3, 1), (2, 2, 0), Layer((4, 1), 3, 0, 2)]])
def test_effective_width_is_the_spread_of_the_profile(stack):
    """By its closed form, and from the shares of the paths to each pixel; the profile is as long as the field."""
    size, _, _ = arithmetic.receptive_field(stack)
    profiles = cnn_effective.effective_profile(stack)
    assert tuple(len(p) for p in profiles) == size
    assert [p.sum() for p in profiles] == pytest.approx([1, 1])
    plane = np.outer(*profiles)
    assert cnn_effective.effective_width(stack) == pytest.approx(cnn_effective.spread(plane))


def test_effective_width_of_one_layer_and_of_many():
    assert cnn_effective.effective_width([(2, 1)]) == pytest.approx((0.5, 0.5))
    # Luo et al. 2016: the root of n (k^2 - 1) / 12
    assert cnn_effective.effective_width([(5, 1)] * 6) == pytest.approx((12**0.5, 12**0.5))
    assert cnn_effective.effective_width([(2, 2), Layer(2, 1, dilation=3)])[0] == pytest.approx(
        (0.25 + 36 / 4) ** 0.5
    )


def random_energy(stack: list[Layer], runs: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared gradients of linear networks with Gaussian kernels `[runs, H, W]`, and numbers of paths `[H, W]`."""
    rng, found, paths = np.random.default_rng(0), np.ones((runs, 1, 1)), np.ones((1, 1, 1))
    for layer in reversed(stack):
        k, s = layer.kernel, layer.stride
        apart = np.eye(1, s * s).reshape(1, s, s)  # a pixel and zeros up to the next
        found, paths = (
            sum(
                np.pad(
                    weights[:, a, b, None, None] * np.kron(g, apart),
                    ((0, 0), (a, k - 1 - a), (b, k - 1 - b)),
                )
                for a, b in np.ndindex(k, k)
            )
            for g, weights in (
                (found, rng.standard_normal((runs, k, k))),
                (paths, np.ones((1, k, k))),
            )
        )
    return found**2, paths[0]


def test_profile_and_width_are_those_of_random_networks():
    stack, runs = [Layer(2, 2, 0), Layer(3, 2, 0), Layer(3, 1, 0)], 5000
    energies, paths = random_energy(stack, runs)
    energy, error = energies.mean(0), energies.std(0) / np.sqrt(runs)
    assert np.all(np.abs(energy - paths) <= 5 * error)
    height, width = arithmetic.receptive_field(stack).size
    assert not paths[height:].any()  # the zeros up to the next pixel, after the last one
    profiles = cnn_effective.effective_profile(stack)
    np.testing.assert_allclose(paths[:height, :width] / paths.sum(), np.outer(*profiles))
    expected = cnn_effective.effective_width(stack)
    assert cnn_effective.spread(energy) == pytest.approx(expected, rel=0.02)


def test_gradient_energy_is_the_sum_of_squared_gradients():
    """Along many directions, in the mean, what the Jacobian says."""
    kernel, x = jnp.asarray(normal((3, 3, 2, 4))), jnp.asarray(normal((3, 6, 7, 2), 1))
    window = layers.window((6, 7), (3, 3), 2, "VALID")
    function = lambda x: jnp.tanh(layers.conv(x, kernel, window))  # noqa: E731
    jacobian = jax.vmap(jax.jacrev(lambda image: function(image[None])[0, 1, 0]))(x)  # [3, 4, ...]
    expected = np.asarray((jacobian**2).sum((1, 4)).mean(0))
    energy = jax.jit(jax.vmap(lambda v: cnn_effective.gradient_energy(function, x, (1, 0), v)))(
        normal((400, 3, 4), 2)
    )
    error = 5 * np.std(energy, 0) / np.sqrt(400)
    assert np.all(np.abs(np.mean(energy, 0) - expected) <= error + 1e-6)
    # One channel, and a direction that is its unit vector: no chance in it.
    one = cnn_effective.gradient_energy(function, x[:1], (1, 0), jnp.eye(4)[:1])
    np.testing.assert_allclose(one, (jacobian[0, 0] ** 2).sum(2), rtol=1e-5)


def test_spread_of_a_plane():
    plane = np.zeros((5, 6))
    plane[1, 1] = plane[1, 3] = 2
    assert cnn_effective.spread(plane) == (0, 1)
    for bad in (np.zeros((3, 3)), np.ones(4)):
        with pytest.raises(ValueError, match=r"energy .*; allowed: \[H, W\], above 0"):
            cnn_effective.spread(bad)


# --- parameters and operations --------------------------------------------------------------------------------


def xla_flops(model: nnx.Module, image_shape: tuple[int, int, int]) -> float:
    """What XLA counts in the compiled program of one image."""
    graphdef, state = nnx.split(model)
    x = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    program = jax.jit(lambda state, x: nnx.merge(graphdef, state)(x)).lower(state, x)
    return program.compile().cost_analysis()["flops"]


def abstract(make, *args, **kwargs) -> nnx.Module:
    """A module without numbers."""
    return nnx.eval_shape(lambda: make(*args, **kwargs, rngs=nnx.Rngs(0)))


def abstract_cnn(**changes) -> cnn.CNN:
    return abstract(cnn.CNN, cnn.CNNConfig(**changes))


def test_parameters_of_modules_and_trees():
    model = abstract_cnn()
    params = nnx.state(model, nnx.Param)
    assert arithmetic.count_parameters(model) == arithmetic.count_parameters(params) == 160_202
    norm = abstract(nnx.BatchNorm, 5)
    assert arithmetic.count_parameters(norm) == 2 * 5  # running statistics are none
    tree = {"a": np.zeros((2, 3)), "b": [jax.ShapeDtypeStruct((4,), jnp.float32), jnp.float32(1)]}
    assert arithmetic.count_parameters(tree) == 6 + 4 + 1
    assert arithmetic.count_parameters({}) == 0
    with pytest.raises(TypeError, match=r"'x' has no shape; allowed: a module, or a pytree"):
        arithmetic.count_parameters({"a": "x"})


def test_costs_of_the_articles_network():
    found = arithmetic.layer_costs(abstract_cnn(), (32, 32, 3))
    assert [(c.name, c.input, c.output) for c in found] == [
        ("convs.layers.0", (32, 32, 3), (30, 30, 32)),
        ("convs.layers.1", (15, 15, 32), (13, 13, 64)),
        ("convs.layers.2", (6, 6, 64), (4, 4, 128)),
        ("dense", (512,), (128,)),
        ("head", (128,), (10,)),
    ]
    by_hand = [2 * 30**2 * 9 * 3 * 32, 2 * 13**2 * 9 * 32 * 64, 2 * 4**2 * 9 * 64 * 128]
    assert [c.flops for c in found] == [*by_hand, 2 * 512 * 128, 2 * 128 * 10]
    assert [c.parameters for c in found] == [896, 18_496, 73_856, 65_664, 1_290]
    assert arithmetic.count_flops(abstract_cnn(), (32, 32, 3)) == sum(c.flops for c in found)


class Stock(nnx.Module):
    """The article's network of Flax's own layers."""

    def __init__(self, config: cnn.CNNConfig, rngs: nnx.Rngs):
        sides, self.count = (config.image_shape[-1], *config.widths), len(config.widths)
        for i, (a, b) in enumerate(itertools.pairwise(sides)):
            setattr(self, f"conv{i}", nnx.Conv(a, b, (3, 3), padding="VALID", rngs=rngs))
        self.dense = nnx.Linear(4 * config.widths[-1], config.hidden, rngs=rngs)
        self.head = nnx.Linear(config.hidden, config.num_classes, rngs=rngs)

    def __call__(self, x):
        for i in range(self.count):
            x = nnx.max_pool(nnx.relu(getattr(self, f"conv{i}")(x)), (2, 2), (2, 2))
        return self.head(nnx.relu(self.dense(x.reshape(len(x), -1))))  # [N, h, w, c] -> [N, h w c]


def test_xla_counts_the_same_and_the_elementwise_work():
    """To the last operation: a bias and a ReLU a number, three comparisons where 2 x 2 pooling leaves one."""
    config = cnn.CNNConfig(widths=(3, 4, 5), hidden=6)
    stock = abstract(Stock, config)
    counted = xla_flops(stock, (32, 32, 3))
    convolved = [30**2 * 3, 13**2 * 4, 4**2 * 5]
    pooled = [15**2 * 3, 6**2 * 4, 2**2 * 5]
    elementwise = 2 * (sum(convolved) + 6) + 10 + 3 * sum(pooled)  # the head has no ReLU
    ours = arithmetic.count_flops(abstract_cnn(widths=(3, 4, 5), hidden=6), (32, 32, 3))
    assert counted == ours + elementwise
    assert ours == arithmetic.count_flops(stock, (32, 32, 3))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (2, 2)])
def test_xla_counts_one_layer_exactly(transposed, stride, dilation):
    layer_class = nnx.ConvTranspose if transposed else nnx.Conv
    sizes = dict(strides=(stride, stride), padding="VALID", use_bias=False)
    layer = abstract(layer_class, 3, 5, (3, 2), **sizes, kernel_dilation=(dilation, dilation))
    assert arithmetic.count_flops(layer, (9, 11, 3)) == xla_flops(layer, (9, 11, 3))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_our_layers_cost_what_flaxs_cost(stride, padding):
    sizes = dict(in_features=3, out_features=5, kernel_size=(4, 4), strides=(stride, stride),
                 padding=padding)  # fmt: skip
    for ours, stock in ((layers.Conv, nnx.Conv), (layers.ConvTranspose, nnx.ConvTranspose)):
        costs = [
            arithmetic.layer_costs(abstract(make, **sizes), (8, 9, 3)) for make in (ours, stock)
        ]
        assert costs[0] == costs[1]
        ((_, before, after, parameters, flops),) = costs[0]
        assert (before, after[2], parameters) == ((8, 9, 3), 5, 4 * 4 * 3 * 5 + 5)
        places = min(np.prod(before[:2]), np.prod(after[:2]))
        assert flops == 2 * places * 16 * 3 * 5


class Custom(nnx.Module):
    """A frozen convolution, one weight used twice, a grouped one, and a sum over a fixed number of turns."""

    def __init__(self, rngs: nnx.Rngs):
        self.frozen = nnx.Variable(jnp.ones((2, 2, 3, 4)))
        self.bias = nnx.Param(jnp.zeros(4))
        self.shared = nnx.Linear(4, 4, rngs=rngs)
        self.grouped = nnx.Conv(4, 8, (3, 3), feature_group_count=2, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.turned = nnx.Param(jnp.ones((8, 8)))

    def __call__(self, x):
        window = layers.window(x.shape[1:3], (2, 2), 1, "VALID")
        x = layers.conv(x, self.frozen[...], window) + self.bias[...]
        x = self.norm(self.grouped(self.shared(self.shared(x))), use_running_average=True)
        x = x.mean((1, 2))
        return lax.fori_loop(0, 3, lambda _, x: self.turned[...] @ x, x.T).T


def test_costs_of_a_module_of_ones_own():
    model = abstract(Custom)
    found = arithmetic.layer_costs(model, (5, 6, 3))
    assert found == [
        ("frozen", (5, 6, 3), (4, 5, 4), 4 + 64, 2 * 20 * 4 * 3 * 4),
        ("shared", (4, 5, 4), (4, 5, 4), 20, 2 * 20 * 16),
        ("shared", (4, 5, 4), (4, 5, 4), 0, 2 * 20 * 16),
        ("grouped", (4, 5, 4), (4, 5, 8), 9 * 2 * 8 + 8, 2 * 20 * 9 * 2 * 8),
        ("turned", (8,), (8,), 0, 3 * 2 * 64),
    ]


def test_a_branch_counts_as_the_dearest_and_an_endless_loop_is_refused():
    w = jnp.ones((4, 4))
    branch = lambda x: lax.cond(x[0, 0] > 0, lambda x: x @ w @ w, lambda x: x @ w, x)  # noqa: E731
    assert arithmetic.program_flops(branch, jnp.ones((2, 4))) == 2 * 2 * 2 * 16
    loop = lambda x: lax.while_loop(lambda x: x[0, 0] < 9, lambda x: x @ w, x)  # noqa: E731
    with pytest.raises(ValueError, match="loop of unknown length has no fixed cost"):
        arithmetic.program_flops(jax.jit(loop), jnp.ones((2, 4)))


def test_gradients_by_weights_and_input_cost_twice_the_forward_pass():
    model = abstract_cnn(widths=(3, 4), hidden=6)
    graphdef, state = nnx.split(model)
    images = jax.ShapeDtypeStruct((7, 32, 32, 3), jnp.float32)

    def loss(state, x):
        return nnx.merge(graphdef, state)(x).sum()

    both = jax.grad(loss, argnums=(0, 1), allow_int=True)
    once = arithmetic.count_flops(model, (32, 32, 3))
    assert arithmetic.program_flops(loss, state, images) == 7 * once
    assert arithmetic.program_flops(both, state, images) == 3 * 7 * once


@pytest.mark.parametrize("shape", [(32, 32), (32, 32, 0), (1, 32, 32, 3)])
def test_costs_refuse_what_is_no_image(shape):
    with pytest.raises(ValueError, match=r"allowed: (\(height, width, channels\)|1 or more)"):
        arithmetic.count_flops(abstract_cnn(), shape)
    with pytest.raises(TypeError, match=r"width = 32\.0; allowed: an integer"):
        arithmetic.count_flops(abstract_cnn(), (32, 32.0, 3))


# --- films ----------------------------------------------------------------------------------------------------


def test_transpose_film_computes_what_the_layers_compute():
    """The label of each stage holds a sum of the convolution; the last frame is that of the adjoint."""
    x, layer = np.arange(25).reshape(5, 5) % 4, Layer(3, 2, 1)
    frames, labels = cnn_films.transpose_film(x, layer)
    window = layers.window((5, 5), (3, 3), 2, ((1, 1), (1, 1)))
    y = layers.conv(jnp.float32(x)[None, :, :, None], jnp.ones((3, 3, 1, 1)), window)
    sums = [int(label.split(" = ")[1].split(",")[0]) for label in labels]
    assert sums == np.asarray(y, int).ravel().tolist()
    assert [sum(map(int, label.split(" = ")[0].split(" + "))) for label in labels] == sums
    assert {frame.shape for frame in frames} == {(1, *frames[0].shape[1:3], 3)}
    assert not np.array_equal(frames[0], frames[1])


def test_window_film_has_a_frame_for_each_output():
    cases = {"a": (5, Layer(3, 1, 0)), "b": (7, Layer(3, 2, 0))}
    frames, labels = cnn_films.window_film(cases)
    assert len(frames) == len(labels) == 9
    assert frames[0].shape[0] == 2
    assert frames[0].dtype == np.uint8
    with pytest.raises(ValueError, match=r"outputs of \[3, 5\] pixels a side; allowed: one size"):
        cnn_films.window_film({"a": (5, Layer(3, 1, 0)), "b": (7, Layer(3, 1, 0))})
