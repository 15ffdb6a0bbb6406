"""Encoders, decoders and the options of the VAE's loss: shapes, labels, variances, weights, gradients."""

import itertools
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import loaded, random_images

from imgbook import training, vae
from imgbook.vae_collapse import AutoregressiveVAE
from imgbook.vae_networks import VAEConfig, beside

KEY = jax.random.key(0)
TINY = VAEConfig(image_shape=(3, 2, 1), hidden=4, latent_dim=2, batch_size=8)
COLOUR = VAEConfig(
    image_shape=(8, 8, 3), network="conv", likelihood="gaussian", width=3, hidden=6, latent_dim=2
)


def binary_images(n: int, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 of 0 and 255: drawing binary pixels of them is no draw at all."""
    return random_images(n, shape) // 128 * np.uint8(255)


def with_sgd(monkeypatch) -> None:
    """After a step of plain gradient descent at rate 1, what the weights lost is the gradient."""
    monkeypatch.setattr(vae, "optimizer", lambda config: optax.sgd(1.0))


def copied(state):
    return jax.tree.map(lambda leaf: leaf.copy() if hasattr(leaf, "copy") else leaf, state)


def gradient(config: VAEConfig, graphdef, state, batch: tuple):
    """The loss's gradient by the weights, and the step's metrics; needs `with_sgd`."""
    after, metrics = vae.make_train_step(graphdef, config)(copied(state), batch)
    return jax.tree.map(jnp.subtract, state.params, after.params), metrics


# --- shapes and what is allowed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "shape"), [("mlp", (7, 5, 3)), ("conv", (30, 26, 3)), ("conv", (7, 5, 1))]
)
def test_images_of_any_size_come_back_in_their_size(network, shape):
    config = replace(COLOUR, network=network, image_shape=shape)
    model = training.as_module(*vae.init(config, KEY))
    mean, logvar = jax.jit(model.encoder)(jnp.zeros((2, *shape)))
    assert mean.shape == logvar.shape == (2, 2)
    decoded = jax.jit(model.decoder)(jax.random.normal(KEY, (5, 2)))
    assert decoded.shape == (5, *shape)
    assert (np.std(decoded, axis=0) > 0).all()  # every pixel hears the code, those at the edges too
    moved = jax.jit(jax.grad(lambda x: model.encoder(x)[0].sum()))(jnp.ones((1, *shape)))
    assert (np.abs(moved).sum(-1) > 0).mean() > 0.9  # and the code nearly every pixel


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": "transformer"}, "unknown network 'transformer'; allowed: mlp, conv"),
        ({"likelihood": "laplace"}, "unknown likelihood 'laplace'; allowed: bernoulli, gaussian"),
        ({"depth": 0}, "depth = 0; allowed: 1 or more"),
        ({"beta": -1.0}, "beta = -1.0; allowed: 0 or more"),
        ({"beta": float("nan")}, "beta = nan; allowed: 0 or more"),
        ({"warm_up": -1}, "warm_up = -1; allowed: 0 or more"),
        ({"free_bits": -0.5}, "free_bits = -0.5; allowed: 0 or more"),
        ({"sigma": -0.1}, "sigma = -0.1; allowed: 0 or more"),
        ({"num_classes": -1}, "num_classes = -1; allowed: 0 or more"),
        ({"width": 0}, "width = 0; allowed: 1 or more"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(TINY, **changes)


def test_data_choose_network_and_likelihood():
    digits, photos = loaded("mnist", "train"), loaded("cifar10", "train")
    grey, colour = vae.config_for(digits, "quick"), vae.config_for(photos, "quick")
    assert (grey.network, grey.likelihood) == ("mlp", "bernoulli")
    assert (colour.network, colour.likelihood) == ("conv", "gaussian")
    assert grey.image_shape == digits.image_shape
    assert colour.image_shape == photos.image_shape
    full = vae.config_for(digits, "full")
    assert full.depth > grey.depth
    assert full.num_steps > grey.num_steps
    assert vae.config_for(digits, "full", depth=3) == replace(full, depth=3)


# --- labels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_labels_are_heard_by_encoder_and_decoder(network):
    config = replace(COLOUR, network=network, num_classes=3)
    model = training.as_module(*vae.init(config, KEY))
    x = jnp.repeat(jax.random.uniform(KEY, (1, 8, 8, 3)), 3, axis=0)
    for out in (*model.encoder(x, jnp.arange(3)), model.decoder(jnp.ones((3, 2)), jnp.arange(3))):
        flat = np.asarray(out).reshape(3, -1)
        assert min(np.abs(flat[i] - flat[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 0.01


def test_a_label_is_as_loud_as_all_other_inputs():
    config = replace(TINY, image_shape=(20, 20, 1), hidden=2000, num_classes=4)
    encoder = training.as_module(*vae.init(config, KEY)).encoder
    x = jax.random.normal(KEY, (1, 400))
    h = beside(x, jnp.array([2]), encoder.hidden)
    np.testing.assert_array_equal(h[:, :400], x)
    np.testing.assert_allclose(h[0, 400:], [0, 0, 404**0.5, 0], rtol=1e-6)
    kernel = np.asarray(encoder.hidden.kernel[...])
    pixels, label = np.asarray(x) @ kernel[:400], np.asarray(h[:, 400:]) @ kernel[400:]
    assert label.std() == pytest.approx(pixels.std(), rel=0.1)


@pytest.mark.parametrize(
    ("num_classes", "labels", "words"),
    [
        (0, np.zeros(2, int), "labels for a model with num_classes = 0"),
        (3, None, "no labels for a model with num_classes = 3"),
    ],
)
def test_labels_too_many_or_missing_are_refused(num_classes, labels, words):
    graphdef, state = vae.init(replace(TINY, num_classes=num_classes), KEY)
    model = training.as_module(graphdef, state)
    with pytest.raises(ValueError, match=words):
        vae.elbo(model, jnp.zeros((2, 3, 2, 1)), KEY, labels)
    with pytest.raises(ValueError, match=words):
        vae.sample(graphdef, state, KEY, 2, labels)


# --- the variance of Gaussian pixels ------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_a_given_sigma_stays_and_a_learned_one_moves(sigma):
    config = replace(COLOUR, sigma=sigma)
    graphdef, state = vae.init(config, KEY)
    start = float(np.exp(state.params["log_sigma2"][...] / 2))
    step = vae.make_train_step(graphdef, config)
    for _ in range(3):
        state, _ = step(state, (random_images(4, (8, 8, 3)),))
    sigma_after = float(np.exp(state.params["log_sigma2"][...] / 2))
    if sigma:
        assert start == sigma_after == pytest.approx(sigma)
    else:
        assert sigma_after != start


# --- the loss and its options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [TINY, COLOUR, replace(TINY, num_classes=3)])
def test_without_options_the_loss_is_the_negative_bound(config):
    graphdef, state = vae.init(config, KEY)
    labels = np.arange(5) % 3 if config.num_classes else None
    images = random_images(5, config.image_shape)
    model = training.as_module(graphdef, state)
    pixel_key, latent_key = jax.random.split(jax.random.fold_in(state.key, 0))
    x = model.observe(images, pixel_key)
    bound, log_likelihood, kl = jax.jit(partial(vae.elbo, model))(x, latent_key, labels)
    batch = (images,) if labels is None else (images, labels)
    _, metrics = vae.make_train_step(graphdef, config)(state, batch)
    assert float(metrics["loss"]) == pytest.approx(-float(bound.mean()), rel=1e-5)
    assert float(metrics["reconstruction"]) == pytest.approx(
        -float(log_likelihood.mean()), rel=1e-5
    )
    assert float(metrics["kl"]) == pytest.approx(float(kl.mean()), rel=1e-4)


def test_warm_up_rises_along_a_line_to_beta():
    config = replace(TINY, beta=3.0, warm_up=4)
    weights = [float(vae.divergence_weight(config, step)) for step in range(6)]
    assert weights == pytest.approx([0.75, 1.5, 2.25, 3, 3, 3])
    plain = [float(vae.divergence_weight(replace(TINY, beta=3.0), step)) for step in range(2)]
    assert plain == [3, 3]


def test_the_loss_has_the_weight_of_its_step():
    config = replace(TINY, beta=3.0, warm_up=4, learning_rate=1e-3)
    graphdef, state = vae.init(config, KEY)
    step = vae.make_train_step(graphdef, config)
    for weight in (0.75, 1.5, 2.25, 3, 3):
        state, metrics = step(state, (binary_images(4, (3, 2, 1)),))
        kl = float(metrics["kl"])
        assert kl > 1e-3
        expected = float(metrics["reconstruction"]) + weight * kl
        assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-6)


def deaf(state, mean: list[float], logvar: list[float]):
    """A VAE whose proposals do not depend on the image, and whose decoder does not hear the code."""
    params = jax.tree.map(lambda leaf: leaf, state.params)
    for name, values in (("mean", mean), ("logvar", logvar)):
        layer = params["encoder"][name]
        layer["kernel"][...] = jnp.zeros_like(layer["kernel"][...])
        layer["bias"][...] = jnp.asarray(values)
    kernel = params["decoder"]["hidden"]["kernel"]
    kernel[...] = jnp.zeros_like(kernel[...])
    return state._replace(params=params)


@pytest.mark.parametrize("free_bits", [0.0, 1.0])
def test_free_bits_take_the_gradient_of_a_latent_below_the_floor_alone(monkeypatch, free_bits):
    with_sgd(monkeypatch)
    config = replace(TINY, beta=2.0, free_bits=free_bits)
    graphdef, state = vae.init(config, KEY)
    state = deaf(state, mean=[0.5, 3.0], logvar=[0.2, 0.7])  # 0.14 and 4.7 nats
    kl = [0.5 * (m**2 + np.exp(v) - 1 - v) for m, v in ((0.5, 0.2), (3.0, 0.7))]
    assert kl[0] < 1 < kl[1]
    found, metrics = gradient(config, graphdef, state, (binary_images(4, (3, 2, 1)),))
    first = 0 if free_bits else 1
    expected_mean = [2 * 0.5 * first, 2 * 3.0]
    expected_logvar = [(np.exp(0.2) - 1) * first, np.exp(0.7) - 1]
    encoder = found["encoder"]
    np.testing.assert_allclose(encoder["mean"]["bias"][...], expected_mean, atol=1e-5)
    np.testing.assert_allclose(encoder["logvar"]["bias"][...], expected_logvar, atol=1e-5)
    assert float(metrics["kl"]) == pytest.approx(sum(kl), rel=1e-5)  # reported without the floor
    paid = float(metrics["loss"] - metrics["reconstruction"])
    assert paid == pytest.approx(2 * (max(kl[0], free_bits) + kl[1]), rel=1e-5)


@pytest.mark.parametrize(
    ("config", "model_class"),
    [
        (replace(TINY, depth=2, beta=1.7, free_bits=0.01), vae.VAE),
        (replace(TINY, num_classes=3), vae.VAE),
        (COLOUR, vae.VAE),
        (TINY, AutoregressiveVAE),
    ],
)
def test_gradients_of_the_whole_loss_are_those_of_finite_differences(
    monkeypatch, config, model_class
):
    with_sgd(monkeypatch)
    graphdef, state = vae.init(config, KEY, model_class)
    images = binary_images(4, config.image_shape)
    batch = (images, np.arange(4) % 3) if config.num_classes else (images,)
    found, _ = gradient(config, graphdef, state, batch)
    step = vae.make_train_step(graphdef, config)
    leaves, structure = jax.tree.flatten(state.params)
    for seed in range(3):
        keys = jax.random.split(jax.random.key(seed), len(leaves))
        there = [jax.random.normal(k, v.shape) for k, v in zip(keys, leaves, strict=True)]
        length = 0.02 / np.sqrt(sum(float((d**2).sum()) for d in there))
        losses = []
        for sign in (1, -1):
            moved = [v + sign * length * d for v, d in zip(leaves, there, strict=True)]
            moved_state = copied(state)._replace(params=jax.tree.unflatten(structure, moved))
            losses.append(float(step(moved_state, batch)[1]["loss"]))
        numeric = (losses[0] - losses[1]) / 2
        exact = length * sum(
            float((g * d).sum()) for g, d in zip(jax.tree.leaves(found), there, strict=True)
        )
        scale = length * np.sqrt(sum(float((g**2).sum()) for g in jax.tree.leaves(found)))
        assert numeric == pytest.approx(exact, abs=0.03 * abs(exact) + 0.02 * scale)


@pytest.mark.parametrize("config", [COLOUR, replace(TINY, num_classes=3)])
def test_colour_and_labels_learn_one_batch(config):
    config = replace(config, learning_rate=2e-2, num_steps=60)
    graphdef, state = vae.init(config, KEY)
    images = np.repeat(binary_images(1, config.image_shape), 6, axis=0)
    batch = (images, np.arange(6) % 3) if config.num_classes else (images,)
    step, losses = vae.make_train_step(graphdef, config), []
    for _ in range(40):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-3:]) < losses[0] - 1


# --- a decoder that sees earlier pixels ---------------------------------------------------------------------------


@pytest.fixture
def autoregressive() -> AutoregressiveVAE:
    return training.as_module(
        *vae.init(replace(TINY, image_shape=(2, 2, 1)), KEY, AutoregressiveVAE)
    )


def test_with_earlier_pixels_it_is_a_distribution_over_images(autoregressive):
    every = np.array(list(itertools.product((0.0, 1.0), repeat=4)), np.float32)
    x = jnp.asarray(every.reshape(16, 2, 2, 1))
    for latents in jax.random.normal(KEY, (3, 2)):
        codes = jnp.repeat(latents[None], 16, axis=0)
        total = np.exp(autoregressive.log_likelihood(codes, x)).sum()
        assert total == pytest.approx(1, rel=1e-5)


def test_each_pixel_has_the_logit_of_the_code_and_the_pixels_before_it(autoregressive):
    x = np.array([1.0, 0.0, 1.0, 1.0], np.float32)
    code = jax.random.normal(KEY, (1, 2))
    start = np.asarray(autoregressive.decoder(code)).ravel()
    weights = np.asarray(autoregressive.before.kernel[...])
    total = 0.0
    for d in range(4):
        logit = start[d] + sum(weights[e, d] * x[e] for e in range(d))
        total += x[d] * logit - np.log1p(np.exp(logit))
    found = autoregressive.log_likelihood(code, jnp.asarray(x.reshape(1, 2, 2, 1)))
    assert float(found[0]) == pytest.approx(total, rel=1e-5)


def test_earlier_pixels_are_binary_ones():
    with pytest.raises(ValueError, match="likelihood 'gaussian'; allowed: bernoulli"):
        vae.init(COLOUR, KEY, AutoregressiveVAE)
