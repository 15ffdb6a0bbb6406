"""The pictures of the page on optimisers and overfitting: its second half, on overfitting."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imgbook import overfitting
from imgbook.optimisers_figures import SHOWN, logarithmic, write
from imgbook.plotting import COLORS, label_color


def draw_fits(
    x: np.ndarray, sets: np.ndarray, degrees: Sequence[int], at: np.ndarray, truth: np.ndarray
) -> Figure:
    """Polynomials through noisy data sets `[R, N]`, a panel a degree: the first set's in full, the others faint."""
    fig, axes = plt.subplots(1, len(degrees), figsize=(6.4, 2.8), sharey=True)
    for ax, degree in zip(axes, degrees, strict=True):
        fits = overfitting.fitted(x, sets, degree, at)
        ax.plot(at, fits[1:].T, color=COLORS["generator"], lw=0.6, alpha=0.3)
        ax.plot(at, truth, color=COLORS["theory"], lw=1.6, ls="--")
        ax.plot(at, fits[0], color=COLORS["generator"], lw=2)
        ax.plot(x, sets[0], "o", color=COLORS["data"], ms=5, mec="white", mew=0.5)
        ax.set(title=f"degree {degree}", xlabel="$x$", ylim=(-2.4, 2.4))
    axes[0].set_ylabel("$y$")
    return fig


def draw_parts(
    degrees: Sequence[int],
    found: Sequence[overfitting.Decomposition],
    theory: Sequence[overfitting.Decomposition],
) -> Figure:
    """The error on new data and its parts over the degree: simulated as points, in closed form as lines."""
    fig, ax = plt.subplots(figsize=(5.8, 3.3))
    parts = {
        "error": ("error on new data", COLORS["generator"], "o"),
        "squared_bias": ("squared bias", COLORS["data"], "s"),
        "variance": ("variance", COLORS["encoder"], "^"),
        "noise": ("noise", COLORS["theory"], "None"),
    }
    lowest = 2e-3
    for name, (words, color, mark) in parts.items():
        line, points = (np.array([getattr(d, name) for d in ds]) for ds in (theory, found))
        ax.plot(degrees, np.where(line > lowest, line, np.nan), color=color, lw=1.3)
        ax.plot(degrees, np.where(points > lowest, points, np.nan), mark, color=color, ms=6, ls="")
        if name == "squared_bias":
            ax.text(
                0.1,
                0.4,
                words.replace(" ", "\n"),
                color=label_color(color),
                fontsize=SHOWN,
                va="top",
            )
        else:
            shift = (9, 6) if name == "error" else (9, -6 if name == "variance" else 0)
            write(ax, words, (degrees[-1], line[-1]), shift, color, va="center")
    ax.set(
        yscale="log",
        xlabel="degree of the polynomial",
        ylabel="mean squared error",
        ylim=(lowest, 2),
    )
    logarithmic(ax.yaxis)
    return fig


def draw_features(
    sizes: np.ndarray, train: np.ndarray, new: np.ndarray, num_images: int, guess: float
) -> Figure:
    """Errors `[sizes, seeds]` over the number of random features: median of the seeds, and their range."""
    fig, ax = plt.subplots(figsize=(5.8, 3.2))
    ax.axvline(num_images, color=COLORS["theory"], lw=1, ls=":")
    ax.axhline(guess, color=COLORS["theory"], lw=1, ls="--")
    for values, words, color in (
        (train, "training", COLORS["data"]),
        (new, "validation", COLORS["measured"]),
    ):
        values = np.maximum(values, 1e-3)
        ax.fill_between(sizes, values.min(1), values.max(1), color=color, alpha=0.25, lw=0)
        ax.plot(sizes, np.median(values, 1), "o-", color=color, ms=4)
        last = np.flatnonzero(np.median(values, 1) > 2e-3)[-1]
        at = sizes[last], np.median(values, 1)[last]
        write(ax, words, at, (9, 0 if words == "training" else -6), color, va="center")
    write(ax, "as many features as images", (num_images, 1), (-6, -10), COLORS["theory"], ha="right",
          xycoords=("data", "axes fraction"))  # fmt: skip
    write(ax, "guess", (sizes[-1], guess), (9, 6), COLORS["theory"], va="center")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="random features",
        ylabel="squared error",
        ylim=(5e-3, None),
    )
    for axis in (ax.xaxis, ax.yaxis):
        logarithmic(axis)
    return fig


def draw_losses(
    checkpoints: np.ndarray, panels: Mapping[str, Sequence[overfitting.Run]], chance: float
) -> Figure:
    """Training and validation loss over the steps, a panel a set of labels: mean of the seeds, and their range."""
    fig, axes = plt.subplots(1, len(panels), figsize=(6.4, 3.1), sharey=True)
    for ax, (title, runs) in zip(axes, panels.items(), strict=True):
        ax.axhline(chance, color=COLORS["theory"], lw=1, ls="--")
        for name, color in (
            ("train_loss", COLORS["data"]),
            ("validation_loss", COLORS["measured"]),
        ):
            values = np.maximum([getattr(r, name) for r in runs], 1e-4)
            band(ax, checkpoints, values, color)
            words = name.removesuffix("_loss").replace("train", "training")
            low = name == "train_loss"
            where = -4 if low else -1
            write(ax, words, (checkpoints[where], values[:, where].mean()), (-6, 0) if low else (0, 10),
                  color, ha="right", va="center")  # fmt: skip
        ax.set(title=title, xscale="log", yscale="log", xlabel="training step", ylim=(5e-4, 15))
        for axis in (ax.xaxis, ax.yaxis):
            logarithmic(axis)
    write(axes[0], "chance", (checkpoints[0], chance), (2, -13), COLORS["theory"])
    axes[0].set_ylabel("cross-entropy (nats)")
    return fig


def band(ax: Axes, x: np.ndarray, values: np.ndarray, color: str) -> None:
    """The mean over the seeds of values `[seeds, C]`, and their range as a band."""
    ax.fill_between(x, values.min(0), values.max(0), color=color, alpha=0.25, lw=0)
    ax.plot(x, values.mean(0), color=color)


def draw_remedies(
    checkpoints: np.ndarray, runs: Mapping[str, Sequence[overfitting.Run]], top: float = 1.6
) -> Figure:
    """Validation loss over the steps, the first entry as the grey reference in each panel of the others."""
    names = list(runs)
    first, others = names[0], names[1:]
    fig, axes = plt.subplots(-(-len(others) // 2), 2, figsize=(6.0, 6.0), sharex=True, sharey=True)
    for ax in axes.flat[len(others) :]:
        ax.set_axis_off()
    colors = "data", "generator", "encoder", "decoder", "measured"
    for i, (ax, name) in enumerate(zip(axes.flat, others, strict=False)):
        reference, values = (np.array([r.validation_loss for r in runs[n]]) for n in (first, name))
        band(ax, checkpoints, reference, COLORS["theory"])
        color = COLORS[colors[i % len(colors)]]
        band(ax, checkpoints, values, color)
        ax.set_title(name, loc="left", color=label_color(color))
        ax.set(xscale="log", ylim=(0, top))
        ax.set_xlim(10 if checkpoints[-1] > 100 else 1, checkpoints[-1])
        logarithmic(ax.xaxis)
        if ax.get_subplotspec().is_first_col():
            ax.set_ylabel("validation (nats)")
        if i + axes.shape[1] >= len(others):
            ax.set_xlabel("training step")
    best = np.array([r.validation_loss for r in runs[first]]).mean(0)
    write(
        axes[0, 0],
        first,
        (checkpoints[-1], min(best[-1], top)),
        (-4, 8),
        COLORS["theory"],
        ha="right",
    )
    return fig
