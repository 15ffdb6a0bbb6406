"""The pictures of the page on what a code costs: rate and distortion, bounds, lengths of codes, outliers."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from imgbook.plotting import COLORS
from imgbook.vae_bound_figures import label


def draw_rates(
    betas: Sequence[float], rates: np.ndarray, distortions: np.ndarray, sums: Sequence[float]
) -> Figure:
    """Distortion against rate, both `[len(betas), seeds]` in nats: circles, and a line through their means.

    sums: values of their sum, -ELBO, each drawn as a dashed line on which it is the same.
    """
    fig, ax = plt.subplots(figsize=(7.0, 4.2))
    right, top = 1.1 * rates.max(), 1.06 * distortions.max()
    bottom = 0.9 * distortions.min()
    for total in sums:
        ends = np.array([max(0.0, total - top), min(right, total - bottom)])
        ax.plot(ends, total - ends, color=COLORS["theory"], linestyle="--", linewidth=0.8)
        place = ends[1], total - ends[1]
        label(ax, f"-ELBO = {total:g}", place, COLORS["theory"], (4, 2), fontsize=8, va="bottom")
    ax.plot(rates.mean(1), distortions.mean(1), color=COLORS["measured"], linewidth=1.2)
    ax.plot(rates, distortions, "o", color=COLORS["measured"], ms=5, mfc="none", mew=1.2)
    for beta, x, y in zip(betas, rates.mean(1), distortions.mean(1), strict=True):
        label(ax, f"β = {beta:g}", (x, y), COLORS["measured"], (7, 7), va="bottom")
    ax.set(xlabel="rate: KL, nats", ylabel="distortion: -log p(x | z), nats")
    ax.set(xlim=(0, right), ylim=(bottom, top))
    return fig


def draw_ladder(above: Mapping[int, np.ndarray], words: str) -> Figure:
    """How far bounds of fewer samples are above the one of the most, nats `[N]` by number of samples.

    Thin lines: images; points: their mean, with two standard errors. `words` names the line at zero.
    """
    fig, ax = plt.subplots(figsize=(6.6, 3.5))
    sizes = np.array(sorted(above))
    values = np.stack([above[k] for k in sizes])  # [sizes, N]
    ax.plot(sizes, values[:, :30], color=COLORS["data"], linewidth=0.6, alpha=0.45)
    errors = 2 * values.std(1, ddof=1) / values.shape[1] ** 0.5
    ax.errorbar(sizes, values.mean(1), errors, fmt="o-", color=COLORS["encoder"], ms=5, capsize=3)
    label(ax, "mean", (sizes[0], values[0].mean()), COLORS["encoder"], (-8, 0), ha="right")
    top = int(values[0, :30].argmax())
    words_at = sizes[1], values[1, top]
    label(ax, "single digits", words_at, COLORS["data"], (8, 6), fontsize=9, va="bottom")
    ax.axhline(0.0, color=COLORS["theory"], linestyle="--", linewidth=1)
    label(ax, words, (sizes[0], 0.0), COLORS["theory"], (0, -4), fontsize=9, va="top")
    ax.set(xscale="log", xlabel="samples of the code", ylabel="nats above the dashed line")
    ax.set(xlim=(0.35, 2 * sizes[-1]), ylim=(-0.13 * values[:, :30].max(), None))
    ax.set_xticks(sizes, [f"{k:,}" for k in sizes])
    ax.set_xticks((), (), minor=True)
    return fig


def draw_lengths(bits: Mapping[str, float], roles: Mapping[str, str]) -> Figure:
    """A horizontal bar a code: bits a pixel, written at its end. `roles` gives some of them a colour of their own."""
    fig, ax = plt.subplots(figsize=(7.0, 0.36 * len(bits) + 0.8))
    places = np.arange(len(bits))
    colors = [COLORS[roles.get(name, "data")] for name in bits]
    ax.barh(places, list(bits.values()), color=colors, height=0.66)
    for place, value in zip(places, bits.values(), strict=True):
        at = value, place
        ax.annotate(f"{value:.3f}", at, (4, 0), textcoords="offset points", va="center", fontsize=9)
    ax.set_yticks(places, list(bits))
    ax.invert_yaxis()
    ax.set(xlabel="bits a pixel", xlim=(0, 1.12 * max(bits.values())))
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    return fig


def draw_outliers(bits: Mapping[str, np.ndarray], examples: Mapping[str, np.ndarray]) -> Figure:
    """A row a kind of image: one example `[H, W, 1]`, and how many of them have which code length, bits a pixel `[N]`.

    The first kind is the one the model was trained on; its middle half is shaded through all rows.
    """
    size = 7.6, 0.52 * len(bits) + 0.7
    fig, axes = plt.subplots(len(bits), 2, figsize=size, width_ratios=(1, 9))
    every = np.concatenate(list(bits.values()))
    edges = np.geomspace(every.min() / 1.1, every.max() * 1.1, 90)
    usual = np.quantile(next(iter(bits.values())), [0.25, 0.75])
    for row, (name, values) in enumerate(bits.items()):
        picture, ax = axes[row]
        picture.imshow(examples[name][..., 0], cmap="gray", vmin=0, vmax=1)
        picture.set(xticks=(), yticks=())
        ax.axvspan(*usual, color=COLORS["data"], alpha=0.15, linewidth=0)
        heights, _ = np.histogram(values, edges)
        role = "data" if row == 0 else "measured"
        ax.fill_between(
            edges[:-1], heights / heights.max(), step="post", color=COLORS[role], alpha=0.8
        )
        ax.set(xscale="log", xlim=edges[[0, -1]], ylim=(0, 1.15), yticks=())
        ax.spines["left"].set_visible(False)
        short = np.median(values) < np.sqrt(edges[0] * edges[-1])
        place = 0.99 if short else 0.42, 0.55  # where there is room for the name
        ax.text(*place, name, transform=ax.transAxes, ha="right", va="center", fontsize=10)
        if row < len(bits) - 1:
            ax.set_xticks((), ())
            ax.set_xticks((), (), minor=True)
    axes[-1, 1].set_xlabel("code length, bits a pixel")
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if edges[0] < t < edges[-1]]
    axes[-1, 1].set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes[-1, 1].set_xticks((), (), minor=True)
    return fig
