"""The VAE's divergence, likelihood and bound against closed forms, SciPy and quadrature; and that it learns."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import loaded, losses, normal, random_images
from flax import nnx
from scipy.integrate import quad
from scipy.special import expit, log_expit, logsumexp
from scipy.stats import bernoulli, norm

from imgbook import training, vae

KEY = jax.random.key(0)
TINY = vae.VAEConfig(image_shape=(4, 3, 1), hidden=8, latent_dim=1, batch_size=8, num_steps=20)


# --- divergence -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mean", "logvar"), [(0.0, 0.0), (1.3, -0.7), (-2.0, 0.9), (0.1, -4.0)])
def test_gaussian_kl_equals_quadrature(mean, logvar):
    std = np.exp(logvar / 2)

    def integrand(z):
        return norm.pdf(z, mean, std) * (norm.logpdf(z, mean, std) - norm.logpdf(z))

    expected, _ = quad(integrand, mean - 12 * std, mean + 12 * std)
    found = vae.gaussian_kl(jnp.array([[mean]]), jnp.array([[logvar]]))
    assert found.shape == (1,)
    assert float(found[0]) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_gaussian_kl_equals_monte_carlo_and_sums_over_latents():
    mean, logvar, n = normal((2, 5)), 0.7 * normal((2, 5), 1), 100_000
    std = np.exp(logvar / 2)
    z = mean + std * np.random.default_rng(2).standard_normal((n, 2, 5))
    terms = (norm.logpdf(z, mean, std) - norm.logpdf(z)).sum(-1)  # [n, 2]
    found = np.asarray(vae.gaussian_kl(jnp.asarray(mean), jnp.asarray(logvar)))
    assert np.all(np.abs(found - terms.mean(0)) < 5 * terms.std(0) / np.sqrt(n))
    doubled = vae.gaussian_kl(jnp.tile(mean, 2), jnp.tile(logvar, 2))
    np.testing.assert_allclose(doubled, 2 * found, rtol=1e-5)


def test_gaussian_kl_is_least_and_zero_at_the_prior():
    mean, logvar = jnp.asarray(normal((200, 3))), jnp.asarray(normal((200, 3), 1))
    assert np.all(np.asarray(vae.gaussian_kl(mean, logvar)) > 0)
    assert float(vae.gaussian_kl(jnp.zeros((1, 3)), jnp.zeros((1, 3)))[0]) == 0
    gradients = jax.grad(lambda m, v: vae.gaussian_kl(m, v).sum(), (0, 1))(
        jnp.zeros((1, 3)), jnp.zeros((1, 3))
    )
    np.testing.assert_array_equal(gradients, np.zeros((2, 1, 3)))


# --- likelihood -----------------------------------------------------------------------------------------------


def test_bernoulli_log_likelihood_equals_scipy():
    logits, x = 3 * normal((5, 4, 3, 2)), np.random.default_rng(1).integers(0, 2, (5, 4, 3, 2))
    expected = bernoulli.logpmf(x, expit(logits.astype(np.float64))).sum((1, 2, 3))
    found = vae.bernoulli_log_likelihood(jnp.asarray(logits), jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_bernoulli_log_likelihood_is_finite_at_extreme_logits():
    logits = jnp.asarray([[1e4, -1e4], [1e4, -1e4]])
    x = jnp.asarray([[1.0, 0.0], [0.0, 1.0]])  # quite right, quite wrong
    np.testing.assert_allclose(vae.bernoulli_log_likelihood(logits, x), [0, -2e4])
    gradient = jax.grad(lambda v: vae.bernoulli_log_likelihood(v, x).sum())(logits)
    np.testing.assert_allclose(gradient, [[0, 0], [-1, 1]], atol=1e-6)  # x - sigmoid(logit)


def test_twice_the_pixels_twice_the_likelihood():
    logits, x = (
        jnp.asarray(normal((6, 4, 3, 1))),
        jnp.asarray(random_images(6, (4, 3, 1)) % 2, jnp.float32),
    )
    once = vae.bernoulli_log_likelihood(logits, x)
    assert once.shape == (6,)
    twice = vae.bernoulli_log_likelihood(
        jnp.concatenate([logits, logits], 1), jnp.concatenate([x, x], 1)
    )
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-5)


# --- sampling -------------------------------------------------------------------------------------------------


def test_reparameterize_has_the_right_moments_and_gradients():
    n, mean, logvar = 40_000, jnp.asarray([1.5, -2.0]), jnp.asarray([0.8, -1.2])
    broad = [jnp.broadcast_to(v, (n, 2)) for v in (mean, logvar)]
    z = np.asarray(vae.reparameterize(KEY, *broad))
    std = np.exp(np.asarray(logvar) / 2)
    np.testing.assert_allclose(z.mean(0), mean, atol=5 * std.max() / np.sqrt(n))
    np.testing.assert_allclose(z.var(0), std**2, rtol=5 * np.sqrt(2 / n))
    # d z / d mean = 1 and d z / d logvar = (z - mean) / 2, with the noise held fixed.
    d_mean, d_logvar = jax.grad(lambda m, v: vae.reparameterize(KEY, m, v).sum(), (0, 1))(*broad)
    np.testing.assert_array_equal(d_mean, np.ones((n, 2)))
    np.testing.assert_allclose(d_logvar, (z - np.asarray(mean)) / 2, rtol=1e-3, atol=1e-5)


def test_reparameterized_gradient_of_an_expectation():
    """E z^2 = mean^2 + exp(logvar): the averaged gradient is (2 mean, exp(logvar))."""
    n, mean, logvar = 40_000, 0.7, -0.4

    def second_moment(m, v):
        return (vae.reparameterize(KEY, jnp.full(n, m), jnp.full(n, v)) ** 2).mean()

    gradients = jax.grad(second_moment, (0, 1))(mean, logvar)
    np.testing.assert_allclose(gradients, [2 * mean, np.exp(logvar)], atol=0.05)


def test_binarize_is_zero_or_one_with_the_grey_level_as_mean():
    n, levels = 20_000, np.array([0, 1, 64, 128, 254, 255], np.uint8)
    images = np.broadcast_to(levels, (n, 6))[:, None, :, None]
    x = np.asarray(vae.binarize(jnp.asarray(images), KEY))
    assert x.dtype == np.float32
    assert set(np.unique(x)) == {0.0, 1.0}
    p = levels / 255
    np.testing.assert_array_less(
        np.abs(x.mean(0)[0, :, 0] - p), 5 * np.sqrt(p * (1 - p) / n) + 1e-9
    )
    np.testing.assert_array_equal(x, vae.binarize(jnp.asarray(images), KEY))


# --- the bound ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    """A VAE with one latent, 12 pixels and lively weights; 6 binary images; log p(x|z) of each on a grid of z."""
    model = vae.VAE(TINY, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    for linear in (
        model.encoder.hidden,
        model.encoder.mean,
        model.encoder.logvar,
        model.decoder.hidden,
    ):
        linear.bias[...] = jnp.asarray(0.3 * rng.standard_normal(linear.bias.shape), jnp.float32)
    model.decoder.logits.kernel[...] = 3 * model.decoder.logits.kernel[...]
    x = rng.integers(0, 2, (6, 4, 3, 1)).astype(np.float32)
    z = np.linspace(-9, 9, 3601)
    logits = np.asarray(
        model.decoder(jnp.asarray(z[:, None], jnp.float32)), np.float64
    )  # [Z, 4, 3, 1]
    log_px_z = np.stack(
        [log_expit((2 * image - 1) * logits).sum((1, 2, 3)) for image in x]
    )  # [6, Z]
    return model, x, z, log_px_z


def test_elbo_is_below_log_p_by_the_divergence_from_the_posterior(tiny):
    """log p(x) = log of the integral of p(x|z) p(z), on a grid; the bound's mean is the integral of its integrand."""
    model, x, z, log_px_z = tiny
    log_p = logsumexp(log_px_z + norm.logpdf(z), axis=1) + np.log(z[1] - z[0])  # [6]
    keys = jax.random.split(KEY, 2000)
    bound, log_likelihood, kl = jax.jit(jax.vmap(lambda key: vae.elbo(model, jnp.asarray(x), key)))(
        keys
    )
    np.testing.assert_allclose(bound, log_likelihood - kl, rtol=1e-5, atol=1e-5)
    mean, logvar = (np.asarray(v, np.float64)[:, 0] for v in model.encoder(jnp.asarray(x)))
    q = norm.pdf(z, mean[:, None], np.exp(logvar / 2)[:, None])
    log_q = norm.logpdf(z, mean[:, None], np.exp(logvar / 2)[:, None])
    exact = (q * (log_px_z + norm.logpdf(z) - log_q)).sum(1) * (z[1] - z[0])
    average, error = np.asarray(bound.mean(0)), np.asarray(bound.std(0)) / np.sqrt(len(keys))
    assert np.all(np.abs(average - exact) < 5 * error), (average, exact, error)
    assert np.all(average < log_p - 5 * error), (average, log_p)
    posterior = log_px_z + norm.logpdf(z) - log_p[:, None]
    divergence = (q * (log_q - posterior)).sum(1) * (z[1] - z[0])  # KL(q || p(z|x))
    np.testing.assert_allclose(log_p - exact, divergence, rtol=1e-4)


def test_tiny_model_is_a_distribution_over_images(tiny):
    """The likelihoods of all 2^4 images of the first four pixels sum to 1 (the other pixels summed out)."""
    model, _, z, _ = tiny
    logits = jnp.asarray(
        np.asarray(model.decoder(jnp.asarray(z[::600, None], jnp.float32)))[:, :2, :2]
    )
    total = 0
    for bits in itertools.product((0.0, 1.0), repeat=4):
        x = jnp.broadcast_to(jnp.asarray(bits).reshape(1, 2, 2, 1), logits.shape)
        total += np.exp(vae.bernoulli_log_likelihood(logits, x))
    np.testing.assert_allclose(total, 1, rtol=1e-5)


# --- network, training, evaluation ----------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 3])
def test_encoder_and_decoder_equal_numpy(depth):
    model = vae.VAE(replace(TINY, latent_dim=2, depth=depth), rngs=nnx.Rngs(0))
    x, z = normal((5, 4, 3, 1)), normal((5, 2), 1)

    def dense(layer, v):
        return v @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])

    def through(network, v):
        for layer in (network.hidden, *network.deeper):
            v = dense(layer, v)
            v = v / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v**3)))  # GELU
        return v

    h = through(model.encoder, x.reshape(5, 12))
    mean, logvar = model.encoder(jnp.asarray(x))
    np.testing.assert_allclose(mean, dense(model.encoder.mean, h), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logvar, dense(model.encoder.logvar, h), rtol=1e-4, atol=1e-5)
    logits = dense(model.decoder.logits, through(model.decoder, z))
    np.testing.assert_allclose(
        model.decoder(jnp.asarray(z)), logits.reshape(5, 4, 3, 1), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("latent_dim", [0, -2])
def test_latent_dim_must_be_positive(latent_dim):
    with pytest.raises(ValueError, match=f"latent_dim = {latent_dim}; allowed: 1 or more"):
        vae.init(replace(TINY, latent_dim=latent_dim), KEY)


def test_loss_of_one_batch_falls_and_is_the_sum_of_its_parts():
    images = np.repeat(
        random_images(1, TINY.image_shape) // 128 * np.uint8(255), 8, axis=0
    )  # binary already
    config = replace(TINY, learning_rate=2e-2)
    graphdef, state = vae.init(config, KEY)
    before = jax.tree.map(np.array, state.params)
    step = vae.make_train_step(graphdef, config)
    state, metrics = step(state, (images,))
    moved = jax.tree.map(lambda a, b: bool((a != np.asarray(b)).any()), before, state.params)
    assert all(jax.tree.leaves(moved))
    assert float(metrics["loss"]) == pytest.approx(
        float(metrics["reconstruction"] + metrics["kl"]), rel=1e-5
    )
    values, state = losses(step, state, (images,))
    assert int(state.step) == 21
    assert np.mean(values[-3:]) < 0.8 * values[0]


def test_training_on_digits_runs_and_evaluation_adds_up():
    dataset = loaded("mnist", "train")
    config = vae.config_for(dataset, num_steps=20, hidden=64, learning_rate=3e-3)
    assert vae.config_for(dataset).num_steps == 4  # smoke
    graphdef, state, history = vae.train(dataset, config, KEY, progress=False)
    assert set(history.metrics) == {"loss", "reconstruction", "kl"}
    assert history.metrics["loss"][-1] < 0.7 * history.metrics["loss"][0]
    images = loaded("mnist", "test").images
    found = vae.evaluate(graphdef, state, images, KEY, batch_size=60)  # 160 = 60 + 60 + 40
    assert found["negative_elbo"] == pytest.approx(found["reconstruction"] + found["kl"])
    # Of other noise, another number, but nearly the same: the mean over 160 images varies little.
    other = vae.evaluate(graphdef, state, images, jax.random.key(1))
    assert other != found
    assert other["negative_elbo"] == pytest.approx(found["negative_elbo"], rel=0.02)
    samples = vae.sample(graphdef, state, KEY, 7)
    assert samples.shape == (7, 28, 28, 1)
    for pixels in (samples, vae.reconstruct(graphdef, state, images[:5])):
        assert pixels.min() >= 0
        assert pixels.max() <= 1
        assert np.ptp(pixels) > 0.01


def test_reconstruct_decodes_the_encoders_mean():
    graphdef, state = vae.init(TINY, KEY)
    images = random_images(3, (4, 3, 1))
    model = training.as_module(graphdef, state)
    mean, _ = model.encoder(jnp.asarray(images / 255, jnp.float32))
    expected = expit(np.asarray(model.decoder(mean)))
    np.testing.assert_allclose(vae.reconstruct(graphdef, state, images), expected, rtol=1e-5)


# --- the baseline ---------------------------------------------------------------------------------------------


def test_mean_image_baseline_equals_a_sum_over_all_binary_images():
    train, test = random_images(5, (2, 2, 1)), random_images(3, (2, 2, 1), 1)
    total = 0.0
    for image in test[..., 0] / 255:
        for bits in itertools.product((0, 1), repeat=4):
            weight = cost = None
            for pixel, bit in enumerate(bits):
                row, col = divmod(pixel, 2)
                p = (sum(int(t[row, col, 0]) for t in train) / 255 + 0.5) / 6
                grey = image[row, col]
                weight = (1 if weight is None else weight) * (grey if bit else 1 - grey)
                cost = (cost or 0) - np.log(p if bit else 1 - p)
            total += weight * cost / 3
    assert vae.mean_image_negative_log_likelihood(train, test) == pytest.approx(total, rel=1e-9)


def test_mean_image_baseline_of_coin_tosses_is_one_bit_a_pixel():
    train = np.zeros((10, 28, 28, 1), np.uint8)
    train[5:] = 255
    found = vae.mean_image_negative_log_likelihood(train, random_images(4, (28, 28, 1)))
    assert found == pytest.approx(784 * np.log(2), rel=1e-12)


def test_mean_image_baseline_is_finite_where_training_pixels_never_vary():
    train, test = np.zeros((10, 2, 2, 1), np.uint8), np.full((1, 2, 2, 1), 255, np.uint8)
    assert vae.mean_image_negative_log_likelihood(train, test) == pytest.approx(
        4 * np.log(22)
    )  # p = 0.5 / 11
