"""The pictures of the chapter on convolutions: one output by hand, the matrix, confusions, reliability."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from imgbook import equivariance
from imgbook.cnn_measures import Calibration
from imgbook.convolution import Window
from imgbook.plotting import COLORS, label_color

DARK, LIGHT = "#000000", "#fefefe"  # on coloured ground, so the same in both themes
# What has a sign: orange below zero, blue above, white at zero.
SIGNED = LinearSegmentedColormap.from_list(
    "signed", [COLORS["generator"], "#ffffff", COLORS["data"]]
)
HUES = "data", "generator", "discriminator"  # one for each row of a kernel


def on_ground(color: Sequence[float]) -> str:
    """The colour of text that is readable on the ground `color`, (red, green, blue) in [0, 1]."""
    return DARK if np.dot(color[:3], [0.299, 0.587, 0.114]) > 0.5 else LIGHT


def as_fraction(value: float) -> str:
    """A number as it is written by hand: 3, −1/2, 1/9."""
    return str(Fraction(float(value)).limit_denominator(99)).replace("-", "−")


def draw_numbers(
    ax: Axes, values: np.ndarray, cmap: str | LinearSegmentedColormap, low: float, high: float
) -> None:
    """A small grid of numbers `[h, w]` on cells coloured from `low` to `high`, each number readable on its cell."""
    image = ax.imshow(values, cmap=cmap, vmin=low, vmax=high)
    look = dict(ha="center", va="center", fontsize=9)
    for i, j in np.ndindex(values.shape):
        ground = image.to_rgba(values[i, j])
        ax.text(j, i, as_fraction(values[i, j]), color=on_ground(ground), **look)
    _bare(ax)


def draw_product(
    image: np.ndarray, kernel: np.ndarray, place: tuple[int, int], response: np.ndarray
) -> Figure:
    """One output of a convolution by hand: the window of the image, times the kernel, sums to one number.

    image: grey levels `[H, W]` in 0..255. kernel: `[k, k]`. place: the window's upper left corner. response: all
    outputs `[H - k + 1, W - k + 1]`, in which the number stands at `place`.
    """
    (i, j), (k, _) = place, kernel.shape
    window = image[i : i + k, j : j + k]
    products = window * kernel
    scale = np.abs(response).max()
    fig, axes = plt.subplots(1, 5, figsize=(8, 2.2), width_ratios=(1.35, 1, 1, 1, 1.35))
    axes[0].imshow(image, cmap="gray", vmin=0, vmax=255)
    axes[4].imshow(response, cmap=SIGNED, vmin=-scale, vmax=scale)
    for ax, side in ((axes[0], k), (axes[4], 1)):
        _bare(ax)
        mark = Rectangle((j - 0.5, i - 0.5), side, side, fill=False, lw=2, ec=COLORS["measured"])
        ax.add_patch(mark)
    draw_numbers(axes[1], window, "gray", 0, 255)
    draw_numbers(axes[2], kernel, SIGNED, -2, 2)
    draw_numbers(axes[3], products, SIGNED, -255, 255)
    total = f"sum: {products.sum():.0f}".replace("-", "−")
    titles = "image", "window", "× kernel", "= products", total
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, loc="left")
    return fig


def draw_kernels(
    photo: np.ndarray, kernels: Mapping[str, np.ndarray], results: Mapping[str, np.ndarray]
) -> Figure:
    """A photograph `[H, W, 3]` (uint8) and, for each kernel `[k, k]`, the kernel above its result.

    results: by the kernels' names; `[h, w, 3]` in 0..255, cut there, or one signed number a place, `[h, w]`.
    """
    fig, axes = plt.subplots(
        2, 1 + len(kernels), figsize=(1.9 * (1 + len(kernels)), 3.3), height_ratios=(1, 2)
    )
    axes[0, 0].set_axis_off()
    axes[1, 0].imshow(photo)
    axes[1, 0].set_title("a photograph", loc="left")
    for column, (name, kernel) in zip(axes[:, 1:].T, kernels.items(), strict=True):
        size = np.abs(kernel).max()
        draw_numbers(column[0], kernel, SIGNED, -1.5 * size, 1.5 * size)
        result = results[name]
        if result.ndim == 2:
            scale = np.abs(result).max()
            column[1].imshow(result, cmap=SIGNED, vmin=-scale, vmax=scale)
        else:
            column[1].imshow(result.clip(0, 255).astype(np.uint8))
        column[1].set_title(name, loc="left")
    for ax in axes[1]:
        _bare(ax)
    return fig


def weight_colors(k: int) -> np.ndarray:
    """Colours `[k k, 3]` of the weights of a kernel: a hue for each row, at most three, lighter from left to right.

    Raises:
        ValueError: more rows than hues.
    """
    if not 1 <= k <= len(HUES):
        raise ValueError(f"a kernel of {k} rows; allowed: 1 to {len(HUES)}, one hue a row")
    hues = np.array([to_rgb(COLORS[name]) for name in HUES[:k]])[:, None]
    white = np.linspace(0, 0.7, k)[None, :, None]
    return (white + (1 - white) * hues).reshape(-1, 3)  # [k, k, 3] -> [k k, 3]


def draw_matrix(window: Window) -> Figure:
    """The matrix of a convolution of one small grey image, a colour for each weight, beside its kernel.

    Entries that are zero by structure are left blank. Lines separate the rows of the image and those of the output.
    """
    k = window.kernel[0]
    palette = np.concatenate([np.zeros((1, 4)), np.c_[weight_colors(k), np.ones(k * k)]])
    places = equivariance.shared_weights(window)
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.8, 3.1), width_ratios=(1, 5.2))
    numbers = np.arange(1, k * k + 1).reshape(k, k)
    left.imshow(palette[numbers])
    for i, j in np.ndindex(k, k):
        words, color = f"$w_{{{i}{j}}}$", on_ground(palette[numbers[i, j]])
        left.text(j, i, words, ha="center", va="center", color=color)
    left.set_title("kernel", loc="left")
    _bare(left)
    right.imshow(palette[places])
    width, columns = window.output[1], window.image[1]
    lines = dict(color=COLORS["theory"], linewidth=0.6)
    for n in range(window.output[0] + 1):
        right.axhline(n * width - 0.5, **lines)
    for n in range(window.image[0] + 1):
        right.axvline(n * columns - 0.5, **lines)
    right.set_yticks(np.arange(0, len(places), width))
    right.set_xticks(np.arange(0, places.shape[1], columns))
    right.set(xlabel="pixel of the image, row after row", ylabel="output")
    right.grid(visible=False)
    return fig


def draw_confusion(shares: np.ndarray, names: Sequence[str], least: float = 0.05) -> Figure:
    """A matrix of shares `[K, K]` in [0, 1], rows true and columns predicted; shares of `least` or more are written."""
    fig, ax = plt.subplots(figsize=(6.2, 5))
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.argwhere(shares >= least):
        words, color = f"{100 * shares[i, j]:.0f}", on_ground(image.to_rgba(shares[i, j]))
        ax.text(j, i, words, ha="center", va="center", fontsize=9, color=color)
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="predicted (numbers: % of the row)", ylabel="true")
    ax.grid(visible=False)
    return fig


def draw_reliability(ax: Axes, found: Calibration, title: str, color: str) -> None:
    """Accuracy against confidence, with standard errors, the diagonal of perfect calibration, and below the number of
    images in each bin.
    """
    ax.plot([0, 100], [0, 100], color=COLORS["theory"], linestyle="--", linewidth=1)
    some = found.count > 0
    x, y, n = 100 * found.confidence[some], found.accuracy[some], found.count[some]
    # (right + 1) / (n + 2) instead of the share itself: a bin with one image is not certain.
    spread = (y * n + 1) / (n + 2)
    bars = 100 * np.sqrt(spread * (1 - spread) / n)
    ax.errorbar(x, 100 * y, bars, fmt="o", ms=5, lw=1.2, color=color)
    edges = 100 * np.arange(len(found.count)) / len(found.count)
    heights = 25 * found.count / found.count.sum()
    ax.bar(edges, heights, 100 / len(found.count), align="edge", color=color, alpha=0.25, lw=0)
    ax.text(3, 90, f"error {100 * found.error:.1f} %", color=label_color(color))
    ax.set_title(title, loc="left")
    ax.set(xlim=(0, 100), ylim=(0, 102), xlabel="confidence (%)")


def draw_over_shifts(
    curves: Mapping[str, np.ndarray],
    distances: Sequence[int],
    roles: Sequence[str],
    ylabel: str,
    errors: Mapping[str, np.ndarray] | None = None,
) -> Figure:
    """Shares `[distances]` in [0, 1] as curves in percent over a shift, each labelled at its right end.

    roles: a key of `plotting.COLORS` for each curve. errors: standard errors, by the names of the curves.
    """
    fig, ax = plt.subplots(figsize=(6.6, 3.4))
    looks = [("o", "-"), ("s", "-"), ("^", "--"), ("D", ":")]
    for (name, values), role, (mark, line) in zip(curves.items(), roles, looks, strict=False):
        bars = None if errors is None else 100 * errors[name]
        style = dict(marker=mark, ls=line, ms=5, lw=1.4, color=COLORS[role])
        ax.errorbar(distances, 100 * values, bars, **style)
    ax.set_ylim(bottom=-2)
    ends = [100 * values[-1] for values in curves.values()]
    heights = spread(ends, 0.09 * np.subtract(*ax.get_ylim()[::-1]))
    right = distances[-1] + 0.03 * (distances[-1] - distances[0])
    for name, role, height in zip(curves, roles, heights, strict=True):
        ax.text(right, height, name, va="center", color=label_color(COLORS[role]), fontsize=10)
    ax.set(xlabel="shift (pixels)", ylabel=ylabel, xlim=(None, 1.5 * distances[-1]))
    ax.set_xticks(distances)
    return fig


def spread(heights: Sequence[float], gap: float) -> np.ndarray:
    """Heights of labels, in the order given: near those wanted, and none nearer than `gap` to the next."""
    order = np.argsort(heights, kind="stable")
    # Measured without the gaps, labels only must keep their order: neighbours that do not are merged at their mean.
    groups: list[tuple[float, int]] = []
    for rank, n in enumerate(order):
        groups.append((heights[n] - rank * gap, 1))
        while len(groups) > 1 and groups[-2][0] > groups[-1][0]:
            (a, m), (b, k) = groups[-2:]
            groups[-2:] = [((m * a + k * b) / (m + k), m + k)]
    placed = np.concatenate([np.full(count, mean) for mean, count in groups])
    result = np.empty(len(heights))
    result[order] = placed + gap * np.arange(len(heights))
    return result


def _bare(ax: Axes) -> None:
    """No ticks, no frame, no grid: what is drawn are pixels."""
    ax.set(xticks=(), yticks=())
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
