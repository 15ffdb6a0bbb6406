"""Films of windows that move over grids, for the page on sizes, fields and costs: what `imgbook.films` shows."""

from collections.abc import Mapping
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from imgbook import cnn_arithmetic as arithmetic
from imgbook.cnn_arithmetic import Layer
from imgbook.cnn_figures import READ, draw_cell, pale
from imgbook.plotting import COLORS, INK, PAPER

PAINT = COLORS["decoder"]  # what the transpose of a convolution paints
DOTS = 26  # pixels of a film for one cell of a grid
PLANE = 7  # cells a side, padding included, for which a film of windows has room


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of `width` times `height` cells, whose axes have the cell as unit and the first cell at (0, 0)."""
    fig = Figure((width * DOTS / 100, height * DOTS / 100), dpi=100, facecolor=PAPER, layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    ax.set_axis_off()
    return fig, ax


def pixels(fig: Figure) -> np.ndarray:
    """The figure as uint8 `[H, W, 3]`."""
    drawn = FigureCanvasAgg(fig)
    drawn.draw()
    return np.asarray(drawn.buffer_rgba())[..., :3].copy()


def draw_plane(
    ax: Axes, corner: tuple[float, float], values: np.ndarray, padding: int, color: str, marked: set
) -> None:
    """A square of values `[n, n]`, written if 0 or more, in a ring of padding; `marked` cells are in full colour.

    Cells are (row, column), padding included.
    """
    n = len(values)
    for row, column in product(range(n + 2 * padding), repeat=2):
        inside = all(padding <= i < n + padding for i in (row, column))
        color_here = pale(COLORS["data"], 0.18) if inside else PAPER
        if (row, column) in marked:
            color_here = pale(color, 0.75 if inside else 0.35)
        value = values[row - padding, column - padding] if inside else -1
        text = "" if value < 0 else f"{value}"
        draw_cell(ax, corner[0] + row, corner[1] + column, color_here, dashed=not inside, text=text)


def draw_output(
    ax: Axes, corner: tuple[float, float], values: np.ndarray, color: str, place: tuple[int, int]
) -> None:
    """A square of outputs `[m, m]` up to `place` in reading order, values written if 0 or more; the rest is empty."""
    for cell, value in np.ndenumerate(values):
        share = 0.75 if cell == place else 0.3 if cell < place else 0
        text = "" if value < 0 else f"{value}"
        draw_cell(ax, corner[0] + cell[0], corner[1] + cell[1], pale(color, share), text=text)


def reached(place: tuple[int, int], layer: Layer) -> list[tuple[int, int]]:
    """The cells, padding included, under a square kernel at a place."""
    kernel, stride, _, dilation = layer.along(0)
    rows, columns = ([i * stride + j * dilation for j in range(kernel)] for i in place)
    return list(product(rows, columns))


def window_film(cases: Mapping[str, tuple[int, Layer]]) -> tuple[list[np.ndarray], list[str]]:
    """Frames `[cases, H, W, 3]` and labels of all (n, layer) at once, square, with padding as a number.

    Raises:
        ValueError: their outputs differ in size.
    """
    sizes = {arithmetic.conv_output_size(n, *layer.along(0)) for n, layer in cases.values()}
    if len(sizes) != 1:
        raise ValueError(f"outputs of {sorted(sizes)} pixels a side; allowed: one size for all")
    (m,) = sizes
    frames, labels = [], []
    for place in np.ndindex(m, m):
        images = []
        for name, (n, layer) in cases.items():
            padding = layer.along(0)[2]
            fig, ax = canvas(PLANE + 0.6, m + PLANE + 1.9)
            ax.text(PLANE / 2 - 0.2, 0, name, ha="center", va="center", fontsize=10, color=INK)
            draw_output(ax, (0.9, (PLANE - m) / 2 + 0.3), np.full((m, m), -1), READ, place)
            corner = (1.4 + m, (PLANE - n - 2 * padding) / 2 + 0.3)
            marked = set(reached(place, layer))
            draw_plane(ax, corner, np.full((n, n), -1), padding, READ, marked)
            images.append(pixels(fig))
        frames.append(np.stack(images))
        labels.append(f"output {len(frames)} of {m * m}")
    return frames, labels


def transpose_film(x: np.ndarray, layer: Layer) -> tuple[list[np.ndarray], list[str]]:
    """Frames `[1, H, W, 3]` and labels: a kernel of ones adds up pixels of `x` `[n, n]`, and each sum is painted back.

    Left the image, in the middle the output of the convolution, right what its transpose makes of the output so far.
    """
    n, (kernel, stride, padding, _) = len(x), layer.along(0)
    m, side = arithmetic.conv_output_size(n, kernel, stride, padding), n + 2 * padding
    padded, painted = np.pad(x, padding), np.zeros((side, side), int)
    y, inner = np.full((m, m), -1), slice(padding, n + padding)
    frames, labels = [], []
    for place in np.ndindex(m, m):
        marked = reached(place, layer)
        read = [padded[c] for c in marked if all(padding <= i < n + padding for i in c)]
        y[place] = sum(read)
        for cell in marked:
            painted[cell] += y[place]
        fig, ax = canvas(2 * side + m + 3.4, side + 1.2)
        left, middle, right, level = 0.2, side + 1.7, side + m + 3.2, 0.9 + (side - 1) / 2
        draw_plane(ax, (0.9, left), x, padding, READ, set(marked))
        draw_output(ax, (level - (m - 1) / 2, middle), y, COLORS["measured"], place)
        draw_plane(ax, (0.9, right), painted[inner, inner], padding, PAINT, set(marked))
        for at, title in ((left + (side - 1) / 2, "image"), (middle + (m - 1) / 2, "output"),
                          (right + (side - 1) / 2, "painted back")):  # fmt: skip
            ax.text(at, 0, title, ha="center", va="center", fontsize=10, color=INK)
        for at in (side, middle + m - 0.2):
            ax.annotate("", (at + 0.9, level), (at - 0.1, level),
                        arrowprops=dict(arrowstyle="->", color=INK))  # fmt: skip
        frames.append(pixels(fig)[None])
        labels.append(f"{' + '.join(map(str, read))} = {y[place]}, added to the same places")
    return frames, labels
