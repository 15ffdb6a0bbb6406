"""Chapter 4: the figures of the fast recipe."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from imgbook import fast_tables, plotting
from imgbook.fast_runs import SIZES


def draw_stairs(found: Mapping[str, Mapping]) -> Figure:
    """A staircase: each stair's mean test accuracy, its runs as points, its words at its left.

    found: `fast_tables.stairs()`.
    """
    fig, ax = plt.subplots(figsize=(7.4, 4.6))
    means = []
    for i, (stair, record) in enumerate(found.items()):
        values = 100 * fast_tables.stair_values(stair, record)
        means.append(values.mean())
        ax.barh(i, means[-1], height=0.72, color=plotting.COLORS["generator"], alpha=0.25)
        ax.plot(values, np.full(len(values), i), "o", color=plotting.COLORS["measured"], ms=4)
        ax.text(means[-1] - 2.5, i, f"{means[-1]:.1f} %", ha="right", va="center")
    ax.set_yticks(range(len(found)), [fast_tables.STAIR_WORDS[stair] for stair in found])
    ax.invert_yaxis()
    ax.set(xlabel="accuracy on 10,000 test photographs (%)", xlim=(40, 92))
    ax.grid(visible=False, axis="y")
    return fig


def draw_race(
    found: Mapping[str, Mapping],
    levels: tuple[float, ...] = (0.7, 0.8),
    stairs: Mapping[str, Mapping] | None = None,
) -> Figure:
    """Validation accuracy against seconds of training, both networks, every run a line.

    found: `fast_tables.race(preset)`; stairs: `fast_tables.stairs()`, each drawn as a point, its mean test accuracy
    above the seconds of its training.
    """
    fig, ax = plt.subplots(figsize=(7, 3.9))
    for name, color in (("baseline", "data"), ("fast", "generator")):
        accuracies, seconds = fast_tables.curve(found[name], name)
        for a, t in zip(accuracies, seconds, strict=True):
            ax.plot(t, 100 * a, color=plotting.COLORS[color], lw=1.2, alpha=0.8)
        fast = name == "fast"  # the other's label keeps clear of the stairs around its end
        ax.annotate(
            fast_tables.RACE_WORDS[name],
            (seconds[0, -1], 100 * accuracies[:, -1].max()),
            xytext=(0, 7 if fast else 20),
            textcoords="offset points",
            ha="right" if fast else "center",
            color=plotting.label_color(plotting.COLORS[color]),
        )
    for name, record in (stairs or {}).items():
        if name != "flipped":  # the same training as the one before
            seconds = fast_tables.values_of(record, f"{name}/seconds").mean()
            accuracy = 100 * fast_tables.stair_values(name, record).mean()
            ax.plot(seconds, accuracy, "D", color=plotting.COLORS["measured"], ms=5, zorder=4)
    for level in levels:
        ax.axhline(100 * level, color=plotting.COLORS["theory"], lw=1, ls="--")
    ax.set(xlabel="seconds of training", ylabel="accuracy (%)", xlim=0, ylim=(0, 100))
    return fig


def draw_sizes(record: Mapping) -> Figure:
    """Test accuracy against training images a class, on a logarithmic axis, both networks; bars: ± one deviation."""
    fig, ax = plt.subplots(figsize=(6, 3.6))
    for name, color, marker in (("baseline", "data", "s"), ("fast", "generator", "o")):
        columns = [100 * fast_tables.values_of(record, f"{name}/{size}/accuracy") for size in SIZES]
        means = [c.mean() for c in columns]
        ax.errorbar(SIZES, means, [c.std(ddof=1) for c in columns], marker=marker, capsize=3,
                    color=plotting.COLORS[color])  # fmt: skip
        ax.annotate(fast_tables.RACE_WORDS[name], (SIZES[1], means[1]), xytext=(0, 9 if name == "fast" else -17),
                    textcoords="offset points", ha="right" if name == "fast" else "left",
                    color=plotting.label_color(plotting.COLORS[color]))  # fmt: skip
    ax.set_xscale("log")
    ax.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
    ax.minorticks_off()
    ax.set(xlabel="training images a class", ylabel="test accuracy (%)")
    return fig


def draw_augmented(images: np.ndarray) -> Figure:
    """Rows of one photograph each as the training step sees it: `images` `[rows, columns, H, W, 3]`, standardised."""
    rows, columns = images.shape[:2]
    fig, axes = plt.subplots(rows, columns, figsize=(0.85 * columns, 0.9 * rows))
    for ax, image in zip(axes.ravel(), images.reshape(-1, *images.shape[2:]), strict=True):
        ax.imshow(np.clip((image + 2) / 4, 0, 1))
        ax.set_axis_off()
    for epoch, ax in enumerate(axes[0]):
        ax.set_title(f"epoch {epoch}", fontsize=9)
    return fig


def draw_kernels(kernel: np.ndarray) -> Figure:
    """Kernels `[k, k, 3, B]` as small pictures, each scaled to its own largest number; mid grey is zero."""
    count = kernel.shape[-1]
    fig, axes = plt.subplots(3, -(-count // 3), figsize=(6.6, 2.4))
    for ax in axes.ravel():
        ax.set_axis_off()
    for i, ax in zip(range(count), axes.ravel(), strict=False):
        ax.imshow(0.5 + 0.5 * kernel[..., i] / np.abs(kernel[..., i]).max())
    return fig


def draw_covariances(before: np.ndarray, after: np.ndarray) -> Figure:
    """Two covariance matrices side by side, on scales of their own, zero in the middle of each."""
    fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.9))
    for ax, matrix, title in zip(
        axes, (before, after), ("pixels of a patch", "whitened"), strict=True
    ):
        largest = np.abs(matrix).max()
        picture = ax.imshow(matrix, cmap="RdBu", vmin=-largest, vmax=largest)
        ax.set_title(title, loc="left")
        ax.grid(visible=False)
        fig.colorbar(picture, ax=ax, shrink=0.8)
    return fig
