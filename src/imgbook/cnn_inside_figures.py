"""The pictures of the page on the inside of a network: maps over photographs, kernels, and what the checks found."""

from collections.abc import Mapping, Sequence

import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from imgbook.cnn_inside import COLOUR_AXES, pattern_shares, patterns
from imgbook.pixels import as_unit
from imgbook.plotting import COLORS, INK, label_color

HEAT = "inferno"
TOP = 99  # the percentile of a map that gets the brightest colour: a single pixel must not make all others dark
ROLES = {
    "Grad-CAM": "discriminator",
    "saliency": "measured",
    "guided backprop": "decoder",
    "edges": "theory",
}


# --- maps -----------------------------------------------------------------------------------------------------


def resized(maps: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Maps `[N, h, w]` at another size `[N, *shape]`, bilinear."""
    return np.asarray(jax.image.resize(maps, (len(maps), *shape), "linear"))


def levels(maps: np.ndarray) -> np.ndarray:
    """Maps `[N, H, W]`, 0 or more, each divided by its 99th percentile and cut at 1; a map of zeros stays."""
    maps = np.asarray(maps, np.float64)
    top = np.percentile(maps, TOP, axis=(1, 2), keepdims=True)
    top = np.where(top > 0, top, maps.max((1, 2), keepdims=True))
    return np.minimum(np.divide(maps, top, out=np.zeros_like(maps), where=top > 0), 1)


def heat(maps: np.ndarray) -> np.ndarray:
    """`levels` in colours, `[N, H, W, 3]`."""
    return plt.get_cmap(HEAT)(levels(maps))[..., :3]


def overlay(photos: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Colours of maps `[N, h, w]` over photographs `[N, H, W, C]` in [0, 1], made grey: `[N, H, W, 3]`."""
    grey = np.asarray(photos).mean(-1, keepdims=True)
    return 0.45 * grey + 0.55 * heat(resized(maps, photos.shape[1:3]))


def draw_rows(
    rows: Mapping[str, np.ndarray],
    notes: Mapping[str, Sequence[str]] | None = None,
    *,
    cell: float = 0.94,
    scale: bool = True,
) -> Figure:
    """Labelled rows of images `[N, H, W, C]`, in [0, 1], one under the other; drawn at one size, whatever H and W are.

    `notes[label]` stands below the images of that row, a line or two each; `scale` adds the colours of a map. `cell`
    is the side of an image and its gap in inches.
    """
    notes, ncols = notes or {}, max(map(len, rows.values()))
    lines = [max((n.count("\n") + 1 for n in notes.get(label, ())), default=0) for label in rows]
    heights = [cell + 0.17 * n for n in lines]
    fig, axes = plt.subplots(
        len(rows), 1, figsize=(ncols * cell + 0.6 * scale, sum(heights) + 0.27 * len(rows)),
        height_ratios=heights, squeeze=False,
    )  # fmt: skip
    for ax, height, (label, images) in zip(axes[:, 0], heights, rows.items(), strict=True):
        for column, image in enumerate(as_unit(images)):
            ax.imshow(_colours(image), extent=(column, column + 0.95, 0.95, 0))
        for column, note in enumerate(notes.get(label, ())):
            ax.text(column + 0.475, 0.99, note, ha="center", va="top", fontsize=9, linespacing=1)
        ax.set_title(label, loc="left", fontsize=10, pad=3)
        ax.set(xlim=(0, ncols - 0.05), ylim=(height / cell, 0), anchor="W")
        ax.set_axis_off()
    if scale:
        bar = fig.colorbar(ScalarMappable(cmap=HEAT), ax=axes[-1, 0], aspect=9, shrink=0.9, ticks=(0, 1))  # fmt: skip
        bar.outline.set_visible(False)
        bar.ax.set_title("map", fontsize=9)
        bar.ax.tick_params(labelsize=9, length=0)
    return fig


def _colours(image: np.ndarray) -> np.ndarray:
    """Grey `[H, W, 1]` or colour `[H, W, 3]` as colour, so that no level is rescaled."""
    return np.broadcast_to(image, (*image.shape[:2], 3))


def draw_stages(photo: np.ndarray, maps: Mapping[str, np.ndarray], stages: Sequence[str]) -> Figure:
    """The maps `[stages, H, W]` of one photograph, a row for each method, a column for each stage of a cascade."""
    n, m = len(stages), len(maps)
    fig = plt.figure(figsize=(1.1 * (n + 1), 1.12 * m + 0.2))
    grid = fig.add_gridspec(m, n + 1)
    left = fig.add_subplot(grid[:, 0])
    left.imshow(photo)
    left.set_title("photograph", fontsize=9)
    left.set_axis_off()
    for row, (name, values) in enumerate(maps.items()):
        for column, picture in enumerate(heat(values)):
            ax = fig.add_subplot(grid[row, column + 1], xticks=(), yticks=())
            ax.imshow(picture)
            ax.spines[:].set_visible(False)
            if row == 0:
                ax.set_title(stages[column], fontsize=9)
            if column == 0:
                ax.set_ylabel(name.replace(" ", "\n"), fontsize=9)
    return fig


# --- kernels --------------------------------------------------------------------------------------------------


def draw_kernels(kernel: np.ndarray, chance: np.ndarray, ncols: int = 8) -> Figure:
    """Kernels `[k, k, 3, B]`, strongest first, beside the basis patterns with their shares in percent.

    `chance` `[draws, 3, k * k]`: the shares in kernels without order. What lies outside of all draws is in bold. Grey
    levels are fixed: mid-grey is a weight of 0, black and white are minus and plus the largest weight of all.
    """
    k = len(kernel)
    order = np.argsort(-(kernel**2).sum((0, 1, 2)))
    drawn = 0.5 + np.moveaxis(kernel, 3, 0)[order] / (2 * np.abs(kernel).max())
    basis = patterns(k)
    basis = 0.5 + basis / (2 * np.abs(basis).max((2, 3, 4), keepdims=True))
    fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), width_ratios=(1, 1.6))
    for i, image in enumerate(drawn):
        _cell(left, image, i % ncols, i // ncols)
    left.set(xlim=(-0.1, ncols), ylim=(-(-len(order) // ncols), -0.35), anchor="N")
    left.set_title(f"the {len(order)} kernels", loc="left")
    for (row, column), share in np.ndenumerate(100 * pattern_shares(kernel)):
        _cell(right, basis[row, column], column, 1.75 * row)
        draws = 100 * chance[:, row, column]
        outside = share < draws.min() or share > draws.max()
        right.text(
            column + 0.44, 1.75 * row + 0.92, f"{share:.1f}", ha="center", va="top", fontsize=9,
            weight="bold" if outside else "normal",
        )  # fmt: skip
    for row, name in enumerate(COLOUR_AXES):
        right.text(0, 1.75 * row - 0.07, name, va="bottom", fontsize=9)
    right.set(xlim=(-0.05, k * k), ylim=(4.9, -0.35), anchor="N")
    right.set_title("their parts, percent of the squared weights", loc="left")
    for ax in (left, right):
        ax.set_axis_off()
    return fig


def _cell(ax: Axes, image: np.ndarray, x: float, y: float) -> None:
    """A small image in a thin frame, without which white would not be seen on paper."""
    ax.imshow(image, extent=(x, x + 0.88, y + 0.88, y))
    ax.add_patch(Rectangle((x, y), 0.88, 0.88, fill=False, edgecolor=COLORS["theory"], linewidth=0.6))  # fmt: skip


# --- what the checks found ------------------------------------------------------------------------------------


def draw_cascade(
    found: Mapping[str, np.ndarray], chance: Mapping[str, float], stages: Sequence[str]
) -> Figure:
    """Rank correlations `[stages, N]` of each method: mean and spread over photos; and the means above chance."""
    fig, (raw, above) = plt.subplots(1, 2, figsize=(8, 3.4), width_ratios=(1, 1.3), sharey=True)
    x, ends, lowest = np.arange(len(stages)), {}, 0.0
    for i, (name, values) in enumerate(found.items()):
        color, shift = COLORS[ROLES[name]], 0.07 * (i - (len(found) - 1) / 2)
        middle, spread = values.mean(1), values.std(1)
        raw.errorbar(x + shift, middle, spread, fmt="o-", ms=4, lw=1.3, elinewidth=0.8, color=color)
        raw.plot(x[-1] + 0.55, chance[name], "D", ms=6, mfc="none", mew=1.5, color=color)
        level = (middle - chance[name]) / (1 - chance[name])
        above.plot(x, level, "o-", ms=4, color=color)
        ends[name], lowest = level[-1], min(lowest, level.min())
    place = -np.inf
    for name in sorted(ends, key=ends.get):  # from below, a line apart
        place = max(place + 0.13, ends[name])
        words = dict(va="center", fontsize=10, color=label_color(COLORS[ROLES[name]]))
        above.text(x[-1] + 0.2, place, name, **words)
    raw.text(x[-1] + 0.55, -0.45, "two\nphotos", ha="center", va="top", fontsize=9)
    above.axhline(0, color=COLORS["theory"], linestyle="--", linewidth=1)
    for ax, title in ((raw, "rank correlation"), (above, "the same, above that of two photos")):
        ax.set_title(title, loc="left")
        ax.set_xticks(x, stages, rotation=40, ha="right")
        ax.set_xlabel("randomised down to")
    raw.set(xlim=(-0.4, x[-1] + 1.1), ylim=(min(-0.95, lowest - 0.1), 1.1))
    above.set_xlim(-0.4, x[-1] + 2.7)
    return fig


def draw_hidden(found: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """For each choice of pixels: (mean, standard error) of what hiding them costs, and of what they reach alone."""
    fig, axes = plt.subplots(1, 2, figsize=(8, 0.36 * len(found) + 0.9), sharey=True)
    titles = "hidden: probability lost", "shown alone: probability left"
    y = np.arange(len(found))[::-1]
    for i, (ax, title) in enumerate(zip(axes, titles, strict=True)):
        for at, (name, values) in zip(y, found.items(), strict=True):
            mean, error = (100 * v for v in values[i])
            own = name.endswith("highest")
            ax.errorbar(
                mean, at, xerr=error, fmt="o" if own else "s", ms=6, mfc=None if own else "none",
                color=COLORS["discriminator" if own else "theory"],
            )  # fmt: skip
        ax.set_title(title, loc="left")
        ax.set(xlabel="percentage points" if i == 0 else "percent", xlim=(0, None))
        ax.grid(axis="y", visible=True)
    axes[0].set_yticks(y, list(found), color=INK)
    axes[0].set_ylim(-0.6, len(found) - 0.4)
    return fig
