"""Chapter 4: what the records of the fast recipe say, as numbers and rows of tables."""

from collections.abc import Mapping, Sequence

import numpy as np
from flax import nnx

from imgbook import cnn_costs, experiment_runs, fast_runs, records
from imgbook.data import Dataset
from imgbook.fast_networks import NETWORKS, FastConfig

# Jordan (2024): 94 % with widths 64, 256, 256, compiled, on one A100.
PUBLISHED_PFLOP, PUBLISHED_SECONDS, PUBLISHED_EPOCHS = 0.36, 3.29, 9.9
RACE_RECORDS = {"baseline": "fast-baseline", "fast": "fast"}
RACE_WORDS = {"baseline": "the article's network", "fast": "the fast recipe"}
STAIR_WORDS = {
    "article": "the article's network",
    "schedule": "+ a learning rate that rises and falls",
    "augmentation": "+ mirrored and moved images",
    "normalisation": "+ BatchNorm in place of dropout",
    "network": "+ the fast network, its loss, optimiser",
    "initialisation": "+ whitening and Dirac kernels",
    "alternating": "+ alternating flip",
    "width": "+ half as much width again",
    "flipped": "+ mirrored images at test",
}


def values_of(record: Mapping, measure: str) -> np.ndarray:
    """A measure's values over the seeds, float64 `[seeds]`.

    Raises:
        KeyError: the record does not have it; names those that it has.
    """
    if measure not in record["values"]:
        raise KeyError(
            f"record {record['name']!r} has no measure {measure!r}; it has: {', '.join(record['values'])}"
        )
    return np.asarray(record["values"][measure], np.float64)


def mean_spread(values: Sequence[float], percent: bool = True, digits: int = 1) -> str:
    """ "71.2 ± 0.4 %" of several runs: mean and standard deviation; of one run only its value."""
    values = np.asarray(values) * (100 if percent else 1)
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}" + (" %" if percent else "")


def training_flops(config: FastConfig, images: float) -> float:
    """Floating-point operations of training on so many images, all epochs together: three forward passes each.

    The backward pass has two products for each one forward, by the weights and by the inputs. The first layer needs no
    gradient by the image, and a whitening one none at all, so this is a little too much.
    """
    model = nnx.eval_shape(lambda: NETWORKS[config.network](config, rngs=nnx.Rngs(0)))
    model.eval()
    return 3 * images * cnn_costs.count_flops(model, config.image_shape)


# --- the staircase ----------------------------------------------------------------------------------------------


def stairs() -> dict[str, dict]:
    """The records of the stairs by name, in order; the last, "flipped", is that before it with mirrored test images."""
    found = {name: records.load(f"fast-stair-{name}-full") for name in experiment_runs.STAIRS}
    return {**found, "flipped": found[experiment_runs.STAIRS[-1]]}


def stair_values(stair: str, record: Mapping) -> np.ndarray:
    """Test accuracies of a stair over the seeds."""
    if stair == "flipped":
        return values_of(record, f"{experiment_runs.STAIRS[-1]}/flipped")
    return values_of(record, f"{stair}/accuracy")


def stair_rows(found: Mapping[str, Mapping], dataset: Dataset) -> list[tuple[str, ...]]:
    """Rows of words, accuracy, step up in points, seconds and 10^12 operations of training, for `pages.table`.

    dataset: any with images and classes as those of the runs.
    """
    rows, before, changes = [], None, fast_runs.staircase()
    for stair, record in found.items():
        name = experiment_runs.STAIRS[-1] if stair == "flipped" else stair
        accuracies = stair_values(stair, record)
        seconds = values_of(record, f"{name}/seconds").mean()
        images = values_of(record, f"{name}/images").mean()
        config = fast_runs.configured(dataset, "full", fast_runs.STAIR_EPOCHS, changes[name])
        up = "" if before is None else f"{100 * (accuracies.mean() - before):+.1f}"
        before = accuracies.mean()
        flops = training_flops(config, images) / 1e12
        rows.append(
            (STAIR_WORDS[stair], mean_spread(accuracies), up, f"{seconds:.0f}", f"{flops:.1f}")
        )
    return rows


# --- the race ---------------------------------------------------------------------------------------------------


def curve(record: Mapping, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A network's validation accuracies and the seconds of training before each, both `[seeds, points]`."""
    columns = sorted(m for m in record["values"] if m.startswith(f"{name}/curve/"))
    accuracies = np.stack([values_of(record, column) for column in columns], axis=1)
    _, changes = fast_runs.RACE[record["preset"]].get(name, fast_runs.LONG)
    batch_size = changes.get("batch_size", FastConfig().batch_size)
    num_steps = values_of(record, f"{name}/images") / batch_size
    done = (num_steps // fast_runs.POINTS)[:, None] * np.arange(len(columns))
    return accuracies, values_of(record, f"{name}/seconds")[:, None] * done / num_steps[:, None]


def time_to(accuracies: np.ndarray, seconds: np.ndarray, level: float) -> np.ndarray:
    """Seconds at which each curve `[seeds, points]` first reaches a level; NaN where it never does.

    Between two points a curve is taken to be straight.
    """
    found = np.full(len(accuracies), np.nan)
    for i, (a, t) in enumerate(zip(accuracies, seconds, strict=True)):
        above = np.flatnonzero(a >= level)
        if len(above) and above[0] == 0:
            found[i] = t[0]
        elif len(above):
            j = above[0]
            found[i] = np.interp(level, a[j - 1 : j + 1], t[j - 1 : j + 1])
    return found


def time_words(times: np.ndarray) -> str:
    """ "54 ± 3 s", or in how many of the runs the level was reached."""
    reached = times[np.isfinite(times)]
    if not len(reached):
        return "not reached"
    spread = f" ± {reached.std(ddof=1):.0f}" if len(reached) > 1 else ""
    some = "" if len(reached) == len(times) else f" ({len(reached)} of {len(times)} runs)"
    return f"{reached.mean():.0f}{spread} s{some}"


def end_words(accuracies: np.ndarray, seconds: np.ndarray, level: float) -> str:
    """ "within 26 s" if the runs end at a level or above it, or how many of them do."""
    there = accuracies >= level
    if not there.any():
        return "not reached"
    some = "" if there.all() else f" ({there.sum()} of {len(there)} runs)"
    return f"within {seconds[there].max():.0f} s{some}"


def rate(config: FastConfig, record: Mapping, name: str) -> float:
    """Floating-point operations a second of a recorded training, the mean over its runs."""
    flops = np.array([training_flops(config, n) for n in values_of(record, f"{name}/images")])
    return float((flops / values_of(record, f"{name}/seconds")).mean())


def race(preset: str) -> dict[str, dict]:
    """The records of the two networks at a preset."""
    suffix = "" if preset == "quick" else f"-{preset}"
    return {name: records.load(record + suffix) for name, record in RACE_RECORDS.items()}


def race_rows(
    found: Mapping[str, Mapping], levels: Sequence[float] = (0.7, 0.8)
) -> list[tuple[str, ...]]:
    """Rows of words, epochs, seconds, the times to each level, and test accuracy without and with mirrored images.

    found: `race(preset)`.
    """
    rows = []
    for name, record in found.items():
        epochs, _ = fast_runs.RACE[record["preset"]][name]
        accuracies, seconds = curve(record, name)
        rows.append(
            (
                RACE_WORDS[name],
                f"{epochs}",
                mean_spread(values_of(record, f"{name}/seconds"), percent=False),
                *(time_words(time_to(accuracies, seconds, level)) for level in levels),
                mean_spread(values_of(record, f"{name}/accuracy")),
                mean_spread(values_of(record, f"{name}/flipped")),
            )
        )
    return rows


def stair_race_rows(
    found: Mapping[str, Mapping], names: Sequence[str], levels: Sequence[float] = (0.7, 0.8)
) -> list[tuple[str, ...]]:
    """The same columns for some stairs, which have no curve: a level is reached "within 26 s (2 of 3 runs)" or not.

    found: `stairs()`.
    """
    rows = []
    for name in names:
        accuracies = stair_values(name, found[name])
        seconds = values_of(found[name], f"{name}/seconds")
        flipped = found[name]["values"].get(f"{name}/flipped")
        rows.append(
            (
                STAIR_WORDS[name],
                f"{fast_runs.STAIR_EPOCHS}",
                mean_spread(seconds, percent=False),
                *(end_words(accuracies, seconds, level) for level in levels),
                mean_spread(accuracies),
                mean_spread(flipped) if flipped else "",
            )
        )
    return rows


# --- the long run -----------------------------------------------------------------------------------------------


def hardware_rows(
    runs: Mapping[str, tuple[Mapping, float, Mapping]], dataset: Dataset
) -> list[tuple[str, ...]]:
    """Rows of words, 10^15 operations, seconds and accuracy: the published run, runs of ours, as many operations here.

    runs: record, epochs and changes of the configuration, by the name that the record has for them; the last gives
    the speed for as many operations as published.
    """
    wide = fast_runs.configured(dataset, "full", *fast_runs.LONG)  # the published network
    again = training_flops(wide, PUBLISHED_EPOCHS * 50_000)
    rows = [
        ("published, on an A100", f"{PUBLISHED_PFLOP}", f"{PUBLISHED_SECONDS}", "94 %"),
        (f"its {PUBLISHED_EPOCHS} epochs, by our count", f"{again / 1e15:.2f}", "", ""),
    ]
    for name, (record, epochs, changes) in runs.items():
        config = fast_runs.configured(dataset, "full", epochs, dict(changes))
        spent = training_flops(config, values_of(record, f"{name}/images").mean())
        widths = "-".join(map(str, config.widths))
        took = values_of(record, f"{name}/seconds").mean()
        reached = mean_spread(values_of(record, f"{name}/flipped"))
        rows.append(
            (f"{epochs} epochs of {widths} here", f"{spent / 1e15:.3f}", f"{took:,.0f}", reached)
        )
    seconds = PUBLISHED_PFLOP * 1e15 / rate(config, record, name)
    return [
        *rows,
        ("as many operations as published, here", f"{PUBLISHED_PFLOP}", f"{seconds:,.0f}", ""),
    ]


def run_rows(runs: Mapping[str, tuple[Mapping, str]]) -> list[tuple[str, ...]]:
    """Rows of words, number of runs, seconds, test accuracy, the same with mirrored images, command.

    runs: record and name in it, by words.
    """
    rows = []
    for words, (record, name) in runs.items():
        flipped = record["values"].get(f"{name}/flipped")
        rows.append(
            (
                words,
                f"{len(record['seeds'])}",
                mean_spread(values_of(record, f"{name}/seconds"), percent=False),
                mean_spread(values_of(record, f"{name}/accuracy"), digits=2),
                mean_spread(flipped, digits=2) if flipped else "",
                f"`{record['command']}`",
            )
        )
    return rows
