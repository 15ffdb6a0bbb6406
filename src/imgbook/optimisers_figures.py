"""The pictures of the page on optimisers and overfitting: its first half, on optimisers."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from imgbook import optimisers
from imgbook.plotting import COLORS, INK, label_color

SHOWN = 10  # points of the size of words
RULE_COLORS = {
    "gradient descent": COLORS["data"],
    "momentum": COLORS["generator"],
    "Nesterov": COLORS["measured"],
    "RMSProp": COLORS["decoder"],
    "Adam": COLORS["encoder"],
    "AdamW": COLORS["theory"],
}


def plain(value: float, _: int | None = None) -> str:
    """A number without an exponent and without zeros at its end: 0.001, 10."""
    return f"{value:.10f}".rstrip("0").rstrip(".")


def write(ax: Axes, text: str, at: tuple, shift: tuple, color: str, **options: object) -> None:
    """A word beside a line, in a readable shade of its colour."""
    ax.annotate(
        text, at, shift, textcoords="offset points", color=label_color(color), fontsize=SHOWN,
        annotation_clip=False, **options,
    )  # fmt: skip


def logarithmic(axis: object, numbers: bool = True) -> None:
    """Ticks at powers of ten, written out."""
    axis.set_major_locator(LogLocator(10, numticks=6))
    axis.set_minor_locator(NullLocator())
    if numbers:
        axis.set_major_formatter(FuncFormatter(plain))


def draw_paths(paths: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> Figure:
    """Paths `[T + 1, 2]` of rules over the valley's contours, a panel each; a point a step, a note in each title."""
    fig, axes = plt.subplots(2, 2, figsize=(6.2, 4.8), sharex=True, sharey=True)
    a, b = np.meshgrid(np.linspace(-1.5, 1.5, 150), np.linspace(-0.6, 1.9, 150))
    heights = np.asarray(jax.vmap(optimisers.valley)(jnp.stack([a.ravel(), b.ravel()], -1)))
    levels = np.geomspace(0.01, 40, 12)
    for ax, (name, path) in zip(axes.flat, paths.items(), strict=True):
        ax.contour(
            a,
            b,
            heights.reshape(a.shape),
            levels,
            colors=COLORS["theory"],
            linewidths=0.6,
            alpha=0.7,
        )
        ax.plot(*np.asarray(path).T, "o-", color=RULE_COLORS[name], ms=3, lw=1.1)
        ax.plot(*path[0], "s", color=INK, ms=6)
        ax.plot(1, 1, "*", color=INK, ms=11, mfc="none")
        ax.set_title(f"{name}, {notes[name]}", loc="left", color=label_color(RULE_COLORS[name]))
        ax.grid(visible=False)
        ax.set(xlim=(-1.5, 1.5), ylim=(-0.6, 1.9))
    for ax in axes[1]:
        ax.set_xlabel("$a$")
    for ax in axes[:, 0]:
        ax.set_ylabel("$b$")
    return fig


def draw_conditioning(
    kappas: np.ndarray, measured: Mapping[str, np.ndarray], theory: Mapping[str, np.ndarray]
) -> Figure:
    """Steps for one more decimal digit over the condition number: measured factors as points, the theory's as lines."""
    fig, ax = plt.subplots(figsize=(5.8, 3.2))
    for name, factors in theory.items():
        color = RULE_COLORS[name]
        steps, found = (np.log(10) / -np.log(f) for f in (factors, measured[name]))
        ax.plot(kappas, steps, color=COLORS["theory"], lw=1.3)
        ax.plot(kappas, found, "o", color=color, ms=6)
        write(ax, name, (kappas[-1], found[-1]), (8, 0), color, va="center")
    ax.set(
        xscale="log", yscale="log", xlabel="condition number $\\kappa$",
        ylabel="steps for one more digit",
    )  # fmt: skip
    for axis in (ax.xaxis, ax.yaxis):
        logarithmic(axis)
    return fig


def draw_sweep(rates: np.ndarray, losses: Mapping[str, np.ndarray], chance: float) -> Figure:
    """Validation losses `[rates, seeds]` of each rule over the learning rate: mean, and the range of the seeds."""
    fig, axes = plt.subplots(3, 2, figsize=(6.0, 6.2), sharex=True, sharey=True)
    top = 1.4 * chance
    for ax, (name, values) in zip(axes.flat, losses.items(), strict=True):
        values = np.minimum(np.nan_to_num(values, nan=np.inf), top)
        color, mean = RULE_COLORS[name], values.mean(axis=1)
        ax.axhline(chance, color=COLORS["theory"], ls="--", lw=1)
        ax.fill_between(
            rates, values.min(axis=1), values.max(axis=1), color=color, alpha=0.25, lw=0
        )
        ax.plot(rates, mean, "o-", color=color, ms=4)
        best = int(mean.argmin())
        ax.plot(rates[best], mean[best], "o", ms=10, mfc="none", color=INK, mew=1.3)
        ax.set_title(name, loc="left", color=label_color(color))
        ax.set(xscale="log", ylim=(0, 1.03 * top))
        logarithmic(ax.xaxis)
        ax.tick_params(axis="x", labelsize=9)
    for ax in axes[-1]:
        ax.set_xlabel("learning rate")
    for ax in axes[:, 0]:
        ax.set_ylabel("validation (nats)")
    write(axes[0, 0], "chance", (rates[0], chance), (2, 4), COLORS["theory"])
    return fig


def draw_rates(curves: Mapping[str, np.ndarray], chance: float) -> Figure:
    """Losses of the batches `[T]` of gradient descent at three learning rates, by their words, from low to high."""
    fig, ax = plt.subplots(figsize=(5.8, 3.1))
    ax.axhline(chance, color=COLORS["theory"], ls="--", lw=1)
    colors = COLORS["theory"], COLORS["encoder"], COLORS["generator"]
    for (name, values), color, up in zip(curves.items(), colors, (0, -3, 6), strict=True):
        steps = 1 + np.arange(len(values))
        ax.plot(steps, np.maximum(values, 1e-2), color=color, lw=1.4)
        write(ax, name, (steps[-1], np.median(values[-20:])), (6, up), color, va="center")
    write(ax, "chance", (1, chance), (2, -13), COLORS["theory"])
    ax.set(xscale="log", yscale="log", xlabel="training step", ylabel="loss of the batch (nats)")
    for axis in (ax.xaxis, ax.yaxis):
        logarithmic(axis)
    return fig


def draw_noise(
    sizes: np.ndarray, distances: Mapping[str, np.ndarray], moments: Mapping[str, tuple]
) -> Figure:
    """Measured distances `[sizes]` between a batch's gradient and the whole one, and the theory's line, on log axes."""
    fig, ax = plt.subplots(figsize=(5.8, 3.2))
    colors, x = (COLORS["data"], COLORS["generator"]), np.array([sizes[0], sizes[-1]], float)
    for (name, found), color in zip(distances.items(), colors, strict=False):
        squared, trace = moments[name]
        ax.plot(x, optimisers.standard_error(trace, x), color=COLORS["theory"], lw=1.3)
        ax.axhline(np.sqrt(squared), color=color, ls="--", lw=1.2)
        ax.plot(sizes, found, "o", color=color, ms=6)
        write(ax, f"noise, {name}", (sizes[-1], found[-1]), (8, 0), color, va="center")
        write(ax, f"gradient, {name}", (1.04, np.sqrt(squared)), (8, 0), color, va="center",
              xycoords=("axes fraction", "data"))  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="batch size $B$", ylabel="length")
    for axis in (ax.xaxis, ax.yaxis):
        logarithmic(axis)
    return fig
