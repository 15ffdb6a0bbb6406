"""The pictures of the outlook: one for each trend and challenge, measurement beside control."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from imgbook import plotting
from imgbook.plotting import COLORS


def label(
    ax: Axes,
    words: str,
    at: tuple[float, float],
    color: str,
    by: tuple[float, float] = (6, 0),
    **text: object,
) -> None:
    """Words beside a point, in a readable shade of its colour."""
    ax.annotate(
        words,
        at,
        xytext=by,
        textcoords="offset points",
        color=plotting.label_color(color),
        **{"va": "center", "fontsize": 10, **text},
    )


def draw_sizes(
    sizes: Sequence[int],
    values: Mapping[str, Mapping[str, np.ndarray]],
    theory: Sequence[float],
) -> Figure:
    """Two panels over the number of images: `{measure: {set: [sizes, draws]}}`; theory is the first's for real images.

    Points: means over draws, with bars of one standard deviation.
    """
    fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.3))
    hues = dict(zip(next(iter(values.values())), ("data", "generator"), strict=True))
    for ax, (measure, sets) in zip(axes, values.items(), strict=True):
        for name, draws in sets.items():
            color = COLORS[hues[name]]
            ax.errorbar(
                sizes,
                draws.mean(1),
                draws.std(1, ddof=1),
                fmt="o-",
                color=color,
                ms=4,
                label=name,
                linewidth=1,
            )
        ax.set(xscale="log", xlabel="images in the set", ylabel=measure)
        ax.set_xticks(sizes, [f"{n:,}" for n in sizes])
        ax.minorticks_off()
    axes[0].plot(sizes, theory, "--", color=COLORS["theory"], label="formula, same law")
    axes[0].set_ylim(bottom=0)
    axes[1].axhline(0, color=COLORS["theory"], linestyle="--", linewidth=1)
    axes[0].legend(fontsize=10)
    return fig


def draw_signals(rows: Mapping[str, np.ndarray], colors: Sequence[str]) -> Figure:
    """Signals `{name: [n, length]}`, a row of small curves for each name, all on one scale."""
    fig, axes = plt.subplots(len(rows), 1, figsize=(7.4, 1.1 * len(rows)), sharex=True, sharey=True)
    for ax, (name, signals), color in zip(axes, rows.items(), colors, strict=True):
        width = signals.shape[1]
        for i, signal in enumerate(signals):
            ax.plot(np.arange(width) + i * (width + 4), signal, color=COLORS[color], linewidth=1.4)
        ax.set_axis_off()
        ax.set_title(name, loc="left")
    return fig


def draw_calls(
    calls: Sequence[int], near: Mapping[str, Sequence[float]], lines: Mapping[str, float]
) -> Figure:
    """Share of near samples over network calls `{"exact": ..., "learned": ...}`; lines: references by name."""
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    for (name, values), role, mark in zip(near.items(), ("theory", "generator"), "s^", strict=True):
        ax.plot(calls, values, mark + "-", color=COLORS[role], ms=5)
        label(ax, name, (calls[-1], values[-1]), COLORS[role], (8, 6 if role == "theory" else -6))
    for name, value in lines.items():
        ax.axhline(value, color=COLORS["data"], linestyle="--", linewidth=1)
        label(ax, name, (calls[0], value), COLORS["data"], (0, -8 if value > 0.5 else 7))
    ax.set(
        xscale="log",
        xlabel="calls of the velocity",
        ylabel="samples near a mode",
        ylim=(-0.03, 1.06),
    )
    ax.set_xticks(calls, [str(n) for n in calls])
    ax.minorticks_off()
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.margins(x=0.18)
    return fig


def draw_confusions(matrices: Mapping[str, np.ndarray]) -> Figure:
    """Confusion matrices `{title: [10, 10]}` of counts, in percent of a row: asked for against seen."""
    fig, axes = plt.subplots(1, len(matrices), figsize=(3.8 * len(matrices), 3.9), sharey=True)
    for ax, (title, counts) in zip(axes, matrices.items(), strict=True):
        shares = 100 * counts / counts.sum(1, keepdims=True)
        ax.imshow(shares, cmap="Oranges", vmin=0, vmax=200)
        for (i, j), share in np.ndenumerate(shares):
            if share >= 1:
                ax.text(j, i, f"{share:.0f}", ha="center", va="center", fontsize=8, color="#000000")
        ax.set_title(title, loc="left")
        ax.set(xticks=range(10), yticks=range(10), xlabel="digit that the judge sees")
        ax.grid(visible=False)
    axes[0].set_ylabel("digit that was asked for")
    return fig


def draw_guidance(
    laws: Mapping[float, np.ndarray], points: Mapping[float, np.ndarray], extent: float
) -> Figure:
    """A panel for each weight: the reweighted law `[cells, cells]` as shades, guided samples `[N, 2]` as points."""
    fig, axes = plt.subplots(1, len(laws), figsize=(7.4, 2.7), sharex=True, sharey=True)
    for ax, (weight, law) in zip(axes, laws.items(), strict=True):
        shade = np.empty(
            (*law.shape, 4)
        )  # opaque where the law is, so that any theme shows through
        shade[..., :3] = to_rgb(COLORS["theory"])
        shade[..., 3] = 0.8 * law.T / law.max()
        box = (-extent, extent, -extent, extent)
        ax.imshow(shade, origin="lower", extent=box, interpolation="bilinear")
        ax.plot(*points[weight][:500].T, ".", ms=2, color=COLORS["generator"], rasterized=True)
        ax.set_title(f"w = {weight:g}", loc="left")
        ax.set(xlim=(-4.6, 2.6), ylim=(-3.4, 3.4), aspect="equal", xlabel="first coordinate")
        ax.grid(visible=False)
    axes[0].set_ylabel("second coordinate")
    return fig


def draw_distances(paths: Mapping[str, np.ndarray], roles: Sequence[str]) -> Figure:
    """Distance from the solution over steps `{name: [starts, steps + 1]}`, logarithmic, a line for each start."""
    fig, ax = plt.subplots(figsize=(6.6, 3.2))
    for (name, distances), role in zip(paths.items(), roles, strict=True):
        shown = np.maximum(distances, 1e-6)  # float32 ends there
        ax.plot(shown.T, color=COLORS[role], linewidth=1.1)
        label(ax, name, (shown.shape[1] - 1, np.median(shown[:, -1])), COLORS[role])
    ax.set(yscale="log", xlabel="step", ylabel="distance from the solution")
    ax.margins(x=0.3)
    ax.set_xlim(left=0)
    return fig


def draw_copies(rows: Mapping[str, tuple[np.ndarray, np.ndarray]], count: int = 8) -> Figure:
    """For each name, images `[N, H, W, 1]` above and their nearest training images below, `count` of each."""
    fig, axes = plt.subplots(len(rows), 1, figsize=(0.72 * count, 1.85 * len(rows)))
    for ax, (name, (images, nearest)) in zip(axes, rows.items(), strict=True):
        plotting.show_tile(ax, np.concatenate([images[:count], nearest[:count]]), count, name)
    return fig


def draw_nearness(ratios: Mapping[str, np.ndarray], roles: Sequence[str], below: float) -> Figure:
    """Cumulative shares of nearest over second-nearest distance `{name: [N]}`; the dashed line marks a copy."""
    fig, ax = plt.subplots(figsize=(6.4, 3.1))
    for (name, values), role in zip(ratios.items(), roles, strict=True):
        ax.plot(
            np.sort(values),
            np.arange(1, len(values) + 1) / len(values),
            color=COLORS[role],
            label=name,
        )
    ax.axvline(below, color=COLORS["theory"], linestyle="--", linewidth=1)
    ax.set(
        xlabel="distance to the nearest / to the second nearest training image",
        ylabel="share of images",
        xlim=(-0.02, 1.02),
    )
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.legend(fontsize=10)
    return fig


def draw_roc(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], styles: Sequence[tuple[str, str]]
) -> Figure:
    """ROC curves `{name: (false, true)}` on logarithmic axes; styles: a role of colour and a line style for each."""
    fig, ax = plt.subplots(figsize=(5.8, 4.4))
    ends = np.array([1e-3, 1])
    ax.plot(ends, ends, color=COLORS["theory"], linestyle="--", linewidth=1)
    label(ax, "guessing", (2e-3, 2e-3), COLORS["theory"], (8, -6))
    for (name, (false, true)), (role, line) in zip(curves.items(), styles, strict=True):
        ax.plot(false, true, color=COLORS[role], linestyle=line, label=name)
    ax.axvline(0.01, color=COLORS["theory"], linewidth=0.8)
    ax.set(xscale="log", yscale="log", xlim=(1e-3, 1), ylim=(1e-3, 1.05))
    ax.set(xlabel="false positive rate", ylabel="true positive rate: members found")
    ax.legend(fontsize=10, loc="upper left", bbox_to_anchor=(0, -0.17), ncols=2)
    return fig


def draw_maps(image: np.ndarray, rows: Mapping[str, np.ndarray]) -> Figure:
    """An image `[H, W]`, and below it maps `{name: [n, H, W]}`, white is the largest value of each map."""
    count = len(next(iter(rows.values())))
    fig, axes = plt.subplots(len(rows) + 1, 1, figsize=(0.72 * count, 1.05 * (len(rows) + 1)))
    plotting.show_tile(axes[0], np.clip(image, 0, 1)[None, ..., None], count, "the decoded digit")
    for ax, (name, maps) in zip(axes[1:], rows.items(), strict=True):
        top = np.maximum(maps.max((1, 2), keepdims=True), 1e-12)
        plotting.show_tile(ax, (maps / top)[..., None], count, name)
    return fig


def draw_agreement(means: Mapping[str, np.ndarray], groups: Sequence[str]) -> Figure:
    """Rank correlations `{name: [groups, N]}` as dots with bars of one standard deviation, a colour for each group."""
    fig, ax = plt.subplots(figsize=(6.6, 0.46 * len(means) + 1.1))
    places = np.arange(len(means))
    for g, (group, role) in enumerate(zip(groups, ("decoder", "measured"), strict=True)):
        values = [m[g] for m in means.values()]
        ax.errorbar(
            [v.mean() for v in values],
            places + 0.12 * (2 * g - 1),
            xerr=[v.std(ddof=1) for v in values],
            fmt="os"[g],
            color=COLORS[role],
            ms=5,
            linewidth=1,
            label=group,
        )
    ax.set_yticks(places, list(means))
    ax.invert_yaxis()
    ax.axvline(0, color=COLORS["theory"], linestyle="--", linewidth=1)
    ax.set(xlabel="rank correlation with what a move of the latent changes", xlim=(-0.32, 1.03))
    ax.legend(fontsize=10, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return fig
