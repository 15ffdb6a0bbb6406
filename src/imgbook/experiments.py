"""The experiments behind the result records: `python -m imgbook record NAME` runs one over several seeds and writes
`results/NAME.json`. The runs themselves are in `imgbook.experiment_runs`.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from imgbook import experiment_runs, records, sources, staleness
from imgbook.experiment_runs import Outcome


class Experiment(NamedTuple):
    """A run, the data set it trains on ("": none), whether the judge scores what it made, the presets at which the
    package keeps the weights of seed 0, and which variant is run, if the run has several.
    """

    run: Callable[..., Outcome]
    data: str
    judged: bool = False
    keeps: tuple[str, ...] = ("quick",)
    variant: str = ""


EXPERIMENTS = {
    "concepts": Experiment(experiment_runs.run_concepts, "mnist"),
    "gan": Experiment(experiment_runs.run_gan, "mnist", judged=True),
    "gan-losses": Experiment(experiment_runs.run_gan_losses, "mnist", judged=True, keeps=()),
    "gan-ablation": Experiment(experiment_runs.run_gan_ablation, "mnist", judged=True, keeps=()),
    "gan-conditional": Experiment(experiment_runs.run_gan_conditional, "mnist", judged=True),
    "gan-failures": Experiment(experiment_runs.run_gan_failures, "mnist", judged=True, keeps=()),
    "cnn-mnist": Experiment(experiment_runs.run_cnn, "mnist"),
    "cnn-cifar10": Experiment(experiment_runs.run_cnn, "cifar10"),
    "vae": Experiment(experiment_runs.run_vae, "mnist", judged=True),
    "vae-minute": Experiment(
        experiment_runs.run_vae_budget, "mnist", judged=True, keeps=(), variant="minute"
    ),
    "vae-long": Experiment(
        experiment_runs.run_vae_budget, "mnist", judged=True, keeps=(), variant="long"
    ),
    "vae-conditional": Experiment(
        experiment_runs.run_vae_conditional, "mnist", judged=True, keeps=()
    ),
    "vae-rates": Experiment(experiment_runs.run_vae_variants, "mnist", keeps=(), variant="rates"),
    "vae-collapse": Experiment(
        experiment_runs.run_vae_variants, "mnist", keeps=(), variant="collapse"
    ),
    "vae-colour": Experiment(
        experiment_runs.run_vae_variants, "cifar10", keeps=(), variant="colour"
    ),
    "flow": Experiment(experiment_runs.run_flow, ""),
    "fast": Experiment(experiment_runs.run_fast, "cifar10", variant="fast"),
    "fast-baseline": Experiment(experiment_runs.run_fast, "cifar10", keeps=(), variant="baseline"),
    "fast-sizes": Experiment(experiment_runs.run_fast_sizes, "cifar10", keeps=()),
    "fast-long": Experiment(experiment_runs.run_fast_long, "cifar10", keeps=()),
    "fast-mnist": Experiment(experiment_runs.run_fast_mnist, "mnist", keeps=()),
    **{
        f"fast-stair-{stair}": Experiment(
            experiment_runs.run_fast_stair, "cifar10", keeps=(), variant=stair
        )
        for stair in experiment_runs.STAIRS
    },
    "judge": Experiment(experiment_runs.run_judge, "mnist", keeps=("full",)),
}
# Preset and seeds, where they are not quick and six. The judge is used at every preset and has one size and one seed.
DEFAULTS = {
    "judge": ("full", [0]),
    **dict.fromkeys(
        (
            "fast-sizes",
            "fast-mnist",
            "vae-minute",
            *(f"fast-stair-{stair}" for stair in experiment_runs.STAIRS),
        ),
        ("full", [0, 1, 2]),
    ),
    "fast-long": ("full", [0]),
    "vae-long": ("full", [0]),
    **dict.fromkeys(
        ("vae-conditional", "vae-rates", "vae-collapse", "vae-colour"), ("quick", [0, 1, 2])
    ),
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
    which = {"variant": experiment.variant} if experiment.variant else {}
    values, trainings = experiment.run(experiment.data, preset, seed, **which)
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
    if preset in experiment.keeps and 0 in seeds and not into:
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
        result={k: v for k, v in values.items() if "/curve/" not in k},  # it is printed
        licence=sources.SOURCES[data].licence if data else "none needed, drawn at random",
        command=made["command"],
    )
    if name != "judge":
        return weights.save_trained(made["name"], state, history, about)
    about["data"] = JUDGE_DATA
    weights.save(judge.PATH, state.params, about)
    judge.load.cache_clear()
    return [judge.PATH, judge.PATH.with_suffix(".json")]
