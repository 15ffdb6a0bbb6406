"""The still pictures of the page on sizes, fields and costs: windows on grids, fields, widths and shares."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from imgbook import cnn_arithmetic as arithmetic
from imgbook import cnn_effective
from imgbook.cnn_arithmetic import Layer, ReceptiveField
from imgbook.cnn_costs import LayerCost
from imgbook.plotting import COLORS, INK, PAPER, label_color

READ = COLORS["encoder"]  # what a convolution reads


def pale(color: str, share: float = 0.3) -> tuple[float, ...]:
    """A colour mixed with paper."""
    return tuple(share * np.array(to_rgb(color)) + 1 - share)


def draw_cell(
    ax: Axes, row: float, column: float, color: object, *, dashed: bool = False, text: str = ""
) -> None:
    """One square of a grid around (row, column), with a number in it if there is one."""
    ax.add_patch(
        Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=color, linestyle=":" if dashed else "-",
                  edgecolor=COLORS["theory"], linewidth=0.8)
    )  # fmt: skip
    if text:
        ax.text(column, row, text, ha="center", va="center", fontsize=9, color=INK)


# --- windows on grids -----------------------------------------------------------------------------------------


def draw_windows(cases: Mapping[str, tuple[int, Layer]]) -> Figure:
    """A row of pixels for each (n, layer), and below it the kernel at each of its places; padding as a number."""
    fig, axes = plt.subplots(2, -(-len(cases) // 2), figsize=(7.6, 5), squeeze=False)
    for ax, (name, (n, layer)) in zip(axes.ravel(), cases.items(), strict=False):
        kernel, stride, padding, dilation = layer.along(0)
        count = arithmetic.conv_output_size(n, kernel, stride, padding, dilation)
        taps = [[i * stride + j * dilation for j in range(kernel)] for i in range(count)]
        for cell in range(n + 2 * padding):
            inside = padding <= cell < n + padding
            draw_cell(ax, 0, cell, pale(COLORS["data"]) if inside else PAPER, dashed=not inside)
            if inside and cell > taps[-1][-1]:
                ax.plot(cell, 0, "x", color=INK, ms=7)
        for row, places in enumerate(taps, 1):
            ax.plot(places, [row + 0.1] * kernel, "-o", color=READ, lw=1, ms=7)
        sizes = f"n = {n}, k = {kernel}, s = {stride}, p = {padding}, d = {dilation}"
        ax.set_title(f"{name}: {count} outputs\n{sizes}", loc="left", fontsize=10)
        ax.set(xlim=(-0.7, 9.7), ylim=(6.7, -0.7), aspect="equal")
        ax.set_axis_off()
    return fig


def draw_overlaps(counts: Mapping[tuple[int, int], np.ndarray]) -> Figure:
    """How many times a transposed convolution paints each pixel, `[n, n]`, for each (kernel, stride)."""
    fig, axes = plt.subplots(1, len(counts), figsize=(7.8, 2.5))
    for ax, ((kernel, stride), count) in zip(axes, counts.items(), strict=True):
        ax.imshow(count, cmap="RdPu", vmin=0, vmax=2.5 * max(c.max() for c in counts.values()))
        for (row, column), number in np.ndenumerate(count):
            ax.text(column, row, f"{number:.0f}", ha="center", va="center", fontsize=8, color=INK)
        ax.set_title(f"k = {kernel}, s = {stride}", loc="left", fontsize=10)
        ax.set_axis_off()
    return fig


# --- fields and costs -----------------------------------------------------------------------------------------


def draw_field(
    ax: Axes, field: ReceptiveField, place: tuple[int, int], color: str, text: str = ""
) -> None:
    """The outline of an output's field in input pixels, and words in its lower left corner."""
    centre = [o + i * s for o, i, s in zip(field.offset, place, field.stride, strict=True)]
    (height, width), (row, column) = field.size, centre
    corner = column - width / 2, row - height / 2
    for looks in (dict(edgecolor=PAPER, linewidth=3.5), dict(edgecolor=color, linewidth=1.8)):
        ax.add_patch(Rectangle(corner, width, height, fill=False, **looks))
    if text:
        beside = width + 0.5 if width < 5 else 0.3  # no room inside
        ax.text(corner[0] + beside, corner[1] + height - 0.35, text, va="bottom", fontsize=9, color=INK,
                bbox=dict(facecolor=PAPER, edgecolor="none", pad=1))  # fmt: skip


def draw_fields(photo: np.ndarray, stack: Sequence, shown: Mapping[int, str]) -> Figure:
    """Left, fields of single outputs after `shown` layers of the stack; right, all fields of the last, and the rest.

    Layers are counted from 1; the outputs on the left are those nearest to the centre of the last one's first field.
    """
    image, last = photo.shape[:2], arithmetic.receptive_field(stack)
    sizes = [image]
    for layer in stack:
        sizes.append(tuple(arithmetic.conv_output_size(n, *layer[:3]) for n in sizes[-1]))
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.6, 4.2))
    for ax in (left, right):
        ax.imshow(photo, alpha=0.75)
        ax.set_xlabel("column (pixel)")
        ax.grid(visible=False)
    left.set_ylabel("row (pixel)")
    for count, words in shown.items():
        field = arithmetic.receptive_field(stack[:count])
        nearest = [
            round((end - o) / s) for end, o, s in zip(last.offset, *field[:0:-1], strict=True)
        ]
        draw_field(left, field, tuple(nearest), READ, f"{field.size[0]}: {words}")
    colors = [COLORS[name] for name in ("encoder", "generator", "decoder", "data")]
    for place, color in zip(np.ndindex(*sizes[-1]), colors, strict=True):
        draw_field(right, last, place, color)
    seen = np.zeros(image, bool)
    for place in np.ndindex(*sizes[-1]):
        seen[np.ix_(*arithmetic.field_of(stack, place, image))] = True
    right.imshow(np.where(seen[..., None], (0, 0, 0, 0), (0.1, 0.1, 0.1, 0.85)))
    left.set_title("one output of four layers", loc="left")
    right.set_title("all outputs of the last, and the rest", loc="left")
    return fig


def draw_effective(maps: Mapping[str, np.ndarray], stack: Sequence) -> Figure:
    """Where the first output's gradient comes from: shares of its energy `[H, W]` on one scale, and along columns."""
    field, (_, exact) = arithmetic.receptive_field(stack), cnn_effective.effective_profile(stack)
    (row, column), wide, width = field.offset, len(exact), cnn_effective.effective_width(stack)[1]
    fig, axes = plt.subplots(
        1, len(maps) + 1, figsize=(7.8, 2.9), width_ratios=(*[1] * len(maps), 1.5)
    )
    shares = {name: energy / energy.sum() for name, energy in maps.items()}
    theory, measured = COLORS["theory"], COLORS["measured"]
    *planes, ax = axes
    for plane, inside, (name, share) in zip(
        planes, (measured, "none"), shares.items(), strict=True
    ):
        plane.imshow(share, cmap="Oranges", vmin=0, vmax=max(s.max() for s in shares.values()))
        draw_field(plane, field, (0, 0), READ)
        plane.add_patch(Circle((column, row), 2 * width, fill=False, edgecolor=theory, ls="--"))
        plane.set_title(name, loc="left")
        plane.grid(visible=False)
        plane.set(xticks=(0, 10, 20, 30), yticks=(0, 10, 20, 30), xlabel="column (pixel)")
        at = np.arange(wide) - (wide - 1) / 2
        ax.plot(at, 100 * share.sum(0)[np.rint(at + column).astype(int)], "o", ms=5, mfc=inside,
                color=measured, label=name)  # fmt: skip
    planes[0].set_ylabel("row (pixel)")
    ax.plot(at, 100 * exact, color=theory, label="formula")
    bell = np.exp(-0.5 * (at / width) ** 2) / (width * np.sqrt(2 * np.pi))
    ax.plot(at, 100 * bell, "--", color=theory, lw=1.2, label="Gaussian")
    ax.set(xlabel="columns from the centre", ylabel="share of the energy (%)", ylim=(0, 14))
    ax.legend(fontsize=9, loc="upper center", ncols=2, handlelength=1.4, columnspacing=1)
    return fig


def draw_depth(widths: Mapping[int, Sequence[float]], energy: np.ndarray) -> Figure:
    """Fields of n layers of 3 x 3, and four measured standard deviations; right, the deepest one's energy `[H, W]`."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.2), width_ratios=(1.15, 1))
    depths = np.array(list(widths))
    fine = np.geomspace(1, depths.max(), 100)
    theory, measured = COLORS["theory"], COLORS["measured"]
    left.plot(fine, 2 * fine + 1, "--", color=theory)
    left.plot(fine, 4 * np.sqrt(2 * fine / 3), color=theory)
    for depth, runs in widths.items():
        left.plot([depth] * len(runs), 4 * np.array(runs), "o", ms=5, color=measured, mfc="none")
    left.text(depths.max() / 6, depths.max() / 1.7, "field\n2n + 1", color=theory, ha="right")
    left.text(depths.max(), 2.9, "effective:\n4 standard\ndeviations", ha="right", va="bottom",
              color=label_color(measured))  # fmt: skip
    left.set(xscale="log", yscale="log", xlabel="layers n", ylabel="width (pixels)")
    left.set_xticks(depths, map(str, depths))
    left.set_yticks((3, 5, 10, 20, 50), ("3", "5", "10", "20", "50"))
    left.minorticks_off()
    half, share = energy.shape[1] // 2, energy.sum(0) / energy.sum()
    width = np.sqrt(2 * depths.max() / 3)
    at = np.arange(-half, half + 1)
    right.plot(at, 100 * share, "o", ms=3.5, color=measured)
    right.plot(
        at, 100 * np.exp(-0.5 * (at / width) ** 2) / (width * np.sqrt(2 * np.pi)), color=theory
    )
    right.set(
        xlabel="columns from the centre", ylabel="share of the energy (%)", xlim=(-half, half)
    )
    right.set_title(f"{depths.max()} layers, over the whole field", loc="left")
    return fig


def draw_shares(costs: Sequence[LayerCost], names: Sequence[str]) -> Figure:
    """Shares of each layer in the parameters and in the operations of a network."""
    fig, axes = plt.subplots(1, 2, figsize=(7.4, 2.6), sharey=True)
    for ax, values, words in (
        (axes[0], [c.parameters for c in costs], "share of the parameters (%)"),
        (axes[1], [c.flops for c in costs], "share of the operations (%)"),
    ):
        shares = 100 * np.array(values) / sum(values)
        colors = [READ if len(c.input) == 3 else COLORS["data"] for c in costs]
        bars = ax.barh(names, shares, color=colors, height=0.65)
        ax.bar_label(
            bars, [f"{s:.1f}" if s >= 0.1 else f"{s:.2f}" for s in shares], padding=4, fontsize=10
        )
        ax.set(xlabel=words, xlim=(0, 75))
        ax.grid(axis="y", visible=False)
    axes[0].invert_yaxis()
    return fig
