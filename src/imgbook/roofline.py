"""The roofline of the machine a page runs on: its peak, its bandwidth, and operations of the book between the two.

An operation that does F floating-point operations and moves B bytes cannot take less time than F / peak, nor less than
B / bandwidth (Williams, Waterman and Patterson 2009). Both numbers are taken by formula: each array is read once or
written once, as if nothing were read twice.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imgbook import layers

FLOAT = 4  # bytes of a float32
NORM_FLOPS = 5  # a number: two sums, a square, a multiply and an add
CHAIN = ("bias", "ReLU", "scale", "shift", "square", "offset")  # the operations of `chain`


@dataclass(frozen=True)
class Operation:
    """An operation to time. `body(carry) -> carry` does it once, in a compiled loop, or call by call if `eager`."""

    name: str
    kind: str
    flops: float
    bytes: float
    body: Callable[[Any], Any]
    carry: Any
    eager: bool = False


@dataclass(frozen=True)
class Point:
    """A measured operation: FLOP, bytes and seconds of one go."""

    name: str
    kind: str
    flops: float
    bytes: float
    seconds: float

    @property
    def intensity(self) -> float:
        """FLOP a byte."""
        return self.flops / self.bytes

    @property
    def rate(self) -> float:
        """FLOP a second."""
        return self.flops / self.seconds


def roof(intensity: Any, peak: float, bandwidth: float) -> Any:
    """The highest rate in FLOP/s at an intensity in FLOP/byte: min(peak, intensity times bandwidth)."""
    return np.minimum(peak, np.asarray(intensity) * bandwidth)


def measure(operation: Operation, seconds: float = 0.05, repeats: int = 5) -> Point:
    """Time an operation: the fastest of `repeats` calls, each as many goes as fit into about `seconds`."""
    if operation.eager:
        run = lambda n, carry: [operation.body(carry) for _ in range(n)][-1]  # noqa: E731
    else:
        run = jax.jit(lambda n, c: jax.lax.fori_loop(0, n, lambda _, c: operation.body(c), c))

    def timed(n: int) -> float:
        begin = time.perf_counter()
        jax.block_until_ready(run(n, operation.carry))
        return (time.perf_counter() - begin) / n

    timed(2)
    n = int(np.clip(seconds / timed(2), 4, 100_000))
    took = min(timed(n) for _ in range(repeats))
    return Point(operation.name, operation.kind, operation.flops, operation.bytes, took)


def triad(n: int, name: str = "triad") -> Operation:
    """x <- x / 2 + y on `n` numbers: what memory bandwidth is measured by. Two arrays are read and one written."""
    y = jnp.ones(n)
    return Operation(name, "memory", 2 * n, 3 * FLOAT * n, lambda x: 0.5 * x + y, jnp.ones(n))


def square_product(n: int) -> Operation:
    """A product of two n x n matrices."""
    w = (
        jax.random.normal(jax.random.key(0), (n, n)) / n**0.5
    )  # keeps the size of what it multiplies
    return Operation(f"product {n} x {n}", "matrix product", 2 * n**3, 3 * FLOAT * n**2,
                     lambda x: x @ w, jax.random.normal(jax.random.key(1), (n, n)))  # fmt: skip


def fed_back(apply: Callable[[jax.Array], jax.Array]) -> tuple[Callable, Any]:
    """Body and first carry of `apply(s)`, s a tiny number taken from the last result: no go can be left out."""
    shape = jax.eval_shape(apply, jnp.zeros(()))

    def body(carry: tuple) -> tuple:
        y = apply(carry[0])
        return 1e-9 * y.ravel()[0], y

    return body, (jnp.zeros(()), jnp.zeros(shape.shape, shape.dtype))


def convolution(size: int, a: int, b: int, batch: int) -> Operation:
    """A 3 x 3 VALID convolution of this package, forward, `[batch, size, size, a]` to b channels."""
    window = layers.window((size, size), (3, 3), 1, "VALID")
    x, kernel = jnp.ones((batch, size, size, a)), jnp.ones((3, 3, a, b))
    places = batch * prod(window.output)
    body, carry = fed_back(lambda s: layers.conv(x, kernel + s, window))
    return Operation(f"convolution {size} x {size} x {a} to {b}", "convolution", 2 * places * 9 * a * b,
                     FLOAT * (x.size + kernel.size + places * b), body, carry)  # fmt: skip


def dense(batch: int, a: int, b: int) -> Operation:
    """A dense layer's product, `[batch, a]` times `[a, b]`."""
    x, w = jnp.ones((batch, a)), jnp.ones((a, b))
    body, carry = fed_back(lambda s: x @ (w + s))
    moved = FLOAT * (x.size + w.size + batch * b)
    return Operation(f"dense {a} to {b}, batch {batch}", "matrix product", 2 * batch * a * b, moved,
                     body, carry)  # fmt: skip


def pooling(shape: Sequence[int]) -> Operation:
    """2 x 2 max pooling: three comparisons for each number that comes out."""
    x = jax.random.normal(jax.random.key(0), shape)
    body, carry = fed_back(lambda s: layers.max_pool(x + s, (2, 2), (2, 2)))
    out = carry[1].size
    return Operation("max pooling 2 x 2", "memory", 3 * out, FLOAT * (x.size + out), body, carry)


def normalisation(shape: Sequence[int]) -> Operation:
    """BatchNorm's arithmetic: mean and mean square of each channel, then one multiply and add a number."""

    def body(x: jax.Array) -> jax.Array:
        mean, square = x.mean((0, 1, 2)), (x * x).mean((0, 1, 2))
        scale = jax.lax.rsqrt(square - mean**2 + 1e-5)
        return x * scale - mean * scale

    x = jax.random.normal(jax.random.key(0), shape)
    return Operation("BatchNorm", "memory", NORM_FLOPS * x.size, 3 * FLOAT * x.size, body, x)


def chain(x: jax.Array) -> jax.Array:
    """Six elementwise operations, as a layer strings them together."""
    x = x + 0.1
    x = jnp.maximum(x, 0)
    x = x * 0.5
    x = x - 0.2
    x = x * x
    return x + 1.0


def chains(n: int) -> tuple[Operation, Operation]:
    """`chain` on `n` numbers as one program, and operation by operation, which reads and writes the array each time."""
    flops, once = len(CHAIN) * n, 2 * FLOAT * n
    make = partial(Operation, kind="memory", flops=flops, carry=jnp.ones(n), body=chain)
    return (make("chain of six, one program", bytes=once),
            make("chain of six, one by one", bytes=len(CHAIN) * once, eager=True))  # fmt: skip


def operations(batch: int = 64, numbers: int = 2**23) -> tuple[Operation, ...]:
    """Operations of this book: products, chapter 4's convolutions, and what only moves numbers."""
    return (
        *(square_product(n) for n in (64, 256, 512, 1024)),
        dense(batch, 512, 128),
        convolution(32, 3, 32, batch),
        convolution(15, 32, 64, batch),
        convolution(6, 64, 128, batch),
        pooling((batch, 30, 30, 32)),
        normalisation((batch, 14, 14, 64)),
        *chains(numbers),
    )


def machine(points: Sequence[Point], numbers: int, **options: Any) -> tuple[float, float, float]:
    """Peak in FLOP/s, and bandwidth in bytes/s: of memory (arrays of `numbers`) and of the cache (of 2^14 numbers).

    The peak is the largest rate of all points: what a program reaches here, not what a data sheet says.
    """
    memory, cache = (measure(triad(n), **options) for n in (numbers, 2**14))
    peak = max(point.rate for point in points)
    return peak, memory.bytes / memory.seconds, cache.bytes / cache.seconds
