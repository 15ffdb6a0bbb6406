#!/usr/bin/env python3
"""A process of `benchmarks/scaling.py`: the same run on 1, 2, 4 and 8 virtual devices, or one of two processes.

python benchmarks/scaling_worker.py float32 150            # prints one line of JSON
python benchmarks/scaling_worker.py float32 150 8476 0     # with `... 8476 1` beside it: process 0 prints
"""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp

from imgbook import cnn, data, gan, parallel, training, vae

COUNTS = (1, 2, 4, 8)
RUNS = {"cnn": (cnn, "cifar10", "loss"), "gan": (gan, "mnist", "discriminator_loss")}
WIDE = vae.VAEConfig(hidden=4096)  # whose state is divided


def same_run(
    name: str, dtype: str, steps: int, layout: parallel.Layout
) -> tuple[list[float], float]:
    """The loss of each step of a chapter's run at preset quick on a layout, and milliseconds a step."""
    module, data_name, metric = RUNS[name]
    images, key = data.load(data_name, "train", "quick"), jax.random.key(0)
    config = module.config_for(images, "quick", num_steps=steps)
    graphdef, state = module.init(config, jax.random.fold_in(key, 0))
    if dtype == "float64":  # the weights; what is computed with them follows
        is_float = lambda a: jnp.issubdtype(a.dtype, jnp.floating)  # noqa: E731
        state = jax.tree.map(lambda a: a.astype(dtype) if is_float(a) else a, state)
    arrays = (images.images, images.labels)[: 2 if name == "cnn" else 1]
    stream = training.batches(arrays, config.batch_size, jax.random.fold_in(key, 1))
    step = module.make_train_step(graphdef, config)
    _, history = training.fit(state, step, stream, steps, layout=layout, progress=False)
    return history.metrics[metric].tolist(), history.seconds / steps * 1e3


def sharding() -> dict:
    """Bytes of the state of a wide VAE on the fullest device, copied and divided."""
    _, state = vae.init(WIDE, jax.random.key(0))
    held = {"copied": {}, "divided": {}}
    for how, by_count in held.items():
        for n in COUNTS:
            layout = parallel.layout(n, shard_parameters=how == "divided")
            by_count[str(n)] = max(parallel.bytes_per_device(layout.place(state)).values())
    return {"config": dataclasses.asdict(WIDE), "bytes": held}


def main() -> None:
    dtype, steps, *together = sys.argv[1:]
    jax.config.update("jax_enable_x64", dtype == "float64")
    training.use_compilation_cache()
    if together:
        parallel.connect(f"127.0.0.1:{together[0]}", 2, int(together[1]))
        layouts = {"two processes": parallel.layout()}
    else:
        parallel.virtual_devices(max(COUNTS))
        layouts = {str(n): parallel.layout(n) for n in COUNTS}
    runs = {
        name: {n: same_run(name, dtype, int(steps), layout) for n, layout in layouts.items()}
        for name in RUNS
    }
    if jax.process_index() == 0:
        print(json.dumps({"runs": runs, "sharding": None if together else sharding()}))


if __name__ == "__main__":
    main()
