"""The classifier: its loss, dropout and mirroring, its size, other image sizes, and that it learns."""

import importlib
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import loaded, losses, normal, odd_dataset, random_images
from flax import nnx
from scipy.special import log_softmax

from imgbook import cnn, fast, training, vae

KEY = jax.random.key(0)
SMALL = cnn.CNNConfig(
    image_shape=(12, 14, 3), num_classes=4, widths=(5, 6), hidden=7, batch_size=8, num_steps=20
)


def count(state: nnx.State) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(state))


# --- pieces ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_cross_entropy_is_scipys_log_softmax(scale):
    logits, labels = scale * normal((9, 5)), np.arange(9) % 5
    expected = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(9), labels].mean()
    assert float(cnn.cross_entropy(jnp.asarray(logits), labels)) == pytest.approx(
        expected, rel=1e-5
    )


def test_cross_entropy_of_equal_logits_is_log_k_and_its_gradient_p_minus_one_hot():
    labels = np.array([0, 2, 1])
    assert float(cnn.cross_entropy(jnp.zeros((3, 7)), labels)) == pytest.approx(np.log(7))
    logits = normal((3, 4))
    p = np.exp(log_softmax(logits.astype(np.float64), axis=1))
    gradient = jax.grad(cnn.cross_entropy)(jnp.asarray(logits), labels)
    np.testing.assert_allclose(gradient, (p - np.eye(4)[labels]) / 3, atol=1e-6)


def test_standardise_maps_black_and_white_to_minus_two_and_two():
    found = cnn.standardise(jnp.asarray([0, 51, 255], jnp.uint8))
    np.testing.assert_allclose(found, [-2, (0.2 - 0.5) / 0.25, 2], rtol=1e-6)


def test_random_flip_mirrors_whole_images_about_half_of_them():
    images = jnp.asarray(random_images(1000, (3, 4, 3)))
    flipped = np.asarray(cnn.random_flip(images, KEY))
    same = (flipped == np.asarray(images)).all((1, 2, 3))
    mirrored = (flipped == np.asarray(images)[:, :, ::-1]).all((1, 2, 3))
    assert np.all(same ^ mirrored)  # each wholly the one or the other
    assert abs(mirrored.sum() - 500) < 4 * np.sqrt(250)  # binomial
    np.testing.assert_array_equal(cnn.random_flip(images, KEY), flipped)
    assert not np.array_equal(cnn.random_flip(images, jax.random.key(1)), flipped)


@pytest.mark.parametrize("pixels", [1, 2])
def test_random_shift_moves_whole_images_and_repeats_the_border(pixels):
    image, n = random_images(1, (6, 5, 3))[0], 500
    shifted = np.asarray(cnn.random_shift(jnp.asarray(np.repeat(image[None], n, 0)), KEY, pixels))
    steps = range(-pixels, pixels + 1)
    rows, cols = np.arange(6), np.arange(5)
    found = np.array(  # by clipped indices, for each of the possible offsets
        [
            (shifted == image[np.clip(rows + dy, 0, 5)][:, np.clip(cols + dx, 0, 4)]).all((1, 2, 3))
            for dy in steps
            for dx in steps
        ]
    )
    np.testing.assert_array_equal(found.sum(0), np.ones(n))  # each image is exactly one of them
    expected = n / (2 * pixels + 1) ** 2
    assert np.all(
        np.abs(found.sum(1) - expected) < 5 * np.sqrt(expected)
    )  # and all are equally likely


def test_dropout_is_off_without_a_key_and_on_with_one():
    model = cnn.CNN(SMALL, rngs=nnx.Rngs(0))
    x = jnp.asarray(normal((3, *SMALL.image_shape)))
    off = model(x)
    np.testing.assert_array_equal(off, model(x))
    on = model(x, dropout_key=KEY)
    np.testing.assert_array_equal(on, model(x, dropout_key=KEY))
    assert not np.allclose(on, off)
    assert not np.allclose(on, model(x, dropout_key=jax.random.key(1)))
    # The head after the dropout is linear and dropout scales what it keeps: its mean over keys is the evaluation.
    many = jax.jit(jax.vmap(lambda key: model(x, dropout_key=key)))(jax.random.split(KEY, 1000))
    error = np.abs(np.asarray(many.mean(0) - off))
    assert np.all(error < 5 * np.asarray(many.std(0)) / np.sqrt(1000) + 1e-6)


def test_logits_equal_a_numpy_network():
    """One block, by loops over NumPy arrays: VALID cross-correlation, ReLU, pooling, dense, dense."""
    config = replace(SMALL, image_shape=(5, 7, 2), widths=(3,))
    model = cnn.CNN(config, rngs=nnx.Rngs(0))
    x = normal((2, 5, 7, 2))
    kernel, bias = (
        np.asarray(p[...]) for p in (model.convs.layers[0].kernel, model.convs.layers[0].bias)
    )
    y = np.zeros((2, 3, 5, 3))
    for i, j in np.ndindex(3, 5):
        y[:, i, j] = np.einsum("nabc,abcd->nd", x[:, i : i + 3, j : j + 3], kernel) + bias
    y = np.maximum(y, 0)
    pooled = np.stack(
        [y[:, :2, j : j + 2].max((1, 2)) for j in (0, 2)], 1
    )  # [2, 1 x 2, 3]; the odd ones are left out
    h = np.maximum(
        pooled.reshape(2, -1) @ np.asarray(model.dense.kernel[...])
        + np.asarray(model.dense.bias[...]),
        0,
    )
    expected = h @ np.asarray(model.head.kernel[...]) + np.asarray(model.head.bias[...])
    np.testing.assert_allclose(model.features(jnp.asarray(x)), h, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-5)


def test_parameters_of_the_articles_network():
    """32 x 32 x 3: sides 32 -> 30 -> 15 -> 13 -> 6 -> 4 -> 2 through convolutions without padding and pooling."""
    by_hand = [
        3 * 3 * 3 * 32 + 32,  # 896
        3 * 3 * 32 * 64 + 64,  # 18,496
        3 * 3 * 64 * 128 + 128,  # 73,856
        2 * 2 * 128 * 128 + 128,  # 65,664
        128 * 10 + 10,  # 1,290
    ]
    assert sum(by_hand) == 160_202
    params = nnx.state(
        nnx.eval_shape(lambda: cnn.CNN(cnn.CNNConfig(), rngs=nnx.Rngs(0))), nnx.Param
    )
    assert count(params) == sum(by_hand)
    assert [count(layer) for layer in params["convs"]["layers"].values()] == by_hand[:3]


def test_parameters_of_the_linear_baseline():
    _, state = cnn.init(cnn.CNNConfig(), KEY, cnn.SoftmaxRegression)
    assert count(state.params) == 32 * 32 * 3 * 10 + 10


def test_small_images_are_refused_with_the_way_out():
    with pytest.raises(
        ValueError, match=r"\(21, 32\) pixels are too small for 3 blocks.*fewer widths"
    ):
        cnn.CNN(cnn.CNNConfig(image_shape=(21, 32, 3)), rngs=nnx.Rngs(0))
    nnx.eval_shape(
        lambda: cnn.CNN(cnn.CNNConfig(image_shape=(22, 22, 3)), rngs=nnx.Rngs(0))
    )  # 22 -> 20 -> 10 -> 8 -> 4 -> 2 -> 1


def test_config_follows_the_data_set_and_the_preset():
    digits, photographs, odd = loaded("mnist", "train"), loaded("cifar10", "train"), odd_dataset()
    assert cnn.config_for(digits).image_shape == (28, 28, 1)
    assert not cnn.config_for(digits).flip
    assert cnn.config_for(photographs).flip
    assert (cnn.config_for(odd).image_shape, cnn.config_for(odd).num_classes) == ((40, 24, 3), 3)
    steps = [cnn.config_for(photographs, preset).num_steps for preset in ("smoke", "quick", "full")]
    assert steps[0] == cnn.config_for(photographs).num_steps  # the tests' environment says smoke
    assert steps == sorted(steps)
    assert cnn.config_for(photographs, "smoke", num_steps=9, dropout=0.1).num_steps == 9


# --- learning -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_class", [cnn.CNN, cnn.SoftmaxRegression])
def test_loss_of_one_batch_falls(model_class):
    config = replace(SMALL, dropout=0.0, flip=False, learning_rate=5e-3)
    batch = (random_images(8, config.image_shape), np.arange(8) % 4)
    graphdef, state = cnn.init(config, KEY, model_class)
    values, state = losses(cnn.make_train_step(graphdef, config), state, batch)
    assert int(state.step) == 20
    assert np.mean(values[-3:]) < 0.8 * values[0]


def test_a_step_moves_every_weight_and_is_reproducible():
    batch = (random_images(8, SMALL.image_shape), np.arange(8) % 4)
    ends = []
    for _ in range(2):
        graphdef, state = cnn.init(SMALL, KEY)
        before = jax.tree.map(np.array, state.params)
        state, metrics = cnn.make_train_step(graphdef, SMALL)(state, batch)
        assert {name: value.shape for name, value in metrics.items()} == {
            "loss": (),
            "accuracy": (),
        }
        ends.append(jax.tree.map(np.asarray, state.params))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, ends[0])
    assert all(jax.tree.leaves(moved))
    jax.tree.map(np.testing.assert_array_equal, *ends)


def test_training_on_an_odd_data_set_recognises_its_classes():
    """40 x 24 in colour, 3 classes: nothing knows of 28, 32, 1 or 10."""
    dataset = odd_dataset()
    config = cnn.config_for(dataset, widths=(4, 4), hidden=16, num_steps=30, batch_size=16)
    graphdef, state, history = cnn.train(dataset, config, KEY, progress=False)
    logits = cnn.predict(graphdef, state, dataset.images)
    assert logits.shape == (48, 3)
    assert history.metrics["loss"].shape == (30,)
    assert cnn.accuracy(logits, dataset.labels) > 0.9


def test_the_vae_takes_odd_images_too():
    dataset = odd_dataset()
    config = vae.config_for(dataset, hidden=16, latent_dim=3, batch_size=16)
    graphdef, state, _ = vae.train(dataset, config, KEY, progress=False)
    assert vae.sample(graphdef, state, KEY, 5).shape == (5, 40, 24, 3)
    assert vae.reconstruct(graphdef, state, dataset.images[:4]).shape == (4, 40, 24, 3)


# --- evaluation -----------------------------------------------------------------------------------------------


def test_predict_does_not_depend_on_batch_size_and_is_in_evaluation_mode():
    graphdef, state = cnn.init(SMALL, KEY)
    images = random_images(11, SMALL.image_shape)
    whole = cnn.predict(graphdef, state, images)
    assert whole.shape == (11, 4)
    for batch_size in (1, 4, 11):
        np.testing.assert_allclose(
            cnn.predict(graphdef, state, images, batch_size), whole, rtol=1e-4, atol=1e-5
        )
    expected = training.as_module(graphdef, state)(
        jnp.asarray((images / 255 - 0.5) / 0.25, jnp.float32)
    )
    np.testing.assert_allclose(whole, expected, rtol=1e-4, atol=1e-5)


def test_accuracy_counts_right_answers():
    logits = np.array([[3.0, 1, 2], [0, 5, 4], [1, 2, 9], [7, 0, 0]])
    assert cnn.accuracy(logits, np.array([0, 1, 2, 0])) == 1
    assert cnn.accuracy(logits, np.array([0, 2, 2, 1])) == 0.5


@pytest.mark.parametrize(("logits", "labels"), [((4,), (4,)), ((4, 3), (5,)), ((2, 2, 3), (2,))])
def test_accuracy_rejects_other_shapes(logits, labels):
    with pytest.raises(ValueError, match=r"expected \[N, K\] and \[N\]"):
        cnn.accuracy(np.zeros(logits), np.zeros(labels))


@pytest.mark.parametrize("labels", [[0, 3], [-1, 2]])
def test_accuracy_rejects_labels_out_of_range(labels):
    with pytest.raises(
        ValueError, match=r"labels range over .*allowed with logits \(2, 3\) are 0..2"
    ):
        cnn.accuracy(np.zeros((2, 3)), np.array(labels))


@pytest.mark.parametrize("shape", [(2, 20, 20, 1), (2, 20, 24, 3), (20, 20, 3)])
@pytest.mark.parametrize("module", [cnn, fast])
def test_images_that_do_not_fit_the_network_are_refused(module, shape):
    config = module.config_for(loaded("cifar10", "train"), image_shape=(20, 20, 3), widths=(4, 4))
    graphdef, state = module.init(config, KEY)
    with pytest.raises(ValueError, match=r"images \(.*\); this network takes \[N, 20, 20, 3\]"):
        module.predict(graphdef, state, np.zeros(shape, np.uint8))


@pytest.mark.parametrize("module", [cnn, fast])
@pytest.mark.parametrize(
    ("changes", "named"),
    [({"num_classes": 4}, "num_classes 10, the configuration 4"),
     ({"image_shape": (28, 28, 1)}, r"image_shape \(32, 32, 3\), the configuration \(28, 28, 1\)")],
)  # fmt: skip
def test_a_configuration_for_other_data_is_refused_before_training(module, changes, named):
    photographs = loaded("cifar10", "train")
    with pytest.raises(ValueError, match=f"{named}; make it with config_for"):
        module.train(photographs, module.config_for(photographs, **changes), KEY)


def test_the_chapters_other_functions_are_at_hand():
    for name, module in cnn.ELSEWHERE.items():
        assert getattr(cnn, name) is getattr(importlib.import_module(f"imgbook.{module}"), name)
    with pytest.raises(AttributeError, match="no attribute 'conv_size'"):
        cnn.conv_size  # noqa: B018
