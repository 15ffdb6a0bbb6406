"""Chapter 5: the linear VAE against pPCA, SciPy and sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from imgbook import linear_vae
from imgbook.linear_vae import LinearVAE

SIZE, LATENTS = 6, 3


def data(seed: int = 0, n: int = 400) -> np.ndarray:
    """Numbers `[n, SIZE]` with a mean of 0 and eigenvalues that differ clearly."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0]
    x = rng.normal(size=(n, SIZE)) * [3, 2, 1.4, 0.7, 0.5, 0.3] @ directions.T
    return x - x.mean(0)


def covariance(seed: int = 0) -> np.ndarray:
    return np.cov(data(seed), rowvar=False, bias=True)


def random_model(seed: int) -> LinearVAE:
    rng = np.random.default_rng(seed)
    return LinearVAE(
        jnp.asarray(rng.normal(size=(SIZE, LATENTS))),
        jnp.asarray(rng.normal(size=(LATENTS, SIZE)) / SIZE),
        jnp.asarray(rng.normal(size=LATENTS)),
        jnp.asarray(rng.normal()),
    )


@pytest.mark.parametrize("seed", range(3))
def test_log_marginal_is_that_of_scipy(seed):
    model, x = random_model(seed), data(seed)
    w, sigma2 = np.asarray(model.decoder), np.exp(float(model.log_sigma2))
    gaussian = stats.multivariate_normal(np.zeros(SIZE), w @ w.T + sigma2 * np.eye(SIZE))
    found = linear_vae.log_marginal(model, covariance(seed))
    assert found == pytest.approx(gaussian.logpdf(x).mean(), rel=1e-5)


def test_elbo_is_the_mean_over_samples_of_the_encoder():
    model, x = random_model(1), data(1)
    w, v, logvar, log_sigma2 = (np.asarray(p, np.float64) for p in model)
    rng, total, draws = np.random.default_rng(0), [], 500
    for _ in range(draws):
        z = x @ v.T + np.exp(logvar / 2) * rng.normal(size=(len(x), LATENTS))
        log_joint = stats.norm.logpdf(x, z @ w.T, np.exp(log_sigma2 / 2)).sum(1)
        log_joint += stats.norm.logpdf(z).sum(1)
        log_q = stats.norm.logpdf(z, x @ v.T, np.exp(logvar / 2)).sum(1)
        total.append((log_joint - log_q).mean())
    error = np.std(total) / draws**0.5
    bound, log_likelihood, kl = linear_vae.elbo(model, covariance(1))
    assert abs(float(bound) - np.mean(total)) < 4 * error
    assert float(bound) == pytest.approx(float(log_likelihood - kl), rel=1e-6)
    assert error < 0.01 * abs(float(bound))


@pytest.mark.parametrize("seed", range(20))
def test_elbo_is_below_log_marginal_for_random_parameters(seed):
    model, target = random_model(seed), covariance(seed)
    assert linear_vae.elbo(model, target)[0] < linear_vae.log_marginal(model, target)


@pytest.mark.parametrize("seed", range(3))
def test_best_encoder_beats_others_and_its_gap_is_that_of_its_diagonal(seed):
    model, target = random_model(seed), covariance(seed)
    best = model._replace(
        **dict(zip(("encoder", "logvar"), linear_vae.best_encoder(model.decoder, model.log_sigma2), strict=True))
    )  # fmt: skip
    bound = linear_vae.elbo(best, target)[0]
    rng = np.random.default_rng(seed)
    for name in ("encoder", "logvar"):
        value = getattr(best, name)
        other = best._replace(**{name: value + 0.05 * jnp.asarray(rng.normal(size=value.shape))})
        assert linear_vae.elbo(other, target)[0] < bound
    # KL of two Gaussians of the same mean, precision P against its diagonal
    precision = np.asarray(model.decoder.T @ model.decoder, np.float64)
    precision = precision / np.exp(float(model.log_sigma2)) + np.eye(LATENTS)
    gap = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    assert linear_vae.log_marginal(best, target) - bound == pytest.approx(gap, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("sigma2", [None, 0.3])
def test_bound_touches_the_likelihood_at_the_optimum(sigma2):
    target = covariance()
    model = linear_vae.ppca_optimum(target, LATENTS, sigma2)
    assert linear_vae.elbo(model, target)[0] == pytest.approx(
        float(linear_vae.log_marginal(model, target)), rel=1e-5
    )
    if sigma2 is None:  # Tipping and Bishop's maximum, written with eigenvalues
        e = np.linalg.eigvalsh(target)[::-1]
        rest = e[LATENTS:].mean()
        best = np.log(e[:LATENTS]).sum() + (SIZE - LATENTS) * np.log(rest)
        best = -0.5 * (SIZE * np.log(2 * np.pi) + best + SIZE)
        assert linear_vae.log_marginal(model, target) == pytest.approx(best, rel=1e-5)


def test_optimum_beats_parameters_near_it():
    target = covariance()
    model = linear_vae.ppca_optimum(target, LATENTS)
    best = linear_vae.log_marginal(model, target)
    for seed in range(10):
        noise = 0.1 * jax.random.normal(jax.random.key(seed), model.decoder.shape)
        other = model._replace(decoder=model.decoder + noise)
        assert linear_vae.log_marginal(other, target) < best
    for change in (-0.1, 0.1):
        other = model._replace(log_sigma2=model.log_sigma2 + change)
        assert linear_vae.log_marginal(other, target) < best


@pytest.mark.parametrize("sigma2", [None, 1.0])
def test_training_reaches_the_optimum(sigma2):
    target = covariance()
    model, losses = linear_vae.train(
        target, LATENTS, jax.random.key(0), sigma2, num_steps=4000, learning_rate=0.03
    )
    best = linear_vae.ppca_optimum(target, LATENTS, sigma2)
    assert losses[-1] == pytest.approx(-float(linear_vae.log_marginal(best, target)), abs=1e-3)
    assert losses[0] > losses[-1] + 1
    w, optimum = np.asarray(model.decoder), np.asarray(best.decoder)
    assert np.abs(w @ w.T - optimum @ optimum.T).max() < 1e-3 * np.abs(optimum @ optimum.T).max()
    assert model.log_sigma2 == pytest.approx(float(best.log_sigma2), abs=1e-3)
    angles = np.linalg.norm(w, axis=0)[:, None] * np.linalg.norm(w, axis=0)
    off = (np.abs(w.T @ w) / angles)[np.triu_indices(LATENTS, 1)]
    assert off.max() < 0.02  # a diagonal encoder turns the columns to the principal directions


@pytest.mark.parametrize("sigma2", [0.2, 1.0, 3.0, 100.0])
def test_latents_collapse_where_the_eigenvalue_is_below_sigma2(sigma2):
    target = covariance()
    model, _ = linear_vae.train(
        target, LATENTS, jax.random.key(1), sigma2, num_steps=4000, learning_rate=0.03
    )
    eigenvalues = np.linalg.eigvalsh(target)[::-1]
    expected = int((eigenvalues[:LATENTS] > sigma2).sum())
    assert linear_vae.active(model, target).sum() == expected
    assert (
        linear_vae.active(linear_vae.ppca_optimum(target, LATENTS, sigma2), target).sum()
        == expected
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.zeros((3, 4)), 1, None), r"shape \(3, 4\); expected a symmetric matrix"),
        ((np.triu(np.ones((3, 3))), 1, None), "expected a symmetric matrix"),
        ((np.eye(3), 0, None), "latent_dim = 0; allowed: 1 to 2"),
        ((np.eye(3), 3, None), "latent_dim = 3; allowed: 1 to 2"),
        ((np.eye(3), 1, 0.0), "sigma2 = 0.0; allowed: positive"),
        ((np.eye(3), 1, float("nan")), "sigma2 = nan; allowed: positive"),
    ],
)
def test_impossible_models_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        linear_vae.ppca_optimum(*arguments)
