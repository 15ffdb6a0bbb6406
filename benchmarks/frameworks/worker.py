"""One process of the benchmark: one model in one framework, told what to do by lines of JSON.

    python -m frameworks.worker MODEL VARIANT DATA      # in the folder benchmarks; DATA: an .npz with images and labels

Each line on standard input is a command {"do": ..., ...} and gets one line on standard output, with "error" if it
failed. The networks are built and compiled by the first command `make`.
"""

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Protocol

import numpy as np

from frameworks import work

MODULES = {
    "engine": "jax_steps",
    "naive": "jax_steps",
    "eager": "torch_steps",
    "channels_last": "torch_steps",
    "compile": "torch_steps",
    "keras": "keras_steps",
    "keras_xla": "keras_steps",
    "numpy": "numpy_product",
}
CHECK_STEPS = 3
SIDE = 2048  # of the matrix whose product by itself is the machine's peak


class Runner(Protocol):
    """A training step in a framework: made by `Runner(model, variant, arrays, batch_size)`, first weights loaded."""

    steps: int  # done since reset

    def reset(self) -> None:
        """First weights, first batch, an optimiser without memory."""

    def step(self, rows: np.ndarray, noise: dict | None, update: bool) -> tuple[list, list]:
        """One step on the images `rows`: losses, and the gradients' norms if nothing is updated.

        With `noise` its random numbers are taken, else the framework draws its own.
        """

    def run(self, n: int) -> None:
        """`n` steps as they are timed, finished at the return."""


def memory_peak() -> float | None:
    """The largest memory this process ever had in MB; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return round(int(lines[0].split()[1]) / 1024, 1)
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def check(runner: Runner, model: str, n: int, batch_size: int) -> dict[str, list[float]]:
    """Losses and gradients' norms at the first weights, and the same after `CHECK_STEPS` steps, with given noise."""
    runner.reset()

    def step(i: int, update: bool) -> list[float]:
        noise = work.noise(model, batch_size, i)
        losses, norms = runner.step(work.rows(n, batch_size, i), noise, update)
        return [float(x) for x in (*losses, *norms)]

    first = step(0, False)
    for i in range(CHECK_STEPS):
        step(i, True)
    after = step(CHECK_STEPS, False)
    runner.reset()
    return {"first": first, "after": after[: len(after) // 2]}


class Worker:
    """The commands, one method each; what they return goes to the driver."""

    def __init__(self, model: str, variant: str, data: str):
        self.model, self.variant = model, variant
        self.arrays = dict(np.load(data)) if model != "product" else {}
        self.module = importlib.import_module(f"frameworks.{MODULES[variant]}")
        self.base = memory_peak()
        self.runners: dict[str, tuple[Runner, int, int]] = {}

    def make(self, name: str, batch_size: int, images: int = 0) -> dict:
        """A runner of that name, on the first `images` images (0: all; more than there are: again from the first)."""
        if self.model == "product":
            rng = np.random.default_rng(0)
            self.multiply = self.module.product(rng.random((SIDE, SIDE)).astype(np.float32))
            self.multiply()
            return {}
        n = images or len(self.arrays["images"])
        arrays = {k: v.take(np.arange(n), 0, mode="wrap") for k, v in self.arrays.items()}
        begin = time.perf_counter()
        runner = self.module.Runner(self.model, self.variant, arrays, batch_size)
        runner.run(1)
        seconds = time.perf_counter() - begin
        self.runners[name] = runner, n, batch_size
        return {"compile_seconds": seconds}

    def check(self, name: str) -> dict:
        runner, n, batch_size = self.runners[name]
        return check(runner, self.model, n, batch_size)

    def run(self, n: int, name: str = "") -> dict:
        """Seconds of `n` steps (or products)."""
        begin = time.perf_counter()
        if self.model == "product":
            for _ in range(n):
                self.multiply()
        else:
            self.runners[name][0].run(n)
        return {"seconds": time.perf_counter() - begin}

    def memory(self) -> dict:
        """MB: the peak until now, and how much of it was there before the model."""
        return {"peak_MB": memory_peak(), "base_MB": self.base}


def serve(worker: Worker, answer) -> None:
    """Carry out the commands on standard input until `quit` or its end."""
    for line in sys.stdin:
        command = json.loads(line)
        do = command.pop("do")
        if do == "quit":
            return
        try:
            answer(getattr(worker, do)(**command))
        except Exception as error:
            traceback.print_exc()
            answer({"error": f"{type(error).__name__}: {error}"})


def main() -> None:
    # What a framework prints must not be taken for an answer: from here on it goes to standard error.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(result: dict) -> None:
        channel.write(json.dumps(result) + "\n")
        channel.flush()

    worker = Worker(*sys.argv[1:])
    answer({"ready": True})
    serve(worker, answer)


if __name__ == "__main__":
    main()
