"""The command line, `python -m imgbook`: train, sample and evaluate a chapter's model, write result records.

See `imgbook.console` for what all commands have in common.
"""

# What imports jax is imported inside the commands: `--help` and wrong usage take no seconds.
import time
from pathlib import Path
from typing import Any

import click

from imgbook import experiments, outputs, presets, records, runs, staleness
from imgbook.console import (
    COMMAND,
    PARALLEL,
    Commands,
    Interrupted,
    ManySeeds,
    check_folder,
    check_new_file,
    finish,
    floats,
    options,
    prepare,
    report,
    start,
)

SEED = click.IntRange(0, 2**32 - 1)
AT_LEAST_1 = click.IntRange(min=1)
FILE = click.Path(path_type=Path)
MODEL = click.argument("model", type=click.Choice(runs.MODELS))
SIZE = click.option("--size", type=AT_LEAST_1, help="Side in pixels of images from a folder [32].")
PRESET = click.option("--preset", help=f"{', '.join(presets.PRESETS)} [IMGBOOK_PRESET or quick].")
SEED_OPTION = click.option("--seed", type=SEED, default=0, show_default=True)
TRAINED = options(
    click.option("--weights", type=FILE, help="Trained weights [those in the package]."),
    click.option("--checkpoint-dir", type=FILE, help="Checkpoints; the newest is used."),
    SIZE,
    click.option("--preset", help="Of the data [that of the training]."),
    SEED_OPTION,
)


@click.group(
    cls=Commands,
    invoke_without_command=True,
    epilog=f"Help of each: {COMMAND} COMMAND --help",
)
@click.pass_context
def main(context: click.Context) -> None:
    """Train, sample and evaluate the models of the book Image Generation with Neural Networks.

    Results are one line of JSON on stdout. Exit codes: 0 fine, 1 a run failed, 2 wrong usage or input,
    130 interrupted.
    """
    if context.invoked_subcommand is None:
        raise click.UsageError(f"no command; allowed: {', '.join(main.commands)}")


@main.command(
    epilog=f"""\b
Examples:
  {COMMAND} train gan --weights gan.safetensors
  {COMMAND} train vae --steps 100 --checkpoint-dir vae-run --checkpoint-every 50
  {COMMAND} train vae --steps 100 --checkpoint-dir vae-run --resume
  {COMMAND} train cnn --data photos --size 48 --weights photos.safetensors"""
)
@MODEL
@click.option(
    "--data",
    default="mnist",
    show_default=True,
    help="mnist, cifar10 or a folder of class folders.",
)
@SIZE
@PRESET
@SEED_OPTION
@click.option("--steps", type=AT_LEAST_1, help="Training steps [the preset's].")
@click.option("--checkpoint-dir", type=FILE, help="Save the run here as it goes.")
@click.option("--checkpoint-every", type=AT_LEAST_1, help="Steps between checkpoints [500].")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint.")
@click.option("--weights", type=FILE, help="Write the trained weights here (.safetensors).")
@PARALLEL
@click.pass_obj
def train(
    command: str,
    model: str,
    data: str,
    size: int | None,
    preset: str | None,
    seed: int,
    steps: int | None,
    checkpoint_dir: Path | None,
    checkpoint_every: int | None,
    resume: bool,
    weights: Path | None,
    **parallel: Any,
) -> None:
    """Train MODEL (gan, cnn or vae) as its chapter does.

    On several hosts, or in several processes, run the same command in each, with --coordinator, --processes and
    --process-id. Each reads its own copy of the data, or a shared folder; process 0 alone writes files and the
    line of results. Processes wait for each other for 60 s at the start; if one ends, so do the others, within
    40 s, and --resume, in all, goes on from the last checkpoint.
    """
    began, preset = time.perf_counter(), presets.current(preset)
    if checkpoint_dir is None and (resume or checkpoint_every):
        raise click.UsageError("--resume and --checkpoint-every need --checkpoint-dir")
    if weights:
        runs.check_weights_name(weights)
        check_new_file(weights)
    checkpoints = {}
    if checkpoint_dir:
        check_folder(checkpoint_dir)
        checkpoints = {"folder": checkpoint_dir, "every": checkpoint_every or 500, "resume": resume}
    layout = start(**parallel)
    dataset = runs.load_data(data, "train", preset, size)
    prepare()
    trained, history = runs.train(model, dataset, preset, seed, steps, layout, **checkpoints)
    if layout is None or layout.leads:
        metrics = floats(
            {name: column[-1] for name, column in history.metrics.items() if len(column)}
        )
        files = [str(checkpoint_dir)] if checkpoint_dir else []
        if weights and trained.steps:
            from imgbook.weights import save_model

            about = runs.describe_weights(
                trained.description, trained.steps,
                result=metrics, licence=dataset.licence, command=command,
            )  # fmt: skip
            save_model(weights, trained.state, history, about)
            files += [str(weights), str(weights.with_suffix(".json"))]
        report(
            command, began, history, model=model, data=dataset.name, preset=preset, seed=seed,
            steps=trained.steps, metrics=metrics, files=files,
        )  # fmt: skip
    finish(layout)
    if trained.steps < trained.config.num_steps:
        raise Interrupted(f"interrupted after {trained.steps} of {trained.config.num_steps} steps")


def trained_model(
    model: str, weights: Path | None, checkpoint_dir: Path | None, data: str | None
) -> runs.Model:
    """The model that the options of `sample` and `evaluate` name."""
    if weights and checkpoint_dir:
        raise click.UsageError("--weights and --checkpoint-dir: give one of the two")
    if checkpoint_dir:
        return runs.from_checkpoints(model, checkpoint_dir)
    return runs.from_weights(model, weights or runs.packaged_weights(model, data or "mnist"))


def test_images(model: runs.Model, data: str | None, preset: str | None, size: int | None) -> Any:
    """The test split of the given data, by default of those that the model was trained on; and the preset."""
    known = model.description["data"]
    if data is None and known not in runs.KNOWN_DATA:
        raise click.UsageError(
            f"the model was trained on images from a {known}: give its path with --data"
        )
    preset = presets.current(preset or model.description["preset"])
    return runs.load_data(data or known, "test", preset, size), preset


@main.command(
    epilog=f"""\b
Examples:
  {COMMAND} sample gan --weights gan.safetensors --out digits.png --scale 2
  {COMMAND} sample vae --checkpoint-dir vae-run --out vae.png --n 100 --seed 1
  {COMMAND} sample cnn --weights photos.safetensors --data photos --size 48 --out classes.png"""
)
@MODEL
@TRAINED
@click.option("--data", help="cnn: whose test images are shown [those it was trained on].")
@click.option("--out", type=FILE, default="grid.png", show_default=True, help="The PNG file.")
@click.option("--n", type=AT_LEAST_1, default=64, show_default=True, help="Number of images.")
@click.option("--scale", type=AT_LEAST_1, default=1, show_default=True, help="Enlarges each pixel.")
@click.pass_obj
def sample(
    command: str,
    model: str,
    weights: Path | None,
    checkpoint_dir: Path | None,
    data: str | None,
    size: int | None,
    preset: str | None,
    out: Path,
    n: int,
    scale: int,
    seed: int,
) -> None:
    """Write a grid of images that MODEL made.

    A cnn makes none: its grid shows test images, a row for each class it put them into, the most confident first.
    """
    began = time.perf_counter()
    check_new_file(out)
    import jax

    prepare()
    trained, test = trained_model(model, weights, checkpoint_dir, data), None
    if model == "cnn":
        test, preset = test_images(trained, data, preset, size)
    elif data or size or preset:
        raise click.UsageError(f"--data, --size and --preset are for cnn; {model} needs no images")
    images, columns = outputs.sample(trained, jax.random.key(seed), n, test)
    outputs.write_png(out, images, columns, scale)
    about = trained.description
    report(
        command, began, model=model, data=test.name if test else about["data"],
        preset=preset or about["preset"], seed=seed, steps=trained.steps, files=[str(out)],
    )  # fmt: skip


@main.command(
    epilog=f"""\b
Examples:
  {COMMAND} evaluate gan --weights gan.safetensors
  {COMMAND} evaluate cnn --weights photos.safetensors --data photos --size 48"""
)
@MODEL
@TRAINED
@click.option("--data", help="Whose test images are used [those of the training].")
@click.pass_obj
def evaluate(
    command: str,
    model: str,
    weights: Path | None,
    checkpoint_dir: Path | None,
    data: str | None,
    size: int | None,
    preset: str | None,
    seed: int,
) -> None:
    """Measure MODEL on test images as its chapter does.

    cnn: accuracy and cross-entropy. vae: -ELBO and its parts, in nats an image. gan, and vae, on digits: what the
    judge says of samples; for other images there is no judge.
    """
    began = time.perf_counter()
    prepare()
    trained = trained_model(model, weights, checkpoint_dir, data)
    test, preset = test_images(trained, data, preset, size)
    values, note = outputs.evaluate(trained, test, preset, seed)
    if note:
        click.echo(note, err=True)
    report(
        command, began, model=model, data=test.name, preset=preset, seed=seed, steps=trained.steps,
        metrics=floats(values), note=note, files=[],
    )  # fmt: skip


@main.command(
    cls=ManySeeds,
    epilog=f"""\b
NAME is one of {", ".join(experiments.EXPERIMENTS)}.
Examples:
  {COMMAND} record flow --seeds 0 1""",
)
@click.argument("name")
@click.option("--preset", help="smoke (writes nothing), quick (default) or full.")
@click.option("--seeds", type=SEED, multiple=True, help="[0 1 2 3 4 5; judge: 0]")
@click.option("--results", type=FILE, help="Write the record into this folder, at smoke too.")
@click.pass_obj
def record(
    command: str, name: str, preset: str | None, seeds: tuple[int, ...], results: Path | None
) -> None:
    """Run the experiment NAME over several seeds and write its result record."""
    began = time.perf_counter()
    experiments.check_name(name)
    size, default_seeds = experiments.DEFAULTS.get(name, (None, [0, 1, 2, 3, 4, 5]))
    preset, seeds = presets.current(preset or size), list(seeds) or default_seeds
    check_folder(results or records.folder())
    prepare()
    command = f"{COMMAND} record {name} --preset {preset} --seeds {' '.join(map(str, seeds))}"
    made, files = experiments.record(name, preset, seeds, command, results)
    report(
        command, began, data=experiments.EXPERIMENTS[name].data, preset=preset, seed=seeds,
        metrics=made["values"], name=made["name"], training_seconds=made["seconds"],
        files=[str(path) for path in files],
    )  # fmt: skip


@main.command(
    epilog=f"""\b
Example:
  {COMMAND} equivalent flow --reason "a function has another name" """
)
@click.argument("name")
@click.option("--reason", required=True, help="Why the change of sources changes no result.")
@click.pass_obj
def equivalent(command: str, name: str, reason: str) -> None:
    """Accept changed sources for the result record NAME, if the smoke run gives the same numbers as when it was made,
    and the hyperparameters of the record's own preset are the same.
    """
    began = time.perf_counter()
    prepare()
    entry, path = staleness.equivalent(name, reason)
    report(
        command, began, preset="smoke", seed=0, metrics=entry["metrics"], name=name,
        largest_difference=entry["largest_difference"], files=[str(path)],
    )  # fmt: skip


@main.command(epilog=f"Example: {COMMAND} doctor")
def doctor() -> int:
    """Check the installation, the data and the settings, a line each; exit code 1 if something is wrong."""
    from imgbook import doctor

    lines, ok = doctor.report()
    click.echo("\n".join(lines))
    return 0 if ok else 1
