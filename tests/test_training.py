"""The loop: history, callbacks, speed of a run that is cut in pieces, and what happens when something goes wrong."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import interrupt_at
from flax import nnx

from imgbook import training
from imgbook.training import Batches, batches, fit

KEY = jax.random.key(0)


def numbered(size: int = 3) -> Batches:
    """Batches that hold the number of their step, `[size]` times."""
    return Batches(
        data=jnp.zeros(()),
        plan=lambda first, n: np.arange(first, first + n),
        draw=lambda data, number: (jnp.full(size, number) + data.astype(int),),
        size=size,
    )


def counting(spoil_at: int = 0, value: float = np.nan):
    """A step whose state is a count; metrics: the count, its square (from step `spoil_at` on `value`), the batch."""

    def step(state, batch):
        count = state + 1
        spoiled = (spoil_at > 0) & (count >= spoil_at)
        square = jnp.where(spoiled, value, count.astype(jnp.float32) ** 2)
        return count, {"count": count, "square": square, "batch": batch[0][0]}

    return step


def start() -> jax.Array:
    """A fresh state: a run consumes the one it is given."""
    return jnp.zeros((), jnp.int32)


# --- what a run does ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_steps", [1, 7, 127, 128, 129, 300])
def test_fit_takes_each_step_once_and_in_order(num_steps):
    state, history = fit(start(), counting(), numbered(), num_steps, progress=False)
    assert int(state) == num_steps
    assert set(history.metrics) == {"count", "square", "batch"}
    np.testing.assert_array_equal(history.metrics["count"], np.arange(1, num_steps + 1))
    np.testing.assert_array_equal(history.metrics["batch"], np.arange(num_steps))
    squares = np.arange(1, num_steps + 1) ** 2
    np.testing.assert_array_equal(history.metrics["square"], squares)
    assert all(values.dtype == np.float32 for values in history.metrics.values())


def test_times_are_measured():
    _, history = fit(start(), counting(), numbered(5), 40, progress=False)
    assert history.compile_seconds > 0
    assert history.seconds > 0
    assert history.images_per_second == pytest.approx(40 * 5 / history.seconds)


def noisy_run(**options):
    """A little stochastic training, whose last bits would show another order of operations."""
    model, tx = nnx.Linear(16, 8, rngs=nnx.Rngs(0)), optax.adam(1e-2)
    graphdef, state = training.init_state(model, tx, KEY)

    def step(state, batch):
        noise = jax.random.normal(jax.random.fold_in(state.key, state.step), batch[0].shape)

        def loss_fn(params):
            y = nnx.merge(graphdef, params, state.stats)(batch[0] + noise)
            return jax.nn.log_softmax(y).mean() + (y**2).mean()

        loss, grads = jax.value_and_grad(loss_fn)(state.params)
        return state.updated(grads, tx), {"loss": loss}

    x = np.random.default_rng(0).standard_normal((50, 16)).astype(np.float32)
    return fit(state, step, batches((x,), 8, KEY), 60, progress=False, **options), step


def same_bits(a, b) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_the_result_does_not_depend_on_how_steps_are_divided_over_calls(monkeypatch):
    (whole, history), _ = noisy_run()
    for size, limit in ((1, 1e-9), (7, 100.0)):
        monkeypatch.setattr(training, "STEPS_A_CALL", size)
        monkeypatch.setattr(training, "SECONDS_A_CALL", limit)
        (pieces, pieces_history), _ = noisy_run()
        same_bits(whole, pieces)
        same_bits(history.metrics, pieces_history.metrics)


def test_fit_agrees_with_steps_called_one_by_one():
    (state, history), step = noisy_run()
    model, tx = nnx.Linear(16, 8, rngs=nnx.Rngs(0)), optax.adam(1e-2)
    _, by_hand = training.init_state(model, tx, KEY)
    x = np.random.default_rng(0).standard_normal((50, 16)).astype(np.float32)
    losses = []
    for batch in batches((x,), 8, KEY):
        by_hand, metrics = step(by_hand, batch)
        losses.append(float(metrics["loss"]))
        if len(losses) == 60:
            break
    np.testing.assert_allclose(history.metrics["loss"], losses, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(by_hand.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_call_takes_no_longer_than_it_should(monkeypatch):
    """Many quick steps go into one call, few slow ones."""
    asked = []
    slow = numbered()
    plan = lambda first, n: asked.append(n) or slow.plan(first, n)  # noqa: E731
    fit(start(), counting(), Batches(slow.data, plan, slow.draw, 3), 1000, progress=False)
    assert (
        asked[2] == 1
    )  # after those for shapes and compilation: how long a step takes is not known yet
    assert max(asked) == training.STEPS_A_CALL
    asked.clear()
    monkeypatch.setattr(training, "SECONDS_A_CALL", 1e-9)
    fit(start(), counting(), Batches(slow.data, plan, slow.draw, 3), 20, progress=False)
    assert asked == [1] * 22


def test_states_of_python_numbers_and_numpy_arrays_are_taken():
    def step(state, batch):
        return {"a": state["a"] * 2, "b": state["b"] + 1.0}, {"a": state["a"]}

    state, history = fit(
        {"a": 1, "b": np.zeros(2, np.float32)}, step, numbered(), 5, progress=False
    )
    assert int(state["a"]) == 32
    np.testing.assert_array_equal(history.metrics["a"], [1, 2, 4, 8, 16])


@pytest.mark.parametrize(
    ("every", "num_steps", "expected"),
    [(2, 7, [0, 2, 4, 6]), (7, 7, [0, 7]), (0, 7, [0]), (9, 7, [0]), (150, 320, [0, 150, 300])],
)
def test_callback_sees_the_steps_it_asked_for(every, num_steps, expected):
    seen = []
    fit(
        start(), counting(), numbered(), num_steps, progress=False,
        callback=lambda i, state: seen.append((i, int(state))), callback_every=every,
    )  # fmt: skip
    assert seen == [(i, i) for i in expected]


# --- what it refuses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_steps", [0, -3])
def test_fit_refuses_no_steps(num_steps):
    with pytest.raises(ValueError, match=f"num_steps = {num_steps}; allowed: 1 or more"):
        fit(start(), counting(), numbered(), num_steps, progress=False)


def test_fit_refuses_batches_of_another_kind():
    with pytest.raises(TypeError, match=r"batches are list; expected training\.batches"):
        fit(start(), counting(), [np.zeros(3)], 5, progress=False)


def test_metrics_must_be_scalars():
    with pytest.raises(ValueError, match=r"'each': \(3,\).*expected scalars"):
        fit(start(), lambda s, b: (s, {"each": b[0]}), numbered(), 5, progress=False)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("bad_step", "num_steps"), [(1, 3), (3, 3), (51, 300), (299, 300)])
def test_a_metric_that_is_not_finite_stops_the_run(value, bad_step, num_steps):
    message = f"square = {value} at step {bad_step}; no checkpoints.*learning rate"
    with pytest.raises(FloatingPointError, match=message):
        fit(start(), counting(bad_step, value), numbered(), num_steps, progress=False)


def test_errors_of_a_step_and_of_a_callback_pass_through():
    def broken(state, batch):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(start(), broken, numbered(), 10, progress=False)
    with pytest.raises(ZeroDivisionError):
        fit(start(), counting(), numbered(), 10, progress=False, callback=broken)


# --- interrupts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 5, 40])
def test_an_interrupt_returns_what_there_is(number, capsys):
    before = signal.getsignal(signal.SIGINT)
    state, history = fit(
        start(), counting(), numbered(), 100, progress=False,
        callback=interrupt_at(number), callback_every=5,
    )  # fmt: skip
    assert int(state) == number
    assert len(history.metrics.get("count", ())) == number
    assert f"interrupted after {number} of 100 steps" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before
    state, history = fit(
        state, counting(), numbered(), 2, progress=False
    )  # and it can go on from there
    assert int(state) == number + 2


def test_an_interrupt_while_the_program_runs_waits_for_the_steps_under_way():
    """The old state is donated and the new one not returned yet: the state must not be lost."""
    timer = threading.Timer(0.4, signal.raise_signal, (signal.SIGINT,))

    def step(state, batch):  # about a millisecond
        return state @ state / jnp.abs(state @ state).sum(), {"sum": state.sum()}

    timer.start()
    state, history = fit(jnp.ones((200, 200)), step, numbered(), 10**7, progress=False)
    timer.join()
    assert np.isfinite(np.asarray(state)).all()
    assert 0 < len(history.metrics["sum"]) < 10**7


def test_a_second_interrupt_is_raised_at_once():
    with pytest.raises(KeyboardInterrupt):
        fit(
            start(), counting(), numbered(), 100, progress=False,
            callback=interrupt_at(5, times=2), callback_every=5,
        )  # fmt: skip


def test_fit_works_outside_the_main_thread():
    results = []
    thread = threading.Thread(
        target=lambda: results.append(fit(start(), counting(), numbered(), 5, progress=False))
    )
    thread.start()
    thread.join()
    assert int(results[0][0]) == 5


# --- progress, memory, compilation cache ----------------------------------------------------------------------


def test_progress_is_shown_on_stderr_and_can_be_silenced(capsys):
    arrays = (np.zeros((10, 4), np.uint8),)
    step = lambda s, b: (s + 1, {"loss": s * 0.5})  # noqa: E731
    fit(jnp.zeros(()), step, batches(arrays, 3, KEY), 5, progress=False)
    assert capsys.readouterr() == ("", "")
    fit(jnp.zeros(()), step, batches(arrays, 3, KEY), 5)
    out, err = capsys.readouterr()
    assert out == ""
    assert "10 images, 3 steps of 3 an epoch; 1 images are left over" in err
    assert "5/5" in err
    assert "loss=2.000" in err
    assert "images/s=" in err


def test_memory_does_not_grow_with_the_number_of_steps():
    """Two processes, of which one runs 200 and the other 10,000 steps of a small convolutional network."""
    code = """
        import resource, sys
        import jax
        from imgbook import cnn, data
        dataset = data.load("mnist", "train", "smoke")
        steps = int(sys.argv[1])
        config = cnn.config_for(dataset, "smoke", widths=(2, 2), hidden=4, num_steps=10_000)
        graphdef, state = cnn.init(config, jax.random.key(0))
        stream = cnn.training.batches((dataset.images, dataset.labels), 4, jax.random.key(1))
        step = cnn.make_train_step(graphdef, config)
        state, _ = cnn.training.fit(state, step, stream, steps, progress=False)
        assert int(state.step) == steps
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """
    pytest.importorskip("resource")
    few, many = (
        int(
            subprocess.run(
                [sys.executable, "-c", textwrap.dedent(code), str(steps)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for steps in (200, 10_000)
    )
    assert many < 1.05 * few


def test_arrays_of_the_state_do_not_pile_up():
    fit(start(), counting(), numbered(), 10, progress=False)
    gc.collect()
    before = len(jax.live_arrays())
    fit(start(), counting(), numbered(), 500, progress=False)
    gc.collect()
    assert len(jax.live_arrays()) <= before + 1


def test_a_second_process_finds_compiled_programs(tmp_path):
    """Compiled in full, as for a reader: of the quick compilation of these tests most is tracing."""
    code = """
        import jax
        from imgbook import cnn, data, training
        events = []
        jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
        training.use_compilation_cache()
        dataset = data.load("mnist", "train", "smoke")
        config = cnn.config_for(dataset, "smoke")
        _, _, history = cnn.train(dataset, config, jax.random.key(0), progress=False)
        print(events.count("/jax/compilation_cache/cache_hits"), history.compile_seconds, *history.metrics["loss"])
    """
    quick = {
        "JAX_DISABLE_MOST_OPTIMIZATIONS",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
        "XLA_FLAGS",
    }
    environment = {name: value for name, value in os.environ.items() if name not in quick}
    (no_hits, first, *losses), (hits, second, *same) = (
        [
            float(word)
            for word in subprocess.run(
                [sys.executable, "-c", textwrap.dedent(code)],
                check=True,
                capture_output=True,
                text=True,
                env={**environment, "JAX_COMPILATION_CACHE_DIR": str(tmp_path)},
            ).stdout.split()
        ]
        for _ in range(2)
    )
    assert any(tmp_path.iterdir())
    assert no_hits == 0 < hits
    assert second < 0.8 * first  # what is left is tracing, which is Python
    assert same == losses


# --- state ----------------------------------------------------------------------------------------------------


def test_state_is_one_donated_pytree_and_moves_by_the_optimiser():
    """A linear model under plain SGD: two steps by hand."""
    model, tx = nnx.Linear(2, 1, rngs=nnx.Rngs(0)), optax.sgd(0.1)
    graphdef, state = training.init_state(model, tx, KEY)
    x, y = np.array([[1.0, 2.0], [3.0, -1.0]], np.float32), np.array([[1.0], [0.0]], np.float32)

    def loss_fn(params):
        return ((nnx.merge(graphdef, params, state.stats)(x) - y) ** 2).mean()

    weights, bias = np.array(model.kernel[...]), np.array(model.bias[...])
    for _ in range(2):
        state = state.updated(jax.grad(loss_fn)(state.params), tx)
        residual = x @ weights + bias - y
        weights = weights - 0.1 * x.T @ residual  # d/dW of the mean over 2 of r^2 = x^T r
        bias = bias - 0.1 * residual.sum(0)
    assert int(state.step) == 2
    np.testing.assert_allclose(state.params["kernel"][...], weights, rtol=1e-5)
    np.testing.assert_allclose(state.params["bias"][...], bias, rtol=1e-5)
    np.testing.assert_allclose(
        training.as_module(graphdef, state)(x), x @ weights + bias, rtol=1e-5
    )


def test_as_module_is_in_evaluation_mode():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.norm, self.dropout = nnx.BatchNorm(3, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            return self.dropout(self.norm(x))

    graphdef, state = training.init_state(Net(nnx.Rngs(0)), optax.sgd(0.1), KEY)
    x = jnp.arange(12.0).reshape(4, 3)
    np.testing.assert_allclose(
        training.as_module(graphdef, state)(x), x, rtol=1e-4
    )  # mean 0, variance 1 so far
