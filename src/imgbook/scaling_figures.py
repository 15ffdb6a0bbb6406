"""The pictures of the page on larger runs: the roofline, and what the record of `imgbook.scaling` holds."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from imgbook import roofline, scaling
from imgbook.plotting import COLORS, INK, label_color

MARKS = {"matrix product": "o", "convolution": "s", "memory": "D"}
ROLES = {"matrix product": "data", "convolution": "generator", "memory": "discriminator"}
NAMES = {"cnn": "classifier", "gan": "GAN", "vae": "VAE"}
OTHERS = {"2": "-", "4": "--", "8": ":", "two processes": "-."}  # beside one device: line styles
DRAWN = "data", "generator", "discriminator", "decoder"  # their colours
SHOWN = 10  # points of the size of words


def draw_roofline(
    points: Sequence[roofline.Point], peak: float, memory: float, cache: float
) -> Figure:
    """Points under the roof, numbered in their order, both axes logarithmic; rates in FLOP/s and bytes/s."""
    fig, ax = plt.subplots(figsize=(7, 4.2))
    x = np.geomspace(0.03, 2 * max(p.intensity for p in points), 300)
    ax.plot(x, roofline.roof(x, peak, memory) / 1e9, color=COLORS["theory"])
    ax.plot(x, roofline.roof(x, peak, cache) / 1e9, color=COLORS["theory"], ls="--", lw=1.2)
    words = dict(color=COLORS["theory"], fontsize=SHOWN, textcoords="offset points")
    corner = 1.2 * peak / max(memory, cache)
    ax.annotate(f"peak {peak / 1e9:.0f} GFLOP/s", (corner, peak / 1e9), (0, 6), **words)
    for name, speed, at, offset, side in (
        ("memory", memory, 1.2, (8, -10), "left"),
        ("cache", cache, 0.3, (-8, 6), "right"),
    ):
        where = at, float(roofline.roof(at, peak, speed)) / 1e9
        ax.annotate(f"{name} {speed / 1e9:.0f} GB/s", where, offset, ha=side, **words)
    for kind, mark in MARKS.items():
        mine = [(i, p) for i, p in enumerate(points, 1) if p.kind == kind]
        color, above = COLORS[ROLES[kind]], 7 if kind == "convolution" else -15
        ax.plot(
            [p.intensity for _, p in mine], [p.rate / 1e9 for _, p in mine], mark, ms=7,
            color=color, markeredgecolor=INK, markeredgewidth=0.6, label=kind,
        )  # fmt: skip
        for i, p in mine:
            ax.annotate(
                str(i), (p.intensity, p.rate / 1e9), (0, above), textcoords="offset points",
                color=label_color(color), fontsize=SHOWN, ha="center",
            )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="arithmetic intensity, FLOP a byte", ylabel="GFLOP/s")
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(min(p.rate for p in points) / 3e9, 2.2 * peak / 1e9)
    ax.legend(loc="lower right", fontsize=SHOWN)
    return fig


def images_per_second(batch_size: int, milliseconds: Sequence[float]) -> tuple[float, float, float]:
    """Median, minimum and maximum of images a second, from milliseconds a step."""
    return scaling.median_and_range([1e3 * batch_size / ms for ms in milliseconds])


def devices_text(n: str) -> str:
    """A name of the record in words: "1 device", "2 devices", "two processes"."""
    return f"{n} device{'' if n == '1' else 's'}" if n.isdigit() else n


def draw_ladder(record: Mapping[str, Any]) -> Figure:
    """Images a second of each model, one change at a time: medians as bars, ranges as lines."""
    names = list(record["ladder"]["cnn"]["milliseconds"])
    fig, axes = plt.subplots(1, len(record["ladder"]), figsize=(8, 3.4), sharey=True)
    for ax, (model, part) in zip(axes, record["ladder"].items(), strict=True):
        for row, name in enumerate(names):
            if name not in part["milliseconds"]:
                ax.text(0, row, " not run", va="center", fontsize=SHOWN, color=COLORS["theory"])
                continue
            middle, low, high = images_per_second(part["batch_size"], part["milliseconds"][name])
            ax.barh(row, middle, color=COLORS["measured"], height=0.6)
            ax.plot([low, high], [row, row], color=INK, lw=1.2)
            ax.text(high, row, f"  {middle:,.0f}", va="center", fontsize=SHOWN)
        ax.set_title(f"{NAMES[model]}, batch {part['batch_size']}", loc="left")
        ax.set_xlabel("images a second")
        rates = [images_per_second(part["batch_size"], t)[2] for t in part["milliseconds"].values()]
        ax.set_xlim(0, 1.7 * max(rates))  # room for the numbers
        ax.locator_params(axis="x", nbins=3)
        ax.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    return fig


def draw_batch_sizes(record: Mapping[str, Any]) -> Figure:
    """Images a second against the batch size, medians with ranges; both axes logarithmic."""
    fig, ax = plt.subplots(figsize=(6.2, 3.3))
    for (model, times), mark, role in zip(
        record["batch_sizes"].items(), "os", ("data", "generator"), strict=True
    ):
        sizes = [int(n) for n in times]
        rates = np.array([images_per_second(int(n), ms) for n, ms in times.items()])
        spread = np.abs(rates[:, 1:].T - rates[:, 0])
        color = COLORS[role]
        ax.errorbar(sizes, rates[:, 0], spread, color=color, marker=mark, ms=5, capsize=3)
        ax.annotate(
            NAMES[model], (sizes[-1], rates[-1, 0]), (8, 0), textcoords="offset points",
            va="center", color=label_color(color), annotation_clip=False,
        )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="images a batch", ylabel="images a second")
    ax.set_xticks(sizes, map(str, sizes))
    ax.minorticks_off()
    ticks = [n * 10**k for k in range(6) for n in (1, 2, 5)]
    low, high = ax.get_ylim()
    ax.set_yticks(shown := [t for t in ticks if low <= t <= high], [f"{t:,}" for t in shown])
    return fig


def draw_curves(record: Mapping[str, Any]) -> Figure:
    """The loss of each step in float32 on all counts of devices, drawn over each other."""
    fig, axes = plt.subplots(1, len(record["devices"]), figsize=(7.6, 3))
    for ax, (model, by_type) in zip(axes, record["devices"].items(), strict=True):
        run = by_type["float32"]
        loss = np.asarray(run["loss"])
        ax.plot(loss, color="#bbbbbb", lw=5, label=devices_text("1"))
        for (n, style), color in zip(OTHERS.items(), DRAWN, strict=True):
            label = devices_text(n)
            ax.plot(loss + run["differences"][n], style, color=COLORS[color], lw=1.3, label=label)
        what = "loss" if model == "cnn" else "discriminator's loss"
        ax.set(xlabel="training step", ylabel=f"{what}, nats")
        ax.set_title(NAMES[model], loc="left")
    axes[0].legend(fontsize=SHOWN)
    return fig


def draw_differences(record: Mapping[str, Any]) -> Figure:
    """How far each run is from that on one device, relative to its loss; logarithmic, float32 and float64."""
    fig, axes = plt.subplots(1, len(record["devices"]), figsize=(7.6, 3.2), sharey=True)
    for ax, (model, by_type) in zip(axes, record["devices"].items(), strict=True):
        for dtype, role, below in (("float32", "generator", -26), ("float64", "data", 18)):
            if dtype not in by_type:
                continue
            run, color = by_type[dtype], COLORS[role]
            for n, style in OTHERS.items():
                relative = scaling.growth(run["differences"][n], run["loss"])
                label = devices_text(n) if dtype == "float32" else None
                ax.plot(relative, style, color=color, lw=1.1, label=label)
            last = np.nanmedian(relative[-20:]) if np.isfinite(relative[-20:]).any() else 1e-16
            ax.annotate(
                dtype, (len(relative) * 0.98, last), (0, below), textcoords="offset points",
                ha="right", color=label_color(color),
            )  # fmt: skip
            ax.axhline(np.finfo(dtype).eps, color=COLORS["theory"], lw=1, ls=":")
        ax.set(yscale="log", xlabel="training step")
        ax.set_title(NAMES[model], loc="left")
    axes[0].set_ylabel("|difference| / loss")
    lines = axes[0].get_lines()[: len(OTHERS)]
    fig.legend(handles=lines, loc="outside upper center", ncols=len(OTHERS), fontsize=SHOWN)
    return fig


def draw_sharding(
    record: Mapping[str, Any], predicted: Mapping[str, Mapping[int, float]]
) -> Figure:
    """Bytes of the state on each device against the number of devices, copied and divided.

    predicted: for "copied" and "divided", bytes by the number of devices, drawn as lines.
    """
    fig, ax = plt.subplots(figsize=(5.6, 3.2))
    for (how, held), mark, role in zip(
        record["sharding"]["bytes"].items(), "os", ("generator", "data"), strict=True
    ):
        line = predicted[how]
        ax.plot(list(line), [b / 1e6 for b in line.values()], color=COLORS["theory"], ls="--", lw=1)
        ax.plot([int(n) for n in held], [b / 1e6 for b in held.values()], mark, ms=7,
                color=COLORS[role])  # fmt: skip
        n, last = list(held.items())[-1]
        ax.annotate(how, (int(n), last / 1e6), (0, 12), textcoords="offset points", ha="center",
                    color=label_color(COLORS[role]))  # fmt: skip
    ax.set(xscale="log", xlabel="devices", ylabel="state on each device, MB", ylim=(0, None))
    counts = [int(n) for n in held]
    ax.set_xticks(counts, map(str, counts))
    ax.minorticks_off()
    ax.margins(y=0.2)
    ax.set_ylim(bottom=0)
    return fig
