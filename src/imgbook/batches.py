"""The order in which a run sees its images: a function of a key and the number of the step, and of nothing else."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any

import jax
import numpy as np


@dataclass(frozen=True)
class Batches:
    """Where a run's batches come from, as a function of the number of the step alone: any step can be drawn again.

    data: a pytree on the device. plan(first, n): what steps first, ..., first + n - 1 need to know beside the data
    (indices, say), a pytree of arrays `[n, ...]`. draw(data, entry): one batch from one entry of a plan; it is
    compiled into the loop. size: images a batch. note: in words, how an epoch is drawn.
    """

    data: Any
    plan: Callable[[int, int], Any]
    draw: Callable[[Any, Any], Any]
    size: int
    note: str = ""

    def __iter__(self) -> Iterator[Any]:
        """The batches of step 0, 1, ... without end."""
        draw = jax.jit(self.draw)
        for step in count():
            yield draw(self.data, jax.tree.map(lambda array: array[0], self.plan(step, 1)))


def batches(
    arrays: tuple[np.ndarray, ...], batch_size: int, key: jax.Array, *, poisson: bool = False
) -> Batches:
    """Batches from arrays of equal length, which are put on the device once.

    Each epoch is a permutation drawn from `key` and the epoch's number. The images left over when `batch_size` does not
    divide their number are skipped in that epoch; since the order is new each time, all are seen in the long run.

    With `poisson` there are no epochs: every image is in every batch with probability batch_size / N, independently
    of all others (the sampling that differential privacy assumes). A batch then has room for a few more images than
    expected (a multiple of 8 if there are so many), is filled up with image 0, and has one more array at its end:
    float32 weights `[room]`, 1 for the images drawn and 0 for the filling.

    Raises:
        ValueError: lengths that differ, or a batch size below 1 or above the number of images.
        RuntimeError: while drawing, a Poisson batch larger than its room (less than once in a thousand million).
    """
    n = len(arrays[0])
    if any(len(a) != n for a in arrays):
        raise ValueError(f"arrays of different lengths: {[len(a) for a in arrays]}")
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch size {batch_size} with {n} images; allowed: 1 to {n}")
    data = jax.device_put(tuple(arrays))
    if poisson:
        return _poisson_batches(data, n, batch_size, key)
    steps_an_epoch, left_over = divmod(n, batch_size)

    @lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        permutation = jax.random.permutation(jax.random.fold_in(key, epoch), n)
        return np.asarray(permutation[: n - left_over]).reshape(steps_an_epoch, batch_size)

    def plan(first: int, n: int) -> np.ndarray:
        places = (divmod(step, steps_an_epoch) for step in range(first, first + n))
        return np.stack([order(epoch)[place] for epoch, place in places])

    def draw(data: tuple[jax.Array, ...], indices: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(array[indices] for array in data)

    rest = f"; {left_over} images are left over each epoch, others each time" if left_over else ""
    note = f"{n:,} images, {steps_an_epoch} steps of {batch_size} an epoch{rest}"
    return Batches(data, plan, draw, batch_size, note)


def _poisson_batches(data: tuple, n: int, batch_size: int, key: jax.Array) -> Batches:
    # Seven standard deviations above the mean, and a few for small batches, where the tail is longer.
    # It is a multiple of 8, so that as many devices divide it.
    room = min(n, 8 * int(np.ceil((batch_size + 7 * np.sqrt(batch_size) + 10) / 8)))

    def plan(first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        indices, weights = np.zeros((count, room), np.int32), np.zeros((count, room), np.float32)
        for row, step in enumerate(range(first, first + count)):
            drawn = jax.random.bernoulli(jax.random.fold_in(key, step), batch_size / n, (n,))
            chosen = np.flatnonzero(drawn)
            if len(chosen) > room:
                raise RuntimeError(f"step {step} drew {len(chosen)} images, room is for {room}")
            indices[row, : len(chosen)], weights[row, : len(chosen)] = chosen, 1
        return indices, weights

    def draw(data: tuple[jax.Array, ...], entry: tuple) -> tuple[jax.Array, ...]:
        indices, weights = entry
        return (*(array[indices] for array in data), weights)

    note = f"{n:,} images, each in a batch with probability {batch_size / n:.4g}"
    return Batches(data, plan, draw, batch_size, note)
