"""The pictures of the VAE chapter: the latent plane and the codes of digits in it."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from imgbook import plotting


def draw_plane(decoded: np.ndarray, codes: np.ndarray, labels: np.ndarray) -> Figure:
    """Left, images decoded on a square grid of codes `[side * side, H, W, C]`; right, codes `[N, 2]` as their labels.

    The circles hold half and 95 % of the prior.
    """
    side = round(len(decoded) ** 0.5)
    fig, (left, right) = plt.subplots(1, 2, figsize=(8.6, 4.4), width_ratios=(1, 1.05))
    plotting.show_tile(left, decoded, side, "decoded")
    colors = plt.get_cmap("tab10").colors
    for digit in np.unique(labels):
        color = plotting.label_color(colors[digit % 10])
        x, y = codes[labels == digit].T
        right.plot(x, y, linestyle="", marker=f"${digit}$", ms=5, color=color, markeredgewidth=0.2)
    for digit in np.unique(labels):
        x, y = np.median(codes[labels == digit], axis=0)
        box = dict(boxstyle="circle,pad=0.15", facecolor=plotting.PAPER, edgecolor=plotting.INK)
        right.text(x, y, str(digit), ha="center", va="center", bbox=box)
    angle = np.linspace(0, 2 * np.pi, 200)
    for share in (0.5, 0.95):
        radius = np.sqrt(-2 * np.log(1 - share))  # of a normal cloud in two dimensions
        x, y = radius * np.cos(angle), radius * np.sin(angle)
        right.plot(x, y, color=plotting.COLORS["theory"], linestyle="--", linewidth=1)
        right.annotate(
            f"{share:.0%}", (0, -radius), ha="center", va="top", fontsize=9, color=to_rgb("#555555")
        )
    right.set(aspect="equal", xlabel="first latent", ylabel="second latent")
    right.set_title("codes of test digits", loc="left")
    return fig
