"""Terms of the VAE's bound: pixels' densities, extreme variances, units, floors, and input that they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import normal, random_images
from scipy.special import logit
from scipy.stats import bernoulli, norm

from imgbook import vae

KEY = jax.random.key(0)
SHAPE = (4, 3, 3)


def unit(n: int, seed: int = 0) -> np.ndarray:
    """Pixels in [0, 1], float32 `[n, 4, 3, 3]`."""
    return np.random.default_rng(seed).random((n, *SHAPE)).astype(np.float32)


# --- likelihood of a Gaussian ---------------------------------------------------------------------------------


@pytest.mark.parametrize("log_sigma2", [-6.0, 0.0, 3.0, np.float32([-4, -1, 2])])
def test_gaussian_log_likelihood_equals_scipy(log_sigma2):
    mean, x = normal((5, *SHAPE)), unit(5)
    std = np.exp(np.asarray(log_sigma2, np.float64) / 2)  # the array: one for each channel
    expected = norm.logpdf(x.astype(np.float64), mean.astype(np.float64), std).sum((1, 2, 3))
    found = vae.gaussian_log_likelihood(jnp.asarray(mean), log_sigma2, jnp.asarray(x))
    assert found.shape == (5,)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_twice_the_pixels_twice_the_gaussian_likelihood():
    mean, x = jnp.asarray(normal((6, *SHAPE))), jnp.asarray(unit(6))
    once = vae.gaussian_log_likelihood(mean, -1.0, x)
    twice = vae.gaussian_log_likelihood(
        jnp.tile(mean, (1, 2, 1, 1)), -1.0, jnp.tile(x, (1, 2, 1, 1))
    )
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-5)


def test_the_best_variance_is_the_mean_square_of_the_residuals():
    mean, x = jnp.asarray(normal((6, *SHAPE))), jnp.asarray(unit(6))
    best = jnp.log(jnp.mean((x - mean) ** 2))
    slope = jax.grad(lambda v: vae.gaussian_log_likelihood(mean, v, x).sum())
    assert float(slope(best)) == pytest.approx(0, abs=1e-3)
    assert float(slope(best - 0.1)) > 1
    assert float(slope(best + 0.1)) < -1


# --- extreme variances ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-80.0, 80.0])
def test_divergence_is_right_at_extreme_log_variances(value):
    mean, logvar = jnp.asarray(normal((4, 3))), jnp.full((4, 3), value)
    squares = np.asarray(mean, np.float64) ** 2
    expected = 0.5 * (squares + np.exp(value) - 1 - value).sum(1)
    np.testing.assert_allclose(vae.gaussian_kl(mean, logvar), expected, rtol=1e-4)
    by_mean, by_logvar = jax.grad(lambda m, v: vae.gaussian_kl(m, v).sum(), (0, 1))(mean, logvar)
    np.testing.assert_allclose(by_mean, mean, rtol=1e-6)
    np.testing.assert_allclose(by_logvar, np.full((4, 3), (np.exp(value) - 1) / 2), rtol=1e-4)


@pytest.mark.parametrize("value", [-80.0, 80.0])
def test_samples_are_right_at_extreme_log_variances(value):
    mean, logvar = jnp.asarray(normal((4, 3))), jnp.full((4, 3), value)
    part = np.exp(value / 2) * np.asarray(jax.random.normal(KEY, (4, 3)), np.float64)
    z = vae.reparameterize(KEY, mean, logvar)
    np.testing.assert_allclose(z, np.asarray(mean, np.float64) + part, rtol=1e-4)
    by_mean, by_logvar = jax.grad(lambda m, v: vae.reparameterize(KEY, m, v).sum(), (0, 1))(
        mean, logvar
    )
    np.testing.assert_array_equal(by_mean, np.ones((4, 3)))
    np.testing.assert_allclose(by_logvar, part / 2, rtol=1e-4)


# --- units ----------------------------------------------------------------------------------------------------


def test_bits_per_dim_of_known_models():
    shape = (8, 6, 3)
    assert vae.bits_per_dim(144 * np.log(256), shape) == pytest.approx(8)  # each level as likely
    assert vae.bits_per_dim(144 * np.log(2), shape) == pytest.approx(1)  # fair coins
    p = np.array([0.5, 0.25, 0.125, 0.125])
    entropy = -(p * np.log(p)).sum()  # nats a pixel
    assert vae.bits_per_dim(144 * entropy, shape) == pytest.approx(1.75)
    two = vae.bits_per_dim(48 * np.log(2) * np.array([0.0, 3.0]), (8, 6, 1))
    np.testing.assert_allclose(two, [0, 3])


@pytest.mark.parametrize("nats", [-0.1, np.array([3.0, -2.0, 5.0])])
def test_bits_per_dim_refuses_what_is_no_probability(nats):
    with pytest.raises(ValueError, match=rf"nats = {np.min(nats):g};.*-log P.*never negative"):
        vae.bits_per_dim(nats, (2, 2, 1))


@pytest.mark.parametrize("shape", [(), (0, 28, 1), [28, 0]])
def test_bits_per_dim_refuses_a_shape_without_numbers(shape):
    with pytest.raises(ValueError, match=r"shape \(.*\); expected that of one image, \(H, W, C\)"):
        vae.bits_per_dim(1.0, shape)


# --- what is observed of grey levels --------------------------------------------------------------------------


def test_dequantize_spreads_each_level_evenly_over_its_part():
    levels = np.broadcast_to(np.arange(256, dtype=np.uint8), (200, 256))[:, :, None, None]
    x = np.asarray(vae.dequantize(jnp.asarray(levels), KEY), np.float64)
    np.testing.assert_array_equal(np.floor(256 * x), levels)
    rest = np.sort((256 * x - levels).ravel())  # even over [0, 1), by Kolmogorov's statistic
    assert np.abs(rest - (np.arange(rest.size) + 0.5) / rest.size).max() < 1.95 / rest.size**0.5
    np.testing.assert_array_equal(x, vae.dequantize(jnp.asarray(levels), KEY))
    assert (x != np.asarray(vae.dequantize(jnp.asarray(levels), jax.random.key(1)))).mean() > 0.99


@pytest.mark.parametrize("observe", [vae.binarize, vae.dequantize])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, bool])
def test_only_uint8_holds_grey_levels(observe, dtype):
    given = rf"images of {np.dtype(dtype)}; expected grey levels 0 to 255 as uint8 \(pixels in \[0"
    with pytest.raises(ValueError, match=given):
        observe(jnp.ones((2, *SHAPE), dtype), KEY)
    with pytest.raises(ValueError, match="expected grey levels"):  # types are known in jit, too
        jax.jit(observe)(jnp.ones((2, *SHAPE), dtype), KEY)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.array([0.0, 255.0]), r"\[0, 255\]; expected \[0, 1\] \(uint8: use binarize or dequan"),
        (np.array([0, 3], np.uint8), r"range over \[0, 3\]"),
        (np.array([-0.25, 1.0]), r"range over \[-0.25, 1\]"),
        (np.array([0.0, np.nan]), r"range over \[nan, nan\]"),
    ],
)
def test_pixels_outside_the_unit_interval_are_refused(likelihood, x, said):
    with pytest.raises(ValueError, match=said):
        vae.check_pixels(jnp.asarray(x), likelihood)


def test_grey_pixels_are_refused_where_binary_ones_are_needed():
    grey = np.array([0.0, 1.0, 0.5, 1.0], np.float32)
    said = r"25.0% of the pixels are neither 0 nor 1.*binarize\(images, key\)"
    with pytest.raises(ValueError, match=said):
        vae.check_pixels(grey, "bernoulli")
    vae.check_pixels(grey, "gaussian")
    vae.check_pixels(grey.round(), "bernoulli")
    jax.jit(lambda x: vae.check_pixels(x, "bernoulli"))(grey)  # values are not known there


# --- the floor ------------------------------------------------------------------------------------------------


def test_grey_floor_is_the_entropy_of_the_coins():
    images = random_images(5, SHAPE)
    images[0], images[1] = 0, 255  # no chance, no entropy
    expected = bernoulli.entropy(images / 255).sum((1, 2, 3)).mean()
    assert vae.grey_floor(images) == pytest.approx(expected, rel=1e-9)
    assert vae.grey_floor(images[:2]) == 0
    # What a perfect reconstruction scores if grey levels are put into the Bernoulli formula.
    grey = images[2:].clip(1, 254) / 255
    scored = -vae.bernoulli_log_likelihood(jnp.asarray(logit(grey)), jnp.asarray(grey))
    assert vae.grey_floor(images[2:].clip(1, 254)) == pytest.approx(float(scored.mean()), rel=1e-5)
