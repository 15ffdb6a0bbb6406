"""The page on the bound: its estimates against quadrature, closed forms and brute force; its figures; bad input."""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import integrate, stats

from imgbook import data, vae, vae_bound, vae_bounds, vae_exact
from imgbook import vae_bound_figures as figures

SHAPE = (3, 3, 1)


def small_model(latent_dim: int = 1, scale: float = 2.0) -> vae.VAE:
    config = vae.VAEConfig(image_shape=SHAPE, hidden=5, latent_dim=latent_dim)
    graphdef, state = vae.init(config, jax.random.key(0))
    loud = jax.tree_util.tree_map_with_path(  # a decoder that does something
        lambda path, p: scale * p + 0.1 if "decoder" in str(path) else p, state.params
    )
    return vae.training.as_module(graphdef, state._replace(params=loud))


def binary(n: int, seed: int = 0) -> jax.Array:
    return jax.random.bernoulli(jax.random.key(seed), shape=(n, *SHAPE)).astype(jnp.float32)


# --- the integral by sampling -----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_samples", [700, 40_000])
def test_codes_from_the_prior_average_to_the_integral(num_samples):
    model, x = small_model(), binary(1)
    exact = np.exp(vae_exact.on_grid(model, x).log_marginal[0])
    terms = np.asarray(
        vae_bound.prior_log_likelihoods(model, x, jax.random.key(1), num_samples), np.float64
    )
    assert terms.shape == (num_samples,)
    assert len(np.unique(terms)) > 0.9 * num_samples  # no code twice
    values = np.exp(terms)
    error = values.std() / num_samples**0.5
    assert abs(values.mean() - exact) < 4 * error
    assert error < 0.1 * exact


def test_estimates_are_logs_of_running_means_even_of_tiny_terms():
    terms = np.random.default_rng(0).normal(size=(3, 20)) * 3
    found = vae_bound.estimates(terms, (1, 7, 20))
    brute = np.log(np.stack([np.exp(terms[:, :n]).mean(1) for n in (1, 7, 20)], 1))
    assert np.allclose(found, brute)
    assert np.allclose(vae_bound.estimates(terms - 5000, (1, 7, 20)), brute - 5000)


def test_largest_share():
    terms = np.log([[1.0, 2.0, 5.0], [1.0, 1.0, 1.0]]) - 900
    assert vae_bound.largest_share(terms) == pytest.approx([5 / 8, 1 / 3])


@pytest.mark.parametrize(
    ("images", "num_samples", "words"),
    [(2, 10, "2 images; give one"), (1, 0, "num_samples = 0"), (1, 1500, "a multiple of it")],
)
def test_samples_that_cannot_be_drawn_are_refused(images, num_samples, words):
    with pytest.raises(ValueError, match=words):
        vae_bound.prior_log_likelihoods(
            small_model(), binary(images), jax.random.key(0), num_samples
        )


def test_estimates_of_more_terms_than_there_are_are_refused():
    with pytest.raises(ValueError, match=r"sizes \[0, 6\]; allowed: 1 to 5"):
        vae_bound.estimates(np.zeros((2, 5)), (0, 3, 6))


# --- the divergence ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_divergence_by_sampling_and_integration_is_the_closed_form(seed):
    rng = np.random.default_rng(seed)
    mean, logvar = rng.normal(size=6) * 2, rng.normal(size=6) * 2
    closed = float(vae.gaussian_kl(jnp.asarray(mean), jnp.asarray(logvar)))
    assert vae_bound.kl_by_integration(mean, logvar) == pytest.approx(closed, rel=1e-5)
    value, error = vae_bound.kl_by_sampling(
        jnp.asarray(mean), jnp.asarray(logvar), jax.random.key(seed), 20_000
    )
    assert abs(value - closed) < 4 * error
    assert error < 0.05 * closed


def test_integration_is_that_of_scipy():
    q = stats.norm(1.3, np.exp(-0.4))
    total, _ = integrate.quad(
        lambda z: q.pdf(z) * (q.logpdf(z) - stats.norm.logpdf(z)), -5, 8, epsabs=1e-12
    )
    assert vae_bound.kl_by_integration(np.array([1.3]), np.array([-0.8])) == pytest.approx(total)


def test_standard_error_of_a_sampled_divergence_is_that_of_its_variance():
    """q = N(m, 1): log q - log p = m z - m^2 / 2, of variance m^2."""
    m, count = 1.5, 50_000
    _, error = vae_bound.kl_by_sampling(jnp.array([m]), jnp.zeros(1), jax.random.key(0), count)
    assert error == pytest.approx(m / count**0.5, rel=0.02)


# --- what a gap is made of --------------------------------------------------------------------------------------


def on_grid(log_posterior, mean: float, sigma: float) -> vae_exact.OnGrid:
    """One posterior, a function of the codes, beside the proposal N(mean, sigma^2)."""
    codes = np.linspace(-8, 8, 4001)
    log_p, log_q = log_posterior(codes)[None], stats.norm.logpdf(codes, mean, sigma)[None]
    gap = integrate.trapezoid(np.exp(log_q) * (log_q - log_p), codes)
    return vae_exact.OnGrid(codes, log_p, log_q, np.zeros(1), -gap, gap)


def test_a_gaussian_posterior_leaves_no_gap():
    found = on_grid(stats.norm(0.9, 0.4).logpdf, -0.5, 1.0)
    assert found.gap[0] > 1
    assert vae_bound.best_gaussian_gaps(found)[0] == pytest.approx(0, abs=1e-3)


def test_the_best_gaussian_for_two_peaks_takes_one_and_pays_log_2():
    """Two far peaks of the same weight: a Gaussian on one of them has log q - log p = log 2 everywhere in it."""

    def peaks(z):
        return np.logaddexp(stats.norm.logpdf(z, -3, 0.3), stats.norm.logpdf(z, 3, 0.3)) - np.log(2)

    found = on_grid(peaks, 2.5, 0.5)
    assert vae_bound.best_gaussian_gaps(found)[0] == pytest.approx(np.log(2), abs=2e-3)


def test_the_familys_gap_is_a_part_of_the_whole():
    model, x = small_model(scale=6.0), binary(8, 3)
    found = vae_exact.on_grid(model, x)
    family = vae_bound.best_gaussian_gaps(found)
    assert family.shape == (8,)
    assert (family <= found.gap).all()
    assert (family > -1e-4).all()
    assert family.mean() < 0.9 * found.gap.mean()


# --- two estimators ---------------------------------------------------------------------------------------------


def test_noise_of_averages_falls_with_the_root_of_their_size():
    draws = np.random.default_rng(0).normal(size=(60_000, 3)) * [1.0, 2.0, 2.0] + 5
    found = vae_bound.noise_of_averages(draws, (1, 10, 100))
    assert found == pytest.approx(3 / np.sqrt([1, 10, 100]), rel=0.06)
    with pytest.raises(ValueError, match=r"sizes \[40000\]; allowed: 1 to 30000"):
        vae_bound.noise_of_averages(draws, (1, 40_000))


def test_means_apart_are_about_one_by_chance_and_large_otherwise():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(5000, 200)), 3 * rng.normal(size=(3000, 200))
    assert 0.85 < vae_bound.standard_errors_apart(a, b) < 1.15
    assert vae_bound.standard_errors_apart(a, b + 1) > 10


# --- pixels -----------------------------------------------------------------------------------------------------


def test_pooled_is_the_mean_of_squares():
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 4, 3)).astype(np.uint8)
    found = vae_bound.pooled(images, 2).reshape(2, 3, 2, 3)
    assert found[1, 2, 0, 1] == pytest.approx(images[1, 4:6, 0:2, 1].mean() / 255)
    assert found.mean() == pytest.approx(images.mean() / 255)
    with pytest.raises(ValueError, match="size = 4; allowed: divisors of height 6"):
        vae_bound.pooled(images, 4)
    with pytest.raises(ValueError, match="uint8"):
        vae_bound.pooled(images / 255, 2)


@pytest.mark.parametrize("p", [1e-6, 0.03, 0.4999999, 0.5, 0.50002, 0.9])
def test_bernoulli_total_is_the_integral(p):
    total, _ = integrate.quad(lambda x: p**x * (1 - p) ** (1 - x), 0, 1)
    assert vae_bound.bernoulli_total(p) == pytest.approx(total, rel=1e-7)


def test_bernoulli_total_has_no_value_at_the_ends():
    with pytest.raises(ValueError, match="both excluded"):
        vae_bound.bernoulli_total(np.array([0.5, 1.0]))


def test_mean_photo_bits_is_the_dequantised_bound_by_sampling():
    rng = np.random.default_rng(0)
    train, test = (rng.integers(90, 160, (n, 2, 2, 3)).astype(np.uint8) for n in (400, 300))
    mean = train.mean(0)
    scale = np.sqrt(((train + rng.random((200, *train.shape)) - mean - 0.5) ** 2).mean())
    noisy = test + rng.random((200, *test.shape))
    bits = -stats.norm.logpdf(noisy, mean + 0.5, scale).mean() / np.log(2)
    assert vae_bound.mean_photo_bits(train, test) == pytest.approx(bits, abs=1e-3)


def test_over_seeds_takes_three_as_well_as_five():
    record = {"values": {"a": [1.0, 2.0, 3.0]}}
    assert vae_bound.over_seeds(record, "a", ".2f") == "2.00 ± 1.00"


# --- pictures ---------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_estimates_are_drawn_with_every_repetition():
    sizes = {"codes from the prior": [10, 100], "codes from the encoder": [1, 10, 100]}
    found = {n: -90 - np.random.default_rng(0).random((4, len(s))) for n, s in sizes.items()}
    ax = figures.draw_estimates(sizes, found, -90.0).axes[0]
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in points] == [8, 12]
    low, high = ax.get_ylim()
    assert low < min(v.min() for v in found.values())
    assert high > -90


def test_posteriors_are_drawn_with_their_gaps_and_all_of_both_densities():
    model, x = small_model(), binary(4)
    found = vae_exact.on_grid(model, x)
    fig = figures.draw_posteriors(found, np.asarray(x), [2, 0])
    panels = fig.axes[:2]
    assert [ax.get_title(loc="left") for ax in panels] == [f"gap {found.gap[i]:.2f} nats" for i in (2, 0)]  # fmt: skip
    for ax in panels:
        spacing = found.codes[1] - found.codes[0]
        areas = [line.get_ydata().sum() * spacing for line in ax.lines]
        assert areas == pytest.approx([1, 1], abs=0.02)


def test_collapse_is_drawn_over_the_right_steps():
    eigenvalues = np.array([4.0, 2.0, 1.0, 0.5])
    ax = figures.draw_collapse(eigenvalues, 3, np.array([6.0, 1.5, 0.2]), np.array([0, 2, 3])).axes[0]  # fmt: skip
    x, y = ax.lines[0].get_data()
    for sigma2, count in ((5.0, 0), (3.0, 1), (1.4, 2), (0.7, 3), (0.3, 3)):
        assert y[np.argmin(np.abs(x - sigma2))] == count


def test_prior_and_encoder_estimate_the_same_probability():
    """Of a corner of a digit, 4 x 4 pixels with two latents, which is easy enough for both."""
    images = data.load("mnist", "train", "smoke").images[:1, 10:14, 10:14]
    config = vae.VAEConfig(image_shape=(4, 4, 1), hidden=16, latent_dim=2)
    graphdef, state = vae.init(config, jax.random.key(0))
    model = vae.training.as_module(graphdef, state)
    x = model.observe(images, jax.random.key(1))
    prior = vae_bound.prior_log_likelihoods(model, x, jax.random.key(2), 20_000)
    weights = vae_bounds.log_weights(model, x, jax.random.key(3), 20_000)[:, 0]
    expected = float(vae_bounds.log_mean_exp(weights))
    assert float(vae_bounds.log_mean_exp(prior)) == pytest.approx(expected, abs=0.05)
