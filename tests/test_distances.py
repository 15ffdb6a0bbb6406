"""Distances of distributions, against closed forms, SciPy's linear programs and what must hold for every pair."""

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from imgbook import concepts, distances, games, metrics, transport

rng = np.random.default_rng(0)


def random_law(size: int, seed: int = 0) -> np.ndarray:
    p = np.random.default_rng(seed).gamma(1.0, size=size)
    return p / p.sum()


# --- Gaussians fitted either way ----------------------------------------------------------------------------------

WEIGHTS = np.array([0.6, 0.4])
MEANS = np.array([[-2.5, -1.0], [2.5, 2.0]])
COVARIANCES = np.array([[[0.8, 0.5], [0.5, 0.8]], [[0.5, -0.2], [-0.2, 0.7]]])


@pytest.fixture(scope="module")
def mixture() -> tuple[np.ndarray, np.ndarray]:
    points = distances.plane()
    return distances.mixture_log_cells(points, WEIGHTS, MEANS, COVARIANCES), points


def test_gaussian_density_equals_scipy():
    points = rng.normal(size=(7, 2))
    found = distances.gaussian_log_density(points, MEANS[0], COVARIANCES[0])
    np.testing.assert_allclose(
        found, scipy.stats.multivariate_normal(MEANS[0], COVARIANCES[0]).logpdf(points)
    )


def test_moments_on_the_grid_are_those_of_the_mixture(mixture):
    """Mean sum w m; covariance sum w (S + m m^T) less the mean's square."""
    log_p, points = mixture
    mean, covariance = distances.moments_of(np.exp(log_p), points)
    expected = WEIGHTS @ MEANS
    second = sum(
        w * (s + np.outer(m, m)) for w, m, s in zip(WEIGHTS, MEANS, COVARIANCES, strict=True)
    )
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    np.testing.assert_allclose(covariance, second - np.outer(expected, expected), atol=1e-4)


def test_the_forward_fit_has_the_moments_of_the_data(mixture):
    log_p, points = mixture
    fit = distances.fit_gaussian(log_p, points, "forward", np.zeros(2))
    mean, covariance = distances.moments_of(np.exp(log_p), points)
    np.testing.assert_allclose(fit.mean, mean, atol=0.01)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=0.01)
    log_q = distances.gaussian_log_density(points, fit.mean, fit.covariance)
    q = np.exp(log_q) / np.exp(log_q).sum()
    assert fit.kl == pytest.approx(concepts.kl_divergence(np.exp(log_p), q), abs=1e-4)


@pytest.mark.parametrize("mode", [0, 1])
def test_the_reverse_fit_takes_one_mode_and_pays_for_its_weight(mixture, mode):
    log_p, points = mixture
    fit = distances.fit_gaussian(log_p, points, "reverse", MEANS[mode])
    np.testing.assert_allclose(fit.mean, MEANS[mode], atol=0.02)
    np.testing.assert_allclose(fit.covariance, COVARIANCES[mode], atol=0.05)
    assert fit.kl == pytest.approx(-np.log(WEIGHTS[mode]), abs=0.01)


def test_other_directions_are_refused(mixture):
    with pytest.raises(ValueError, match="direction 'both'; allowed: forward, reverse"):
        distances.fit_gaussian(*mixture, "both", np.zeros(2))


# --- a line -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_wasserstein_on_a_line_equals_scipy(seed):
    p, q = random_law(9, seed), random_law(9, seed + 100)
    places = np.sort(np.random.default_rng(seed).normal(size=9))
    found = distances.wasserstein_line(p, q, places)
    assert found == pytest.approx(scipy.stats.wasserstein_distance(places, places, p, q))


@pytest.mark.parametrize("seed", range(4))
def test_the_critic_is_lipschitz_and_reaches_the_distance(seed):
    p, q = random_law(9, seed), random_law(9, seed + 100)
    places = np.sort(np.random.default_rng(seed).normal(size=9))
    f = distances.best_critic(p, q, places)
    assert np.abs(np.diff(f) / np.diff(places)).max() <= 1 + 1e-9
    assert p @ f - q @ f == pytest.approx(distances.wasserstein_line(p, q, places))


def test_samples_on_a_line_are_matched_in_their_order():
    x, y = rng.normal(size=40), rng.normal(1, 2, size=40)
    assert distances.sorted_distance(x, y) == pytest.approx(scipy.stats.wasserstein_distance(x, y))
    rows, columns = scipy.optimize.linear_sum_assignment((x[:, None] - y) ** 2)
    least = np.mean((x[rows] - y[columns]) ** 2)
    assert distances.sorted_distance(x, y, 2) ** 2 == pytest.approx(least)


def test_measures_of_a_bump_and_a_box_have_their_closed_forms():
    places, shift = np.linspace(-8, 14, 2201), 3.0
    bump = games.Mixture((0.0,), 1.0)
    found = distances.measures(bump.cells(places), bump.shifted(shift).cells(places), places)
    assert found["KL"] == pytest.approx(shift**2 / 2, rel=1e-4)
    assert found["TV"] == pytest.approx(2 * scipy.stats.norm.cdf(shift / 2) - 1, abs=1e-3)
    assert found["W1"] == pytest.approx(shift, rel=1e-4)
    box = distances.box_cells(places, 0.0), distances.box_cells(places, 1.0)
    half = distances.measures(*box, places)
    assert half["KL"] == np.inf
    assert half["TV"] == pytest.approx(0.5, abs=0.01)
    assert half["JSD"] == pytest.approx(np.log(2) / 2, abs=0.01)
    apart = distances.measures(box[0], distances.box_cells(places, shift), places)
    assert apart["JSD"] == pytest.approx(np.log(2))
    assert apart["TV"] == 1.0
    assert apart["W1"] == pytest.approx(shift, abs=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_bounds_and_orders_of_the_measures(seed):
    """0 <= JSD <= log 2 TV, and Pinsker's inequality: TV^2 <= KL / 2."""
    p, q = random_law(12, seed), random_law(12, seed + 50)
    found = distances.measures(p, q, np.arange(12.0))
    assert 0 < found["JSD"] <= np.log(2) * found["TV"] + 1e-12
    assert found["TV"] ** 2 <= found["KL"] / 2
    assert (
        found["TV"] <= found["W1"] + 1e-12
    )  # places one apart: all that differs moves by one at least


def test_what_is_no_law_on_a_line_is_refused():
    p = np.array([0.5, 0.5])
    with pytest.raises(ValueError, match=r"p of shape \(2,\), sum 2"):
        distances.wasserstein_line(2 * p, p, np.arange(2))
    with pytest.raises(ValueError, match="places ascending"):
        distances.wasserstein_line(p, p, np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"order 0\.5"):
        distances.sorted_distance(p, p, 0.5)


# --- transport ----------------------------------------------------------------------------------------------------


def least_cost(p: np.ndarray, q: np.ndarray, cost: np.ndarray) -> float:
    """The linear program itself."""
    n, m = cost.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    found = scipy.optimize.linprog(
        cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([p, q])
    )
    return found.fun


@pytest.mark.parametrize("seed", range(3))
def test_sinkhorn_brackets_the_linear_program(seed):
    p, q = random_law(8, seed), random_law(11, seed + 10)
    x, y = np.random.default_rng(seed).normal(size=(2, 11, 2))
    cost = transport.distances_between(x[:8], y)
    found, exact = transport.sinkhorn(p, q, cost, epsilon=0.005), least_cost(p, q, cost)
    assert found.bound - 1e-9 <= exact <= found.cost + 1e-9
    assert found.cost - found.bound < 0.01 * exact
    np.testing.assert_allclose(found.plan.sum(axis=1), p, atol=1e-12)
    np.testing.assert_allclose(found.plan.sum(axis=0), q, atol=1e-12)
    assert found.plan.min() >= 0


def test_sinkhorn_finds_the_assignment_of_equal_masses():
    x, y = np.random.default_rng(3).normal(size=(2, 12, 2))
    cost, each = transport.distances_between(x, y) ** 2, np.full(12, 1 / 12)
    found = transport.sinkhorn(each, each, cost, epsilon=0.005)
    rows, columns = scipy.optimize.linear_sum_assignment(cost)
    assert found.cost == pytest.approx(cost[rows, columns].mean(), rel=0.01)
    np.testing.assert_array_equal(found.plan.argmax(axis=1), columns)


def test_sinkhorn_refuses_points_without_mass_and_costs_of_another_shape():
    p = np.array([1.0, 0.0])
    with pytest.raises(ValueError, match="leave out points without mass"):
        transport.sinkhorn(p, p, np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"cost \(2, 3\) for 2 and 2"):
        transport.sinkhorn(p / 2 + 0.25, p / 2 + 0.25, np.zeros((2, 3)))


# --- pictures -----------------------------------------------------------------------------------------------------


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(1).uniform(size=(6, 5)) * (
        np.random.default_rng(2).random((6, 5)) < 0.5
    )


@pytest.mark.parametrize("shift", [1, 3, 6])
def test_a_moved_picture_is_as_far_as_it_was_moved(picture, shift):
    a, b = (transport.moved(picture, right, 12) for right in (0, shift))
    found = transport.carry(a, b, epsilon=0.01)
    assert found.bound - 1e-9 <= shift <= found.cost + 1e-9
    assert found.cost == pytest.approx(shift, rel=0.05)
    assert found.bound == pytest.approx(shift, rel=0.05)


def test_squared_error_and_jsd_stay_where_the_shift_grows(picture):
    canvas = [transport.moved(picture, right, 20) for right in (0, 7, 14)]
    near, far = (transport.picture_measures(canvas[0], b) for b in canvas[1:])
    for measure in near:
        assert near[measure] == pytest.approx(far[measure])
    assert near["squared error"] == pytest.approx(2 * (picture**2).sum())
    assert near["JSD"] == pytest.approx(np.log(2))
    assert near["TV"] == pytest.approx(1)


def test_displacement_starts_and_ends_at_the_pictures_and_keeps_ink_and_centre(picture):
    a, b = transport.moved(picture, 0, 9), transport.moved(picture[::-1], 4, 9)
    (p, x), (q, y) = transport.ink(a), transport.ink(b)
    plan = transport.carry(a, b, order=2).plan
    for t, image in ((0, a), (1, b)):
        mass, places = transport.displaced(plan, x, y, t)
        drawn = transport.painted(mass, places, a.shape)
        np.testing.assert_allclose(drawn, image / image.sum(), atol=1e-6)
    mass, places = transport.displaced(plan, x, y, 0.25)
    drawn = transport.painted(mass, places, a.shape)
    assert drawn.sum() == pytest.approx(1)
    centre = np.einsum("hw,hwd->d", drawn, np.stack(np.indices(a.shape), -1))
    np.testing.assert_allclose(centre, 0.75 * p @ x + 0.25 * q @ y, atol=1e-6)


def test_what_is_no_ink_is_refused():
    with pytest.raises(ValueError, match="not all 0"):
        transport.ink(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="allowed: 0 to 2"):
        transport.moved(np.ones((3, 3)), 3, 5)


# --- Gaussians ----------------------------------------------------------------------------------------------------


def test_the_map_between_gaussians_carries_one_to_the_other_at_the_frechet_distance():
    a, b = np.random.default_rng(5).normal(size=(2, 3, 3))
    cov1, cov2 = a @ a.T + 0.1 * np.eye(3), b @ b.T
    matrix = distances.gaussian_map(cov1, cov2)
    np.testing.assert_allclose(matrix @ cov1 @ matrix, cov2, atol=1e-10)
    away = np.eye(3) - matrix  # E |x - A x|^2 = Tr (I - A) S1 (I - A)
    zero = np.zeros(3)
    assert np.trace(away @ cov1 @ away) == pytest.approx(
        metrics.frechet_distance_from_moments(zero, cov1, zero, cov2)
    )


def test_the_frechet_distance_on_a_line_is_that_of_quantiles():
    """W2 of N(0, 1) and N(2, 3^2): the quantile functions differ by 2 + 2 u, whose mean square is 4 + 4."""
    u = scipy.stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    assert distances.sorted_distance(u, 2 + 3 * u, 2) ** 2 == pytest.approx(8, rel=1e-3)
    found = metrics.frechet_distance_from_moments(
        np.zeros(1), np.eye(1), np.full(1, 2.0), np.full((1, 1), 9.0)
    )
    assert found == pytest.approx(8)
