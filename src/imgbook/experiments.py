"""The runs behind the result records: each trains what a chapter trains, with the chapter's own functions.

`python -m imgbook record NAME` runs one over several seeds and writes `results/NAME.json`.

A run imports all it uses inside itself, and nothing of this module: a record's hash covers the run's own text and the
modules that it imports (see `imgbook.staleness`), so that a change to one chapter makes only the records stale that
depend on it. A run returns its values and its trainings by name, (state, history, config) each; the last is the
chapter's own model, whose seconds are recorded.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from imgbook import records, sources, staleness

Outcome = tuple[dict[str, float], dict[str, tuple]]  # values, trainings


def run_cnn(data_name: str, preset: str, seed: int) -> Outcome:
    """Train the classifier and the linear baseline; test accuracies."""
    import jax

    from imgbook import cnn
    from imgbook.data import load

    dataset, test = load(data_name, "train", preset), load(data_name, "test", preset)
    config, key = cnn.config_for(dataset, preset), jax.random.key(seed)
    values, trainings = {}, {}
    for label, measure, model_class in (
        ("linear", "linear_accuracy", cnn.SoftmaxRegression),
        ("cnn", "accuracy", cnn.CNN),
    ):
        graphdef, state, history = cnn.train(dataset, config, key, model_class)
        trainings[label] = state, history, config
        logits = cnn.predict(graphdef, state, test.images)
        values[measure] = cnn.accuracy(logits, test.labels)
    return values, trainings


def run_concepts(data_name: str, preset: str, seed: int) -> Outcome:
    """Train the network with one hidden layer and the linear baseline; test accuracies, and the network's test loss."""
    import jax

    from imgbook import cnn, concepts
    from imgbook.data import load

    dataset, test = load(data_name, "train", preset), load(data_name, "test", preset)
    config, key = concepts.config_for(dataset, preset), jax.random.key(seed)
    values, trainings = {}, {}
    for label, measure, model_class in (
        ("linear", "linear_accuracy", cnn.SoftmaxRegression),
        ("mlp", "accuracy", concepts.MLP),
    ):
        graphdef, state, history = concepts.train(dataset, config, key, model_class)
        trainings[label] = state, history, config
        logits = cnn.predict(graphdef, state, test.images)
        values[measure] = cnn.accuracy(logits, test.labels)
    values["cross_entropy"] = float(cnn.cross_entropy(logits, test.labels))
    return values, trainings


def run_gan(data_name: str, preset: str, seed: int) -> Outcome:
    """Train the GAN; what the judge says of its samples, and of real digits."""
    from imgbook import gan_runs
    from imgbook.data import load

    return gan_runs.run({"gan": {}}, load(data_name, "train", preset), preset, seed)


def run_gan_losses(data_name: str, preset: str, seed: int) -> Outcome:
    """The recipe with each of six losses."""
    from imgbook import gan_runs
    from imgbook.data import load

    return gan_runs.run(
        gan_runs.short(gan_runs.LOSSES), load(data_name, "train", preset), preset, seed
    )


def run_gan_ablation(data_name: str, preset: str, seed: int) -> Outcome:
    """The recipe with one thing changed at a time."""
    from imgbook import gan_runs
    from imgbook.data import load

    return gan_runs.run(
        gan_runs.short(gan_runs.ABLATION), load(data_name, "train", preset), preset, seed
    )


def run_gan_conditional(data_name: str, preset: str, seed: int) -> Outcome:
    """The recipe with labels."""
    from imgbook import gan_runs
    from imgbook.data import load

    return gan_runs.run(gan_runs.CONDITIONAL, load(data_name, "train", preset), preset, seed)


def run_gan_failures(data_name: str, preset: str, seed: int) -> Outcome:
    """The failure gallery's working GAN and its broken variants; their measures."""
    from imgbook import failure_measures

    runs = failure_measures.gallery(data_name, preset, seed)
    values = {f"{n}/{m}": v for n, run in runs.items() for m, v in run.values.items()}
    return values, {n: (run.state, run.history, run.recipe.config) for n, run in runs.items()}


def run_vae(data_name: str, preset: str, seed: int) -> Outcome:
    """Train the VAE; its bound on the test digits, and the judge's score of its samples."""
    import jax

    from imgbook import judge, presets, vae
    from imgbook.data import load

    dataset, test = load(data_name, "train", preset), load(data_name, "test", preset)
    config, key = vae.config_for(dataset, preset), jax.random.key(seed)
    graphdef, state, history = vae.train(dataset, config, key)
    values = vae.evaluate(graphdef, state, test.images, jax.random.fold_in(key, 2))
    samples = vae.sample(graphdef, state, jax.random.fold_in(key, 3), presets.SAMPLES[preset])
    values["recognised"] = judge.score(samples)["recognised"]
    return values, {"vae": (state, history, config)}


def run_flow(data_name: str, preset: str, seed: int) -> Outcome:
    """Train the velocity field of the ring; its error against the exact one, and the share of samples near a mode.

    There is no data set (`data_name` is empty): the run draws its points.
    """
    import jax

    from imgbook import flow

    config, key = flow.config_for(preset), jax.random.key(seed)
    velocity, history = flow.train(config, key)
    errors = flow.velocity_errors(velocity, jax.random.fold_in(key, 2), 20_000, config)
    x0 = jax.random.normal(jax.random.fold_in(key, 3), (2000, 2))
    near = flow.coverage(flow.sample(velocity, x0, 100)[-1], config)["near"]
    _, state = velocity.args
    values = {"velocity_error": float(errors["error"]), "near": near}
    return values, {"flow": (state, history, config)}


def run_judge(data_name: str, preset: str, seed: int) -> Outcome:
    """Train the judge on official training digits 10,001 to 60,000, the tenth part of them set apart, which gives its
    temperature; its accuracy and confidence on the official test digits.
    """
    import jax
    import numpy as np

    from imgbook import judge, sources
    from imgbook.data import load

    config = judge.config_for(preset)
    if preset == "smoke":
        digits, test = load(data_name, "train", "smoke"), load(data_name, "test", "smoke")
        images, labels = digits.images, digits.labels
        test_images, test_labels = test.images, test.labels
    else:
        images, labels = (part[10_000:] for part in sources.official(data_name, "train"))
        test_images, test_labels = sources.official(data_name, "test")
    apart = judge.held_out(len(images))
    graphdef, state, history = judge.train(
        images[~apart], labels[~apart], config, jax.random.key(seed)
    )
    _, logits = judge.outputs(graphdef, state, images[apart])
    temperature = judge.calibrate(logits, labels[apart])
    _, logits = judge.outputs(graphdef, state, test_images)
    seen = judge.Opinion(np.zeros((len(logits), 0)), logits / temperature)
    p = seen.probabilities
    right = p.argmax(1) == test_labels
    values = {
        "test_accuracy": right.mean(),
        "temperature": temperature,
        "test_confidence": p.max(1).mean(),
        "test_cross_entropy": -np.log(p[np.arange(len(p)), test_labels]).mean(),
        "recognised": (p.max(1) > judge.CONFIDENCE).mean(),
    }
    return {k: float(v) for k, v in values.items()}, {"judge": (state, history, config)}


class Experiment(NamedTuple):
    """A run, the data set it trains on ("": none), whether the judge scores what it made, and whether the package keeps
    the weights of its first seed.
    """

    run: Callable[[str, str, int], Outcome]
    data: str
    judged: bool = False
    keeps: bool = True


EXPERIMENTS = {
    "concepts": Experiment(run_concepts, "mnist"),
    "gan": Experiment(run_gan, "mnist", judged=True),
    "gan-losses": Experiment(run_gan_losses, "mnist", judged=True, keeps=False),
    "gan-ablation": Experiment(run_gan_ablation, "mnist", judged=True, keeps=False),
    "gan-conditional": Experiment(run_gan_conditional, "mnist", judged=True),
    "gan-failures": Experiment(run_gan_failures, "mnist", judged=True, keeps=False),
    "cnn-mnist": Experiment(run_cnn, "mnist"),
    "cnn-cifar10": Experiment(run_cnn, "cifar10"),
    "vae": Experiment(run_vae, "mnist", judged=True),
    "flow": Experiment(run_flow, ""),
    "judge": Experiment(run_judge, "mnist"),
}
# The judge is trained on the whole set and used at every preset, so it has one size, and one seed.
DEFAULTS = {
    "judge": ("full", [0]),
    "gan-losses": ("quick", [0, 1, 2]),
    "gan-ablation": ("quick", [0, 1, 2]),
    "gan-conditional": ("quick", [0, 1, 2]),
    "gan-failures": ("quick", [0, 1, 2]),
}
JUDGE_DATA = (
    "official MNIST training digits 10,001 to 60,000 without each tenth, which set the temperature"
)


def check_name(name: str) -> None:
    """Raise ValueError if there is no experiment of that name."""
    if name not in EXPERIMENTS:
        raise ValueError(f"unknown experiment {name!r}; allowed: {', '.join(EXPERIMENTS)}")


def run(experiment: Experiment, preset: str, seed: int) -> Outcome:
    """What an experiment's run gives, whole.

    Raises:
        KeyboardInterrupt: a training was interrupted; `training.fit` returns what there is, which is no result.
    """
    values, trainings = experiment.run(experiment.data, preset, seed)
    for _, history, config in trainings.values():
        columns = list(history.metrics.values())
        if not columns or len(columns[0]) < config.num_steps:
            raise KeyboardInterrupt
    return values, trainings


def flat(values: dict[str, float], trainings: dict[str, tuple]) -> dict[str, list[float]]:
    """A run's outcome as lists by name: "gan/generator_loss" by step, "values/recognised" of one element."""
    metrics = {
        f"{label}/{name}": [float(v) for v in column]
        for label, (_, history, _) in trainings.items()
        for name, column in history.metrics.items()
    }
    # Times differ from run to run, and make no run another one.
    repeatable = {name: v for name, v in values.items() if not name.endswith("seconds")}
    return {**metrics, **{f"values/{name}": [float(v)] for name, v in repeatable.items()}}


def record(
    name: str, preset: str, seeds: list[int], command: str, into: Path | None = None
) -> tuple[dict, list[Path]]:
    """Run an experiment for each seed; returns its record and the files written.

    The record goes into the folder `into`, by default that of the records; at preset smoke, which says nothing about
    quality, it is written only if `into` is given.

    Raises:
        ValueError: unknown experiment or preset, or a value that is not finite. FileNotFoundError: preset full
        without the data. KeyboardInterrupt: a training was interrupted; nothing is written.
    """
    check_name(name)
    experiment = EXPERIMENTS[name]
    # Before the first run: what is edited during the runs is not what ran.
    hashes = {
        "source_hash": staleness.source_hash(experiment.run),
        "data_hash": staleness.data_hash(experiment.data, preset),
        "judge_hash": staleness.judge_hash(experiment),
    }
    settings = staleness.settings(name, preset)
    smoke_run = run(experiment, "smoke", 0)
    columns: dict[str, list[float]] = {}
    seconds = []
    for seed in seeds:
        begin = time.perf_counter()
        again = (preset, seed) != ("smoke", 0)
        values, trainings = run(experiment, preset, seed) if again else smoke_run
        _, history, _ = list(trainings.values())[-1]
        seconds.append(history.seconds)
        for key, value in values.items():
            columns.setdefault(key, []).append(float(value))
        measured = ", ".join(f"{key} {value:.4g}" for key, value in values.items())
        print(
            f"{name}, seed {seed}: {measured}; {history.seconds:.1f} s of training, "
            f"{time.perf_counter() - begin:.1f} s in all",
            file=sys.stderr,
        )
        if seed == 0:
            first = values, list(trainings.values())[-1]
    made = records.new(
        name if preset == "quick" else f"{name}-{preset}",
        command=command,
        preset=preset,
        **hashes,
        seeds=seeds,
        seconds=seconds,
        values=columns,
        smoke={**flat(*smoke_run), **settings},
    )
    files = [records.write(made, into)] if into or preset != "smoke" else []
    if (
        experiment.keeps
        and 0 in seeds
        and not into
        and preset == DEFAULTS.get(name, ("quick", []))[0]
    ):
        files += keep_weights(made, *first)
    return made, files


def keep_weights(made: dict, values: dict[str, float], training: tuple) -> list[Path]:
    """Put the model of a record's seed 0 into the package; returns the files.

    made: the record. values, training: of that seed, the training as the run returned it.
    """
    from imgbook import judge, runs, weights

    state, history, config = training
    name = staleness.experiment_name(made)
    data = EXPERIMENTS[name].data
    about = runs.describe_weights(
        runs.describe(
            name.partition("-")[0],
            config,
            data or "points that the run draws",
            made["data_hash"],
            made["preset"],
            0,
        ),
        config.num_steps,
        result=values,
        licence=sources.SOURCES[data].licence if data else "none needed, drawn at random",
        command=made["command"],
    )
    if name != "judge":
        return weights.save_trained(name, state, history, about)
    about["data"] = JUDGE_DATA
    weights.save(judge.PATH, state.params, about)
    judge.load.cache_clear()
    return [judge.PATH, judge.PATH.with_suffix(".json")]
