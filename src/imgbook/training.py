"""Training: one state, one loop. A chapter brings `step(state, batch) -> (state, metrics)`; `fit` calls it.

A step is a pure, jitted function that donates its state. The loop is a Python loop: on a CPU a convolution inside
`jax.lax.scan` can be far slower than the same one called step by step (jax-ml/jax issue 12868).
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from tqdm import tqdm


class TrainState(NamedTuple):
    """All that changes while a network trains, as one pytree.

    params: the weights. stats: what is not trained by gradients (BatchNorm's running averages; may be empty).
    opt_state: the optimiser's memory. key: the PRNG key of the run; a step folds its number in. step: int32.
    """

    params: Any
    stats: Any
    opt_state: Any
    key: jax.Array
    step: jax.Array

    def updated(
        self, grads: Any, tx: optax.GradientTransformation, stats: Any = None
    ) -> "TrainState":
        """The next state: parameters moved by the optimiser, step counted, `stats` replaced if given."""
        updates, opt_state = tx.update(grads, self.opt_state, self.params)
        return self._replace(
            params=optax.apply_updates(self.params, updates),
            opt_state=opt_state,
            step=self.step + 1,
            stats=self.stats if stats is None else stats,
        )


def init_state(
    model: nnx.Module, tx: optax.GradientTransformation, key: jax.Array
) -> tuple[nnx.GraphDef, TrainState]:
    """Split a Flax module into its structure (static) and a fresh training state (arrays)."""
    graphdef, params, stats = nnx.split(model, nnx.Param, ...)
    return graphdef, TrainState(params, stats, tx.init(params), key, jnp.zeros((), jnp.int32))


def as_module(graphdef: nnx.GraphDef, state: TrainState) -> nnx.Module:
    """The trained Flax module in evaluation mode (BatchNorm uses its running averages, dropout is off)."""
    model = nnx.merge(graphdef, state.params, state.stats)
    model.eval()
    return model


@dataclass
class History:
    """What a run recorded: `metrics[name]` float `[num_steps]`, and how long it took.

    seconds counts from the end of the first step, which is compilation (`compile_seconds`).
    """

    metrics: dict[str, np.ndarray] = field(default_factory=dict)
    compile_seconds: float = 0.0
    seconds: float = 0.0
    images_per_second: float = 0.0


def batches(
    arrays: tuple[np.ndarray, ...], batch_size: int, key: jax.Array
) -> Iterator[tuple[jax.Array, ...]]:
    """Endless batches from arrays of equal length, each epoch in a new order drawn from `key`.

    The arrays are put on the device once. The images left over when `batch_size` does not divide their number are
    skipped in that epoch; since the order is new each time, all are seen in the long run.

    Raises:
        ValueError: lengths that differ, or a batch size below 1 or above the number of images.
    """
    n = len(arrays[0])
    if any(len(a) != n for a in arrays):
        raise ValueError(f"arrays of different lengths: {[len(a) for a in arrays]}")
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch size {batch_size} with {n} images; allowed: 1 to {n}")
    device_arrays = jax.device_put(tuple(arrays))
    gather = jax.jit(lambda arrays, indices: tuple(a[indices] for a in arrays))

    def endless():
        for epoch_key in _keys(key):
            order = np.asarray(jax.random.permutation(epoch_key, n))
            for start in range(0, n - batch_size + 1, batch_size):
                yield gather(device_arrays, order[start : start + batch_size])

    return endless()


def _keys(key: jax.Array) -> Iterator[jax.Array]:
    epoch = 0
    while True:
        yield jax.random.fold_in(key, epoch)
        epoch += 1


def fit(
    state: Any,
    step: Callable[[Any, Any], tuple[Any, dict[str, jax.Array]]],
    batches: Iterator[Any],
    num_steps: int,
    *,
    callback: Callable[[int, Any], None] | None = None,
    callback_every: int = 0,
    progress: bool = True,
) -> tuple[Any, History]:
    """Run `num_steps` steps and return the last state and the history.

    `callback(step, state)` is called before the first step and after every `callback_every` steps, to draw samples,
    say; it must not keep the state itself, which the next step consumes. An interrupt (Ctrl-C, a notebook's stop
    button) takes effect between steps and returns what there is so far; a second one at once.

    Raises:
        ValueError: `num_steps` below 1.
        FloatingPointError: a metric is not finite (looked at every 50 steps and at the end).
    """
    if num_steps < 1:
        raise ValueError(f"num_steps = {num_steps}; allowed: 1 or more")
    recorded, history, images = [], History(), 0
    bar = tqdm(total=num_steps, disable=not progress, unit="step", mininterval=0.5, file=sys.stderr)
    if callback:
        callback(0, state)
    begin = time.perf_counter()
    try:
        with held_interrupt() as interrupted:
            for i in range(1, num_steps + 1):
                if interrupted():
                    raise KeyboardInterrupt
                batch = next(batches)
                state, metrics = step(state, batch)
                recorded.append(metrics)
                if i == 1:
                    jax.block_until_ready(metrics)
                    history.compile_seconds = time.perf_counter() - begin
                    begin = time.perf_counter()
                else:
                    images += len(jax.tree.leaves(batch)[0])
                # Reading a metric waits for the device, so only now and then.
                if i % 50 == 0 or i == num_steps:
                    _check_finite(i, metrics)
                    bar.set_postfix(
                        {name: f"{float(v):.3f}" for name, v in list(metrics.items())[:3]},
                        refresh=False,
                    )
                bar.update()
                if callback and callback_every and i % callback_every == 0:
                    jax.block_until_ready(metrics)
                    pause = time.perf_counter()
                    callback(i, state)
                    begin += time.perf_counter() - pause  # drawing is not training
    except KeyboardInterrupt:
        print(
            f"interrupted after {len(recorded)} of {num_steps} steps; returning what there is",
            file=sys.stderr,
        )
    finally:
        bar.close()
    jax.block_until_ready(state)
    history.seconds = time.perf_counter() - begin
    history.images_per_second = images / max(history.seconds, 1e-9)
    recorded = jax.device_get(recorded)
    history.metrics = {
        name: np.asarray([m[name] for m in recorded]) for name in (recorded[0] if recorded else ())
    }
    return state, history


@contextmanager
def held_interrupt() -> Iterator[Callable[[], bool]]:
    """Within the block the first interrupt is only noted; the function it yields says whether there was one.

    Raised inside a step it would lose the state: the old one is donated and the new one not assigned yet. A second
    interrupt is raised at once. Outside the main thread, which signals do not reach, nothing changes.
    """
    noted = []

    def note(*_: object) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(True)

    in_main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGINT, note) if in_main_thread else None
    try:
        yield lambda: bool(noted)
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, previous)


def _check_finite(step: int, metrics: dict[str, jax.Array]) -> None:
    for name, value in metrics.items():
        if not np.isfinite(float(value)):
            raise FloatingPointError(
                f"{name} = {float(value)} at step {step}. Likely causes: a learning rate too high, "
                "pixels outside their range, a logarithm of a probability instead of logits."
            )
