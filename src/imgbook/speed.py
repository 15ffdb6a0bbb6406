"""The record of the benchmark against other frameworks: read it, draw it, put it into a table.

`make bench` writes results/bench.json: {"runs": [newest, the one before]}.
"""

import json
import statistics
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imgbook import plotting, records

MODELS = {"cnn": "CNN", "gan": "GAN", "vae": "VAE"}
# Framework by framework; this package's first.
VARIANTS = {
    "engine": "this book",
    "naive": "Flax's layers",
    "eager": "PyTorch",
    "channels_last": "PyTorch, channels last",
    "compile": "PyTorch, compiled",
    "keras": "Keras on TensorFlow",
    "keras_xla": "Keras, XLA",
}
FAMILIES = {
    "engine": "generator",
    "naive": "measured",
    **dict.fromkeys(("eager", "channels_last", "compile"), "data"),
    **dict.fromkeys(("keras", "keras_xla"), "discriminator"),
}
MARKERS = "os^"


def load(path: Path | None = None) -> list[dict]:
    """The recorded runs, newest first; `path`: another record than the package's.

    Raises:
        FileNotFoundError: there is no record. ValueError: it is damaged.
    """
    path = path or records.folder() / "bench.json"
    if not path.exists():
        raise FileNotFoundError(f"no record {path.name}; write it with: make bench")
    try:
        return json.loads(path.read_text(encoding="utf-8"))["runs"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"record {path.name} is damaged; write it anew with: make bench") from error  # fmt: skip


def color(variant: str) -> str:
    """The colour of a variant's framework."""
    return plotting.COLORS[FAMILIES[variant]]


def draw_speeds(run: Mapping) -> Figure:
    """Bars: images a second of every variant, whiskers from minimum to maximum, the fraction of the peak at the bar.

    run: one of `load()`. The peak is that of the machine's fastest float32 matrix product.
    """
    models = list(run["models"])
    counts = [len(run["models"][m]["variants"]) for m in models]
    fig, axes = plt.subplots(
        len(models),
        1,
        figsize=(7, 0.32 * sum(counts) + 0.75 * len(models)),
        height_ratios=counts,
        squeeze=False,
    )
    for ax, model in zip(axes[:, 0], models, strict=True):
        _draw_bars(ax, MODELS[model], run["models"][model]["variants"])
    axes[-1, 0].set_xlabel("images a second, and the fraction of the processor's peak")
    return fig


def _draw_bars(ax: Axes, title: str, variants: Mapping) -> None:
    names = [v for v in VARIANTS if v in variants]
    speeds = [variants[v]["images_per_second"] for v in names]
    medians = [s["median"] for s in speeds]
    whiskers = [
        [s["median"] - s["min"] for s in speeds],
        [s["max"] - s["median"] for s in speeds],
    ]
    labels, colors = [VARIANTS[v] for v in names], [color(v) for v in names]
    ax.barh(labels, medians, color=colors, height=0.7)
    ax.errorbar(medians, labels, xerr=whiskers, fmt="none", ecolor=plotting.INK, capsize=3, elinewidth=1)  # fmt: skip
    for label, v, speed in zip(labels, names, speeds, strict=True):
        ax.annotate(
            f"{speed['median']:,.0f} ({variants[v]['fraction_of_peak']:.0%})",
            (speed["max"], label),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
        )
    ax.set(title=title, ylabel="", xlim=(0, 1.3 * max(s["max"] for s in speeds)))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)


def draw_costs(run: Mapping) -> Figure:
    """Two log-log plots: milliseconds a step over the batch size, seconds an epoch over the number of images.

    Filled: this package; hollow and dashed: the fastest other variant. The second has the fitted exponents.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(7, 3.8))
    models = zip(run["models"].items(), MARKERS, ("data", "generator", "discriminator"), strict=True)  # fmt: skip
    for (model, result), marker, name in models:
        hue = plotting.COLORS[name]
        for variant, curve in result["batch_curve"].items():
            ours = variant == "engine"
            left.plot(
                [int(size) for size in curve],
                [statistics.median(ms) for ms in curve.values()],
                color=hue,
                marker=marker,
                linestyle="-" if ours else "--",
                markerfacecolor=hue if ours else plotting.PAPER,
                label=f"{MODELS[model]}, {VARIANTS[variant]}",
            )
        epochs = result["epochs"]
        medians = [statistics.median(seconds) for seconds in epochs["seconds"]]
        label = f"{MODELS[model]}: exponent {epochs['exponent']:.2f}"
        right.plot(epochs["images"], medians, color=hue, marker=marker, label=label)
    left.set(xlabel="batch size", ylabel="milliseconds a step")
    right.set(xlabel="images", ylabel="seconds an epoch")
    for ax in (left, right):
        ax.set(xscale="log", yscale="log")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter("{x:,g}")
            axis.set_minor_formatter("")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=10)
    left.set_xticks([int(size) for size in result["batch_curve"]["engine"]])
    return fig


def table(run: Mapping) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows for `pages.table`: images a second of every variant and model, median (minimum to maximum)."""
    rows = []
    for variant, label in VARIANTS.items():
        cells = [_cell(result, variant) for result in run["models"].values()]
        if any(cells):
            rows.append((label, *(cell or "-" for cell in cells)))
    return ("images/s", *(MODELS[m] for m in run["models"])), rows


def _cell(result: Mapping, variant: str) -> str:
    if variant not in result["variants"]:
        return ""
    speed = result["variants"][variant]["images_per_second"]
    return f"{speed['median']:,.0f} ({speed['min']:,.0f} to {speed['max']:,.0f})"


def with_curves(runs: list[dict]) -> dict:
    """The newest of the runs that measured cost against batch and data size.

    Raises:
        ValueError: none did.
    """
    for run in runs:
        if all("epochs" in result for result in run["models"].values()):
            return run
    raise ValueError("no recorded run has the curves of cost; measure them with: make bench")


def compare(newest: Mapping, earlier: Mapping) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows for `pages.table`: this package against the fastest of the others, in two independent runs.

    The ratio is that of the medians of one run, in which all took turns.
    """
    rows = []
    for model, label in MODELS.items():
        row = [label]
        for run in (newest, earlier):
            ours, name, theirs = against_fastest(run["models"][model])
            row += [VARIANTS[name], f"{ours / theirs:.2f}"]
        rows.append(tuple(row))
    header = (
        "network",
        "fastest other",
        "this book / fastest other",
        "earlier run: fastest other",
        "ratio",
    )
    return header, rows


def against_fastest(result: Mapping) -> tuple[float, str, float]:
    """Median images a second of this package; name and images a second of the fastest variant of another framework."""
    speeds = {v: r["images_per_second"]["median"] for v, r in result["variants"].items()}
    ours = speeds.pop("engine")
    speeds.pop("naive", None)  # the same framework
    name = max(speeds, key=speeds.__getitem__)
    return ours, name, speeds[name]


def cost_table(run: Mapping, model: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows for `pages.table`: what else was measured of one model's variants."""
    variants = run["models"][model]["variants"]
    rows = [
        (
            VARIANTS[v],
            f"{statistics.median(r['ms']):.2f}",
            f"{r['fraction_of_peak']:.0%}",
            f"{r['compile_seconds']:.1f}",
            "-" if r["peak_MB"] is None else f"{r['peak_MB']:,.0f}",
            "-" if r["base_MB"] is None else f"{r['base_MB']:,.0f}",
        )
        for v, r in variants.items()
    ]
    header = (MODELS[model], "ms a step", "of peak", "first step, s", "memory, MB", "of it before, MB")  # fmt: skip
    return header, rows


def save_picture(run: Mapping, path: Path) -> None:
    """The bars as a picture, the same file for the same run; SVG by its name."""
    with plt.rc_context(plotting.STYLE):
        fig = draw_speeds(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        fig.savefig(path, metadata={"Date": None})
        plt.close(fig)
