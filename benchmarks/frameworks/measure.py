"""What the driver does with the workers: the numerical check, turns, and the curves of cost."""

import os
import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from frameworks import work
from frameworks.processes import Process
from frameworks.worker import CHECK_STEPS, SIDE

VARIANTS = ("engine", "naive", "eager", "channels_last", "compile", "keras", "keras_xla")
WITHOUT = {"vae": ("channels_last",)}  # it has no channels
PRODUCTS = (
    "numpy",
    "eager",
    "engine",
    "keras",
)  # the matrix product in NumPy, PyTorch, JAX, TensorFlow
BATCH_SIZES = (16, 64, 256, 1024)
EPOCH_STEPS = (10, 20, 50, 100)
TOLERANCES = {"first": 1e-4, "after": 2e-3}  # relative; steps amplify rounding
PRODUCT_FLOPS = 2 * SIDE**3


LOSS_NAMES = {
    "cnn": ("loss",),
    "vae": ("loss",),
    "gan": ("discriminator's loss", "generator's loss"),
}
NORM_NAMES = {
    "cnn": ("gradient's norm",),
    "vae": ("gradient's norm",),
    "gan": ("discriminator's gradient norm", "generator's gradient norm"),
}


def quantities(model: str) -> dict[str, tuple[str, ...]]:
    """What the numbers of a check are, in words; keys as in TOLERANCES."""
    losses = LOSS_NAMES[model]
    after = tuple(f"{name} after {CHECK_STEPS} steps" for name in losses)
    return {"first": losses + NORM_NAMES[model], "after": after}


class Plan(NamedTuple):
    """How long to measure: turns of each variant, of each point of a curve; seconds of a turn, and between two.

    curves: whether cost against batch and data size is measured too. The pause lets threads go to sleep that a
    framework keeps spinning after its work.
    """

    repeats: int = 5
    curve_repeats: int = 5
    turn: float = 0.8
    curve_turn: float = 0.3
    pause: float = 0.3
    curves: bool = True


class CheckFailed(Exception):
    """Two variants do not compute the same; nothing is timed."""


def take_turns(
    runs: Mapping[str, Callable[[], float]], repeats: int, pause: float
) -> dict[str, list[float]]:
    """What each of `runs` returned in each repeat; the order rotates, so that nobody always follows the same one."""
    names, results = list(runs), {name: [] for name in runs}
    for repeat in range(repeats):
        first = repeat % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(pause)
            results[name].append(runs[name]())
    return results


def compare(model: str, checks: Mapping[str, Mapping[str, list[float]]]) -> None:
    """Compare every variant's check with the first one's.

    Raises:
        CheckFailed: a loss or a gradient's norm is too far off; the message names all that are.
    """
    (reference, expected), *others = checks.items()
    names, failed = quantities(model), []
    for variant, found in others:
        for kind, tolerance in TOLERANCES.items():
            for i, (a, b) in enumerate(zip(expected[kind], found[kind], strict=True)):
                difference = abs(a - b) / max(abs(a), 1e-12)
                if not difference <= tolerance:
                    failed.append(
                        f"{variant}, {names[kind][i]}: {b:.7g}, {reference} {a:.7g}, "
                        f"relative difference {difference:.1e} (allowed {tolerance:g})"
                    )
    if failed:
        raise CheckFailed(
            "\n".join([f"{model}: not the same computation, nothing of it was timed", *failed])
        )


def summary(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def exponent(sizes: list[int], seconds: list[list[float]]) -> tuple[float, list[float]]:
    """The slope of log seconds over log size: of the medians, and of each repeat. `seconds`: repeats of each size."""

    def slope(column: list[float]) -> float:
        return float(np.polyfit(np.log(sizes), np.log(column), 1)[0])

    medians = [statistics.median(repeats) for repeats in seconds]
    return slope(medians), [slope(list(column)) for column in zip(*seconds, strict=True)]


def skipped() -> dict[str, str]:
    """Variants that cannot run here, and why."""
    if shutil.which(os.environ.get("CXX", "g++")):
        return {}
    return {"compile": "torch.compile needs a C++ compiler, and g++ was not found"}


def timed_run(process: Process, name: str, seconds: float) -> tuple[Callable[[], float], int]:
    """A function that takes one turn of about `seconds` and returns milliseconds a step; its number of steps.

    A turn begins with a quarter of its steps unmeasured: while the others had theirs, caches and memory went cold.
    """
    process.ask("run", n=1, name=name)
    once = min(process.ask("run", n=2, name=name)["seconds"] for _ in range(2)) / 2
    n = max(1, round(seconds / once))

    def turn() -> float:
        process.ask("run", n=max(1, n // 4), name=name)
        return process.ask("run", n=n, name=name)["seconds"] / n * 1e3

    return turn, n


def peaks(data: Path, plan: Plan) -> dict[str, list[float]]:
    """GFLOP/s of each library's product of two 2048 x 2048 matrices, of every repeat."""
    with ExitStack() as stack:
        runs = {}
        for variant in PRODUCTS:
            process = stack.enter_context(Process("product", variant, data))
            process.ask("make", name="", batch_size=0)
            runs[variant] = timed_run(process, "", plan.turn / 2)[0]
        times = take_turns(runs, plan.repeats, plan.pause)
    return {name: [PRODUCT_FLOPS / ms / 1e6 for ms in column] for name, column in times.items()}


def measure_model(model: str, data: Path, plan: Plan, say: Callable[[str], None]) -> dict:
    """Everything about one model.

    Raises:
        CheckFailed, WorkerError: see there.
    """
    missing = skipped()
    variants = [v for v in VARIANTS if v not in missing and v not in WITHOUT.get(model, ())]
    batch_size, results = work.BATCH_SIZES[model], {}
    with ExitStack() as stack:
        workers, checks = {}, {}
        for variant in variants:
            worker = workers[variant] = stack.enter_context(Process(model, variant, data))
            results[variant] = worker.ask("make", name="main", batch_size=batch_size)
            checks[variant] = results[variant]["check"] = worker.ask("check", name="main")
            say(f"{model}, {variant}: first step {results[variant]['compile_seconds']:.1f} s")
        compare(model, checks)
        say(f"{model}: all variants compute the same")
        runs = {}
        for variant, worker in workers.items():
            runs[variant], results[variant]["steps_a_turn"] = timed_run(worker, "main", plan.turn)
        for variant, ms in take_turns(runs, plan.repeats, plan.pause).items():
            speeds = [batch_size / x * 1e3 for x in ms]
            results[variant] |= {"ms": ms, "images_per_second": summary(speeds)}
            results[variant] |= workers[variant].ask("memory")
            say(f"{model}, {variant}: {statistics.median(speeds):,.0f} images/s")
        curves = {}
        if plan.curves:
            both = {v: workers[v] for v in ("engine", fastest_peer(results))}
            curves["batch_curve"] = batch_curves(both, plan)
            curves["epochs"] = epoch_curve(workers["engine"], batch_size, plan)
    return {
        "batch_size": batch_size,
        "flops_an_image": work.flops(model),
        "variants": results,
        "skipped": missing,
        **curves,
    }


def fastest_peer(results: Mapping[str, Mapping]) -> str:
    """The fastest variant that is not this package's."""
    speed = {v: r["images_per_second"]["median"] for v, r in results.items() if v != "engine"}
    return max(speed, key=speed.get)


def batch_curves(workers: Mapping[str, Process], plan: Plan) -> dict[str, dict[str, list[float]]]:
    """Milliseconds a step by variant and batch size, of every repeat."""
    runs = {}
    for variant, worker in workers.items():
        for size in BATCH_SIZES:
            name = f"{variant}/{size}"
            worker.ask("make", name=name, batch_size=size)
            runs[name] = timed_run(worker, name, plan.curve_turn)[0]
    times = take_turns(runs, plan.curve_repeats, plan.pause)
    return {v: {str(size): times[f"{v}/{size}"] for size in BATCH_SIZES} for v in workers}


def epoch_curve(worker: Process, batch_size: int, plan: Plan) -> dict:
    """Seconds of an epoch by number of images, whole batches; the exponent and that of each repeat."""
    runs = {}
    for steps in EPOCH_STEPS:
        name = f"epoch of {steps}"
        worker.ask("make", name=name, batch_size=batch_size, images=steps * batch_size)
        runs[name] = epoch_run(worker, name, steps, plan.curve_turn)
    seconds = list(take_turns(runs, plan.curve_repeats, plan.pause).values())
    images = [steps * batch_size for steps in EPOCH_STEPS]
    slope, slopes = exponent(images, seconds)
    return {"images": images, "seconds": seconds, "exponent": slope, "exponents": slopes}


def epoch_run(worker: Process, name: str, steps: int, turn: float) -> Callable[[], float]:
    """A function that runs whole epochs, as many as fit into a turn, and returns seconds of one."""
    once = worker.ask("run", n=steps, name=name)["seconds"]
    epochs = max(1, round(turn / once))
    return lambda: worker.ask("run", n=epochs * steps, name=name)["seconds"] / epochs
