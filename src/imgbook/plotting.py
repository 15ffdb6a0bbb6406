"""Figures in one style: fixed colours with fixed meanings, image grids of one size and gap, fixed grey levels."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from imgbook.pixels import as_unit

INK, PAPER = "#1f2328", "#ffffff"  # the pages show both in the colours of the reader's theme
# Okabe and Ito's colours, which people with any of the common colour-vision deficiencies can tell apart.
COLORS = {
    "data": "#0072B2",
    "generator": "#D55E00",
    "discriminator": "#009E73",
    "encoder": "#009E73",
    "decoder": "#CC79A7",
    "measured": "#E69F00",
    "theory": "#757575",
}

STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.hashsalt": "imgbook",  # the same figure gives the same file
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": plt.cycler(
        color=["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#757575"]
    ),
    "grid.alpha": 0.25,
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "image.cmap": "gray",
    "image.interpolation": "none",  # keeps an image's own pixels, sharp at any size
}


def use_style() -> None:
    """Set the book's Matplotlib style; inside a notebook also ask for vector figures."""
    plt.rcParams.update(STYLE)
    try:
        from IPython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    if get_ipython() is not None:
        set_matplotlib_formats("svg", metadata={"Date": None}, dpi=200)


def label_color(color: str) -> str:
    """A line's colour `#rrggbb` darkened, if it must be, until text in it is readable on white (contrast 4.5, WCAG)."""
    rgb = np.asarray(to_rgb(color))
    for scale in np.linspace(1, 0, 51):
        linear = np.where(
            scale * rgb <= 0.04045, scale * rgb / 12.92, ((scale * rgb + 0.055) / 1.055) ** 2.4
        )
        if 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) >= 4.55:  # a little more, for rounding
            break
    return to_hex(scale * rgb)


def tile(images: np.ndarray, ncols: int, gap: int = 2) -> np.ndarray:
    """One picture from many: images `[N, H, W, C]` (uint8 or [0, 1]) in rows of `ncols`, gaps of `gap` pixels.

    Returns float32 `[rows * (H + gap) + gap, ncols * (W + gap) + gap, 4]` in [0, 1]: red, green, blue and opacity,
    which is 0 in the gaps. Grey levels are taken as they are: no image is rescaled, so brightness can be compared
    across a grid.
    """
    images = as_unit(images)
    n, height, width, _ = images.shape
    nrows = -(-n // ncols)
    canvas = np.zeros((nrows * (height + gap) + gap, ncols * (width + gap) + gap, 4), np.float32)
    for i, image in enumerate(images):
        row, col = divmod(i, ncols)
        top, left = gap + row * (height + gap), gap + col * (width + gap)
        canvas[top : top + height, left : left + width, :3] = image  # grey is copied to all three
        canvas[top : top + height, left : left + width, 3] = 1
    return canvas


def show_tile(ax: Axes, images: np.ndarray, ncols: int, title: str | None = None) -> None:
    """Draw `tile(images, ncols)` into `ax`, without axes."""
    ax.imshow(tile(images, ncols))
    ax.set_axis_off()
    if title:
        ax.set_title(title, loc="left")


def image_grid(
    images: np.ndarray, ncols: int = 10, title: str | None = None, cell: float = 0.62
) -> Figure:
    """A grid of images `[N, H, W, C]` (uint8 or [0, 1]); `cell` is the side of one image in inches."""
    nrows = -(-len(images) // ncols)
    fig, ax = plt.subplots(figsize=(ncols * cell, nrows * cell + (0.3 if title else 0)))
    show_tile(ax, images, ncols, title)
    return fig


def compare_rows(rows: Mapping[str, np.ndarray], ncols: int = 10, cell: float = 0.62) -> Figure:
    """Labelled blocks of images one under the other: `{"real": images, "generated": images}`."""
    counts = [-(-len(images) // ncols) for images in rows.values()]
    fig, axes = plt.subplots(
        len(rows),
        1,
        figsize=(ncols * cell, sum(counts) * cell + 0.3 * len(rows)),
        height_ratios=counts,
        squeeze=False,
    )
    for ax, (label, images) in zip(axes[:, 0], rows.items(), strict=True):
        show_tile(ax, images, ncols, label)
    return fig


def curves(
    series: Mapping[str, np.ndarray],
    *,
    ylabel: str,
    xlabel: str = "training step",
    colors: Sequence[str] | None = None,
    lines: Mapping[str, float] | None = None,
    smooth: int = 1,
    ax: Axes | None = None,
) -> Figure:
    """Curves over training steps, labelled at their right end; `lines` draws dashed reference values by name.

    `smooth` is the length of a running mean; with smooth > 1 the raw values stay visible behind it.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(6.2, 3.2))
    colors = colors or [c["color"] for c in plt.rcParams["axes.prop_cycle"]]
    for color, (label, values) in zip(colors, series.items(), strict=False):
        values = np.asarray(values, np.float64)
        window = max(1, min(smooth, len(values)))
        mean = np.convolve(values, np.ones(window) / window, mode="valid")
        if window > 1:
            ax.plot(values, color=color, alpha=0.2, linewidth=0.8)
        ax.plot(np.arange(len(mean)) + window - 1, mean, color=color)
        ax.annotate(
            label,
            (len(values) - 1, mean[-1]),
            xytext=(6, 0),
            textcoords="offset points",
            color=label_color(color),
            va="center",
            annotation_clip=False,
        )
    for label, value in (lines or {}).items():
        ax.axhline(value, color=COLORS["theory"], linestyle="--", linewidth=1)
        ax.annotate(
            label,
            (0, value),
            xytext=(4, 4),
            textcoords="offset points",
            color=COLORS["theory"],
            fontsize=9,
            path_effects=[withStroke(linewidth=3, foreground=PAPER)],  # readable across a curve
        )
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return ax.figure


def bars(
    values: Mapping[str, float],
    *,
    ylabel: str,
    color: str = COLORS["measured"],
    line: tuple[str, float] | None = None,
) -> Figure:
    """One bar a name, its value written above; `line` is a (label, value) reference drawn dashed."""
    fig, ax = plt.subplots(figsize=(6.2, 3.0))
    drawn = ax.bar(list(values), list(values.values()), color=color, width=0.7)
    ax.bar_label(drawn, fmt="%.3g", fontsize=9)
    ax.grid(axis="x", visible=False)
    if line:
        ax.axhline(line[1], color=COLORS["theory"], linestyle="--", linewidth=1, label=line[0])
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize=9)
    ax.set_ylabel(ylabel)
    return fig
