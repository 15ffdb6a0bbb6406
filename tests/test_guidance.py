"""Guidance in the plane, against automatic differentiation, quadrature and limits that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import normal
from scipy import integrate, stats

from imgbook import flow, guidance
from imgbook.guidance import Grid, LabelledMixture

MIXTURE = LabelledMixture()
NOISE = jax.random.normal(jax.random.key(0), (2000, 2))
GRID = Grid()


def at_time(x: jax.Array, t: float, label: int | None) -> jax.Array:
    """log p_t(x), or log p_t(x | label), from x_t = (1 - t) x0 + t x1, up to the number of modes."""
    c = (1 - t) ** 2 + (t * MIXTURE.std) ** 2
    means = MIXTURE.means_of(label)
    terms = -((x - t * means) ** 2).sum(-1) / (2 * c)
    return jax.nn.logsumexp(terms) - jnp.log(len(means))


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.5])
@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_velocity_is_that_of_the_score_of_the_guided_law(weight, t):
    """v = x / t + (1 - t) / t grad log q_t with q_t = p_t(x) (p_t(x | y) / p_t(x))^w, the gradient by JAX."""
    x = 2 * normal((7, 2))

    def log_q(x):
        everything, own = at_time(x, t, None), at_time(x, t, 1)
        return everything + weight * (own - everything)

    expected = x / t + (1 - t) / t * jax.vmap(jax.grad(log_q))(jnp.asarray(x))
    found = guidance.guided(MIXTURE, 1, weight)(jnp.asarray(x), jnp.full(7, t, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4)


def test_density_and_posterior_by_scipy():
    x = 2 * normal((5, 2))
    spread = MIXTURE.std**2 * np.eye(2)

    def density(chosen):
        return np.mean([stats.multivariate_normal(m, spread).pdf(x) for m in chosen], axis=0)

    ones = [m for m, own in zip(MIXTURE.means, MIXTURE.labels, strict=True) if own == 1]
    everything, own = density(MIXTURE.means), density(ones)
    np.testing.assert_allclose(np.exp(MIXTURE.log_density(x)), everything)
    np.testing.assert_allclose(np.exp(MIXTURE.log_density(x, 1)), own)
    np.testing.assert_allclose(np.exp(MIXTURE.log_posterior(x, 1)), 2 / 5 * own / everything)
    both = np.exp(MIXTURE.log_posterior(x, 0)) + np.exp(MIXTURE.log_posterior(x, 1))
    np.testing.assert_allclose(both, 1)


def test_two_gaussians_of_one_width_have_a_logistic_posterior():
    two = LabelledMixture(((-1.0, 0.0), (1.0, 0.0)), (0, 1), 0.7)
    x = 2 * normal((9, 2))
    expected = 1 / (1 + np.exp(-2 * x[:, 0] / 0.7**2))
    np.testing.assert_allclose(np.exp(two.log_posterior(x, 1)), expected, rtol=1e-6)


@pytest.mark.parametrize("weight", [0, 1, 3])
def test_reweighted_law_is_the_integral_over_a_cell(weight):
    grid = Grid(5.0, 100)
    law = guidance.reweighted(MIXTURE, 0, weight, grid)

    def p(y, x):
        at = np.array([x, y])
        return np.exp(MIXTURE.log_density(at) + weight * MIXTURE.log_posterior(at, 0))

    def integral(low, high):
        return integrate.dblquad(p, low[0], high[0], low[1], high[1], epsabs=1e-6)[0]

    low, side = np.array([-2.5, -0.5]), 1.0
    own = integral(low, low + side)
    middle = (grid.centres() >= low).all(-1) & (grid.centres() < low + side).all(-1)
    whole = {0: 1.0, 1: 3 / 5}.get(weight) or integral([-5, -5], [5, 5])  # Bayes gives two of them
    assert law[middle].sum() == pytest.approx(own / whole, rel=2e-3)
    assert law.sum() == pytest.approx(1)


@pytest.mark.parametrize("label", [0, 1])
def test_weight_one_samples_the_class_and_zero_everything(label):
    for weight, law in ((0, None), (1, label)):
        points = np.asarray(flow.sample(guidance.guided(MIXTURE, label, weight), NOISE, 200)[-1])
        means = np.asarray(MIXTURE.means_of(law))
        np.testing.assert_allclose(points.mean(0), means.mean(0), atol=0.15)
        variance = means.var(0) + MIXTURE.std**2
        np.testing.assert_allclose(points.var(0), variance, rtol=0.12)


def test_more_weight_more_obedience_less_spread_and_another_law():
    """What the page claims, with the law's own samples as the control."""
    rng, rows = np.random.default_rng(0), []
    for weight in (1.0, 2.0, 4.0):
        law = guidance.reweighted(MIXTURE, 0, weight, GRID)
        points = flow.sample(guidance.guided(MIXTURE, 0, weight), NOISE, 100)[-1]
        own = guidance.measures(points, MIXTURE, 0, law, GRID)
        control = guidance.measures(GRID.draw(rng, law, 2000), MIXTURE, 0, law, GRID)
        rows.append((own["obedience"], -own["spread"], own["distance"] - control["distance"]))
    assert (np.diff(rows, axis=0) > 0).all()
    assert abs(rows[0][2]) < 0.05 < 0.25 < rows[2][2]


def test_grid_counts_and_draws():
    grid = Grid(1.0, 4)
    points = np.array([[-0.9, 0.9], [-0.6, 0.6], [0.1, -0.1], [9.0, 9.0]])
    shares = grid.shares(points)
    assert (shares[0, 3], shares[2, 1], shares[3, 3], shares.sum()) == (0.5, 0.25, 0.25, 1)
    drawn = grid.draw(np.random.default_rng(0), shares, 4000)
    np.testing.assert_allclose(grid.shares(drawn), shares, atol=0.03)
    np.testing.assert_allclose(guidance.coarser(shares, 2), [[0, 0.5], [0.25, 0.25]])


def test_samples_of_a_class():
    points = np.asarray(MIXTURE.sample(jax.random.key(1), 4000, 1))
    np.testing.assert_allclose(points.mean(0), np.mean(MIXTURE.means_of(1), axis=0), atol=0.1)


def test_errors():
    with pytest.raises(ValueError, match="label = 7; allowed: 0, 1"):
        MIXTURE.means_of(7)
    with pytest.raises(ValueError, match="one label for each"):
        LabelledMixture(labels=(0, 1))
    with pytest.raises(ValueError, match="extent"):
        Grid(0)
    with pytest.raises(ValueError, match="factor = 3"):
        guidance.coarser(np.ones((4, 4)), 3)
