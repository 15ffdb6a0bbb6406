"""Figures of the page on distances: two fits in the plane, bumps moved apart, two critics, digits moved."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from imgbook import plotting
from imgbook.distances import Fit

COLORS = plotting.COLORS
ROWS = {"KL": "KL (nats)", "JSD": "JSD (nats)", "TV": "total variation", "W1": "W1 (length)"}


def draw_fits(log_p: np.ndarray, points: np.ndarray, fits: Mapping[str, Fit]) -> Figure:
    """A distribution on a square grid, shaded; in each panel a fitted Gaussian: ellipses of one and two deviations."""
    n = round(len(points) ** 0.5)
    shade = np.exp(log_p).reshape(n, n).T  # [n * n] -> [n, n], the first coordinate to the right
    # The data's colour, as opaque as p is large: readable on a light and on a dark page.
    layer = np.zeros((n, n, 4))
    layer[..., :3], layer[..., 3] = to_rgb(COLORS["data"]), (shade / shade.max()) ** 0.6
    reach = points.max()
    turn = np.linspace(0, 2 * np.pi, 100)
    circle = np.stack([np.cos(turn), np.sin(turn)])  # [2, 100]
    fig, axes = plt.subplots(1, len(fits), figsize=(7.8, 3.0), sharex=True, sharey=True)
    for ax, (title, fit) in zip(axes, fits.items(), strict=True):
        extent = (-reach, reach, -reach, reach)
        ax.imshow(layer, extent=extent, origin="lower", interpolation="bilinear")
        for deviations in (1, 2):
            ring = fit.mean[:, None] + deviations * np.linalg.cholesky(fit.covariance) @ circle
            ax.plot(*ring, color=COLORS["generator"])
        ax.set_title(title, loc="left", fontsize=10)
        ax.grid(visible=False)
        ax.set(xlim=(-6.5, 6.5), ylim=(-5, 5), xlabel="$x_1$", xticks=(-5, 0, 5), yticks=(-4, 0, 4))
    axes[0].set_ylabel("$x_2$")
    axes[0].text(2.4, 3.9, "data p", ha="center", color=plotting.label_color(COLORS["data"]))
    shade_of_model = plotting.label_color(COLORS["generator"])
    axes[0].text(1.2, -4.4, "model q", color=shade_of_model)
    return fig


def draw_shifts(
    shifts: np.ndarray,
    found: Mapping[str, Mapping[str, np.ndarray]],
    sampled: tuple[np.ndarray, np.ndarray],
) -> Figure:
    """Measures (left) and their slopes (right) against the shift: a row a measure, a line a law.

    found: values `[S]` by law, then by measure; sampled: shifts `[T]` and W1 of samples `[T, R]`, drawn as points.
    """
    fig, axes = plt.subplots(len(ROWS), 2, figsize=(6.6, 6.6), sharex=True)
    for (left, right), (measure, label) in zip(axes, ROWS.items(), strict=True):
        for (law, values), style in zip(found.items(), ("-", "--"), strict=True):
            y = values[measure]
            if np.isfinite(y[1:]).all():
                left.plot(shifts, y, style, color=COLORS["theory"], label=law)
                right.plot(shifts, np.gradient(y, shifts), style, color=COLORS["theory"])
            else:
                left.text(
                    0.35, 13, f"{law}: infinite", color=plotting.label_color(COLORS["theory"])
                )
        left.set_ylabel(label)
        right.axhline(0, color=plotting.INK, linewidth=0.6)
    axes[1, 0].axhline(np.log(2), color=COLORS["theory"], linewidth=1, linestyle=":")
    axes[1, 0].text(0.1, np.log(2) - 0.03, "log 2", va="top", fontsize=9)
    axes[2, 0].legend(loc="lower right", fontsize=9)
    places, values = sampled
    middle = values.mean(1)
    bars = np.abs([values.min(1), values.max(1)] - middle)
    axes[3, 0].errorbar(places, middle, bars, fmt="o", ms=5, color=COLORS["measured"])
    shade = plotting.label_color(COLORS["measured"])
    axes[3, 0].text(3.2, 1.1, "points: samples", color=shade)
    for (left, right), slope in zip(axes, (7, 0.75, 0.75, 2), strict=True):
        left.set_ylim(bottom=0)
        right.set_ylim(-0.15 * slope, slope)
    axes[0, 0].set_title("measure", loc="left")
    axes[0, 1].set_title("its slope by the shift", loc="left")
    for ax in axes[-1]:
        ax.set_xlabel("shift")
    return fig


def draw_critics(
    places: np.ndarray, p: np.ndarray, q: np.ndarray, discriminator: np.ndarray, critic: np.ndarray
) -> Figure:
    """Two laws that hardly overlap, with the optimal discriminator above and the best critic below, each over them."""
    fig, axes = plt.subplots(2, 1, figsize=(6.2, 4.4), sharex=True)
    top = max(p.max(), q.max())
    both = (("optimal discriminator D*", discriminator), ("best critic f", critic - critic.mean()))
    for ax, (label, values) in zip(axes, both, strict=True):
        low, high = values.min(), values.max()
        for name, law in (("data", p), ("generator", q)):
            height = low + 0.45 * (high - low) * law / top
            ax.fill_between(places, low, height, color=COLORS[name], alpha=0.3, lw=0)
        ax.plot(places, values, color=COLORS["discriminator"])
        ax.set_ylabel(label)
    axes[1].set_xlabel("x")
    for name, law, words in (("data", p, "data"), ("generator", q, "samples")):
        shade = plotting.label_color(COLORS[name])
        axes[0].text(places[law.argmax()], 0.5, words, ha="center", color=shade)
    return fig


def draw_moved(
    steps: Sequence[int],
    own: Mapping[str, np.ndarray],
    others: Mapping[str, float],
    bracket: tuple[np.ndarray, np.ndarray],
) -> Figure:
    """A digit against itself moved: four measures by the number of pixels, beside the median to other digits, dashed.

    own: values `[S]` by measure; bracket: lower and upper bounds `[S]` of W1, drawn as bars around the line W1 = shift.
    """
    fig, axes = plt.subplots(2, 2, figsize=(6.8, 4.8), sharex=True)
    labels = {
        "squared error": "squared error",
        "KL": "KL (nats)",
        "JSD": "JSD (nats)",
        "W1": "W1 (pixels)",
    }
    shade = plotting.label_color(COLORS["theory"])
    for ax, (measure, label) in zip(axes.flat, labels.items(), strict=True):
        if measure == "W1":
            low, high = bracket
            ax.plot(steps, steps, color=COLORS["theory"])
            bars = (high - low) / 2
            ax.errorbar(steps, (low + high) / 2, bars, fmt="o", ms=4, color=COLORS["measured"])
        else:
            ax.plot(steps, own[measure], "o", ms=5, color=COLORS["measured"])
        ax.axhline(others[measure], color=COLORS["data"], linestyle="--", linewidth=1)
        ax.set(ylabel=label, ylim=(0, None))
    axes[0, 0].annotate(
        "other digits, median",
        (steps[-1], others["squared error"]),
        xytext=(0, -4),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=9,
        color=plotting.label_color(COLORS["data"]),
    )
    axes[1, 1].text(steps[-1], 1.0, "line: W1 = shift", ha="right", fontsize=9, color=shade)
    for ax in axes[1]:
        ax.set_xlabel("moved by (pixels)")
    return fig
