"""Flow matching: the exact velocity against independent derivations, and that the network learns towards it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.integrate import quad
from scipy.stats import norm

from imgbook import flow

CONFIG = flow.FlowConfig(hidden=16, batch_size=64, num_steps=30)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("x", [-1.7, 0.2, 2.5])
def test_exact_velocity_equals_quadrature_over_data(x, t):
    """In one dimension: integrate over x1 with the density of x_t given x1, no formula for the posterior used."""
    means, std = [-2.0, 0.5, 2.0], 0.6

    def prior(x1):
        return np.mean([norm.pdf(x1, m, std) for m in means])

    if t == 1.0:  # x_1 = x1, and x0 is independent of it with mean 0
        expected = x
    else:

        def joint(x1):
            return prior(x1) * norm.pdf((x - t * x1) / (1 - t))

        def weighted(x1):  # x0 = (x - t x1) / (1 - t)
            return (x1 - (x - t * x1) / (1 - t)) * joint(x1)

        # Breakpoints where the integrand is narrow, so that the quadrature finds it.
        points = sorted({*means, *([x / t] if t and abs(x / t) < 8 else [])})
        expected = quad(weighted, -8, 8, points=points)[0] / quad(joint, -8, 8, points=points)[0]
    v = flow.exact_velocity(jnp.array([[x]]), jnp.array([t]), jnp.array(means)[:, None], std)
    np.testing.assert_allclose(float(v[0, 0]), expected, rtol=2e-4, atol=2e-5)


def test_exact_velocity_of_one_gaussian_moves_along_its_quantiles():
    """N(0, I) to one N(m, s^2 I): the flow is x_t = t m + x0 sqrt((1-t)^2 + t^2 s^2); differentiate it numerically."""
    mean, std, t, h = jnp.array([1.0, -2.0]), 0.5, 0.6, 1e-3
    x0 = jax.random.normal(jax.random.key(0), (20, 2))

    def path(t):
        return t * mean + x0 * np.sqrt((1 - t) ** 2 + (t * std) ** 2)

    numeric = (path(t + h) - path(t - h)) / (2 * h)
    v = flow.exact_velocity(path(t), jnp.full(20, t), mean[None], std)
    np.testing.assert_allclose(v, numeric, atol=2e-3)


def test_exact_velocity_equals_monte_carlo_in_the_plane():
    """Average x1 - x0 over simulated pairs whose x_t falls near x."""
    t, x, n = 0.5, np.array([1.0, 0.8]), 2_000_000
    rng = np.random.default_rng(0)
    means = np.asarray(flow.ring_means(CONFIG))
    x0 = rng.standard_normal((n, 2), np.float32)
    x1 = means[rng.integers(0, CONFIG.modes, n)] + CONFIG.std * rng.standard_normal(
        (n, 2), np.float32
    )
    pairs = (x1 - x0)[np.linalg.norm((1 - t) * x0 + t * x1 - x, axis=1) < 0.05]
    expected, spread = pairs.mean(0), pairs.std(0) / np.sqrt(len(pairs))
    v = flow.exact_velocity(
        jnp.asarray(x, jnp.float32)[None], jnp.array([t]), jnp.asarray(means), CONFIG.std
    )[0]
    assert np.all(np.abs(np.asarray(v) - expected) < 5 * spread), (v, expected, spread)


def test_exact_velocity_at_time_zero_points_from_x_to_the_mean_of_the_data():
    x = jnp.array([[0.3, -1.0], [2.0, 2.0]])
    v = flow.exact_velocity(x, jnp.zeros(2), flow.ring_means(CONFIG), CONFIG.std)
    np.testing.assert_allclose(v, -x, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "t", "means"), [((3, 2), (2,), (8, 2)), ((3, 2), (3,), (8, 1)), ((2,), (2,), (8, 2))]
)
def test_exact_velocity_rejects_wrong_shapes(x, t, means):
    with pytest.raises(ValueError, match="expected"):
        flow.exact_velocity(jnp.zeros(x), jnp.zeros(t), jnp.zeros(means), 0.2)


def test_ring_has_the_moments_of_the_mixture():
    points = flow.ring(jax.random.key(0), 20_000, CONFIG)
    assert points.shape == (20_000, 2)
    variance = CONFIG.radius**2 / 2 + CONFIG.std**2
    np.testing.assert_allclose(points.mean(0), 0, atol=5 * np.sqrt(variance / 20_000))
    np.testing.assert_allclose(np.cov(points.T), variance * np.eye(2), atol=0.1)
    found = flow.coverage(points, CONFIG)
    assert found["modes"] == CONFIG.modes
    assert found["near"] == pytest.approx(
        1 - np.exp(-9 / 2), abs=0.005
    )  # Rayleigh distribution at 3


def test_batches_are_fresh_points_that_any_step_can_draw_again():
    key = jax.random.key(5)
    stream = flow.ring_batches(key, CONFIG)
    drawn = [batch[0] for batch, _ in zip(stream, range(4), strict=False)]
    for step, points in enumerate(drawn):
        expected = flow.ring(jax.random.fold_in(key, step), CONFIG.batch_size, CONFIG)
        np.testing.assert_array_equal(points, expected)
    later = stream.draw(stream.data, stream.plan(2, 5)[1])[0]  # step 3, without those before
    np.testing.assert_array_equal(later, drawn[3])
    assert len(np.unique(np.concatenate(drawn), axis=0)) == 4 * CONFIG.batch_size


def test_interpolation_ends_are_noise_and_data():
    x1 = flow.ring(jax.random.key(0), 50, CONFIG)
    x_t, t, target = flow.interpolate(jax.random.key(1), x1)
    assert x_t.shape == target.shape == (50, 2)
    assert t.shape == (50,)
    np.testing.assert_allclose(x_t + (1 - t[:, None]) * target, x1, atol=1e-5)


def test_a_step_changes_every_weight_and_counts():
    graphdef, state = flow.init(CONFIG, jax.random.key(0))
    step = flow.make_train_step(graphdef, CONFIG)
    before = jax.tree.map(np.array, state.params)
    state, metrics = step(state, (flow.ring(jax.random.key(1), CONFIG.batch_size, CONFIG),))
    assert int(state.step) == 1
    assert metrics["loss"].shape == ()
    changed = jax.tree.map(lambda a, b: bool(np.any(a != np.asarray(b))), before, state.params)
    assert all(jax.tree.leaves(changed))


def test_training_brings_the_network_nearer_to_the_exact_velocity():
    key, measure_key = jax.random.key(0), jax.random.key(2)
    untrained = Partial(flow.apply, *flow.init(CONFIG, jax.random.fold_in(key, 0)))
    before = flow.velocity_errors(untrained, measure_key, 2000, CONFIG)
    velocity, history = flow.train(CONFIG, key, progress=False)
    after = flow.velocity_errors(velocity, measure_key, 2000, CONFIG)
    assert history.metrics["loss"].shape == (CONFIG.num_steps,)
    assert after["error"] < before["error"]
    assert after["loss"] > after["floor"]


def test_exact_velocity_has_no_error_and_carries_noise_to_every_mode():
    velocity = flow.exact(CONFIG)
    errors = flow.velocity_errors(velocity, jax.random.key(0), 500, CONFIG)
    assert errors["error"] < 1e-10
    np.testing.assert_allclose(errors["loss"], errors["floor"], rtol=1e-6)
    path = flow.sample(velocity, jax.random.normal(jax.random.key(1), (400, 2)), 50)
    assert path.shape == (51, 400, 2)
    found = flow.coverage(path[-1], CONFIG)
    assert found["modes"] == CONFIG.modes
    assert found["near"] > 0.95


def test_coverage_of_one_mode_and_of_none():
    mean = flow.ring_means(CONFIG)[:1]
    assert flow.coverage(jnp.repeat(mean, 10, 0), CONFIG) == {"near": 1.0, "modes": 1}
    assert flow.coverage(jnp.zeros((10, 2)), CONFIG) == {"near": 0.0, "modes": 0}


@pytest.mark.parametrize(("shape", "num_steps"), [((5, 2), 0), ((5, 3), 4), ((2,), 4)])
def test_sample_rejects_bad_input(shape, num_steps):
    with pytest.raises(ValueError, match="expected at least 1"):
        flow.sample(flow.exact(CONFIG), jnp.zeros(shape), num_steps)


def test_config_rejects_bad_values_and_knows_the_presets():
    with pytest.raises(ValueError, match="std = 0"):
        replace(CONFIG, std=0)
    with pytest.raises(ValueError, match="modes = 0"):
        replace(CONFIG, modes=0)
    sizes = [flow.config_for(p).num_steps for p in ("smoke", "quick", "full")]
    assert sizes == sorted(sizes)
    assert flow.config_for("smoke", hidden=7).hidden == 7
