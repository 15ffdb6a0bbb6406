"""The pictures of the page on the bound: estimates of p(x), posteriors beside proposals, gradients, the linear VAE."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from imgbook.pixels import as_unit
from imgbook.plotting import COLORS, PAPER, label_color
from imgbook.vae_exact import OnGrid

LIMIT = 1e-3  # a density below this part of its highest value is not drawn
ESTIMATORS = {
    "reparameterised": "encoder",
    "score function": "measured",
    "score function, baseline": "decoder",
}


def label(ax: Axes, text: str, at: tuple, color: str, shift: tuple = (6, 0), **words) -> None:
    """Words in a line's colour, at a point of the data."""
    ax.annotate(
        text, at, xytext=shift, textcoords="offset points", color=label_color(color),
        path_effects=[withStroke(linewidth=3, foreground=PAPER)], annotation_clip=False,
        **{"va": "center", "fontsize": 10, **words},
    )  # fmt: skip


def dashed(ax: Axes, value: float, words: str, at: float, shift: tuple = (0, 6)) -> None:
    """A dashed horizontal line of what is known, with its name above."""
    ax.axhline(value, color=COLORS["theory"], linestyle="--", linewidth=1)
    label(ax, words, (at, value), COLORS["theory"], shift, va="bottom", fontsize=9)


def draw_estimates(
    sizes: Mapping[str, Sequence[int]], found: Mapping[str, np.ndarray], reference: float
) -> Figure:
    """Estimates of log p(x) `[R, len(sizes)]` against the number of draws: points; their means as lines.

    found: "codes from the prior" and "codes from the encoder". `reference` is drawn dashed.
    """
    fig, ax = plt.subplots(figsize=(7.0, 3.6))
    roles = {"codes from the prior": "decoder", "codes from the encoder": "encoder"}
    for name, values in found.items():
        color = COLORS[roles[name]]
        ax.plot(sizes[name], values.mean(0), color=color)
        x = np.broadcast_to(sizes[name], values.shape)
        ax.plot(x.ravel(), values.ravel(), "o", color=color, ms=4, mfc="none", mew=1)
        middle = len(sizes[name]) // 2
        place = sizes[name][middle], values[:, middle].mean()
        label(ax, name, place, color, (0, -22), ha="left", va="top")
    highest = max(max(s) for s in sizes.values())
    words = f"log p(x) = {reference:.1f}, from all codes of the encoder"
    dashed(ax, reference, words, highest, (0, 5))
    ax.texts[-1].set_horizontalalignment("right")
    ax.set(xscale="log", xlabel="number of codes", ylabel="estimate of log p(x), nats")
    low = min(v.min() for v in found.values())
    ax.set_ylim(low - 0.05 * (reference - low) - 5, reference + 0.14 * (reference - low) + 5)
    return fig


def draw_posteriors(found: OnGrid, images: np.ndarray, chosen: Sequence[int]) -> Figure:
    """True posteriors (filled) and proposals (lines) of the chosen images, each with its image and its gap in nats.

    images: those of `found`, `[N, H, W, C]`.
    """
    fig, axes = plt.subplots(1, len(chosen), figsize=(2.15 * len(chosen), 2.7))
    for panel, (ax, i) in enumerate(zip(np.atleast_1d(axes), chosen, strict=True)):
        densities = np.exp(found.log_posterior[i]), np.exp(found.log_proposal[i])
        drawn = np.any([d > LIMIT * d.max() for d in densities], axis=0)
        low, high = found.codes[drawn][[0, -1]]
        margin = 0.05 * (high - low)
        seen = (found.codes >= low - margin) & (found.codes <= high + margin)
        codes, top = found.codes[seen], max(d.max() for d in densities)
        ax.fill_between(codes, densities[0][seen], color=COLORS["data"], alpha=0.35, linewidth=0)
        ax.plot(codes, densities[0][seen], color=COLORS["data"], linewidth=1.2)
        ax.plot(codes, densities[1][seen], color=COLORS["encoder"], linestyle="--")
        ax.set_title(f"gap {found.gap[i]:.2f} nats", loc="left", fontsize=10)
        inset = ax.inset_axes((0.68, 0.76, 0.3, 0.24))
        inset.imshow(as_unit(images[i : i + 1])[0], vmin=0, vmax=1)
        inset.set_axis_off()
        ax.set(xlabel="code z", ylim=(0, 1.45 * top), yticks=())
        ax.tick_params(labelsize=9)
        ax.spines["left"].set_visible(False)
        if panel == 0:
            words = dict(transform=ax.transAxes, fontsize=9, va="top")
            ax.text(0.0, 0.99, "posterior p(z | x)", color=label_color(COLORS["data"]), **words)
            ax.text(0.0, 0.9, "proposal q(z | x)", color=label_color(COLORS["encoder"]), **words)
    return fig


def draw_gradients(
    sizes: Sequence[int],
    found: Mapping[str, np.ndarray],
    single: Mapping[str, float],
    length: float,
) -> Figure:
    """How far averages of n gradients scatter: measured (points), and the scatter of one over sqrt(n) (lines).

    found: `[len(sizes)]` by estimator; single: the scatter of one draw; length: of the gradient itself, dashed.
    """
    fig, ax = plt.subplots(figsize=(7.0, 3.5))
    sizes = np.asarray(sizes)
    for name, values in found.items():
        color = COLORS[ESTIMATORS[name]]
        ax.plot(sizes, single[name] / np.sqrt(sizes), color=color, linewidth=1.2)
        ax.plot(sizes, values, "o", color=color, ms=5)
        label(ax, name, (sizes[-1], single[name] / sizes[-1] ** 0.5), color, (9, 0))
    dashed(ax, length, "length of the gradient", sizes[-1], (9, 3))
    ax.set(xscale="log", yscale="log", xlabel="samples averaged")
    ax.set(ylabel="scatter, nats per unit of code", xlim=(sizes[0] / 1.4, sizes[-1] * 25))
    return fig


def draw_linear(
    losses: np.ndarray, best: float, lengths: np.ndarray, expected: np.ndarray
) -> Figure:
    """Left, how far -ELBO is above the closed-form optimum at each step; right, singular values of W and what they
    should be, both `[K]`, largest first.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
    left.plot(np.arange(1, len(losses) + 1), losses, color=COLORS["measured"])
    height = losses[0] - best
    left.axhline(best, color=COLORS["theory"], linestyle="--", linewidth=1)
    words = "best value, in closed form"
    label(left, words, (1, best), COLORS["theory"], (0, -6), va="top", fontsize=9)
    left.set(xscale="log", xlabel="step of gradient descent", ylabel="-ELBO, nats")
    left.set_ylim(best - 0.18 * height, losses[0] + 0.08 * height)
    order = np.arange(1, len(lengths) + 1)
    right.plot(order, expected, color=COLORS["theory"])
    right.plot(order, lengths, "o", color=COLORS["measured"], ms=5)
    words = r"$\sqrt{\lambda_k - \sigma^2}$"
    label(right, words, (order[2], expected[2]), COLORS["theory"], (12, 10), fontsize=11)
    right.set(xlabel="latent, by size", ylabel="singular value of W", ylim=(0, None))
    right.set_xticks(order[::3])
    return fig


def draw_collapse(
    eigenvalues: np.ndarray, latent_dim: int, sigma2: np.ndarray, counts: np.ndarray
) -> Figure:
    """Latents in use after training (points) against sigma2, over the number of eigenvalues above it (steps)."""
    fig, ax = plt.subplots(figsize=(6.4, 3.2))
    fine = np.geomspace(sigma2.min() / 1.3, sigma2.max() * 1.6, 2000)
    above = np.minimum((eigenvalues[:, None] > fine).sum(0), latent_dim)
    ax.plot(fine, above, color=COLORS["theory"], linewidth=1.2)
    ax.plot(sigma2, counts, "o", color=COLORS["measured"], ms=6)
    middle = len(fine) // 3
    at = fine[middle], above[middle]
    label(ax, "eigenvalues above σ²", at, COLORS["theory"], (16, 8), ha="left")
    at = sigma2.min(), counts[np.argmin(sigma2)]
    label(ax, "latents in use after training", at, COLORS["measured"], (16, 4), ha="left")
    ax.set(xscale="log", xlabel="σ², the decoder's variance of a pixel", ylabel="latents")
    ax.set_ylim(-0.6, counts.max() + 1.5)
    ticks = [x for x in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if fine[0] < x < fine[-1]]
    ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
    ax.set_xticks((), (), minor=True)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return fig


def draw_totals(p: np.ndarray, closed: np.ndarray, places: np.ndarray, sums: np.ndarray) -> Figure:
    """What the Bernoulli formula integrates to over grey pixels: closed form (line), numerically (points)."""
    fig, ax = plt.subplots(figsize=(6.4, 2.9))
    ax.plot(p, closed, color=COLORS["theory"])
    ax.plot(places, sums, "o", color=COLORS["measured"], ms=5)
    dashed(ax, 1.0, "a density", 0.0, (2, 3))
    middle = len(p) // 4
    label(ax, "closed form", (p[middle], closed[middle]), COLORS["theory"], (0, 12), ha="center")
    label(ax, "summed", (places[-1], sums[-1]), COLORS["measured"], (-12, -4), ha="right")
    ax.set(xlabel="p, what the decoder says", ylabel="integral", xlim=(-0.02, 1.02), ylim=(0, 1.15))
    return fig
