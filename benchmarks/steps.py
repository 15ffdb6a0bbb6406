#!/usr/bin/env python3
"""Training steps and layers of this package against the same with Flax's own layers, in one interleaved run.

    python benchmarks/steps.py              # about two minutes; let nothing else run beside it
    python benchmarks/steps.py --repeats 9

naive: Flax's layers, one jitted step a call. engine: this package's layers in the loop of `imgbook.training`.
Milliseconds: the median, with minimum and maximum. Both see the same random batch; the ratio is that of the medians.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from imgbook import cnn, convolution, gan, gan_networks, layers, records, training, vae

RNG = np.random.default_rng(0)


def uint8(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.standard_normal(shape), jnp.float32)


@contextmanager
def stock_layers() -> Iterator[None]:
    """Within the block, the chapters' networks are made of Flax's layers."""
    with (
        mock.patch.multiple(gan_networks, Conv=nnx.Conv, ConvTranspose=nnx.ConvTranspose),
        mock.patch.multiple(cnn, Conv=nnx.Conv, max_pool=nnx.max_pool),
    ):
        yield


def cnn_step() -> tuple:
    config = cnn.CNNConfig()  # 32-64-128 on 32 x 32 x 3
    graphdef, state = cnn.init(config, jax.random.key(0))
    arrays = uint8(64, 32, 32, 3), RNG.integers(0, 10, 64)
    return (
        state,
        cnn.make_train_step(graphdef, config),
        training.batches(arrays, 64, jax.random.key(0)),
    )


def gan_step(width: int) -> tuple:
    config = gan.GANConfig(width=width)
    graphdefs, state = gan.init(config, jax.random.key(0))
    arrays = (uint8(64, 28, 28, 1),)
    return (
        state,
        gan.make_train_step(graphdefs, config),
        training.batches(arrays, 64, jax.random.key(0)),
    )


def vae_step() -> tuple:
    config = vae.VAEConfig()
    graphdef, state = vae.init(config, jax.random.key(0))
    arrays = (uint8(128, 28, 28, 1),)
    return (
        state,
        vae.make_train_step(graphdef, config),
        training.batches(arrays, 128, jax.random.key(0)),
    )


def r1_step() -> tuple:
    """The gradient of |grad_x D(x)|^2 by D's weights, which a gradient penalty adds to a step."""
    graphdefs, state = gan.init(gan.GANConfig(width=64), jax.random.key(0))
    d = state.discriminator

    def penalty(params, x):
        score = lambda x: gan.apply(graphdefs.discriminator, params, d.stats, x)[0].sum()  # noqa: E731
        return (jax.grad(score)(x) ** 2).sum(axis=(1, 2, 3)).mean()

    @jax.jit
    def step(params, batch):
        value, grads = jax.value_and_grad(penalty)(params, batch[0] / 127.5 - 1.0)
        return jax.tree.map(lambda p, g: p - 1e-6 * g, params, grads), {"penalty": value}

    return (
        d.params,
        step,
        training.batches((uint8(64, 28, 28, 1).astype(np.float32),), 64, jax.random.key(0)),
    )


MODELS = {
    "CNN 32-64-128, 32x32x3, batch 64": (cnn_step, 12),
    "DCGAN 128-64, 28x28, batch 64": (functools.partial(gan_step, 64), 6),
    "DCGAN 64-32, 28x28, batch 64": (functools.partial(gan_step, 32), 12),
    "VAE 784-500-20, batch 128": (vae_step, 40),
    "R1 penalty of D 64-128, batch 64": (r1_step, 6),
}


def naive_runner(make: Callable, n: int) -> tuple[Callable[[], float], float]:
    """A function that runs `n` naive steps and returns milliseconds a step; seconds of compilation."""
    with stock_layers():
        state, step, stream = make()
        batch = next(iter(stream))
        step = jax.jit(step, donate_argnums=0)
        begin = time.perf_counter()
        program = step.lower(state, batch).compile()
        seconds = time.perf_counter() - begin
    box = [state]

    def run() -> float:
        begin = time.perf_counter()
        for _ in range(n):
            box[0], _ = program(box[0], batch)
        jax.block_until_ready(box[0])
        return (time.perf_counter() - begin) / n * 1e3

    return run, seconds


def engine_runner(make: Callable, n: int) -> tuple[Callable[[], float], float]:
    """The same in the loop that `training.fit` runs."""
    state, step, stream = make()
    begin = time.perf_counter()
    program, _ = training.compile_loop(step, state, stream)
    seconds = time.perf_counter() - begin
    box = [state]
    plan = training.filled(stream.plan(0, n))

    def run() -> float:
        begin = time.perf_counter()
        box[0], _ = program(box[0], stream.data, plan, n)
        jax.block_until_ready(box[0])
        return (time.perf_counter() - begin) / n * 1e3

    return run, seconds


def layer_runner(apply: Callable, x: jax.Array, loop: bool) -> Callable[[], float]:
    """A function that runs a layer forward and backward and returns milliseconds: in a loop, or call by call."""

    def both(x: jax.Array) -> jax.Array:
        y, vjp = jax.vjp(apply, x)
        return x + 1e-9 * vjp(y)[0]

    if loop:
        program = jax.jit(lambda x: jax.lax.fori_loop(0, 3, lambda _, x: both(x), x))
        times = 1
    else:
        program, times = jax.jit(both), 3
    jax.block_until_ready(program(x))

    def run() -> float:
        begin, y = time.perf_counter(), x
        for _ in range(times):
            y = program(y)
        jax.block_until_ready(y)
        return (time.perf_counter() - begin) / 3 * 1e3

    return run


def with_kernel(apply: Callable, kernel: jax.Array) -> Callable:
    """`apply(x, k)` as a function of x whose gradient needs that of k as well."""
    return lambda x: apply(x, kernel + 1e-9 * x.mean())


def layer_pairs() -> dict[str, tuple[Callable, Callable, jax.Array]]:
    """Name: stock layer, this package's, input. The layers of the chapters' networks and a few others."""
    pairs = {}
    for size, a, b, k, s, padding in (
        (32, 3, 32, 3, 1, "VALID"), (15, 32, 64, 3, 1, "VALID"), (6, 64, 128, 3, 1, "VALID"),
        (28, 1, 64, 4, 2, "SAME"), (14, 64, 128, 4, 2, "SAME"), (16, 32, 32, 5, 1, "SAME"), (16, 64, 64, 1, 1, "SAME"),
    ):  # fmt: skip
        window = layers.window((size, size), (k, k), s, padding)
        kernel, x = 0.1 * normal(k, k, a, b), normal(64, size, size, a)
        name = f"convolution {size}x{size}x{a} -> {b}, kernel {k}, stride {s}, {padding}"
        stock = functools.partial(convolution.conv_xla, window=window)
        ours = functools.partial(layers.conv, window=window)
        pairs[name] = with_kernel(stock, kernel), with_kernel(ours, kernel), x
    for size, a, b in ((7, 128, 64), (14, 64, 1), (7, 64, 32), (14, 32, 1)):
        modules = [
            module(a, b, (4, 4), (2, 2), padding="SAME", use_bias=False, rngs=nnx.Rngs(0))
            for module in (nnx.ConvTranspose, layers.ConvTranspose)
        ]
        applies = []
        for module in modules:
            graphdef, params = nnx.split(module)
            applies.append(
                lambda x, g=graphdef, p=params: nnx.merge(
                    g, jax.tree.map(lambda k: k + 1e-9 * x.mean(), p)
                )(x)
            )
        name = f"transposed convolution {size}x{size}x{a} -> {b}, kernel 4, stride 2"
        pairs[name] = *applies, normal(64, size, size, a)
    for size, channels, w, s in ((30, 32, 2, 2), (13, 64, 2, 2), (32, 32, 3, 2)):
        stock, ours = (
            functools.partial(f, window_shape=(w, w), strides=(s, s))
            for f in (nnx.max_pool, layers.max_pool)
        )
        pairs[f"max pooling {size}x{size}x{channels}, window {w}, stride {s}"] = (
            stock, ours, normal(64, size, size, channels),
        )  # fmt: skip
    return pairs


def interleave(runs: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(run())
    return times


def cell(times: list[float]) -> str:
    return f"{statistics.median(times):8.2f} ({min(times):.2f}-{max(times):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    print(records.describe_device(), records.versions())
    for name, (make, n) in MODELS.items():
        (naive, naive_compile), (engine, compile_seconds) = (
            naive_runner(make, n),
            engine_runner(make, n),
        )
        naive(), engine()
        times = interleave({"naive": naive, "engine": engine}, repeats)
        ratio = statistics.median(times["naive"]) / statistics.median(times["engine"])
        print(
            f"{name:34} naive {cell(times['naive'])} ms, engine {cell(times['engine'])} ms: x {ratio:.2f}; "
            f"compilation {naive_compile:.1f} s and {compile_seconds:.1f} s",
            flush=True,
        )
    for name, (stock, ours, x) in layer_pairs().items():
        runs = {
            f"{who}{where}": layer_runner(apply, x, loop)
            for who, apply in (("Flax", stock), ("ours", ours))
            for where, loop in (("", False), (" in a loop", True))
        }
        times = interleave(runs, repeats)
        medians = {key: statistics.median(values) for key, values in times.items()}
        print(
            f"{name:58} Flax {cell(times['Flax'])} ms, ours {cell(times['ours'])} ms: "
            f"x {medians['Flax'] / medians['ours']:.2f}; in a loop x "
            f"{medians['Flax in a loop'] / medians['ours in a loop']:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
