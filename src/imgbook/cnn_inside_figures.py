"""The pictures of the page on the inside of a network: maps over photographs, kernels, and what the checks found."""

from collections.abc import Mapping, Sequence

import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from imgbook import plotting
from imgbook.cnn_inside import COLOUR_AXES, pattern_shares, patterns
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
    cell: float = 0.98,
    scale: bool = True,
) -> Figure:
    """Labelled rows of images `[N, H, W, C]`, in [0, 1], one under the other.

    `notes[label]` stands below the images of that row, a line or two each; `scale` adds the colours of a map.
    """
    notes, ncols = notes or {}, max(map(len, rows.values()))
    lines = {label: max((n.count("\n") + 1 for n in notes.get(label, ())), default=0) for label in rows}  # fmt: skip
    heights = [cell + 0.16 * lines[label] for label in rows]
    fig, axes = plt.subplots(
        len(rows), 1, figsize=(ncols * cell + 0.5 * scale, sum(heights) + 0.27 * len(rows)),
        height_ratios=heights, squeeze=False,
    )  # fmt: skip
    for ax, (label, images) in zip(axes[:, 0], rows.items(), strict=True):
        plotting.show_tile(ax, images, ncols, label)
        ax.title.set_fontsize(10)
        height, width = images.shape[1:3]
        for i, note in enumerate(notes.get(label, ())):
            place = 2 + i * (width + 2) + width / 2, height + 4
            ax.text(*place, note, ha="center", va="top", fontsize=8.5, linespacing=1.05)
        ax.set_ylim(height + 3.5 + 0.16 * lines[label] / cell * height, -0.5)
    if scale:
        bar = fig.colorbar(ScalarMappable(cmap=HEAT), ax=axes[-1, 0], aspect=10, shrink=0.95, ticks=(0, 1))  # fmt: skip
        bar.outline.set_visible(False)
        bar.ax.set_ylabel("map", fontsize=9)
        bar.ax.tick_params(labelsize=9, length=0)
    return fig


def draw_stages(photo: np.ndarray, maps: Mapping[str, np.ndarray], stages: Sequence[str]) -> Figure:
    """The maps `[stages, H, W]` of one photograph, a row for each method, a column for each stage of a cascade."""
    n = len(stages)
    fig, axes = plt.subplots(
        len(maps), n + 1, figsize=(1.02 * (n + 1), 1.12 * len(maps)), squeeze=False
    )
    for row, (name, values) in zip(axes, maps.items(), strict=True):
        row[0].text(0.95, 0.5, name.replace(" ", "\n"), ha="right", va="center", fontsize=10)
        for ax, picture in zip(row[1:], heat(values), strict=True):
            ax.imshow(picture)
    for ax, stage in zip(axes[0, 1:], stages, strict=True):
        ax.set_title(stage, fontsize=9)
    axes[0, 0].imshow(photo)
    axes[0, 0].texts[0].set(position=(0.5, -0.02), ha="center", va="top")
    axes[0, 0].texts[0].set_transform(axes[0, 0].transAxes)
    for ax in axes.ravel():
        ax.set_axis_off()
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
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.8, 3.1), width_ratios=(1, 1.5))
    plotting.show_tile(left, _enlarged(drawn), ncols, f"the {len(order)} kernels")
    basis = patterns(k).reshape(-1, k, k, 3)  # [3, k k, k, k, 3] -> [3 k k, k, k, 3]
    basis = 0.5 + basis / (2 * np.abs(basis).max((1, 2, 3), keepdims=True))
    blank = np.ones((3, k * k, 8 * k, 8 * k, 3))
    blank[:] = _enlarged(basis).reshape(3, k * k, 8 * k, 8 * k, 3)  # [3 k k, ...] -> [3, k k, ...]
    shares, side = 100 * pattern_shares(kernel), 8 * k
    right.set_title("their parts, percent of squared weights", loc="left")
    for (row, column), share in np.ndenumerate(shares):
        x, y = column * 1.25 * side, row * 2.1 * side
        right.imshow(blank[row, column], extent=(x, x + side, y + side, y))
        draws = 100 * chance[:, row, column]
        outside = share < draws.min() or share > draws.max()
        right.text(
            x + side / 2, y + 1.05 * side, f"{share:.1f}", ha="center", va="top", fontsize=9,
            weight="bold" if outside else "normal",
        )  # fmt: skip
    for row, name in enumerate(COLOUR_AXES):
        right.text(0, (2.1 * row - 0.12) * side, name, va="bottom", fontsize=9)
    right.set(xlim=(0, 1.25 * side * k * k), ylim=(5.75 * side, -0.6 * side))
    right.set_axis_off()
    return fig


def _enlarged(images: np.ndarray) -> np.ndarray:
    """Each pixel as 8 x 8, so that gaps between images are thin beside them."""
    return images.repeat(8, axis=1).repeat(8, axis=2)


# --- what the checks found ------------------------------------------------------------------------------------


def draw_cascade(
    found: Mapping[str, np.ndarray], chance: Mapping[str, float], stages: Sequence[str]
) -> Figure:
    """Rank correlations `[stages, N]` of each method: mean and spread over photos; and the means above chance."""
    fig, (raw, above) = plt.subplots(1, 2, figsize=(8, 3.4), width_ratios=(1, 1.3), sharey=True)
    x = np.arange(len(stages))
    for i, (name, values) in enumerate(found.items()):
        color, shift = COLORS[ROLES[name]], 0.07 * (i - (len(found) - 1) / 2)
        middle, spread = values.mean(1), values.std(1)
        raw.errorbar(x + shift, middle, spread, fmt="o-", ms=4, lw=1.3, elinewidth=0.8, color=color)
        raw.plot(x[-1] + 0.55, chance[name], "D", ms=6, mfc="none", mew=1.5, color=color)
        level = (middle - chance[name]) / (1 - chance[name])
        above.plot(x, level, "o-", ms=4, color=color)
        _label(above, x[-1], level[-1], name, color)
    raw.text(x[-1] + 0.55, -0.62, "two\nphotos", ha="center", va="top", fontsize=9)
    above.axhline(0, color=COLORS["theory"], linestyle="--", linewidth=1)
    for ax, title in ((raw, "rank correlation"), (above, "the same, above that of two photos")):
        ax.set_title(title, loc="left")
        ax.set_xticks(x, stages, rotation=40, ha="right")
        ax.set_xlabel("randomised down to")
    raw.set(xlim=(-0.4, x[-1] + 1.1), ylim=(-0.95, 1.1))
    above.set_xlim(-0.4, x[-1] + 2.4)
    return fig


def _label(ax: Axes, x: float, y: float, name: str, color: str) -> None:
    ax.text(x + 0.2, y, name, va="center", fontsize=10, color=label_color(color))


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
