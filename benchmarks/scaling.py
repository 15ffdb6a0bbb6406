#!/usr/bin/env python3
"""What each thing brought, the same run on more devices, and the arithmetic of larger runs: measured.

    python benchmarks/scaling.py            # under eight minutes; let nothing else run beside it
    python benchmarks/scaling.py --quick    # some minutes, to see that it runs; needs --results FOLDER

Writes results/scaling.json, which the page "From one core to many machines" shows. Times that are compared take turns
in one run. Runs on 1, 2, 4 and 8 virtual devices and in two processes are processes of their own, started here.
"""

import argparse
import datetime
import functools
import inspect
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from steps import stock_layers

import imgbook
from imgbook import cnn, gan, parallel, records, roofline, scaling, training, vae

RNG = np.random.default_rng(0)
MODELS = {
    "cnn": (cnn, cnn.CNNConfig()),
    "gan": (gan, gan.GANConfig()),
    "vae": (vae, vae.VAEConfig()),
}
SECONDS_A_WORKER = 400


@dataclass(frozen=True)
class Size:
    """How much is measured: full, or just enough to see that it runs."""

    repeats: int = 5
    seconds: float = 0.2  # of one turn
    steps: int = 100  # of the runs on several devices
    batch_sizes: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    images: tuple[int, int] = (3200, 6400)  # of the run that is made ten times as large: cnn, vae
    dtypes: tuple[str, ...] = ("float32", "float64")


QUICK = Size(
    repeats=2, seconds=0.02, steps=4, batch_sizes=(16, 64), images=(640, 1280), dtypes=("float32",)
)


def build(config: object, num_images: int = 1024) -> tuple:
    """A training run of a configuration on random images: state, step, batches."""
    module = next(m for m, c in MODELS.values() if type(c) is type(config))
    arrays = [RNG.integers(0, 256, (num_images, *config.image_shape)).astype(np.uint8)]
    if module is cnn:
        arrays.append(RNG.integers(0, 10, num_images).astype(np.int32))
    graphdef, state = module.init(config, jax.random.key(0))
    step = module.make_train_step(graphdef, config)
    return state, step, training.batches(tuple(arrays), config.batch_size, jax.random.key(0))


def half_step(graphdef: nnx.GraphDef, config: cnn.CNNConfig) -> Callable:
    """The classifier's step with bfloat16 products; weights and loss stay float32 (Micikevicius et al. 2018)."""
    tx = cnn.optimizer(config)
    half = functools.partial(jax.tree.map, lambda a: a.astype(jnp.bfloat16))

    def loss_fn(params, stats, images, labels, key):
        logits = nnx.merge(graphdef, half(params), stats)(half(images), dropout_key=key)
        return cnn.cross_entropy(logits.astype(jnp.float32), labels)

    def step(state, batch):
        flip_key, dropout_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        images = cnn.random_flip(cnn.standardise(batch[0]), flip_key)
        grad = jax.value_and_grad(loss_fn)
        loss, grads = grad(state.params, state.stats, images, batch[1], dropout_key)
        return state.updated(grads, tx), {"loss": loss}

    return step


# --- what each thing brought ----------------------------------------------------------------------------------


def by_calls(run: tuple, jit: bool) -> Callable[[int], None]:
    """Steps by a call each: compiled, or operation by operation."""
    state, step, stream = run
    batch = next(iter(stream))
    program = (
        jax.jit(step, donate_argnums=0).lower(state, batch).compile()
        if jit
        else inspect.unwrap(step)
    )
    box = [state]

    def steps(n: int) -> None:
        for _ in range(n):
            box[0], _ = program(box[0], batch)
        jax.block_until_ready(box[0])

    return steps


def in_loop(
    run: tuple, layout: parallel.Layout | None = None
) -> tuple[Callable[[int], None], object]:
    """Steps in the compiled loop of `training.fit`, and its program."""
    state, step, stream = run
    layout = layout or parallel.one_device()
    program, _ = training.compile_loop(step, state, stream, layout)
    box, stream_data = [layout.place(state)], layout.replicate(stream.data)
    plan = training.filled(stream.plan(0, 1))

    def steps(n: int) -> None:
        while n > 0:
            some = min(n, training.STEPS_A_CALL)
            box[0], _ = program(box[0], stream_data, plan, some)
            n -= some
        jax.block_until_ready(box[0])

    return steps, program


def milliseconds(runs: dict[str, Callable[[int], None]], size: Size) -> dict[str, list[float]]:
    """Milliseconds a step of each, taking turns; each turn as many steps as fit into about `size.seconds`."""
    turns = {}
    for name, steps in runs.items():
        steps(1)
        begin = time.perf_counter()
        steps(1)
        n = max(1, int(size.seconds / (time.perf_counter() - begin)))

        def turn(steps: Callable = steps, n: int = n) -> float:
            begin = time.perf_counter()
            steps(n)
            return (time.perf_counter() - begin) / n * 1e3

        turns[name] = turn
    times = {name: [] for name in runs}
    for _ in range(size.repeats):
        for name, turn in turns.items():
            times[name].append(round(turn(), 4))
    return times


def ladder(size: Size) -> tuple[dict, int]:
    """Milliseconds a step, one change at a time; and the bytes that the CNN's step adds up over two devices."""
    found, reduced = {}, 0
    for name, (_, config) in MODELS.items():
        runs = {}
        with stock_layers():
            if name != "gan":  # as for the others, and a minute of small programs to compile
                runs["operation by operation"] = by_calls(build(config), jit=False)
                runs["operation by operation"](
                    1
                )  # within the block: it looks up its layers when called
            runs["compiled step, Flax's layers"] = by_calls(build(config), jit=True)
        if name != "vae":  # which has dense layers alone, and they are Flax's
            runs["compiled step, this package's layers"] = by_calls(build(config), jit=True)
        runs["steps in one compiled loop"], _ = in_loop(build(config))
        runs["loop, two virtual devices"], program = in_loop(build(config), parallel.layout(2))
        if name == "cnn":
            reduced = all_reduced(program.as_text())
            state, _, stream = build(config)
            graphdef, _ = cnn.init(config, jax.random.key(0))
            run = state, half_step(graphdef, config), stream
            runs["loop, bfloat16 products"], _ = in_loop(run)
        found[name] = {"batch_size": config.batch_size, "milliseconds": milliseconds(runs, size)}
        say(f"ladder {name}")
    return found, reduced


def all_reduced(text: str) -> int:
    """Bytes of float32 arrays of one or more axes that a compiled program adds up over its devices."""
    shapes = re.findall(r"= (.*?) all-reduce(?:-start)?\(", text)
    arrays = [a for shape in shapes for a in re.findall(r"f32\[([\d,]+)\]", shape)]
    return sum(4 * int(np.prod([int(n) for n in a.split(",")])) for a in arrays)


def batch_sizes(size: Size) -> tuple[dict, list]:
    """Milliseconds a step against the batch size, and what XLA says of each program's memory."""
    found, memory = {}, []
    for name in ("cnn", "vae"):
        runs, (_, config) = {}, MODELS[name]
        for n in size.batch_sizes:
            smaller = replace(config, batch_size=n)
            runs[str(n)], program = in_loop(run := build(smaller))
            memory.append(memory_of(name, smaller, run, program))
        found[name] = milliseconds(runs, size)
        larger = scaling.wider(config, 4)
        memory.append(memory_of(name, larger, run := build(larger), in_loop(run)[1]))
        say(f"batch sizes {name}")
    return found, memory


def memory_of(name: str, config: object, run: tuple, program: object) -> dict:
    """What the formula is held against: bytes of a loop's program and of its state."""
    analysis, (state, _, stream) = program.memory_analysis(), run
    leaves = [a for a in jax.tree.leaves(state) if jnp.issubdtype(a.dtype, jnp.floating)]
    return {
        "model": name,
        "config": asdict(config),
        "num_images": len(stream.data[0]),
        "state": sum(a.nbytes for a in leaves),
        "arguments": analysis.argument_size_in_bytes,
        "temporary": analysis.temp_size_in_bytes,
    }


def fusion(size: Size) -> dict:
    """Seconds of the same elementwise chain as one program and operation by operation, taking turns."""
    pairs = {"one program": [], "one by one": []}
    for _ in range(size.repeats):
        for name, operation in zip(pairs, roofline.chains(2**21), strict=True):
            pairs[name].append(roofline.measure(operation, repeats=1).seconds)
    return {"numbers": 2**21, "seconds": pairs}


# --- the arithmetic against runs ------------------------------------------------------------------------------


def flops() -> list[dict]:
    """What XLA counts for one step made of Flax's own layers, at one and at two times the width."""
    found = []
    for name in ("cnn", "vae"):
        for factor in (1, 4 if name == "cnn" else 2):
            config = scaling.wider(MODELS[name][1], factor)
            with stock_layers():
                state, step, stream = build(config)
                analysis = step.lower(state, next(iter(stream))).compile().cost_analysis()
            analysis = analysis[0] if isinstance(analysis, list) else analysis
            found.append(
                {
                    "model": name,
                    "config": asdict(config),
                    "flops": float(analysis["flops"]),
                }
            )
    say("FLOPs")
    return found


def decade(size: Size) -> list[dict]:
    """Seconds of training at one size, with ten times the images, and with ten times the parameters."""
    found = []
    for name, images in zip(("cnn", "vae"), size.images, strict=True):
        config = MODELS[name][1]
        epochs = 1 if name == "cnn" else 5
        cases = {"1x": (config, images), "10x images": (config, 10 * images),
                 "10x parameters": (scaling.wider(config, 10), images)}  # fmt: skip
        seconds = {case: [] for case in cases}
        for turn in range(3):
            for case, (c, n) in cases.items():
                if case == "1x" or not turn:
                    c = replace(c, num_steps=epochs * n // c.batch_size)
                    state, step, stream = build(c, n)
                    _, history = training.fit(state, step, stream, c.num_steps, progress=False)
                    seconds[case].append(history.seconds)
        found += [
            {"model": name, "case": case, "config": asdict(c), "images_seen": epochs * n,
             "seconds": [round(s, 3) for s in seconds[case]]}
            for case, (c, n) in cases.items()
        ]  # fmt: skip
        say(f"a decade {name}")
    return found


# --- the same run on more devices -----------------------------------------------------------------------------


def devices(size: Size) -> tuple[dict, dict]:
    """The same runs in float32 and float64: the loss on one device, and how far all others are from it."""
    found, held = {}, None
    for dtype in size.dtypes:
        result = json.loads(started(dtype, size.steps)[0])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        pair = json.loads(started(dtype, size.steps, port)[0])
        if dtype == "float32":
            held = result["sharding"]
        for name, runs in result["runs"].items():
            runs |= pair["runs"][name]
            losses = {n: np.asarray(run[0]) for n, run in runs.items()}
            found.setdefault(name, {})[dtype] = {
                "loss": [float(f"{v:.7g}") for v in losses["1"]],
                "differences": {n: [float(f"{v:.4g}") for v in loss - losses["1"]]
                                for n, loss in losses.items() if n != "1"},
                "milliseconds": {n: round(run[1], 3) for n, run in runs.items()},
            }  # fmt: skip
        say(f"devices {dtype}")
    return found, held


def started(dtype: str, steps: int, port: int | None = None) -> list[str]:
    """Start one worker, or two that connect at `port`, and return what they print; stops if one fails."""
    file = Path(__file__).with_name("scaling_worker.py")
    command = [sys.executable, str(file), dtype, str(steps)]
    extra = [[]] if port is None else [[str(port), str(i)] for i in range(2)]
    running = [subprocess.Popen(command + e, stdout=subprocess.PIPE, text=True) for e in extra]
    try:
        printed = [process.communicate(timeout=SECONDS_A_WORKER)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    if any(process.returncode for process in running):
        sys.exit(f"a worker failed: {' '.join(command)}")
    return printed


def say(what: str) -> None:
    print(f"{time.perf_counter() - BEGAN:6.1f} s: {what}", file=sys.stderr, flush=True)


def measure(size: Size) -> dict:
    parallel.virtual_devices(2)
    training.use_compilation_cache()
    source = scaling.source_hash()  # before the run: what it imports may change while it lasts
    parts = {"fusion": fusion(size)}
    parts["ladder"], reduced = ladder(size)
    parts["batch_sizes"], parts["memory"] = batch_sizes(size)
    parts["flops"], parts["decade"] = flops(), decade(size)
    parts["devices"], parts["sharding"] = devices(size)
    return {
        "name": "scaling", "command": scaling.COMMAND, "version": imgbook.__version__, "source_hash": source,
        "versions": records.versions(), "device": records.describe_device(), "date": datetime.date.today().isoformat(),
        "seconds": round(time.perf_counter() - BEGAN, 1), "all_reduce_bytes": reduced, **parts,
    }  # fmt: skip


BEGAN = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="see that it runs; needs --results")
    parser.add_argument("--results", type=Path, help="write the record into this folder")
    options = parser.parse_args()
    if options.quick and not options.results:
        parser.error("--quick would replace the record of the book: give --results FOLDER")
    print(records.write(measure(QUICK if options.quick else Size()), options.results))


if __name__ == "__main__":
    main()
