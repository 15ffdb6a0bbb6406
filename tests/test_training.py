"""The loop: batches, history, callbacks, and what happens when something goes wrong."""

import itertools
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from imgbook import training
from imgbook.training import batches, fit

KEY = jax.random.key(0)


def epochs(batch_size: int, n: int, count: int, key: jax.Array = KEY) -> list[np.ndarray]:
    """The indices drawn in each of `count` epochs."""
    stream = batches((np.arange(n),), batch_size, key)
    return [
        np.concatenate([b for (b,) in itertools.islice(stream, n // batch_size)])
        for _ in range(count)
    ]


@pytest.mark.parametrize(("batch_size", "n"), [(4, 12), (5, 12), (12, 12), (1, 7)])
def test_an_epoch_shows_every_image_at_most_once(batch_size, n):
    for order in epochs(batch_size, n, 3):
        assert len(order) == n // batch_size * batch_size
        assert len(set(order.tolist())) == len(order)
        assert set(order.tolist()) <= set(range(n))


def test_epochs_differ_and_all_images_are_seen_in_the_long_run():
    orders = epochs(16, 40, 8)
    assert len({o.tobytes() for o in orders}) == 8
    assert set(np.concatenate(orders).tolist()) == set(
        range(40)
    )  # 8 left over each time, others each time


def test_order_depends_on_the_key_only():
    np.testing.assert_array_equal(epochs(4, 20, 3), epochs(4, 20, 3))
    assert not np.array_equal(epochs(4, 20, 3), epochs(4, 20, 3, jax.random.key(1)))


def test_arrays_stay_together_and_keep_their_dtypes():
    images = np.arange(60, dtype=np.uint8).reshape(15, 2, 2, 1)
    labels = images[:, 0, 0, 0].astype(np.int32)
    for image, label in itertools.islice(batches((images, labels), 4, KEY), 7):
        assert (image.shape, image.dtype, label.dtype) == ((4, 2, 2, 1), np.uint8, np.int32)
        np.testing.assert_array_equal(image[:, 0, 0, 0], label)


@pytest.mark.parametrize("batch_size", [0, -1, 13])
def test_bad_batch_size_is_refused_at_once(batch_size):
    with pytest.raises(ValueError, match=f"{batch_size} with 12 images; allowed: 1 to 12"):
        batches((np.arange(12),), batch_size, KEY)


def test_different_lengths_are_refused_at_once():
    with pytest.raises(ValueError, match=r"\[12, 11\]"):
        batches((np.arange(12), np.arange(11)), 4, KEY)


# --- fit ------------------------------------------------------------------------------------------------------


def counting(stop_at: int = 0, value: float = np.nan, error: type[BaseException] | None = None):
    """A step whose state is a count and whose metrics are the count and its square; `stop_at` makes it fail."""

    def step(state, batch):
        count = state + 1
        if error is not None and int(count) == stop_at:
            raise error
        spoiled = value if int(count) >= stop_at > 0 else count**2
        return count, {"count": count, "square": jnp.asarray(spoiled, jnp.float32)}

    return step


def stream(n: int = 3):
    return itertools.repeat((np.zeros((n, 2)),))


START = jnp.zeros((), jnp.int32)


def test_fit_returns_the_last_state_and_every_metric():
    state, history = fit(START, counting(), stream(), 7, progress=False)
    assert int(state) == 7
    assert set(history.metrics) == {"count", "square"}
    np.testing.assert_array_equal(history.metrics["count"], np.arange(1, 8))
    np.testing.assert_array_equal(history.metrics["square"], np.arange(1, 8) ** 2)
    assert history.compile_seconds > 0
    assert history.images_per_second == pytest.approx(
        6 * 3 / history.seconds
    )  # the first step is not counted


@pytest.mark.parametrize(
    ("every", "num_steps", "expected"),
    [(2, 7, [0, 2, 4, 6]), (7, 7, [0, 7]), (0, 7, [0]), (9, 7, [0])],
)
def test_callback_sees_the_steps_it_asked_for(every, num_steps, expected):
    seen = []
    fit(
        START, counting(), stream(), num_steps, progress=False,
        callback=lambda i, state: seen.append((i, int(state))), callback_every=every,
    )  # fmt: skip
    assert seen == [(i, i) for i in expected]


def test_fit_takes_one_batch_a_step_and_no_more():
    numbered = ((np.full((1, 1), i),) for i in itertools.count())
    _, history = fit(START, lambda s, b: (s, {"batch": b[0][0, 0]}), numbered, 5, progress=False)
    np.testing.assert_array_equal(history.metrics["batch"], np.arange(5))
    assert next(numbered)[0][0, 0] == 5


@pytest.mark.parametrize("num_steps", [0, -3])
def test_fit_refuses_no_steps(num_steps):
    with pytest.raises(ValueError, match=f"num_steps = {num_steps}; allowed: 1 or more"):
        fit(START, counting(), stream(), num_steps, progress=False)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("bad_step", "num_steps", "found"), [(3, 3, 3), (20, 80, 50), (51, 70, 70), (101, 500, 150)]
)
def test_a_metric_that_is_not_finite_stops_the_run(value, bad_step, num_steps, found):
    with pytest.raises(
        FloatingPointError, match=f"square = {value} at step {found}.*learning rate"
    ):
        fit(START, counting(bad_step, value), stream(), num_steps, progress=False)


def test_an_interrupt_returns_what_there_is(capsys):
    state, history = fit(START, counting(5, error=KeyboardInterrupt), stream(), 100, progress=False)
    assert int(state) == 4
    np.testing.assert_array_equal(history.metrics["count"], [1, 2, 3, 4])
    assert "interrupted after 4 of 100 steps" in capsys.readouterr().err
    state, history = fit(
        state, counting(), stream(), 2, progress=False
    )  # and it can go on from there
    assert int(state) == 6


def test_an_interrupt_before_the_first_step_returns_an_empty_history():
    state, history = fit(START, counting(1, error=KeyboardInterrupt), stream(), 100, progress=False)
    assert int(state) == 0
    assert history.metrics == {}


def test_a_signal_inside_a_donating_step_does_not_lose_the_state():
    """The old state is donated and the new one not returned yet: the interrupt has to wait for the end of the step."""
    donating = jax.jit(lambda state: {"w": state["w"] * 2, "n": state["n"] + 1}, donate_argnums=0)

    def step(state, batch):
        new = donating(state)
        if int(new["n"]) == 3:
            signal.raise_signal(signal.SIGINT)  # what Ctrl-C does
        return new, {"n": int(new["n"])}  # not the array itself, which the next step consumes

    before = signal.getsignal(signal.SIGINT)
    state, history = fit(
        {"w": jnp.ones(4), "n": jnp.zeros((), jnp.int32)}, step, stream(), 100, progress=False
    )
    np.testing.assert_array_equal(state["w"], np.full(4, 8.0))
    np.testing.assert_array_equal(history.metrics["n"], [1, 2, 3])
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_signal_takes_effect_at_once():
    def step(state, batch):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return state + 1, {"n": state}

    state, history = fit(START, step, stream(), 100, progress=False)
    assert int(state) == 0
    assert history.metrics == {}


def test_other_errors_of_a_step_pass_through():
    with pytest.raises(ZeroDivisionError):
        fit(START, counting(2, error=ZeroDivisionError), stream(), 10, progress=False)


def test_progress_is_shown_on_stderr_and_can_be_silenced(capsys):
    fit(START, counting(), stream(), 5, progress=False)
    assert capsys.readouterr() == ("", "")
    fit(START, counting(), stream(), 5)
    out, err = capsys.readouterr()
    assert out == ""
    assert "5/5" in err
    assert "square=25.000" in err


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
