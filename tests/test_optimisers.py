"""The page on optimisers and overfitting: rules against Optax and closed forms, noise, bias and variance, remedies."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import loaded

from imgbook import concepts, optimisers, overfitting

LIBRARIES = {
    "gradient descent": optax.sgd(0.01),
    "momentum": optax.sgd(0.01, momentum=0.9),
    "Nesterov": optax.sgd(0.01, momentum=0.9, nesterov=True),
    "RMSProp": optax.rmsprop(0.01, decay=0.9, eps=1e-8),
    "Adam": optax.adam(0.01),
    "AdamW": optax.adamw(0.01, weight_decay=0.01),
}


def steps(rule, theta, gradients, rate, **settings):
    """Where a rule arrives after these gradients."""
    memory = optimisers.start(theta)
    for gradient in gradients:
        theta, memory = rule(theta, memory, gradient, rate, **settings)
    return theta, memory


def numbers(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("name", optimisers.RULES)
def test_rule_equals_optax(name):
    theirs = {"w": numbers(0, 3, 2), "b": numbers(1, 2)}
    gradients = [{"w": numbers(2 + i, 3, 2), "b": numbers(20 + i, 2)} for i in range(4)]
    ours, memory = steps(optimisers.RULES[name], theirs, gradients, 0.01)
    state = LIBRARIES[name].init(theirs)
    for gradient in gradients:
        updates, state = LIBRARIES[name].update(gradient, state, theirs)
        theirs = optax.apply_updates(theirs, updates)
    for field in ours:
        np.testing.assert_allclose(ours[field], theirs[field], rtol=0, atol=1e-6)
    assert memory.step == 4


def test_momentum_under_a_constant_gradient_moves_by_a_geometric_series():
    """v_t = (1 - beta^t) / (1 - beta), summed by hand."""
    theta, memory = steps(optimisers.momentum, jnp.zeros(1), [jnp.ones(1)] * 5, 0.1, beta=0.5)
    assert float(memory.first[0]) == pytest.approx((1 - 0.5**5) / 0.5)
    assert float(theta[0]) == pytest.approx(-0.1 * (1 + 1.5 + 1.75 + 1.875 + 1.9375))


def test_rmsprop_steps_do_not_depend_on_the_scale_of_the_gradient():
    """The first step is rate / sqrt(1 - beta), whatever the gradient, and against it."""
    theta, _ = steps(optimisers.rmsprop, jnp.zeros(2), [jnp.array([5.0, -0.02])], 0.1, beta=0.75)
    np.testing.assert_allclose(theta, [-0.2, 0.2], rtol=1e-4)


def test_decay_of_adamw_without_a_gradient_is_exponential():
    theta, _ = steps(optimisers.adamw, jnp.full(1, 2.0), [jnp.zeros(1)] * 10, 0.1, decay=0.5)
    assert float(theta[0]) == pytest.approx(2 * 0.95**10, rel=1e-5)


def test_descent_on_a_quadratic_is_a_power():
    """theta_t = (1 - rate lambda)^t in each coordinate."""
    path = optimisers.follow(0, quadratic, jnp.ones(2), 0.3, 6)
    factors = 1 - 0.3 * np.array([0.5, 4])
    np.testing.assert_allclose(path, factors[None] ** np.arange(7)[:, None], rtol=1e-5)


def quadratic(theta: jax.Array) -> jax.Array:
    return 0.5 * (jnp.array([0.5, 4.0]) * theta**2).sum()


def test_momentum_on_a_quadratic_follows_the_roots_of_its_recursion():
    """A path from the eigenvalues of the companion matrix of theta_{t+1} = (1 + b - r l) theta_t - b theta_{t-1}."""
    path = np.asarray(optimisers.follow(1, quadratic, jnp.ones(2), 0.1, 12))
    for column, eigenvalue in enumerate((0.5, 4.0)):
        companion = np.array([[1.9 - 0.1 * eigenvalue, -0.9], [1, 0]])
        values, vectors = np.linalg.eig(companion.astype(complex))
        weights = np.linalg.solve(vectors, [1, 1])  # the start stands still: theta_0 = theta_{-1}
        expected = [(vectors[0] * weights * values**t).sum().real for t in range(13)]
        np.testing.assert_allclose(path[:, column], expected, atol=1e-5)


def spectral_radius(eigenvalues, rate, beta, nesterov=False):
    """The largest modulus of the roots of the recursion of a coordinate, over all eigenvalues."""
    worst = 0.0
    for eigenvalue in eigenvalues:
        g = rate * eigenvalue
        p = [1, -(1 + beta) * (1 - g), beta * (1 - g)] if nesterov else [1, -(1 + beta - g), beta]
        worst = max(worst, np.abs(np.roots(p)).max())
    return worst


@pytest.mark.parametrize("kappa", [4, 30])
def test_optimal_settings_are_optimal_on_a_quadratic(kappa):
    """The factors are spectral radii, and no settings of a fine grid have a smaller one."""
    mu, top = 0.5, 0.5 * kappa
    spectrum = np.linspace(mu, top, 60)
    rate, factor = optimisers.descent_optimum(mu, top)
    others = [np.abs(1 - r * spectrum).max() for r in np.linspace(0.2, 3, 400) / top]
    assert np.abs(1 - rate * spectrum).max() == pytest.approx(factor)
    assert factor == pytest.approx((kappa - 1) / (kappa + 1))
    assert min(others) >= factor - 1e-12

    rate, beta, factor = optimisers.momentum_optimum(mu, top)
    assert spectral_radius(spectrum, rate, beta) == pytest.approx(factor, rel=1e-6)
    ends = spectrum[[0, -1]]  # a smaller radius at the ends would be needed
    grid = [
        spectral_radius(ends, r, b)
        for r in rate * np.geomspace(0.3, 3, 41)
        for b in np.linspace(0, 0.98, 50)
    ]
    assert min(grid) >= factor - 1e-6

    rate, beta, factor = optimisers.nesterov_usual(mu, top)
    found = spectral_radius(spectrum, rate, beta, nesterov=True)
    assert found == pytest.approx(factor, rel=1e-6)
    assert factor == pytest.approx(1 - 1 / np.sqrt(kappa))


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        (optimisers.descent, optimisers.descent_optimum),
        (optimisers.momentum, optimisers.momentum_optimum),
        (optimisers.nesterov, optimisers.nesterov_usual),
    ],
)
def test_measured_factor_is_that_of_the_theory(rule, settings):
    *chosen, factor = settings(1, 40)
    num_steps = int(50 / -np.log(factor))
    found = float(optimisers.measured_factor(rule, jnp.geomspace(1, 40, 9), num_steps, *chosen))
    assert np.log(found) == pytest.approx(np.log(factor), rel=0.05)


def test_best_path_takes_no_rate_that_diverges():
    rate, path = optimisers.best_path(0, quadratic, jnp.ones(2), np.array([0.01, 0.4, 50.0]), 90)
    assert rate == 0.4
    assert path.shape == (91, 2)


# --- the network and its noise ----------------------------------------------------------------------------------


def of_single(params, x, label):
    return concepts.loss(params, x[None], label[None])


SINGLE = jax.jit(jax.vmap(jax.value_and_grad(of_single), (None, 0, 0)))  # of each image alone
REGULARISED = jax.jit(overfitting.regularised_loss)


@pytest.fixture(scope="module")
def network() -> concepts.Params:
    return concepts.Params(numbers(0, 6, 5), numbers(1, 5), numbers(2, 5, 10), numbers(3, 10))


@pytest.fixture(scope="module")
def points() -> tuple[jax.Array, jax.Array]:
    return numbers(4, 40, 6), jnp.asarray(np.random.default_rng(5).integers(0, 10, 40))


def test_train_is_the_rule_on_drawn_batches(network, points):
    """One step of one image: the loss is that of an image of the set, and the step the gradient of the same image."""
    key, rate = jax.random.key(1), 0.1
    theta, losses = optimisers.train(0, network, *points, jnp.array([rate]), key, batch_size=1)
    values, gradients = SINGLE(network, *points)
    i = int(np.abs(values - losses[0]).argmin())
    assert float(values[i]) == pytest.approx(float(losses[0]), rel=1e-6)
    np.testing.assert_allclose(theta.w1, network.w1 - rate * gradients.w1[i], atol=1e-6)


def test_train_with_rates_of_zero_changes_nothing(network, points):
    theta, _ = optimisers.train(4, network, *points, jnp.zeros(1), jax.random.key(0), batch_size=1)
    np.testing.assert_array_equal(theta.w2, network.w2)


def test_moments_equal_those_of_single_gradients(network, points):
    _, rows = SINGLE(network, *points)
    flat = np.concatenate([np.asarray(g).reshape(40, -1) for g in rows], axis=1)  # [40, parameters]
    squared, trace = optimisers.gradient_moments(network, *points)
    assert float(squared) == pytest.approx((flat.mean(0) ** 2).sum(), rel=1e-4)
    assert float(trace) == pytest.approx(np.trace(np.cov(flat.T, bias=True)), rel=1e-4)


def test_noise_of_batches_is_the_trace_over_the_batch_size(network, points):
    _, trace = optimisers.gradient_moments(network, *points)
    for size in (1, 4, 16):
        batches = np.random.default_rng(size).integers(0, 40, (4000, size))
        found = optimisers.batch_distances(network, *points, batches)
        expected = optimisers.standard_error(float(trace), size)
        assert float(jnp.sqrt((found**2).mean())) == pytest.approx(expected, rel=0.05)


# --- overfitting ------------------------------------------------------------------------------------------------


def wave(x: np.ndarray) -> np.ndarray:
    return np.sin(3 * x)


@pytest.mark.parametrize("degree", [1, 4, 8])
def test_bias_and_variance_simulated_equal_the_closed_form(degree):
    rng, x, at = np.random.default_rng(degree), np.linspace(-1, 1, 12), np.linspace(-1, 1, 30)
    fits = overfitting.fitted(x, wave(x) + 0.3 * rng.normal(size=(6000, 12)), degree, at)
    new = wave(at) + 0.3 * rng.normal(size=fits.shape)
    found = overfitting.decompose(fits, wave(at), new)
    expected = overfitting.expected_parts(x, wave(x), degree, at, wave(at), 0.3)
    np.testing.assert_allclose(found, expected, rtol=0.03, atol=1e-4)
    assert found.error == pytest.approx(sum(found[1:]), rel=0.01)
    assert expected.error == pytest.approx(sum(expected[1:]))


def test_a_polynomial_of_the_right_degree_has_no_bias():
    x, at = np.linspace(-1, 1, 9), np.linspace(-1, 1, 20)
    parts = overfitting.expected_parts(x, x**3 - x, 3, at, at**3 - at, 0.5)
    assert parts.squared_bias == pytest.approx(0, abs=1e-20)
    fit = overfitting.fitted(x, (x**3 - x)[None], 3, at)
    np.testing.assert_allclose(fit[0], at**3 - at, atol=1e-12)


def test_random_features_pass_through_all_points_when_there_are_enough():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(30, 8)), rng.integers(0, 10, 30)
    few, _ = overfitting.random_feature_errors(x, labels, x, labels, 5, 0)
    many, same = overfitting.random_feature_errors(x, labels, x, labels, 60, 0)
    assert few > 0.1
    assert many == pytest.approx(0, abs=1e-12)
    assert same == pytest.approx(many, abs=1e-12)


def test_dropout_doubles_what_it_keeps():
    """With one hidden unit and a half dropped there are two losses: without it, and with twice its value."""
    w1, w2 = jnp.full((4, 1), 0.5), jnp.arange(10.0)[None] / 9
    params = concepts.Params(w1, jnp.zeros(1), w2, jnp.zeros(10))
    images, labels = jnp.ones((1, 2, 2, 1)), jnp.array([3])
    remedy = overfitting.Remedy(dropout=0.5)
    keys = jax.random.split(jax.random.key(0), 40)
    losses = jax.jit(jax.vmap(overfitting.regularised_loss, (None, None, None, None, 0)))
    found = {round(float(v), 4) for v in losses(params, images, labels, remedy, keys)}
    x = images.reshape(1, -1)
    expected = {
        round(float(concepts.loss(params._replace(w2=factor * w2), x, labels)), 4)
        for factor in (0, 2)
    }
    assert found == expected


def test_the_remedy_that_does_nothing_gives_the_plain_loss(network):
    images, labels = numbers(8, 7, 2, 3, 1), jnp.arange(7)
    found = REGULARISED(network, images, labels, overfitting.Remedy(), jax.random.key(0))
    expected = concepts.loss(network, images.reshape(7, -1), labels)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_shifts_change_the_images():
    params = concepts.Params(numbers(0, 36, 5), numbers(1, 5), numbers(2, 5, 10), numbers(3, 10))
    images, labels, key = numbers(8, 7, 6, 6, 1), jnp.arange(7), jax.random.key(0)
    losses = [
        float(REGULARISED(params, images, labels, remedy, key))
        for remedy in (overfitting.Remedy(), overfitting.Remedy(shift=True))
    ]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


@pytest.fixture(scope="module")
def run() -> tuple[overfitting.Run, tuple]:
    """A short training on 20 digits with the labels 0 and 1 drawn by lot."""
    train = loaded("mnist", "train")
    images = jnp.asarray(train.images[::16], jnp.float32) / 255
    labels = jnp.asarray(np.random.default_rng(0).integers(0, 2, len(images)))
    params = jax.tree.map(
        lambda p: 0.05 * p,
        concepts.Params(numbers(0, 784, 32), numbers(1, 32), numbers(2, 32, 10), numbers(3, 10)),
    )
    data, checkpoints = (images, labels), jnp.array([1, 5, 150])
    remedy = jax.tree.map(jnp.asarray, overfitting.Remedy(num_images=20))
    held_out = images[-8:], 1 - labels[-8:]
    result = overfitting.train(
        params, data, held_out, checkpoints, remedy, jax.random.key(0), rate=3e-3, shown=20
    )
    return result, (data, held_out)


def test_random_labels_are_learned_by_heart(run):
    result, (data, _) = run
    x = data[0].reshape(20, -1)
    assert float(overfitting.accuracy(result.last, x, data[1])) == 1
    assert result.train_loss[-1] < 0.05
    assert result.validation_loss[-1] > 1  # its labels are all wrong


def test_best_parameters_are_those_of_the_lowest_validation_loss(run):
    result, (_, held_out) = run
    found = concepts.loss(result.best, held_out[0].reshape(8, -1), held_out[1])
    assert float(found) == pytest.approx(float(result.validation_loss.min()), rel=1e-5)
    assert result.validation_loss.min() < result.validation_loss[-1]


def test_losses_at_the_last_checkpoint_are_those_of_the_last_parameters(run):
    result, (data, held_out) = run
    for losses, (images, labels) in (
        (result.train_loss, data),
        (result.validation_loss, held_out),
    ):
        expected = concepts.loss(result.last, images.reshape(len(images), -1), labels)
        assert float(losses[-1]) == pytest.approx(float(expected), rel=1e-4)
