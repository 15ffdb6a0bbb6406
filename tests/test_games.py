"""The game on finite sets, on a line and between two numbers, against independent derivations."""

from functools import partial

import jax
import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import jensenshannon
from scipy.stats import norm

from imgbook import games

GRID = np.linspace(-6, 12, 3601)
DATA = games.Mixture()


def random_distributions(k, seed):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(k), 2)


# --- finite sets ----------------------------------------------------------------------------------------------


def test_two_points_by_hand():
    p, q = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    best = games.optimal_discriminator(p, q)
    np.testing.assert_allclose(best, [5 / 14, 5 / 6])
    assert games.value(best, p, q) == pytest.approx(-1.182796, abs=1e-6)
    assert games.jensen_shannon(p, q) == pytest.approx(0.101749, abs=1e-6)


def test_disjoint_and_equal_distributions():
    p, q = np.array([0.25, 0.75, 0, 0]), np.array([0, 0, 0.5, 0.5])
    best = games.optimal_discriminator(p, q)
    np.testing.assert_array_equal(best, [1, 1, 0, 0])
    assert games.value(best, p, q) == 0
    assert games.jensen_shannon(p, q) == pytest.approx(np.log(2))
    assert games.jensen_shannon(p, p) == pytest.approx(0, abs=1e-15)
    assert games.value(games.optimal_discriminator(p, p), p, p) == pytest.approx(-np.log(4))


@pytest.mark.parametrize("seed", range(5))
def test_the_best_value_is_the_divergence_of_scipy_and_no_other_discriminator_is_better(seed):
    p, q = random_distributions(7, seed)
    best = games.optimal_discriminator(p, q)
    divergence = jensenshannon(p, q) ** 2
    assert games.jensen_shannon(p, q) == pytest.approx(divergence)
    assert games.value(best, p, q) == pytest.approx(-np.log(4) + 2 * divergence)
    for point in range(len(p)):  # each entry is the best one, found without the formula
        found = minimize_scalar(
            lambda d, i=point: -p[i] * np.log(d) - q[i] * np.log(1 - d),
            bounds=(1e-9, 1 - 1e-9),
            method="bounded",
            options={"xatol": 1e-8},
        )
        assert best[point] == pytest.approx(found.x, abs=1e-6)
    other = np.random.default_rng(seed).uniform(0.01, 0.99, 7)
    assert games.value(other, p, q) < games.value(best, p, q)


def test_points_without_any_probability_and_a_discriminator_that_excludes_what_occurs():
    p, q = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    assert games.optimal_discriminator(p, q)[2] == 0.5
    assert games.value(np.array([0.0, 0.0, 0.5]), p, q) == -np.inf


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([0.5, 0.6], "p_g of shape .* sum 1.1"),
        ([1.5, -0.5], "least entry -0.5"),
        ([np.nan, 1.0], "sum nan"),
        ([[0.5, 0.5]], "expected probabilities"),
        ([], "divide by the sum"),
        ([0.2, 0.3, 0.5], r"p_data \(2,\), p_g \(3,\)"),
    ],
)
def test_what_is_no_distribution_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        games.optimal_discriminator([0.5, 0.5], bad)


@pytest.mark.parametrize("discriminator", [[0.5], [0.5, 1.1], [-0.1, 0.5], [np.nan, 0.5]])
def test_a_discriminator_is_one_probability_a_point(discriminator):
    with pytest.raises(ValueError, match="expected 2 probabilities"):
        games.value(discriminator, [0.5, 0.5], [0.5, 0.5])


# --- a line ---------------------------------------------------------------------------------------------------


def test_mixture_density_and_samples():
    def density(x):
        return np.mean([norm.pdf(x, m, DATA.std) for m in DATA.means], axis=0)

    np.testing.assert_allclose(np.exp(DATA.log_density(GRID)), density(GRID), rtol=1e-10)
    assert DATA.log_density(np.array(100.0)) == pytest.approx(
        norm.logpdf(100, 1, DATA.std) - np.log(2)
    )
    points = np.asarray(DATA.shifted(3).sample(jax.random.key(0), 20_000))
    assert points.mean() == pytest.approx(3, abs=0.04)
    assert points.var() == pytest.approx(1 + DATA.std**2, rel=0.03)
    assert np.mean((points > 2.6) & (points < 3.4)) == pytest.approx(
        quad(density, -0.4, 0.4)[0], abs=0.01
    )


@pytest.mark.parametrize("shift", [0.0, 2.0, 6.0])
def test_the_value_holds_where_probabilities_are_too_small_for_floating_point(shift):
    p, q = DATA.cells(GRID), DATA.shifted(shift).cells(GRID)
    best = games.optimal_discriminator(p, q)
    expected = -np.log(4) + 2 * games.jensen_shannon(p, q)
    assert games.value(best, p, q) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.7, 2.0, 6.0])
def test_the_divergence_on_a_grid_is_that_of_quadrature(shift):
    p, q = DATA, DATA.shifted(shift)

    def integrand(x):
        a, b = np.exp(p.log_density(np.array(x))), np.exp(q.log_density(np.array(x)))
        middle = (a + b) / 2
        return sum(r * np.log(r / middle) / 2 for r in (a, b) if r > 0)

    expected = quad(integrand, -5, 11, points=[-1, 1, shift - 1, shift + 1], limit=200)[0]
    found = games.jensen_shannon(p.cells(GRID), q.cells(GRID))
    assert found == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("shift", [0.3, 1.0, 1.5, 2.0, 4.0])
def test_gradients_at_the_optimum_are_those_of_the_divergences(shift):
    """Minimax: of 2 JSD. Non-saturating: of KL(p_g || p_data) - 2 JSD (Arjovsky and Bottou 2017, theorem 2.5)."""

    def divergences(s):
        p, q = DATA.cells(GRID), DATA.shifted(s).cells(GRID)
        log_ratio = DATA.shifted(s).log_density(GRID) - DATA.log_density(GRID)
        return 2 * games.jensen_shannon(p, q), np.sum(q * log_ratio)

    h = 1e-4
    upper, lower = np.array(divergences(shift + h)), np.array(divergences(shift - h))
    twice_jsd, kl = (upper - lower) / (2 * h)
    p_g = DATA.shifted(shift)
    found = games.shift_gradients(games.log_ratio(DATA, p_g, GRID), p_g, GRID)
    assert found["minimax"] == pytest.approx(twice_jsd, abs=1e-4)
    assert found["non_saturating"] == pytest.approx(kl - twice_jsd, abs=1e-3)


def test_gradients_against_a_linear_discriminator():
    """a(x) = 2 x and p_g symmetric around 0: the mean of sigmoid is 1/2, the slope 2."""
    found = games.shift_gradients(2 * GRID, games.Mixture((0.0,), 0.5), GRID)
    assert found == pytest.approx({"minimax": -1.0, "non_saturating": -1.0}, abs=1e-6)


def test_far_away_the_divergence_is_constant_and_only_one_gradient_is_left():
    p_g = DATA.shifted(8)
    assert games.jensen_shannon(DATA.cells(GRID), p_g.cells(GRID)) == pytest.approx(np.log(2))
    found = games.shift_gradients(games.log_ratio(DATA, p_g, GRID), p_g, GRID)
    assert abs(found["minimax"]) < 1e-9
    assert found["non_saturating"] > 10


def test_bad_mixtures_and_grids():
    with pytest.raises(ValueError, match=r"std = 0\.0"):
        games.Mixture(std=0.0)
    with pytest.raises(ValueError, match="at least one"):
        games.Mixture(means=())
    with pytest.raises(ValueError, match="wider or finer"):
        DATA.cells(np.linspace(0, 4, 401))
    with pytest.raises(ValueError, match="wider or finer"):
        DATA.cells(np.linspace(-6, 12, 12))


# --- two numbers ----------------------------------------------------------------------------------------------


def rotation(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def test_the_bilinear_game_is_a_linear_recurrence():
    rate, n = 0.1, 200
    start = np.array([1.0, 1.0])
    moves = {
        "simultaneous": np.array([[1, -rate], [rate, 1]]),
        "alternating": np.array([[1 - rate**2, -rate], [rate, 1]]),
        "continuous": rotation(rate),
    }
    for rule, matrix in moves.items():
        path = games.play(games.bilinear, (1.0, 1.0), rate, n, rule)
        expected = [np.linalg.matrix_power(matrix, k) @ start for k in range(n + 1)]
        np.testing.assert_allclose(path, expected, atol=2e-4, err_msg=rule)
    radius = np.linalg.norm(games.play(games.bilinear, (1, 1), rate, n, "simultaneous"), axis=1)
    np.testing.assert_allclose(
        radius, np.sqrt(2) * (1 + rate**2) ** (np.arange(n + 1) / 2), rtol=1e-4
    )
    # Of the alternating game the radius is not constant, but this is, for the matrix has determinant 1.
    theta, psi = games.play(games.bilinear, (1, 1), rate, n, "alternating").T
    np.testing.assert_allclose(theta**2 + psi**2 + rate * theta * psi, 2 + rate, rtol=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0])
def test_eigenvalues_of_the_dirac_gan(gamma):
    """The Jacobian at 0 is [[0, 1/2], [-1/2, -gamma]], so l^2 + gamma l + 1/4 = 0."""
    found = games.eigenvalues(partial(games.dirac_gan, gamma=gamma))
    expected = np.sort_complex(np.roots([1, gamma, 0.25]))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.all(found.real < 0) == (gamma > 0)


def test_eigenvalues_of_the_bilinear_game():
    np.testing.assert_allclose(games.eigenvalues(games.bilinear), [-1j, 1j], atol=1e-7)


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_the_continuous_dirac_gan_follows_its_differential_equation(gamma):
    def sigmoid(t):
        return 1 / (1 + np.exp(-t))

    def slopes(_, players):
        theta, psi = players
        return [sigmoid(theta * psi) * psi, -sigmoid(theta * psi) * theta - gamma * psi]

    expected = solve_ivp(slopes, (0, 10), [1, -1], rtol=1e-9, atol=1e-9).y[:, -1]
    path = games.play(partial(games.dirac_gan, gamma=gamma), (1, -1), 0.1, 100, "continuous")
    np.testing.assert_allclose(path[-1], expected, atol=1e-4)
    if gamma == 0:
        np.testing.assert_allclose(np.linalg.norm(path, axis=1), np.sqrt(2), rtol=1e-4)


@pytest.mark.parametrize("rule", ["simultaneous", "alternating"])
@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_the_steps_of_the_dirac_gan_by_hand(rule, gamma):
    theta, psi, rate = 1.0, -1.0, 0.1
    for _ in range(500):
        old, slope = psi, 1 / (1 + np.exp(-theta * psi))
        psi = psi + rate * (-slope * theta - gamma * psi)
        seen = psi if rule == "alternating" else old
        theta = theta + rate * seen / (1 + np.exp(-theta * seen))
    path = games.play(partial(games.dirac_gan, gamma=gamma), (1, -1), rate, 500, rule)
    assert path.shape == (501, 2)
    np.testing.assert_allclose(path[-1], [theta, psi], rtol=1e-3)
    radius = np.hypot(theta, psi)
    known = {("simultaneous", 0.0): 2.25, ("alternating", 0.0): 1.414}
    assert radius == pytest.approx(known.get((rule, gamma), 0), abs=5e-3)


@pytest.mark.parametrize(
    ("rate", "num_steps", "rule"),
    [(0.1, 10, "random"), (0.0, 10, "alternating"), (0.1, 0, "alternating")],
)
def test_play_rejects_bad_arguments(rate, num_steps, rule):
    with pytest.raises(ValueError, match="simultaneous, alternating, continuous"):
        games.play(games.bilinear, (1, 1), rate, num_steps, rule)
