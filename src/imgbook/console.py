"""What all commands have in common: results are one line of JSON on stdout, progress and errors go to stderr.

Exit codes: 0 fine; 1 a run failed (a loss that is not finite, a file that could not be saved); 2 wrong usage or input;
130 interrupted.
"""

import json
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgbook import records, staleness

if TYPE_CHECKING:
    from imgbook.parallel import Layout

COMMAND = "python -m imgbook"


class Interrupted(Exception):
    """A run was stopped by the user; what there was is saved."""


class Commands(click.Group):
    """A group whose errors are one line on stderr, with the exit codes above, and which knows its own command line."""

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> None:
        args = sys.argv[1:] if args is None else list(args)
        extra |= {"standalone_mode": False, "obj": shlex.join([*COMMAND.split(), *args])}
        try:
            code = super().main(args=args, **extra) or 0
        except Interrupted as error:  # in all processes of a run
            code = fail(error, 130)
        except click.Abort:
            leave(code := fail("interrupted", 130))
        except (click.ClickException, FileNotFoundError, ValueError) as error:
            said = error.format_message() if isinstance(error, click.ClickException) else error
            leave(code := fail(said, 2))
        except (OSError, FloatingPointError, staleness.NotEquivalent) as error:
            leave(code := fail(error, 1))
        sys.exit(code)


class ManySeeds(click.Command):
    """A command whose `--seeds` takes several numbers: `--seeds 0 1 2`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        after = 0  # how many words after --seeds the current one is; 0 if not among them
        for word in args:
            if word == "--seeds":
                spread, after = [*spread, word], 1
            elif after > 1 and word.lstrip("-").isdigit():
                spread += ["--seeds", word]
            else:
                spread, after = [*spread, word], after + 1 if after == 1 else 0
        return super().parse_args(ctx, spread)


def fail(error: object, code: int) -> int:
    """Say in one line what is wrong; returns the exit code."""
    click.echo("error: " + " ".join(str(error).split()), err=True)
    return code


def report(command: str, began: float, history: Any = None, **what: object) -> None:
    """Print the results as one line of JSON."""
    result = {
        "command": command,
        **dict.fromkeys(("model", "data", "preset", "seed", "steps", "metrics")),
        "seconds": round(history.seconds if history else time.perf_counter() - began, 3),
        "images_per_second": round(history.images_per_second, 1) if history else None,
        "compile_seconds": round(history.compile_seconds, 3) if history else None,
        "device": records.describe_device(),
        "versions": records.versions(),
        **what,
    }
    click.echo(json.dumps(result))


def floats(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def options(*decorators: Callable) -> Callable:
    """Several of click's decorators as one."""

    def decorate(function: Callable) -> Callable:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


PARALLEL = options(
    click.option("--devices", type=click.IntRange(min=1),
                 help="Devices of each process that share each batch [1; several processes: all]. "
                 "On a CPU virtual ones, which share its cores."),
    click.option("--shard-parameters", is_flag=True,
                 help="Divide parameters and optimiser state over the devices."),
    click.option("--coordinator", metavar="HOST:PORT", help="Process 0, as the others reach it."),
    click.option("--processes", type=click.IntRange(min=1), help="How many processes there are."),
    click.option("--process-id", type=click.IntRange(min=0), help="Which one this is, from 0 on."),
)  # fmt: skip


def start(
    devices: int | None,
    shard_parameters: bool,
    coordinator: str | None,
    processes: int | None,
    process_id: int | None,
) -> "Layout | None":
    """Start JAX on the devices, and with the other processes, that the `PARALLEL` options name; None: on one.

    Raises:
        UsageError: options that do not go together. ValueError, ConnectionError: as `parallel.connect` and `layout`.
    """
    together = (coordinator, processes, process_id)
    if (several := any(one is not None for one in together)) and None in together:
        raise click.UsageError(
            "--coordinator, --processes and --process-id belong together: give all three"
        )
    if several and process_id >= processes:
        raise click.UsageError(
            f"--process-id {process_id} of --processes {processes}; allowed: 0 to {processes - 1}"
        )
    if shard_parameters and not several and (devices or 1) == 1:
        raise click.UsageError("--shard-parameters needs several devices: give --devices")
    if devices is None and not several:
        return None
    import jax

    from imgbook import parallel

    if devices:
        parallel.virtual_devices(devices)
    if several:
        parallel.connect(coordinator, processes, process_id)
    layout = parallel.layout(devices, shard_parameters=shard_parameters)
    if (devices or 1) > 1 and layout.leads and jax.default_backend() == "cpu":
        click.echo(
            f"{devices} virtual devices share the processor: to try things out, not for speed",
            err=True,
        )
    return layout


def finish(layout: "Layout | None") -> None:
    """Wait for the other processes, if there are any: a run is fine when process 0 has written all it writes."""
    if layout and layout.num_processes > 1:
        from imgbook import processes

        processes.finish()


def leave(code: int) -> None:
    """End a process that has others at once: they would wait for it, and it for them."""
    if "imgbook.processes" in sys.modules:
        sys.modules["imgbook.processes"].leave(code)


def prepare() -> None:
    """What every run begins with."""
    from imgbook import training

    training.use_compilation_cache()


def check_new_file(path: Path) -> None:
    """Refuse, before any work, a file that exists or that cannot be written.

    Raises:
        ValueError: says which of the two.
    """
    if path.exists():
        raise ValueError(f"{path} is there already; give another name or remove it")
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {path.parent}")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written to, or be made if it is not there.

    Raises:
        ValueError: says why.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ValueError(f"cannot write into {folder}: {there}: {error.strerror}") from error
