"""Training: one state, one loop. A chapter brings `step(state, batch) -> (state, metrics)`; `fit` runs it.

A step is a pure function of one pytree and one batch. `fit` compiles a loop over many steps into one program, whose
length is an argument: the data stay on the device, Python is asked only a few times a second, and the result does not
depend on how the steps were divided over calls. On a CPU this needs the layers of `imgbook.layers`, since XLA's own
convolution is slow inside a loop; with them it is faster than a call a step, because memory is asked for once a call.
"""

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from tqdm import tqdm

from imgbook import parallel, processes
from imgbook.batches import Batches, batches  # noqa: F401 - chapters call `training.batches`
from imgbook.parallel import Layout

if TYPE_CHECKING:
    from imgbook.checkpoints import Checkpoints

SECONDS_A_CALL = 0.5  # as many steps a call as fit into this: how long an interrupt may take
STEPS_A_CALL = 128  # and no more than this


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
    key = jnp.copy(key)  # training consumes the state, and the caller may want the key again
    return graphdef, TrainState(params, stats, tx.init(params), key, jnp.zeros((), jnp.int32))


def as_module(graphdef: nnx.GraphDef, state: TrainState) -> nnx.Module:
    """The trained Flax module in evaluation mode (BatchNorm uses its running averages, dropout is off)."""
    model = nnx.merge(graphdef, state.params, state.stats)
    model.eval()
    return model


@dataclass
class History:
    """What a run recorded: `metrics[name]` float32 `[num_steps]`, and how long it took.

    seconds: training alone, without compilation (`compile_seconds`), callbacks and checkpoints. After a resumed run
    metrics has every step since the first; the times are those of the last part.
    """

    metrics: dict[str, np.ndarray] = field(default_factory=dict)
    compile_seconds: float = 0.0
    seconds: float = 0.0
    images_per_second: float = 0.0


def fit(
    state: Any,
    step: Callable[[Any, Any], tuple[Any, dict[str, jax.Array]]],
    batches: Batches,
    num_steps: int,
    *,
    layout: Layout | None = None,
    checkpoints: "Checkpoints | None" = None,
    callback: Callable[[int, Any], None] | None = None,
    callback_every: int = 0,
    progress: bool = True,
) -> tuple[Any, History]:
    """Train up to step `num_steps` and return the last state and the history. The state given is consumed (donated).

    `step(state, batch) -> (state, metrics)` is pure and can be jitted; metrics are scalars by name.
    `layout`: the devices (by default one, JAX's default device), see `imgbook.parallel`. All of the data are put on
    each of them, the batch is divided; the state that is returned is on one. `callback(number, state)` is called
    before the first step and after every `callback_every` steps, to draw samples, say, with the state as it lies on
    the devices; it must not keep it: the next step consumes it. With `checkpoints` the run is saved as it goes and
    can be resumed (with other devices too), see there. An interrupt (Ctrl-C, a notebook's stop button) takes effect
    between steps: what there is is saved and returned; a second one is raised at once.

    In several processes all call it with the same arguments, callbacks included, and get the same. The state, and
    checkpoints, are those of process 0, which alone reads and writes files and shows progress. An interrupt of one
    stops all.

    Raises:
        ValueError: `num_steps` below 1, metrics that are no scalars, devices that do not divide the batch, or what
            `checkpoints` refuses.
        TypeError: `batches` is something else.
        FloatingPointError: a metric or a weight is not finite; names the step, the last checkpoint, likely causes.
        CheckpointError: a checkpoint could not be saved; the error holds `state` and `history`, nothing is lost.
        ProcessLost: another process has ended; at once, or as `imgbook.processes` says.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps = {num_steps}; allowed: 1 or more")
    if not isinstance(batches, Batches):
        raise TypeError(f"batches are {type(batches).__name__}; expected training.batches(...)")
    layout = layout or parallel.one_device()
    layout.check_batch(jax.eval_shape(_draw(batches), batches.data, filled(batches.plan(0, 1)), 0))
    state = jax.tree.map(_strong, state)
    keeps = checkpoints and layout.leads
    saving = checkpoints.open(num_steps) if keeps else nullcontext()  # fails before any work
    with (
        saving as saver,
        processes.held_interrupt() as interrupted,
        processes.together(_last(checkpoints)),
    ):
        begin = time.perf_counter()
        run, names = compile_loop(step, state, batches, layout)
        history = History(compile_seconds=time.perf_counter() - begin)
        state, first, metrics = _begin(layout, saver, state, names)
        data = layout.replicate(batches.data)
        done, parts, per_step = first, [metrics] if metrics else [], SECONDS_A_CALL
        periods = [
            period for period in (callback_every, checkpoints and checkpoints.every) if period
        ]
        if callback and done < num_steps:
            callback(done, state)
        shown = progress and layout.leads
        with _progress_bar(done, num_steps, batches.note if shown else None) as bar:
            while done < num_steps:
                begin = time.perf_counter()
                most = int(np.clip(SECONDS_A_CALL / per_step, 1, STEPS_A_CALL))
                n = min(num_steps, done + most, *(done - done % p + p for p in periods)) - done
                stop = interrupted()
                if layout.num_processes > 1:  # their clocks and signals differ
                    n, stop = processes.agree(n, stop)
                if stop:
                    break
                state, metrics = run(state, data, filled(batches.plan(done, n)), n)
                parts.append({name: np.asarray(values)[:n] for name, values in metrics.items()})
                _check_finite(done, parts[-1], saver)
                done += n
                seconds = time.perf_counter() - begin
                history.seconds, per_step = history.seconds + seconds, max(seconds / n, 1e-6)
                bar.set_postfix(_postfix(parts[-1], batches.size / per_step), refresh=False)
                bar.update(n)
                if checkpoints and done % checkpoints.every == 0 and done < num_steps:
                    _save(layout, saver, done, state, _joined(parts), history)
                if callback and callback_every and done % callback_every == 0:
                    callback(done, state)
        if done < num_steps and layout.leads:
            print(
                f"interrupted after {done} of {num_steps} steps; returning what there is",
                file=sys.stderr,
            )
        history.metrics = _joined(parts)
        history.images_per_second = (done - first) * batches.size / max(history.seconds, 1e-9)
        state = layout.gather(state)
        if saver and done > first:
            saver.save(done, state, history.metrics, history)
    return state, history


def _last(checkpoints: "Checkpoints | None") -> str:
    """In words, how a run whose processes have lost each other can go on."""
    if not checkpoints:
        return "No checkpoints were kept."
    return f"Start all again with resume=True (--resume), to go on from the last checkpoint in {checkpoints.folder}."


def _begin(layout: Layout, saver: Any, state: Any, names: tuple[str, ...]) -> tuple[Any, int, dict]:
    """State on its devices, steps done and metrics so far: of a checkpoint, or fresh; in all processes those of 0."""
    state, first, metrics = saver.resume(state, names) if saver else (state, 0, {})
    if layout.num_processes > 1:
        mine, structure = jax.tree.flatten(state)
        numbers = [np.asarray(parallel.key_data(leaf)) for leaf in mine]
        numbers, first, metrics = processes.broadcast((numbers, first, metrics))
        state = structure.unflatten(map(parallel.from_key_data, numbers, mine))
    return layout.place(state), first, metrics


def _save(layout: Layout, saver: Any, done: int, state: Any, metrics: dict, history: Any) -> None:
    """Save the state, by the process that does; if it lies on several processes' devices, all have to give theirs."""
    if layout.num_processes > 1:
        state = layout.gather(state)
    if saver:
        saver.save(done, state, metrics, history)


def _strong(leaf: Any) -> jax.Array:
    """An array of a type of its own: one made from a Python number may change its type in the first step."""
    array = jnp.asarray(leaf)
    is_key = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    return array if is_key else jax.lax.convert_element_type(array, array.dtype)


def _draw(batches: Batches) -> Callable[[Any, Any, jax.Array], Any]:
    """`draw(data, plan, i)`: the batch of a plan's row i."""
    return lambda data, plan, i: batches.draw(data, jax.tree.map(lambda array: array[i], plan))


def compile_loop(
    step: Callable, state: Any, batches: Batches, layout: Layout | None = None
) -> tuple[Callable, tuple[str, ...]]:
    """`run(state, data, plan, n) -> (state, metrics [STEPS_A_CALL])`, compiled, and the metrics' names.

    The number of steps is an argument of the program and not part of it: one compilation serves all lengths, and every
    step is computed by the same instructions however the run is divided, which is what makes a resumed run equal to
    the last bit. State and data lie as the `layout` says (by default on one device), a metric is on all devices; it is
    float32, or float64 if the step's is.
    """
    layout, plan, draw = (
        layout or parallel.one_device(),
        filled(batches.plan(0, 1)),
        _draw(batches),
    )
    where, everywhere = layout.shardings(state), layout.replicated

    @partial(
        jax.jit,
        donate_argnums=0,
        in_shardings=(where, everywhere, everywhere, everywhere),
        out_shardings=(where, everywhere),
    )
    def run(state: Any, data: Any, plan: Any, n: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
        def body(i: jax.Array, carry: tuple) -> tuple:
            state, metrics = carry
            state, values = step(state, layout.divide(draw(data, plan, i)))
            state = jax.lax.with_sharding_constraint(state, where)  # else XLA may choose another
            return state, {name: metrics[name].at[i].set(values[name]) for name in metrics}

        empty = {
            name: jnp.zeros(STEPS_A_CALL, jnp.promote_types(value.dtype, jnp.float32))
            for name, value in shapes.items()
        }
        return jax.lax.fori_loop(0, n, body, (state, empty))

    _, shapes = jax.eval_shape(lambda s, d, p: step(s, draw(d, p, 0)), state, batches.data, plan)
    if any(value.shape for value in shapes.values()):
        found = {name: value.shape for name, value in shapes.items()}
        raise ValueError(f"metrics of shapes {found}; expected scalars: take their mean")
    with jax.set_mesh(layout.mesh):  # which `parallel.divided` asks for
        return run.lower(state, batches.data, plan, 1).compile(), tuple(shapes)


def filled(plan: Any) -> Any:
    """A plan `[n, ...]` made as long as a call can be: rows beyond n are not looked at."""

    def fill(array: np.ndarray) -> np.ndarray:
        filled = np.zeros((STEPS_A_CALL, *array.shape[1:]), array.dtype)
        filled[: len(array)] = array
        return filled

    return jax.tree.map(fill, plan)


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Metrics of several calls in a row; the list is shortened to one part, so that joining again costs no more."""
    if len(parts) > 1:
        parts[:] = [{name: np.concatenate([p[name] for p in parts]) for name in parts[0]}]
    return parts[0] if parts else {}


def _progress_bar(done: int, num_steps: int, note: str | None) -> tqdm:
    """A bar on stderr below the `note` on the batches; nothing at all if that is None."""
    if note:
        print(note, file=sys.stderr)
    return tqdm(
        total=num_steps, initial=done, disable=note is None, unit="step", mininterval=0.5, file=sys.stderr
    )  # fmt: skip


def _postfix(metrics: dict[str, np.ndarray], images_per_second: float) -> dict[str, str]:
    shown = {name: f"{values[-1]:.3f}" for name, values in list(metrics.items())[:3]}
    return {**shown, "images/s": f"{images_per_second:,.0f}"}


def _check_finite(done: int, metrics: dict[str, np.ndarray], saver: Any) -> None:
    """Raise FloatingPointError if a metric of a call that began after `done` steps is not finite."""
    bad = [(i, name) for name, v in metrics.items() for i in np.flatnonzero(~np.isfinite(v))[:1]]
    if bad:
        i, name = min(bad)
        raise FloatingPointError(not_finite(f"{name} = {metrics[name][i]}", done + i + 1, saver))


def not_finite(what: str, step: int, saver: Any) -> str:
    """The message of a run that diverged."""
    kept = saver.last() if saver else "no checkpoints were kept"
    return (
        f"{what} at step {step}; {kept}. Likely causes: a learning rate too high, pixels outside their range, "
        "a logarithm of a probability instead of logits."
    )


def use_compilation_cache() -> None:
    """Keep compiled programs on disk, so that a second process need not compile them again.

    A folder that JAX was told already (`JAX_COMPILATION_CACHE_DIR`) stays; otherwise it is in the user's cache folder.
    """
    import pooch

    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(pooch.os_cache("imgbook") / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
