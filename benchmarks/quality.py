#!/usr/bin/env python3
"""What quality each chapter's model reaches in how many seconds of training: `results/quality.json`.

    make bench-quality                              # about seven minutes on two cores; let nothing else run beside it
    python benchmarks/quality.py --models cnn       # one model anew, the others stay

Each point is a run of its own with its own learning-rate schedule, a part of the steps of preset quick, so that the
curve is what a budget buys. Three seeds a point. Seconds are those of training alone, without compilation and
measuring. To beat the curve: change a chapter's module, run this, and compare the two records.
"""

import argparse
import datetime
import json
import sys
from collections.abc import Callable

from imgbook import curves, files, records, staleness
from imgbook.curves import PARTS

COMMAND = "python benchmarks/quality.py"
SEEDS = (0, 1, 2)
LAST = 50  # training losses are means over so many last steps


def run_gan(data_name: str, preset: str, part: float, seed: int) -> tuple:
    """Train the GAN for a part of its steps; what the judge says of its samples, and the losses."""
    import jax

    from imgbook import gan, gan_runs
    from imgbook.data import load

    dataset, key = load(data_name, "train", preset), jax.random.key(seed)
    steps = max(1, round(part * gan.config_for(dataset, preset).num_steps))
    config = gan.config_for(dataset, preset, num_steps=steps)
    graphdefs, state, history = gan.train(dataset, config, key)
    real, _ = gan_runs.references(preset)
    return (
        gan_runs.measures(graphdefs, state, config, jax.random.fold_in(key, 2), preset, real),
        history,
        steps,
    )


def run_cnn(data_name: str, preset: str, part: float, seed: int) -> tuple:
    """Train the classifier for a part of its steps; test accuracy and cross-entropy."""
    import jax

    from imgbook import cnn
    from imgbook.data import load

    dataset, test = load(data_name, "train", preset), load(data_name, "test", preset)
    steps = max(1, round(part * cnn.config_for(dataset, preset).num_steps))
    config = cnn.config_for(dataset, preset, num_steps=steps)
    graphdef, state, history = cnn.train(dataset, config, jax.random.key(seed))
    logits = cnn.predict(graphdef, state, test.images)
    loss = cnn.cross_entropy(logits, test.labels)
    return {
        "accuracy": cnn.accuracy(logits, test.labels),
        "cross_entropy": loss,
    }, history, steps  # fmt: skip


def run_vae(data_name: str, preset: str, part: float, seed: int) -> tuple:
    """Train the VAE for a part of its steps; its bound on test digits."""
    import jax

    from imgbook import vae
    from imgbook.data import load

    dataset, test = load(data_name, "train", preset), load(data_name, "test", preset)
    steps = max(1, round(part * vae.config_for(dataset, preset).num_steps))
    config, key = vae.config_for(dataset, preset, num_steps=steps), jax.random.key(seed)
    graphdef, state, history = vae.train(dataset, config, key)
    values = vae.evaluate(graphdef, state, test.images, jax.random.fold_in(key, 2))
    return {"negative_elbo": values["negative_elbo"]}, history, steps


RUNS: dict[str, tuple[Callable, str]] = {
    "gan": (run_gan, "mnist"),
    "cnn": (run_cnn, "cifar10"),
    "vae": (run_vae, "mnist"),
}


def measure(
    model: str, preset: str, parts: tuple[float, ...] = PARTS, seeds: tuple[int, ...] = SEEDS
) -> dict:
    """The curve of one model: at each point the steps, and for each seed seconds and measures."""
    run, data_name = RUNS[model]
    source = staleness.source_hash(run)  # before the runs: what is edited meanwhile is not what ran
    points = []
    for part in parts:
        point: dict = {"seconds": [], "compile_seconds": [], "values": {}}
        for seed in seeds:
            values, history, steps = run(data_name, preset, part, seed)
            # The test's accuracy, not that of the training batches, where both have one.
            values = {k: v[-LAST:].mean() for k, v in history.metrics.items()} | values
            for name, value in values.items():
                point["values"].setdefault(name, []).append(float(value))
            point["seconds"].append(round(history.seconds, 3))
            point["compile_seconds"].append(round(history.compile_seconds, 3))
        point["steps"] = steps
        points.append(point)
        shown = ", ".join(f"{k} {sum(v) / len(v):.4g}" for k, v in point["values"].items())
        print(f"{model}, {steps} steps: {point['seconds']} s, {shown}", file=sys.stderr, flush=True)
    return {
        "command": f"{COMMAND} --models {model}",
        "date": datetime.date.today().isoformat(),
        "device": records.describe_device(),
        "versions": records.versions(),
        "preset": preset,
        "data": data_name,
        "source_hash": source,
        "seeds": list(seeds),
        "points": points,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=RUNS, default=list(RUNS))
    for model in parser.parse_args().models:
        made = measure(model, "quick")
        path = records.folder() / f"{curves.NAME}.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        files.write(path, (json.dumps(known | {model: made}, indent=2) + "\n").encode())
        print(path)


if __name__ == "__main__":
    main()
