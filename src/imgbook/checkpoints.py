"""Checkpoints of a training run, by Orbax: every k steps and at the end, whole or not at all, the last few kept.

A run that was killed at any moment and is started again with `resume=True` ends with the same bits as one that was
not: a checkpoint holds the whole state (optimiser and keys too) and the history, and batches depend on the step alone.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from imgbook import files, parallel, processes, training, weights
from imgbook.weights import HISTORY

if TYPE_CHECKING:
    from orbax.checkpoint import CheckpointManager


class CheckpointError(OSError):
    """A checkpoint could not be saved. `state` and `history` are the run's, so that nothing is lost."""

    state: Any = None
    history: "training.History | None" = None


@dataclass(frozen=True)
class Checkpoints:
    """Where and how often `training.fit` saves.

    folder: made if missing; one run a folder. every: steps between checkpoints. keep: how many of the last are kept.
    resume: go on from the newest whole checkpoint (from the start if there is none yet). describe: what run this is
    (model, hyperparameters, data, seed; anything JSON can hold); a checkpoint of another run is refused.
    """

    folder: str | Path
    every: int = 500
    keep: int = 3
    resume: bool = False
    describe: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}; allowed: 1 or more")

    def open(self, num_steps: int) -> "Saver":
        """What `fit` uses; see `Saver`."""
        return Saver(self, num_steps)


class Saver:
    """The checkpoints of one run, open for reading and writing.

    Raises:
        ValueError: the folder holds checkpoints though resume was not asked for.
        OSError: the folder cannot be made or written to.
    """

    def __init__(self, options: Checkpoints, num_steps: int):
        self.options, self.num_steps = options, num_steps
        self.folder = Path(options.folder).absolute()
        self.describe = json.loads(json.dumps(options.describe))  # as it comes back from a file
        files.check_writable(self.folder)
        self.manager = open_manager(self.folder)
        steps = self.manager.all_steps()
        if steps and not options.resume:
            raise ValueError(
                f"{self.folder} already holds checkpoints, the last at step {max(steps)}. Resume that run "
                "(resume=True, on the command line --resume), or choose another folder."
            )

    def resume(self, state: Any, names: tuple[str, ...]) -> tuple[Any, int, dict[str, np.ndarray]]:
        """State, number of steps done and metrics so far, from the newest whole checkpoint; `state`, 0, {} if none.

        Raises:
            ValueError: the checkpoint is another run's, has other shapes, or lies beyond `num_steps`; or there are
            checkpoints, and all are damaged.
        """
        step, passed = newest_whole(self.manager, self.folder)
        metrics: dict[str, np.ndarray] = {}
        if step:
            state, metrics = read(self.manager, self.folder, step, state, self.describe)
            if step > self.num_steps:
                raise ValueError(
                    f"the checkpoint in {self.folder} is at step {step}, beyond num_steps = {self.num_steps}"
                )
            if set(metrics) != set(names):
                raise ValueError(
                    f"the checkpoint in {self.folder} has the metrics {', '.join(sorted(metrics))}; this run's are "
                    f"{', '.join(sorted(names))}. Choose another folder."
                )
            print(f"resuming {self.folder} after step {step}", file=sys.stderr)
        if passed:  # moved aside, so that the run can save those steps again
            for number, reason in passed.items():
                aside = self.folder / f"{number}.{reason.split()[0]}"
                (self.folder / str(number)).rename(files.free_name(aside))
            self.manager.close()
            self.manager = open_manager(self.folder)
        return state, step, metrics

    def save(
        self, step: int, state: Any, metrics: dict[str, np.ndarray], history: "training.History"
    ) -> None:
        """Save the run after `step` steps.

        Raises:
            FloatingPointError: a weight is not finite; nothing is saved.
            CheckpointError: the disk is full, the folder cannot be written to, ...; earlier checkpoints stay whole.
        """
        from orbax.checkpoint import args

        arrays = as_numpy(state)
        for name, array in arrays.items():
            if jnp.issubdtype(array.dtype, jnp.floating) and not np.isfinite(array).all():
                raise FloatingPointError(training.not_finite(f"{name} is not finite", step, self))
        arrays |= {HISTORY + name: values for name, values in metrics.items()}
        about = {"describe": self.describe}
        try:
            check_space(self.folder, arrays)
            items = {"arrays": args.StandardSave(arrays), "about": args.JsonSave(about)}
            self.manager.save(step, args=args.Composite(**items), force=True)
            files.seal(self.folder / str(step))
            for old in sorted(self.manager.all_steps())[: -self.options.keep]:
                self.manager.delete(old)
        except (OSError, ValueError, RuntimeError) as error:
            failure = CheckpointError(
                f"could not save step {step} to {self.folder} ({type(error).__name__}: {error}); {self.last()}. "
                "Make room or mend the folder, then resume. State and history are in this error."
            )
            history.metrics = metrics
            failure.state, failure.history = state, history
            raise failure from error

    def last(self) -> str:
        """In words, where the last checkpoint is."""
        sealed = [
            s for s in self.manager.all_steps() if (self.folder / f"{s}" / files.SEAL).exists()
        ]
        where = f"is step {max(sealed)} in {self.folder}" if sealed else "was not reached"
        return f"the last checkpoint {where}"

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, *_: object) -> None:
        self.manager.close()


def restore(
    folder: str | Path, like: Any, describe: Mapping[str, Any] | None = None
) -> tuple[Any, int, dict[str, np.ndarray]]:
    """State, step and metrics of the newest whole checkpoint in `folder`, in the structure of `like`.

    Raises:
        FileNotFoundError: there is no checkpoint. ValueError: as for `Saver.resume`.
    """
    with _newest(folder) as (manager, folder, step):
        wanted = None if describe is None else json.loads(json.dumps(describe))
        state, metrics = read(manager, folder, step, like, wanted)
    return state, step, metrics


def description(folder: str | Path) -> dict[str, Any]:
    """What run the newest whole checkpoint in `folder` is of: what was given as `describe`. Errors as for `restore`."""
    from orbax.checkpoint import args

    with _newest(folder) as (manager, _, step):
        stored = manager.restore(step, args=args.Composite(about=args.JsonRestore()))
    return stored.about["describe"]


@contextmanager
def _newest(folder: str | Path) -> Iterator[tuple["CheckpointManager", Path, int]]:
    """The open manager of a folder, its absolute path, and the step of its newest whole checkpoint."""
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; train with checkpoints there first")
    manager = open_manager(folder)
    try:
        step, _ = newest_whole(manager, folder)
        if not step:
            raise FileNotFoundError(f"{folder} holds no whole checkpoint; train with it first")
        yield manager, folder, step
    finally:
        manager.close()


def open_manager(folder: Path) -> "CheckpointManager":
    from orbax.checkpoint import (
        CheckpointManager,
        CheckpointManagerOptions,
        JsonCheckpointHandler,
        StandardCheckpointHandler,
    )
    from orbax.checkpoint.options import MultiprocessingOptions

    # Of several processes one alone has it: Orbax is not to wait for the others.
    me = jax.process_index()
    alone = MultiprocessingOptions(primary_host=me, active_processes={me})
    # It keeps all checkpoints: old ones go when the new one is sealed, and not before.
    options = CheckpointManagerOptions(
        enable_async_checkpointing=False, create=False, multiprocessing_options=alone
    )
    handlers = {
        "arrays": StandardCheckpointHandler(multiprocessing_options=alone),
        "about": JsonCheckpointHandler(multiprocessing_options=alone),
    }
    return CheckpointManager(folder, options=options, item_handlers=handlers)


def newest_whole(manager: "CheckpointManager", folder: Path) -> tuple[int, dict[int, str]]:
    """The step of the newest whole checkpoint (0: none), and the newer ones with what is wrong with them.

    Raises:
        ValueError: there are checkpoints, none is whole and some are damaged. (If all are merely unfinished, the run
        was killed before it had saved anything.)
    """
    passed = {}
    for step in sorted(manager.all_steps(), reverse=True):
        reason = files.damage(folder / str(step))
        if not reason:
            return step, passed
        passed[step] = reason
        print(f"{folder / str(step)} is {reason}; trying an older one", file=sys.stderr)
    if any(reason != files.UNFINISHED for reason in passed.values()):
        raise ValueError(
            f"no checkpoint in {folder} is whole (there are {', '.join(map(str, passed))}). Nothing was changed; "
            "start again in another folder."
        )
    return 0, passed


def read(
    manager: "CheckpointManager", folder: Path, step: int, like: Any, describe: dict | None
) -> tuple[Any, dict[str, np.ndarray]]:
    """State and metrics of a whole checkpoint; `describe`: what run it must be of (None: any)."""
    from orbax.checkpoint import args

    items = {"arrays": args.StandardRestore(), "about": args.JsonRestore()}
    stored = manager.restore(step, args=args.Composite(**items))
    check_same_run(folder, step, stored.about["describe"], describe)
    arrays = {name: np.asarray(array) for name, array in stored.arrays.items()}
    names = sorted(name for name in arrays if name.startswith(HISTORY))
    metrics = {name.removeprefix(HISTORY): arrays.pop(name) for name in names}
    return from_numpy(like, arrays, folder / str(step)), metrics


def check_same_run(folder: Path, step: int, stored: dict, wanted: dict | None) -> None:
    """Raise ValueError, naming the differences, unless the descriptions of two runs are equal."""
    if wanted is None or stored == wanted:
        return
    differences = [
        f"{name}: {there!r} there, {here!r} here"
        for name, there, here in processes.differences(stored, wanted)
    ]
    raise ValueError(
        f"the checkpoint {folder / str(step)} is another run's ({'; '.join(differences)}). Repeat that run's "
        "options, or choose another folder. Nothing was changed."
    )


def as_numpy(state: Any) -> dict[str, np.ndarray]:
    """All leaves by name; PRNG keys as their data."""
    named = weights.named(state)
    return {name: np.asarray(parallel.key_data(leaf)) for name, leaf in named.items()}


def from_numpy(like: Any, arrays: dict[str, np.ndarray], where: Path | str) -> Any:
    """The arrays in the structure of `like`.

    Raises:
        ValueError: names, shapes or dtypes differ.
    """
    named = weights.named(like)
    weights.check_equal(where, {n: parallel.key_data(leaf) for n, leaf in named.items()}, arrays)
    leaves = [parallel.from_key_data(arrays[name], leaf) for name, leaf in named.items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def check_space(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise OSError unless the disk has room for twice the arrays (the new checkpoint, before the oldest goes)."""
    needed = 2 * sum(array.nbytes for array in arrays.values())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"{free / 1e6:.0f} MB are free, {needed / 1e6:.0f} MB needed")
