"""Chapter 4, the fast recipe: whitening, Dirac kernels, networks, augmentation, optimiser, step, prediction, stairs."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from conftest import loaded, losses, normal, odd_dataset, random_images
from flax import nnx

from imgbook import (
    experiment_runs,
    fast,
    fast_augment,
    fast_networks,
    fast_runs,
    fast_start,
    training,
)
from imgbook.fast_networks import FastConfig
from imgbook.layers import conv, window

KEY = jax.random.key(0)
SMALL = FastConfig(image_shape=(16, 20, 3), num_classes=4, widths=(6, 8), num_steps=30)


def network(config: FastConfig = SMALL, images: np.ndarray | None = None) -> nnx.Module:
    return fast_networks.NETWORKS[config.network](config, images, rngs=nnx.Rngs(0))


# --- a good start ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_whitened_patches_are_uncorrelated_and_of_unit_variance(kernel):
    """By the covariance of the convolution's outputs; neighbouring pixels of these images resemble each other."""
    noise = normal((40, 18, 17, 3))
    images = noise[:, 1:] + noise[:, :-1] + 0.5 * noise[:, 1:, :, ::-1]
    weights = fast_start.whitening_kernel(images, kernel)
    n = kernel * kernel * 3
    assert weights.shape == (kernel, kernel, 3, n)
    y = conv(jnp.asarray(images), jnp.asarray(weights), window((17, 17), (kernel,) * 2, 1, "VALID"))
    covariance = np.cov(np.asarray(y, np.float64).reshape(-1, n), rowvar=False)
    # Without the noise on the variances it would be the identity.
    np.testing.assert_allclose(covariance, np.eye(n), atol=0.01)
    plain = np.cov(fast_start.patches(images, kernel), rowvar=False)
    assert np.abs(plain - np.diag(np.diag(plain))).max() > 0.5


def test_directions_that_do_not_vary_are_not_blown_up():
    images = np.repeat(
        normal((50, 6, 6, 1)), 3, axis=3
    )  # grey: two of three directions are constant
    weights = fast_start.whitening_kernel(images, 1)
    lengths = np.linalg.norm(weights, axis=2).ravel()
    assert lengths.max() < 1.01 / np.sqrt(fast_start.WHITENING_NOISE)
    first = weights[0, 0, :, 0] / lengths[0]
    np.testing.assert_allclose(np.abs(first), np.ones(3) / np.sqrt(3), atol=1e-4)


def test_patches_are_those_of_a_loop():
    images, k = normal((2, 4, 5, 3)), 2
    by_loop = [images[n, i : i + k, j : j + k].ravel() for n, i, j in np.ndindex(2, 3, 4)]
    np.testing.assert_array_equal(fast_start.patches(images, k), by_loop)


@pytest.mark.parametrize(
    ("shape", "kernel"), [((4, 8, 8), 2), ((0, 8, 8, 3), 2), ((4, 8, 3, 3), 4), ((4, 8, 8, 3), 0)]
)
def test_whitening_refuses_what_has_no_patches(shape, kernel):
    with pytest.raises(ValueError, match=r"kernel \d; allowed: \[N, H, W, C\]"):
        fast_start.whitening_kernel(np.zeros(shape), kernel)


@pytest.mark.parametrize(("a", "b"), [(3, 3), (3, 5), (5, 3)])
def test_a_dirac_kernel_repeats_its_inputs(a, b):
    x, kernel = normal((2, 6, 7, a)), jnp.asarray(normal((3, 3, a, b), 1))
    started = fast_start.dirac(kernel)
    same = min(a, b)
    y = conv(jnp.asarray(x), started, window((6, 7), (3, 3), 1, "SAME"))
    np.testing.assert_array_equal(y[..., :same], x[..., :same])
    np.testing.assert_array_equal(started[..., same:], kernel[..., same:])  # the others are random


# --- networks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", fast_networks.NETWORKS)
def test_networks_take_images_of_any_size_and_give_finite_logits(name):
    model = network(replace(SMALL, network=name, image_shape=(18, 25, 3)))
    model.eval()
    logits = model(jnp.asarray(normal((5, 18, 25, 3))))
    assert logits.shape == (5, 4)
    assert np.isfinite(logits).all()
    assert np.std(np.asarray(logits)) > 0


@pytest.mark.parametrize(("stride", "sides"), [(1, ((31, 15), (7, 7))), (2, ((15, 15), (7, 7)))])
def test_sizes_and_parameters_of_the_fast_network(stride, sides):
    """Published: 2 x 2 whitening, then blocks that halve; with stride 2 the first layer halves in place of block 1."""
    config = FastConfig(stride=stride, widths=(4, 6))
    model = network(config, random_images(4, (32, 32, 3)).astype(np.float32) / 64)
    model.eval()
    x = model.first(jnp.zeros((1, 32, 32, 3)))
    assert x.shape[1:] == (sides[0][0], sides[0][0], 2 * (stride + 1) ** 2 * 3)
    x = model.blocks.layers[0](x)
    assert x.shape[1:] == (sides[0][1], sides[0][1], 4)
    assert model.blocks.layers[1](x).shape[1:] == (sides[1][0], sides[1][0], 6)
    first = 2 * (stride + 1) ** 2 * 3
    kernels = 9 * (first * 4 + 4 * 4 + 4 * 6 + 6 * 6) + 6 * 10
    params = nnx.state(model, nnx.Param)
    assert sum(p.size for p in jax.tree.leaves(params)) == kernels + 4 + 4 + 6 + 6  # and biases


def test_a_residual_block_begins_as_its_shortcut():
    block = fast_networks.Residual(4, 4, rngs=nnx.Rngs(0))
    x = jnp.asarray(normal((2, 5, 6, 4)))
    np.testing.assert_array_equal(block(x), nnx.relu(x))
    halving = fast_networks.Residual(4, 6, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(halving(x), nnx.relu(halving.shortcut(x)), atol=1e-6)


def test_small_images_are_refused_with_the_way_out():
    with pytest.raises(
        ValueError, match=r"\(8, 32\) pixels are too small for 3 blocks; give fewer"
    ):
        network(FastConfig(image_shape=(8, 32, 3), widths=(4, 4, 4)))


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("network", "vgg", "fast, residual, article"),
        ("flip", "vertical", "none, random, alternating"),
        ("optimizer", "lion", "nesterov, adam"),
        ("stride", 3, "1, 2"),
        ("learning_rate", 0.0, "more than 0"),
        ("batch_size", 0, "more than 0"),
        ("shift", -1, "0 or more"),
        ("label_smoothing", 1.0, "at least 0, below 1"),
        ("widths", (), "one or more numbers"),
        ("widths", (8, 0), "each 1 or more"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(field, value, allowed):
    with pytest.raises(ValueError, match=f"{field}.*allowed: .*{allowed}"):
        FastConfig(**{field: value})


# --- augmentation ---------------------------------------------------------------------------------------------


def test_alternating_flip_shows_both_sides_in_any_two_epochs():
    images, n = np.repeat(random_images(1, (3, 5, 1)), 1000, 0), 1000
    indices = jnp.arange(n) * 7
    seen = [
        np.asarray(fast_augment.alternating_flip(jnp.asarray(images), indices, jnp.asarray(epoch)))
        for epoch in range(4)
    ]
    mirrored = [(s == images[:, :, ::-1]).all((1, 2, 3)) for s in seen]
    kept = [(s == images).all((1, 2, 3)) for s in seen]
    for m, k in zip(mirrored, kept, strict=True):
        np.testing.assert_array_equal(m, ~k)
        assert abs(m.sum() - n / 2) < 5 * np.sqrt(n / 4)  # about half of them, in every epoch
    np.testing.assert_array_equal(mirrored[0], ~mirrored[1])
    np.testing.assert_array_equal(mirrored[0], mirrored[2])


def test_alternating_flip_depends_on_the_image_and_not_on_its_place_in_the_batch():
    images, indices = jnp.asarray(random_images(30, (3, 5, 1))), jnp.arange(30)
    order = np.random.default_rng(0).permutation(30)
    whole = fast_augment.alternating_flip(images, indices, jnp.asarray(2))
    part = fast_augment.alternating_flip(images[order], indices[order], jnp.asarray(2))
    np.testing.assert_array_equal(whole[order], part)


def test_cutout_blanks_a_whole_square_anywhere_inside():
    n, side = 3000, 3
    cut = np.asarray(fast_augment.random_cutout(jnp.ones((n, 5, 6, 2)), KEY, side)) == 0
    np.testing.assert_array_equal(cut.sum((1, 2)), side * side)
    np.testing.assert_array_equal(cut[..., 0], cut[..., 1])
    rows, columns = cut[..., 0].any(2), cut[..., 0].any(1)
    np.testing.assert_array_equal(
        rows.sum(1), side
    )  # so it is a square, and not nine scattered pixels
    np.testing.assert_array_equal(columns.sum(1), side)
    corners = rows.argmax(1) * 4 + columns.argmax(1)  # 3 x 4 places
    counts = np.bincount(corners, minlength=12)
    assert scipy.stats.chisquare(counts).pvalue > 1e-4
    again = fast_augment.random_cutout(jnp.ones((n, 5, 6, 2)), KEY, side)
    np.testing.assert_array_equal(again == 0, cut)


@pytest.mark.parametrize("side", [0, 6])
def test_cutout_refuses_squares_that_do_not_fit(side):
    with pytest.raises(ValueError, match=f"side = {side}; allowed: 1 to 5"):
        fast_augment.random_cutout(jnp.ones((2, 5, 6, 1)), KEY, side)


@pytest.mark.parametrize("changes", [{"flip": "none"}, {"flip": "random"}, {"cutout": 4}, {}])
def test_augmentation_keeps_range_and_is_reproducible_by_key(changes):
    config = replace(SMALL, **changes)
    images = fast.standardise(jnp.asarray(random_images(64, SMALL.image_shape)))
    seen = fast_augment.augment(images, jnp.arange(64), jnp.asarray(1), KEY, config)
    assert seen.shape == images.shape
    assert images.min() <= seen.min() < seen.max() <= images.max()
    np.testing.assert_array_equal(
        seen, fast_augment.augment(images, jnp.arange(64), jnp.asarray(1), KEY, config)
    )
    other = fast_augment.augment(images, jnp.arange(64), jnp.asarray(1), jax.random.key(1), config)
    assert (np.asarray(other) != seen).any()
    if not config.cutout:  # what moves out of sight is a few pixels of the border
        assert abs(float(seen.mean() - images.mean())) < 0.02
        assert abs(float(seen.std() - images.std())) < 0.02


def test_without_augmentation_images_are_untouched():
    config = replace(SMALL, flip="none", shift=0)
    images = jnp.asarray(normal((3, *SMALL.image_shape)))
    seen = fast_augment.augment(images, jnp.arange(3), jnp.asarray(0), KEY, config)
    np.testing.assert_array_equal(seen, images)


# --- loss and optimiser ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_smoothed_cross_entropy_is_that_of_scipy(smoothing):
    logits, labels = normal((6, 4)), np.array([0, 3, 1, 1, 2, 0])
    targets = np.full((6, 4), smoothing / 4)
    targets[np.arange(6), labels] += 1 - smoothing
    expected = -(targets * scipy.special.log_softmax(logits, axis=1)).sum(1).mean()
    found = fast.smoothed_cross_entropy(jnp.asarray(logits), jnp.asarray(labels), smoothing)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # It is never below the entropy of its targets.
    floor = scipy.special.entr(targets[0]).sum()
    sure = 50.0 * targets
    assert fast.smoothed_cross_entropy(jnp.asarray(sure), jnp.asarray(labels), smoothing) >= floor


def test_the_triangle_rises_to_its_peak_and_falls():
    rate = fast.schedule(replace(SMALL, num_steps=1000, learning_rate=2.0))
    np.testing.assert_allclose(
        [rate(0), rate(115), rate(230), rate(615), rate(1000)],
        [0.4, 1.2, 2.0, 2.0 * (1 + 0.07) / 2, 0.14],
        rtol=1e-5,
    )
    constant = fast.schedule(replace(SMALL, optimizer="adam_constant", learning_rate=0.1))
    assert constant(0) == constant(29) == 0.1


def test_the_optimiser_is_nesterov_with_decay_of_kernels_and_faster_biases():
    """Two steps by hand."""
    config = replace(SMALL, momentum=0.8, weight_decay=0.1, bias_rate=5.0)
    tx, rate = fast.optimizer(config), fast.schedule(config)
    params = {"kernel": jnp.asarray(normal((2, 3))), "bias": jnp.asarray(normal((3,), 1))}
    grads = [{"kernel": normal((2, 3), 2 + i), "bias": normal((3,), 5 + i)} for i in range(2)]
    state, found = tx.init(params), params
    expected = {name: np.asarray(p, np.float64) for name, p in params.items()}
    velocity = dict.fromkeys(params, 0.0)
    for i, grad in enumerate(grads):
        updates, state = tx.update(jax.tree.map(jnp.asarray, grad), state, found)
        found = jax.tree.map(jnp.add, found, updates)
        for name in params:
            g = grad[name] + 0.1 * expected[name] if name == "kernel" else 5.0 * grad[name]
            velocity[name] = 0.8 * velocity[name] + g
            expected[name] = expected[name] - float(rate(i)) * (g + 0.8 * velocity[name])
    for name in params:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)


# --- the step and prediction ----------------------------------------------------------------------------------


def batch_of(n: int = 8) -> tuple:
    return random_images(n, SMALL.image_shape), np.arange(n) % 4, np.arange(n)


@pytest.mark.parametrize("name", fast_networks.NETWORKS)
def test_loss_of_one_batch_falls(name):
    config = replace(
        SMALL,
        network=name,
        flip="none",
        shift=0,
        dropout=0.0,
        learning_rate=0.05,
        label_smoothing=0.0,
    )
    if name != "fast":
        config = replace(config, optimizer="adam_constant", learning_rate=3e-3, logit_scale=1.0)
    batch = batch_of()
    graphdef, state = fast.init(config, KEY, batch[0])
    values, state = losses(fast.make_train_step(graphdef, config, 1), state, batch)
    assert int(state.step) == 20
    assert np.mean(values[-3:]) < 0.8 * values[0]


def test_a_step_trains_all_but_the_whitening_and_is_reproducible():
    batch, ends = batch_of(), []
    for _ in range(2):
        graphdef, state = fast.init(SMALL, KEY, batch[0])
        kernel = np.asarray(state.stats["first"]["kernel"][...])
        before = jax.tree.map(np.array, (state.params, state.stats))
        state, metrics = fast.make_train_step(graphdef, SMALL, 1)(state, batch)
        assert set(metrics) == {"loss", "accuracy"}
        after = jax.tree.map(np.asarray, (state.params, state.stats))
        ends.append(after)
    np.testing.assert_array_equal(state.stats["first"]["kernel"][...], kernel)
    assert all(
        bool((a != b).any())
        for a, b in zip(jax.tree.leaves(before[0]), jax.tree.leaves(after[0]), strict=True)
    )
    changed = [
        bool((a != b).any())
        for a, b in zip(jax.tree.leaves(before[1]), jax.tree.leaves(after[1]), strict=True)
    ]
    assert sum(changed) == len(changed) - 1  # BatchNorm's averages
    jax.tree.map(np.testing.assert_array_equal, *ends)


def test_whitening_is_of_the_training_images_as_the_network_takes_them():
    images = random_images(6, SMALL.image_shape)
    _, state = fast.init(SMALL, KEY, images)
    half = fast_start.whitening_kernel(np.asarray(fast.standardise(jnp.asarray(images))), 3)
    kernel = np.asarray(state.stats["first"]["kernel"][...])
    np.testing.assert_allclose(kernel, np.concatenate([half, -half], axis=3), rtol=1e-5)
    like = fast.init(SMALL, KEY)[1]  # the structure for stored weights needs no images
    assert jax.tree.structure(like) == jax.tree.structure(state)


def test_mirrored_prediction_is_the_same_for_an_image_and_its_mirror_image():
    graphdef, state = fast.init(SMALL, KEY, batch_of()[0])
    images = random_images(7, SMALL.image_shape)
    both = fast.predict(graphdef, state, images, flip=True)
    mirrored = fast.predict(graphdef, state, images[:, :, ::-1], flip=True, batch_size=3)
    np.testing.assert_allclose(both, mirrored, rtol=1e-4, atol=1e-6)
    alone = fast.predict(graphdef, state, images)
    assert not np.allclose(alone, both, rtol=1e-3)
    other = fast.predict(graphdef, state, images[:, :, ::-1])
    np.testing.assert_allclose(both, (alone + other) / 2, rtol=1e-4, atol=1e-6)
    model = training.as_module(
        graphdef, state
    )  # in evaluation mode, so one image at a time is the same
    one = model(fast.standardise(jnp.asarray(images[:1])))
    np.testing.assert_allclose(alone[:1], one, rtol=1e-4, atol=1e-6)


def test_training_on_an_odd_data_set_recognises_its_classes():
    dataset = odd_dataset()
    config = fast.config_for(dataset, widths=(8, 8), num_steps=40, batch_size=16, learning_rate=0.2)
    graphdef, state, history = fast.train(dataset, config, KEY, progress=False)
    assert history.metrics["loss"].shape == (40,)
    logits = fast.predict(graphdef, state, dataset.images)
    assert fast.accuracy(logits, dataset.labels) > 0.9


def test_config_follows_the_data_set_and_the_preset():
    digits, photographs = loaded("mnist", "train"), loaded("cifar10", "train")
    assert fast.config_for(digits).flip == "none"
    assert fast.config_for(photographs).flip == "alternating"
    assert fast.config_for(photographs).num_steps == 4  # the tests' environment says smoke
    assert fast.config_for(photographs, "full", num_steps=9).num_steps == 9


# --- the comparisons ------------------------------------------------------------------------------------------


def test_each_stair_adds_its_own_changes_to_the_one_before():
    stairs = fast_runs.staircase()
    assert tuple(stairs) == experiment_runs.STAIRS
    photographs = loaded("cifar10", "train")
    configs = [
        fast_runs.configured(photographs, "full", fast_runs.STAIR_EPOCHS, changes)
        for changes in stairs.values()
    ]
    for name, before, after in zip(list(stairs)[1:], configs[:-1], configs[1:], strict=True):
        differ = {
            field
            for field in FastConfig.__dataclass_fields__
            if getattr(before, field) != getattr(after, field)
        }
        own = fast_runs.STAIR_CHANGES[name]
        assert differ - {"num_steps"}
        assert differ - {"num_steps"} <= set(own)
        assert all(getattr(after, field) == value for field, value in own.items())
    # The last is the recipe itself, but for its width.
    width = {"widths": configs[-1].widths}
    recipe = fast_runs.configured(photographs, "full", fast_runs.STAIR_EPOCHS, width)
    unused = dict(hidden=recipe.hidden, dropout=recipe.dropout)
    assert replace(configs[-1], **unused) == recipe


@pytest.mark.parametrize("epochs", [1, 2.5])
def test_steps_are_counted_from_epochs(epochs):
    dataset = loaded("cifar10", "train")  # 320 photographs
    config = fast_runs.configured(dataset, "full", epochs, {"batch_size": 50})
    assert config.num_steps == round(epochs * (len(dataset) // 50))
    assert fast_runs.configured(dataset, "full", epochs, {"num_steps": 7}).num_steps == 7
    assert fast_runs.configured(dataset, "smoke", epochs, {"num_steps": 7}).num_steps == 4


def test_first_of_each_takes_as_many_of_every_class():
    few = fast_runs.first_of_each(loaded("cifar10", "train"), 5)
    assert np.bincount(few.labels).tolist() == [5] * 10
    everything = fast_runs.first_of_each(loaded("cifar10", "train"), 10**6)
    assert len(everything) == len(loaded("cifar10", "train"))


def test_a_run_measures_its_curve_on_validation_images_alone():
    values, trainings = fast_runs.run_all({"fast": (1, {})}, "cifar10", "smoke", 0, curves=True)
    assert {"fast/accuracy", "fast/flipped", "fast/seconds", "fast/images"} <= set(values)
    curve = [value for name, value in values.items() if name.startswith("fast/curve/")]
    assert len(curve) == 5  # before the first of four steps, and after each
    assert values["fast/images"] == 4 * 32
    state, _, config = trainings["fast"]
    graphdef, _ = fast.init(config, KEY)
    validation = loaded("cifar10", "validation")
    logits = fast.predict(graphdef, state, validation.images)
    assert curve[-1] == pytest.approx(fast.accuracy(logits, validation.labels))
    plain, _ = fast_runs.run_all({"fast": (1, {})}, "cifar10", "smoke", 0)
    assert plain["fast/accuracy"] == values["fast/accuracy"]  # looking on changes nothing
