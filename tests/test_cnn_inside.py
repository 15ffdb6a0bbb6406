"""Looking into networks: Grad-CAM and saliency by hand, what the checks measure, images made from a classifier."""

import functools
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import normal
from flax import nnx
from scipy.fft import dctn
from scipy.stats import spearmanr

from imgbook import cnn, cnn_inside, cnn_inversion, cnn_sanity, layers, training, weights
from imgbook import cnn_inside_figures as figures

KEY = jax.random.key(0)
CONFIG = cnn.CNNConfig(image_shape=(14, 16, 3), num_classes=4, widths=(5, 6), hidden=7)
X = jnp.asarray(normal((3, *CONFIG.image_shape), 1))
CLASSES = jnp.array([2, 0, 3])


def some(shape: tuple[int, ...], seed: int) -> nnx.Param:
    return nnx.Param(jnp.asarray(normal(shape, seed)))


def shaken(model: nnx.Module) -> nnx.Module:
    """The network with noise on every weight, so that no two are equal, as the zeros of fresh biases are."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    leaves, structure = jax.tree.flatten(params)
    noisy = [jnp.asarray(np.asarray(a) + 0.1 * normal(a.shape, i)) for i, a in enumerate(leaves)]
    return nnx.merge(graphdef, structure.unflatten(noisy), rest)


def made_once(make: Callable[[], nnx.Module]) -> Callable[[], nnx.Module]:
    """A network that is made and split once, and put together anew for each test, which may change it."""
    split = functools.cache(lambda: nnx.split(make()))
    return functools.wraps(make)(lambda: nnx.merge(*split()))


@made_once
def network() -> cnn.CNN:
    return shaken(cnn.CNN(CONFIG, rngs=nnx.Rngs(0)))


class Tiny(nnx.Module):
    """A 1 x 1 convolution to `maps` channels, the mean over places, a dense layer."""

    def __init__(self, maps: int = 5):
        self.conv = layers.Conv(3, maps, (1, 1), rngs=nnx.Rngs(0))
        self.head = nnx.Linear(maps, 4, rngs=nnx.Rngs(1))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.conv(x).mean((1, 2)))


class Constant(nnx.Variable):
    """Numbers of a network that are not trained."""


class Block(nnx.Module):
    """Kernel, BatchNorm, GELU."""

    def __init__(self, a: int, b: int):
        self.kernel = some((3, 3, a, b), a)
        self.norm = nnx.BatchNorm(b, rngs=nnx.Rngs(0))

    def __call__(self, x: jax.Array) -> jax.Array:
        window = layers.window(x.shape[1:3], (3, 3))
        return nnx.gelu(self.norm(layers.conv(x, self.kernel[...], window)))


class Smooth(nnx.Module):
    """Blocks with BatchNorm and GELU, in a container each of Flax; the second norm's averages are no longer fresh."""

    def __init__(self):
        first = nnx.BatchNorm(3, rngs=nnx.Rngs(0))
        self.scale = Constant(jnp.array([0.5, 1.0, 2.0]))
        self.stem = nnx.List([first]) if hasattr(nnx, "List") else [first]
        self.blocks = nnx.Sequential(Block(3, 4), Block(4, 6))
        self.head = nnx.Linear(6, 4, rngs=nnx.Rngs(1))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.blocks(self.stem[0](self.scale[...] * x)).mean((1, 2)))


@made_once
def smooth() -> Smooth:
    model = Smooth()
    model(2 * X + 1)  # moves the running averages
    return training.as_module(*_as_state(model))


def _as_state(model: nnx.Module) -> tuple[nnx.GraphDef, training.TrainState]:
    graphdef, params, stats = nnx.split(model, nnx.Param, ...)
    return graphdef, training.TrainState(params, stats, None, None, None)


def arrays(model: nnx.Module) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf) for name, leaf in weights.named(nnx.split(model)[1]).items()}


@functools.partial(nnx.jit, static_argnums=2)
def upto(model: cnn.CNN, x: jax.Array, n: int) -> jax.Array:
    """What convolution `n` of the classifier gives, written out."""
    for conv in list(model.convs.layers)[:n]:
        x = layers.max_pool(nnx.relu(conv(x)), (2, 2), strides=(2, 2))
    return model.convs.layers[n](x)


def beyond(model: cnn.CNN, maps: jax.Array, n: int) -> jax.Array:
    """The logits from what convolution `n` gives, written out."""
    x = layers.max_pool(nnx.relu(maps), (2, 2), strides=(2, 2))
    for conv in list(model.convs.layers)[n + 1 :]:
        x = layers.max_pool(nnx.relu(conv(x)), (2, 2), strides=(2, 2))
    return model.head(nnx.relu(model.dense(x.reshape(len(x), -1))))  # [N, h, w, c] -> [N, h w c]


# --- layers ---------------------------------------------------------------------------------------------------


def test_layer_names_are_the_callable_modules():
    assert cnn_inside.layer_names(network()) == [
        "convs", "convs.layers.0", "convs.layers.1", "dense", "dropout", "head",
    ]  # fmt: skip
    assert set(cnn_inside.layer_names(smooth())) == {
        "stem.0", "blocks", "blocks.layers.0", "blocks.layers.0.norm", "blocks.layers.1",
        "blocks.layers.1.norm", "head",
    }  # fmt: skip


def test_activations_are_those_of_the_network_cut_by_hand():
    model = network()
    for n in range(2):
        found = cnn_inside.activations(model, X, f"convs.layers.{n}")
        np.testing.assert_allclose(found, upto(model, X, n), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        nnx.relu(cnn_inside.activations(model, X, "dense")), model.features(X), rtol=1e-5, atol=1e-5
    )
    for name in ("head", "dropout"):  # the last; and one that is called with keyword arguments
        found = cnn_inside.activations(model, X, name)
        expected = model(X) if name == "head" else model.features(X)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(cnn_inside.logits(model, X), model(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wrap", [list, tuple, dict], ids=["list", "tuple", "dict"])
def test_layers_are_found_and_replaced_in_containers(wrap):
    """`_replaced` in plain containers, which a Flax module of some versions can hold and of others cannot."""
    conv, dense = layers.Conv(3, 2, (1, 1), rngs=nnx.Rngs(0)), nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    node = wrap([("a", [conv]), ("b", [dense])]) if wrap is dict else wrap([[conv], [dense]])
    key = "b" if wrap is dict else 1
    new = cnn_inside._replaced(node, [str(key), "0"], lambda old: ("tapped", old))
    assert type(new) is wrap
    assert new[key][0] == ("tapped", dense)
    assert new["a" if wrap is dict else 0][0] is conv


# --- Grad-CAM -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [1, np.array([3, 0, 1])], ids=["one class", "a class each"])
def test_grad_cam_by_hand(index):
    """Behind a mean over places and a dense layer, alpha_k is the weight of channel k over the number of places."""
    model = shaken(Tiny())
    kernel, bias = (np.asarray(p[...], np.float64) for p in (model.conv.kernel, model.conv.bias))
    maps = np.einsum("nijc,ck->nijk", np.asarray(X), kernel[0, 0]) + bias
    classes = np.broadcast_to(index, 3)
    alpha = np.asarray(model.head.kernel[...], np.float64).T[classes] / maps[0, ..., 0].size
    combined = np.einsum("nijk,nk->nij", maps, alpha)
    found = cnn_inside.grad_cam(model, X, "conv", index)
    np.testing.assert_allclose(found, np.maximum(combined, 0), rtol=1e-4, atol=1e-6)
    # and before the ReLU it sums to the logit without its bias (Zhou et al. 2016)
    logits = np.asarray(model(X))[np.arange(3), classes]
    without = logits - np.asarray(model.head.bias[...])[classes]
    np.testing.assert_allclose(combined.sum((1, 2)), without, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [0, 1])
def test_grad_cam_of_the_classifier_is_that_of_the_network_cut_by_hand(n):
    model = network()
    maps = upto(model, X, n)

    def chosen(maps):
        return beyond(model, maps, n)[jnp.arange(3), CLASSES].sum()

    alpha = np.asarray(jax.jit(jax.grad(chosen))(maps)).mean((1, 2))
    expected = np.maximum(np.einsum("nijk,nk->nij", maps, alpha), 0)
    found = cnn_inside.grad_cam(model, X, f"convs.layers.{n}", CLASSES)
    assert found.shape == maps.shape[:3]
    assert found.max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layer", ["blocks.layers.0", "blocks.layers.1.norm", "stem.0"])
def test_grad_cam_with_batch_norm_against_finite_differences(layer):
    """Alpha is what the logit gains if a map rises everywhere, per place: measured by raising it."""
    model = smooth()
    graphdef, state = nnx.split(model)
    maps = np.asarray(cnn_inside.activations(model, X, layer))
    step, shape = 0.02, maps.shape

    @jax.jit
    def logits(probe):
        return cnn_inside.run(graphdef, layer, state, X, probe)[0][jnp.arange(3), CLASSES]

    alpha = np.zeros((3, shape[-1]))
    for k in range(shape[-1]):
        rise = jnp.zeros(shape).at[..., k].set(step)
        alpha[:, k] = (logits(rise) - logits(-rise)) / (2 * step * shape[1] * shape[2])
    expected = np.maximum(np.einsum("nijk,nk->nij", maps, alpha), 0)
    found = cnn_inside.grad_cam(model, X, layer, CLASSES)
    np.testing.assert_allclose(found, expected, atol=2e-3 * float(found.max()))


def test_grad_cam_scales_with_the_logit_and_turns_with_its_sign():
    model, name = network(), "convs.layers.1"
    found = np.asarray(cnn_inside.grad_cam(model, X, name, 1))
    assert found.min() == 0
    assert found.max() > 0
    for factor in (3.0, -1.0):
        other = nnx.merge(*nnx.split(model))
        for p in (other.head.kernel, other.head.bias):
            p[...] = factor * p[...]
        turned = np.asarray(cnn_inside.grad_cam(other, X, name, 1))
        if factor > 0:
            np.testing.assert_allclose(turned, factor * found, rtol=1e-4, atol=1e-7)
        else:  # what spoke for the class speaks against it: no place is in both maps
            assert turned.max() > 0
            assert not np.any((turned > 0) & (found > 0))


@pytest.mark.parametrize(
    ("make", "layer"), [(network, "convs.layers.1"), (smooth, "blocks.layers.0")]
)
def test_maps_of_a_batch_are_those_of_its_images_and_the_network_stays(make, layer):
    model = make()
    before, types = arrays(model), [type(node) for _, node in cnn_inside._nodes(model)]
    cam = cnn_inside.grad_cam(model, X, layer, CLASSES)
    slopes = cnn_inside.saliency(model, X, CLASSES)
    for i in range(3):
        one = X[i : i + 1], int(CLASSES[i])
        np.testing.assert_allclose(
            cnn_inside.grad_cam(model, one[0], layer, one[1])[0], cam[i], rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(
            cnn_inside.saliency(model, *one)[0], slopes[i], rtol=1e-4, atol=1e-6
        )
    again = jax.jit(lambda x, c: cnn_inside.grad_cam(model, x, layer, c))(X, CLASSES)
    np.testing.assert_allclose(again, cam, rtol=1e-4, atol=1e-6)
    assert [type(node) for _, node in cnn_inside._nodes(model)] == types
    after = arrays(model)
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)


class Twice(Tiny):
    def __call__(self, x):
        return self.head((self.conv(x) + self.conv(-x)).mean((1, 2)))


def test_layers_that_cannot_be_looked_at():
    model = network()
    with pytest.raises(ValueError, match=r"no layer 'conv3'; there are: convs, convs.layers.0"):
        cnn_inside.grad_cam(model, X, "conv3", 0)
    with pytest.raises(ValueError, match=r"no layer 'convs.layers'"):  # a list, not a layer
        cnn_inside.activations(model, X, "convs.layers")
    with pytest.raises(ValueError, match=r"'dense' gives \(3, 7\), which has no places"):
        cnn_inside.grad_cam(model, X, "dense", 0)
    with pytest.raises(ValueError, match="'convs' is called 0 times"):
        cnn_inside.grad_cam(model, X, "convs", 0)
    with pytest.raises(ValueError, match="'conv' is called 2 times"):
        cnn_inside.activations(Twice(), X, "conv")


@pytest.mark.parametrize(
    ("x", "index", "error", "words"),
    [
        (X[0], 0, ValueError, r"x has shape \(14, 16, 3\); allowed: images \[N, H, W, C\]"),
        (X[..., :2], 0, ValueError, r"does not take x of shape \(3, 14, 16, 2\)"),
        (X[:, :10], 0, ValueError, r"does not take x of shape \(3, 10, 16, 3\)"),
        (X.astype(jnp.uint8), 0, TypeError, "uint8; allowed: floats, standardised"),
        (X, 4, ValueError, "class_index 4; allowed: 0 to 3"),
        (X, jnp.array([0, -1, 1]), ValueError, "allowed: 0 to 3"),
        (X, jnp.array([0, 1]), ValueError, r"shape \(2,\); allowed: one integer, or \(3,\)"),
        (X, 1.0, TypeError, "class_index has dtype float64; allowed: integers"),
    ],
)
def test_what_is_not_images_or_classes_is_refused(x, index, error, words):
    model = network()
    with pytest.raises(error, match=words):
        cnn_inside.grad_cam(model, x, "convs.layers.0", index)
    with pytest.raises(error, match=words):
        cnn_inside.saliency(model, x, index)
    with pytest.raises(error, match=words):
        cnn_sanity.guided_backprop(model, x, index)


# --- pixels ---------------------------------------------------------------------------------------------------


def test_saliency_of_a_linear_network_is_its_weights():
    model = shaken(cnn.SoftmaxRegression(CONFIG, rngs=nnx.Rngs(0)))
    kernel = np.asarray(model.head.kernel[...]).reshape(*CONFIG.image_shape, 4)  # [H W C, K]
    expected = np.abs(kernel).max(2)[..., np.asarray(CLASSES)]  # [H, W, N]
    found = cnn_inside.saliency(model, X, CLASSES)
    np.testing.assert_allclose(found, np.moveaxis(expected, 2, 0), rtol=1e-5)


def test_saliency_against_finite_differences():
    model, step = smooth(), 0.02
    found = np.asarray(cnn_inside.saliency(model, X, CLASSES))
    for i, j in ((0, 0), (6, 9), (13, 15)):
        slopes = []
        for c in range(3):
            rise = jnp.zeros(X.shape).at[:, i, j, c].set(step)
            difference = cnn_inside.logits(model, X + rise) - cnn_inside.logits(model, X - rise)
            slopes.append(np.abs(np.asarray(difference)[np.arange(3), CLASSES]) / (2 * step))
        np.testing.assert_allclose(found[:, i, j], np.max(slopes, 0), rtol=0.02, atol=1e-4)


def test_guided_relu_lets_through_what_is_positive_twice():
    x, c = jnp.array([-1.0, -1.0, 2.0, 2.0]), jnp.array([-3.0, 3.0, -3.0, 3.0])
    value, back = jax.vjp(cnn_sanity.guided_relu, x)
    np.testing.assert_array_equal(value, [0, 0, 2, 2])
    np.testing.assert_array_equal(back(c)[0], [0, 0, 0, 3])


def test_guided_backprop_equals_saliency_where_no_gradient_is_negative():
    """Weights of one sign give positive gradients; with a head of the other sign all are dropped at its ReLU."""
    model = network()
    np.testing.assert_array_equal(cnn_sanity.guided_logits(model, X), model(X))
    graphdef, state = nnx.split(model)
    model = nnx.merge(graphdef, jax.tree.map(jnp.abs, state))
    slopes = cnn_inside.saliency(model, X, 2)
    assert slopes.max() > 0
    np.testing.assert_allclose(cnn_sanity.guided_backprop(model, X, 2), slopes, rtol=1e-5)
    model.head.kernel[...] = -model.head.kernel[...]
    np.testing.assert_allclose(cnn_inside.saliency(model, X, 2), slopes, rtol=1e-5)
    assert cnn_sanity.guided_backprop(model, X, 2).max() == 0
    with pytest.raises(TypeError, match=r"model is Smooth; allowed: imgbook.cnn.CNN"):
        cnn_sanity.guided_backprop(smooth(), X, 2)


def test_edges_are_numpys_gradient_inside_and_half_differences_at_the_border():
    found = np.asarray(cnn_sanity.edges(X))
    brightness = np.asarray(X).mean(-1)
    rows, columns = np.gradient(brightness, axis=(1, 2))
    np.testing.assert_allclose(
        found[:, 1:-1, 1:-1], np.hypot(rows, columns)[:, 1:-1, 1:-1], rtol=1e-4, atol=1e-6
    )
    corner = np.hypot(*(brightness[:, [1, 0], [0, 1]] - brightness[:, :1, 0]).T / 2)
    np.testing.assert_allclose(found[:, 0, 0], corner, rtol=1e-4, atol=1e-6)
    assert np.all(cnn_sanity.edges(jnp.ones((1, 5, 6, 3))) == 0)


# --- kernels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_patterns_are_an_orthonormal_basis_of_cosines(k):
    basis = cnn_inside.patterns(k)
    flat = basis.reshape(3 * k * k, -1)  # [3, k k, k, k, 3] -> [3 k k, 3 k k]
    np.testing.assert_allclose(flat @ flat.T, np.eye(3 * k * k), atol=1e-12)
    picture = normal((k, k)).astype(np.float64)
    grey = np.repeat(picture[..., None], 3, axis=2)
    found = np.einsum("pijc,ijc->p", basis[0], grey).reshape(k, k) / np.sqrt(3)
    np.testing.assert_allclose(found, dctn(picture, norm="ortho"), atol=1e-12)
    assert np.abs(np.einsum("apijc,ijc->ap", basis[1:], grey)).max() < 1e-12  # grey has no colour


def test_shares_of_a_kernel():
    basis = cnn_inside.patterns(3)
    kernel = np.stack([3 * basis[0, 4], -1 * basis[2, 0]], axis=-1)  # [3, 3, 3, 2]
    expected = np.zeros((3, 9))
    expected[0, 4], expected[2, 0] = 0.9, 0.1
    np.testing.assert_allclose(cnn_inside.pattern_shares(kernel), expected, atol=1e-12)
    assert cnn_inside.pattern_shares(normal((3, 3, 3, 8))).sum() == pytest.approx(1)
    with pytest.raises(ValueError, match=r"shape \(3, 3, 1, 8\); allowed: \[k, k, 3, B\]"):
        cnn_inside.pattern_shares(normal((3, 3, 1, 8)))
    with pytest.raises(ValueError, match="k = 0; allowed: 1 or more"):
        cnn_inside.patterns(0)


# --- whether to believe it ------------------------------------------------------------------------------------


def test_randomised_permutes_the_named_layers_and_leaves_the_others():
    model = network()
    before = arrays(model)
    names = ["head", "convs.layers.1"]
    found = arrays(cnn_sanity.randomised(model, KEY, names))
    assert found.keys() == before.keys()
    for name, array in before.items():
        if name.startswith(tuple(names)):
            assert found[name].shape == array.shape
            assert not np.array_equal(found[name], array)
            np.testing.assert_array_equal(np.sort(found[name].ravel()), np.sort(array.ravel()))
        else:
            np.testing.assert_array_equal(found[name], array)
    for name, array in arrays(model).items():  # the network given is as it was
        np.testing.assert_array_equal(array, before[name])
    alone, other = (
        arrays(cnn_sanity.randomised(model, key, ["head"])) for key in (KEY, jax.random.key(1))
    )
    np.testing.assert_array_equal(alone["head.kernel"], found["head.kernel"])
    assert not np.array_equal(alone["head.kernel"], other["head.kernel"])
    for name, array in arrays(cnn_sanity.randomised(model, KEY)).items():  # by default all
        assert not np.array_equal(array, before[name])
    with pytest.raises(ValueError, match=r"no weights in a layer 'convs.layers.2'; there are"):
        cnn_sanity.randomised(model, KEY, ["convs.layers.2"])
    with pytest.raises(ValueError, match="no weights in a layer 'dropout'"):
        cnn_sanity.randomised(model, KEY, ["dropout"])


def test_randomised_permutes_what_is_not_trained_and_leaves_averages():
    model = smooth()
    before, found = arrays(model), arrays(cnn_sanity.randomised(model, jax.random.key(3)))
    averages = {name for name in before if name.endswith((".mean", ".var"))}
    assert len(averages) == 6
    for name in averages:
        np.testing.assert_array_equal(found[name], before[name])
    assert not np.array_equal(found["scale"], before["scale"])
    assert not np.array_equal(found["blocks.layers.1.kernel"], before["blocks.layers.1.kernel"])


def test_similarity_is_scipys_rank_correlation():
    a, b = normal((6, 4, 5)), normal((6, 4, 5), 1)
    b[1] = a[1] ** 3  # the same order
    b[2] = -a[2]
    a[3:] = np.maximum(a[3:], 0)  # ties, as the ReLU of Grad-CAM makes them
    b[4:] = np.round(b[4:])
    found = cnn_sanity.similarity(a, b)
    expected = [spearmanr(u.ravel(), v.ravel()).statistic for u, v in zip(a, b, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found[1:3], [1, -1], atol=1e-6)
    assert cnn_sanity.similarity(a[:1], jnp.zeros((1, 4, 5))) == 0  # no order, no likeness
    for other in (b[:, :3], b[:5]):
        with pytest.raises(ValueError, match=r"allowed: one shape \[N, h, w\]"):
            cnn_sanity.similarity(a, other)


def test_top_pixels_are_the_highest_and_ties_are_drawn():
    maps = normal((4, 5, 8))
    for share, count in ((0, 0), (0.2, 8), (0.5, 20), (1, 40)):
        found = np.asarray(cnn_sanity.top_pixels(maps, share, KEY)).reshape(4, 40)
        for row, values in zip(found, maps.reshape(4, 40), strict=True):
            assert set(np.flatnonzero(row)) == set(np.argsort(-values)[:count])
    flat = jnp.zeros((1000, 3, 3)).at[:, 1, 1].set(1)
    found = np.asarray(cnn_sanity.top_pixels(flat, 1 / 3, KEY))
    assert np.all(found.sum((1, 2)) == 3)
    assert found[:, 1, 1].all()
    shares = np.delete(found.reshape(1000, 9).mean(0), 4)  # 2 of the 8 others
    assert np.abs(shares - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 1000)
    with pytest.raises(ValueError, match=r"share = 1.5; allowed: 0 to 1"):
        cnn_sanity.top_pixels(maps, 1.5, KEY)


# --- images made from a classifier ----------------------------------------------------------------------------

FREE = cnn_inversion.InversionConfig(
    image_shape=CONFIG.image_shape, num_steps=200, total_variation=0.0, norm=0.0
)


def test_penalty_against_loops():
    config = replace(FREE, total_variation=0.7, norm=0.3, power=3, bound=1.5)
    x = normal((2, 3, 4, 2))
    expected = []
    for image in x.astype(np.float64):
        rows = [(image[i + 1, j] - image[i, j]) ** 2 for i in range(2) for j in range(4)]
        columns = [(image[i, j + 1] - image[i, j]) ** 2 for i in range(3) for j in range(3)]
        size = np.mean(np.abs(image / 1.5) ** 3)
        expected.append(0.7 * (np.mean(rows) + np.mean(columns)) + 0.3 * size)
    np.testing.assert_allclose(cnn_inversion.penalty(x, config), expected, rtol=1e-5)


def test_relative_error():
    target = jnp.asarray(normal((3, 2, 5)))
    found = jnp.stack([target[0], 0 * target[1], 3 * target[2]])
    np.testing.assert_allclose(cnn_inversion.relative_error(found, target), [0, 1, 2], atol=1e-6)


def test_an_invertible_layer_gives_the_image_back():
    model = Tiny(maps=3)
    model.conv.kernel[...] = jnp.asarray([[1.0, 0.5, 0], [-0.5, 1, 0.3], [0.2, 0, 1]])[None, None]
    target = cnn_inside.activations(model, X, "conv")
    made = cnn_inversion.invert(model, "conv", target, KEY, FREE)
    np.testing.assert_allclose(made, X, atol=0.02)


def test_inversion_lowers_its_objective_and_keeps_images_apart():
    model, layer = network(), "convs.layers.1"
    config = replace(FREE, num_steps=40, total_variation=0.1, norm=0.1)
    target = cnn_inside.activations(model, X, layer)

    def objective(x):
        found = cnn_inside.activations(model, x, layer)
        error = cnn_inversion.relative_error(found, target)
        return np.asarray(error**2 + cnn_inversion.penalty(x, config))

    start = cnn_inversion.invert(model, layer, target, KEY, replace(config, learning_rate=1e-9))
    assert np.std(start) == pytest.approx(config.start, rel=0.1)  # hardly moved from its noise
    made = cnn_inversion.invert(model, layer, target, KEY, config)
    assert np.all(objective(made) < 0.5 * objective(start))
    np.testing.assert_array_equal(
        made, cnn_inversion.invert(model, layer, target, KEY, config)
    )  # the same key, the same image
    swapped = cnn_inversion.invert(model, layer, target.at[1].set(target[2]), KEY, config)
    np.testing.assert_allclose(swapped[0], made[0], atol=1e-3)
    assert not np.allclose(swapped[1], made[1], atol=1e-1)


def test_maximise_finds_the_maximum_of_a_linear_logit():
    """w x - norm mean (x / b)^2 is largest at x = w b^2 D / (2 norm), D the number of pixels."""
    model = cnn.SoftmaxRegression(CONFIG, rngs=nnx.Rngs(0))
    config = replace(FREE, power=2, norm=300.0, bound=1.5)
    made = cnn_inversion.maximise(model, np.array([1, 3]), KEY, config)
    kernel = np.asarray(model.head.kernel[...]).T[[1, 3]].reshape(2, *CONFIG.image_shape)  # [N, D]
    expected = kernel * 1.5**2 * kernel[0].size / (2 * 300)
    np.testing.assert_allclose(made, expected, atol=0.02 * np.abs(expected).max())


def test_inversion_refuses():
    model = network()
    target = cnn_inside.activations(model, X, "convs.layers.1")
    with pytest.raises(ValueError, match=r"target has shape .*; layer 'convs.layers.1' gives"):
        cnn_inversion.invert(model, "convs.layers.1", target[..., :2], KEY, FREE)
    with pytest.raises(ValueError, match="no layer 'conv'; there are"):
        cnn_inversion.invert(model, "conv", target, KEY, FREE)
    with pytest.raises(ValueError, match=r"class_index .*allowed: 0 to 3"):
        cnn_inversion.maximise(model, np.array([4]), KEY, FREE)
    for change in (dict(num_steps=0), dict(learning_rate=0.0), dict(norm=-1.0), dict(bound=0.0)):
        name, value = next(iter(change.items()))
        with pytest.raises(ValueError, match=f"{name} = {value}; allowed"):
            replace(FREE, **change)


# --- figures --------------------------------------------------------------------------------------------------


def test_levels_of_maps_are_cut_at_a_percentile_and_zeros_stay():
    maps = np.zeros((3, 20, 20))
    maps[1] = np.arange(400).reshape(20, 20)
    maps[2, 3, 4] = 7.0  # a single place: its percentile is 0
    found = figures.levels(maps)
    assert np.all(found[0] == 0)
    top = np.percentile(np.arange(400), figures.TOP)
    np.testing.assert_allclose(found[1], np.minimum(maps[1] / top, 1))
    assert found[2].max() == found[2, 3, 4] == 1
    assert np.count_nonzero(found[2]) == 1


def test_overlay_is_grey_where_the_map_is_empty():
    photos = np.random.default_rng(0).random((2, 8, 8, 3))
    maps = np.stack([np.zeros((4, 4)), np.ones((4, 4))])
    found = figures.overlay(photos, maps)
    grey = 0.45 * photos[0].mean(-1, keepdims=True)
    np.testing.assert_allclose(found[0], np.repeat(grey, 3, -1), atol=0.01)
    assert np.all(found[1].mean(-1) > found[0].mean())
    assert found.min() >= 0
    assert found.max() <= 1
