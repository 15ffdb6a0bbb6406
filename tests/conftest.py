"""What several test files share. No test reads the user's environment, data folder, cache or network."""

import functools
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from imgbook import data

# Before jax is imported, here and in the processes that tests start. Tests compile far longer than they compute.
for name, value in {
    "JAX_COMPILATION_CACHE_DIR": str(Path(tempfile.gettempdir()) / "imgbook-tests-xla"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
}.items():
    os.environ.setdefault(name, value)
# Here and not by MPLBACKEND: the environment is inherited by the notebooks that the same run of pytest starts.
matplotlib.use("Agg")

NO_DATA = Path(tempfile.gettempdir()) / "imgbook-tests-have-no-data"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Preset smoke, no data folder, no download, not strict, whatever the caller's environment says."""
    for name in [name for name in os.environ if name.startswith("IMGBOOK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("IMGBOOK_PRESET", "smoke")
    monkeypatch.setenv("IMGBOOK_DATA_DIR", str(NO_DATA))
    monkeypatch.setenv("IMGBOOK_DATA_MIRROR", "none")


@functools.cache
def loaded(name: str, split: str, preset: str = "smoke") -> data.Dataset:
    """A data set of the package, read once a test process (its arrays are read-only)."""
    return data.load(name, split, preset)


def random_images(n: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """uint8 noise `[n, *shape]`."""
    return np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype(np.uint8)


def normal(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """float32 Gaussian noise."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def odd_dataset(n: int = 48) -> data.Dataset:
    """Images of an unusual size, 40 x 24 in colour, of 3 classes: red, green or blue is the brightest channel."""
    images, labels = random_images(n, (40, 24, 3)) // 2, np.arange(n) % 3
    images[np.arange(n), :, :, labels] += 100
    return data.Dataset.from_arrays(images, labels, ("red", "green", "blue"), name="odd")


def losses(
    step: Callable, state: object, batch: tuple, n: int = 20, metric: str = "loss"
) -> tuple[list[float], object]:
    """The metric over `n` steps on one and the same batch, and the last state."""
    values = []
    for _ in range(n):
        state, metrics = step(state, batch)
        values.append(float(metrics[metric]))
    return values, state


def interrupt_at(number: int, times: int = 1) -> Callable:
    """A callback that sends the signal of Ctrl-C at a step."""

    def callback(i, state):
        for _ in range(times if i == number else 0):
            signal.raise_signal(signal.SIGINT)

    return callback
