"""Chapter 2: the hand-written gradient against finite differences and `jax.grad`, one step of learning, KL."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import log_softmax
from scipy.stats import entropy

from imgbook import cnn, concepts, experiment_runs, training
from imgbook.data import load

CONFIG = concepts.MLPConfig(hidden=16, batch_size=32, num_steps=5)


def problem(seed: int = 0, n: int = 7, d: int = 5, m: int = 4, k: int = 3) -> tuple:
    """Random weights, inputs and labels in float64."""
    rng = np.random.default_rng(seed)
    params = (
        rng.normal(size=(d, m)),
        rng.normal(size=m),
        rng.normal(size=(m, k)),
        rng.normal(size=k),
    )
    return concepts.Params(*params), rng.normal(size=(n, d)), rng.integers(0, k, n)


def numpy_loss(params, x, labels):
    """The loss again, in NumPy and SciPy, one image at a time."""
    w1, b1, w2, b2 = params
    rows = [np.where(row @ w1 + b1 > 0, row @ w1 + b1, 0) @ w2 + b2 for row in x]
    return np.mean(
        [-log_softmax(logits)[label] for logits, label in zip(rows, labels, strict=True)]
    )


def as_jax(params, x, labels):
    return (
        jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), params),
        jnp.asarray(x, jnp.float32),
        jnp.asarray(labels),
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_backpropagation_equals_finite_differences(seed):
    params, x, labels = problem(seed)
    value, grads = concepts.backpropagation(*as_jax(params, x, labels))
    assert float(value) == pytest.approx(numpy_loss(params, x, labels), rel=1e-5)
    h = 1e-6
    for i, array in enumerate(params):
        numeric = np.empty_like(array)
        for index in np.ndindex(array.shape):
            up, down = [v.copy() for v in params], [v.copy() for v in params]
            up[i][index] += h
            down[i][index] -= h
            numeric[index] = (numpy_loss(up, x, labels) - numpy_loss(down, x, labels)) / (2 * h)
        np.testing.assert_allclose(grads[i], numeric, rtol=1e-4, atol=1e-6)


def test_backpropagation_equals_jax_grad_on_digits():
    data = load("mnist", "train", "smoke")
    params = concepts.params_of(concepts.MLP(CONFIG, rngs=nnx.Rngs(0)))
    x, labels = (
        cnn.standardise(jnp.asarray(data.images)).reshape(len(data), -1),
        jnp.asarray(data.labels),
    )
    value, grads = concepts.backpropagation(params, x, labels)
    expected, expected_grads = jax.value_and_grad(concepts.loss)(params, x, labels)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    for name, ours, theirs in zip(params._fields, grads, expected_grads, strict=True):
        scale = float(jnp.abs(theirs).max())
        assert scale > 1e-3, name
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * scale, err_msg=name)


def test_backpropagation_of_large_logits_is_finite():
    params, x, labels = as_jax(*problem())
    params = params._replace(b2=jnp.array([1000.0, 0.0, -1000.0]))
    value, grads = concepts.backpropagation(params, x, labels)
    assert all(bool(jnp.isfinite(v).all()) for v in (value, *grads))
    assert float(value) == pytest.approx(float(concepts.loss(params, x, labels)), rel=1e-5)


def test_loss_is_the_cross_entropy_of_the_module():
    data = load("mnist", "test", "smoke")
    model = concepts.MLP(CONFIG, rngs=nnx.Rngs(1))
    x = cnn.standardise(jnp.asarray(data.images))
    plain = concepts.loss(
        concepts.params_of(model), x.reshape(len(x), -1), jnp.asarray(data.labels)
    )
    assert float(plain) == pytest.approx(float(cnn.cross_entropy(model(x), data.labels)), rel=1e-5)


def test_one_gradient_step_lowers_the_loss_by_its_squared_length():
    """To first order: loss(params - rate * grad) = loss - rate * |grad|^2."""
    params, x, labels = as_jax(*problem(n=50))
    value, grads = concepts.backpropagation(params, x, labels)
    rate = 1e-3
    moved = jax.tree.map(lambda p, g: p - rate * g, params, grads)
    expected = rate * sum(float((g**2).sum()) for g in grads)
    assert float(value - concepts.loss(moved, x, labels)) == pytest.approx(expected, rel=0.02)


def test_training_step_learns_on_a_fixed_batch():
    data = load("mnist", "train", "smoke")
    config = concepts.MLPConfig(hidden=16, batch_size=32, num_steps=60, learning_rate=1e-2)
    graphdef, state = cnn.init(config, jax.random.key(0), concepts.MLP)
    batch = (jnp.asarray(data.images[:32]), jnp.asarray(data.labels[:32]))
    step = concepts.make_train_step(graphdef, config)
    before = cnn.cross_entropy(cnn.predict(graphdef, state, data.images[:32]), data.labels[:32])
    state, metrics = step(state, batch)
    assert float(metrics["loss"]) == pytest.approx(float(before), rel=1e-4)
    for _ in range(59):
        state, metrics = step(state, batch)
    assert int(state.step) == 60
    assert float(metrics["loss"]) < 0.1 * float(before)


def test_page_and_record_train_alike():
    """The chapter opens up `train`; the record calls it. Both must give the same network."""
    data, key = load("mnist", "train", "smoke"), jax.random.key(0)
    config = concepts.config_for(data, "smoke")
    graphdef, state = cnn.init(config, jax.random.fold_in(key, 0), concepts.MLP)
    stream = training.batches(
        (data.images, data.labels), config.batch_size, jax.random.fold_in(key, 1)
    )
    state, _ = training.fit(
        state, concepts.make_train_step(graphdef, config), stream, config.num_steps, progress=False
    )
    test = load("mnist", "test", "smoke")
    ours = cnn.predict(graphdef, state, test.images)
    values, _ = experiment_runs.run_concepts("mnist", "smoke", 0)
    assert values["accuracy"] == cnn.accuracy(ours, test.labels)
    assert values["cross_entropy"] == pytest.approx(
        float(cnn.cross_entropy(ours, test.labels)), rel=1e-5
    )
    assert set(values) == {"accuracy", "linear_accuracy", "cross_entropy"}


def test_config_for_takes_sizes_preset_and_changes():
    data = load("cifar10", "train", "smoke")
    config = concepts.config_for(data, "smoke", hidden=8)
    assert (config.image_shape, config.num_classes, config.hidden, config.num_steps) == (
        (32, 32, 3),
        10,
        8,
        4,
    )
    model = concepts.MLP(config, rngs=nnx.Rngs(0))
    assert concepts.params_of(model).w1.shape == (3072, 8)
    assert model(jnp.zeros((2, 32, 32, 3))).shape == (2, 10)


@pytest.mark.parametrize("field", ["num_classes", "hidden", "batch_size", "num_steps"])
def test_config_refuses_sizes_below_one(field):
    with pytest.raises(ValueError, match=f"{field} = 0"):
        concepts.MLPConfig(**{field: 0})


@pytest.mark.parametrize("function", [concepts.loss, concepts.backpropagation])
def test_bad_shapes_are_named(function):
    params, x, labels = as_jax(*problem())
    with pytest.raises(ValueError, match=r"x has shape \(7, 4\)"):
        function(params, x[:, :4], labels)
    with pytest.raises(ValueError, match="flatten"):
        function(params, x.reshape(7, 5, 1), labels)
    with pytest.raises(ValueError, match=r"labels have shape \(6,\)"):
        function(params, x, labels[:6])


def test_kl_divergence_equals_scipy_and_is_not_symmetric():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6))
    assert concepts.kl_divergence(p, q) == pytest.approx(entropy(p, q), rel=1e-12)
    assert concepts.kl_divergence(p, p) == 0
    assert abs(concepts.kl_divergence(p, q) - concepts.kl_divergence(q, p)) > 1e-3


def test_kl_divergence_at_zeros():
    assert concepts.kl_divergence([0.0, 1.0], [0.5, 0.5]) == pytest.approx(np.log(2))
    assert concepts.kl_divergence([0.5, 0.5], [0.0, 1.0]) == np.inf


@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        ([0.5, 0.5], [1.0], "equal shapes"),
        ([0.7, 0.7], [0.5, 0.5], "p is no distribution"),
        ([0.5, 0.5], [1.5, -0.5], "q is no distribution"),
    ],
)
def test_kl_divergence_refuses_what_is_no_distribution(p, q, message):
    with pytest.raises(ValueError, match=message):
        concepts.kl_divergence(p, q)
