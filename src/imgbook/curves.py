"""Quality against seconds of training: the record that `benchmarks/quality.py` writes, and its picture."""

import json

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from imgbook import plotting, records

NAME = "quality"
PARTS = (1 / 8, 1 / 3, 1)  # of the steps of preset quick: the points of a curve
# The measure that a model's curve shows, in words, and the colour of its chapter.
SHOWN = {
    "gan": ("recognised", "GAN: digits recognised, share of samples", "generator"),
    "cnn": ("accuracy", "CNN: test accuracy, photographs", "data"),
    "vae": ("negative_elbo", "VAE: bound, nats a test digit (less is better)", "theory"),
}


def load() -> dict[str, dict]:
    """The record, by model.

    Raises:
        FileNotFoundError: there is none; says which command writes it.
    """
    path = records.folder() / f"{NAME}.json"
    if not path.exists():
        raise FileNotFoundError(f"no result record {NAME!r}; write it with: make bench-quality")
    return json.loads(path.read_text(encoding="utf-8"))


def figure(record: dict[str, dict]) -> Figure:
    """A panel a model: seconds of training (log scale) against quality, each seed a dot, the mean a line."""
    fig, axes = plt.subplots(1, len(SHOWN), figsize=(7.4, 2.9))
    for ax, (model, (measure, words, role)) in zip(axes, SHOWN.items(), strict=True):
        points, color = record[model]["points"], plotting.COLORS[role]
        seconds = np.array([p["seconds"] for p in points])  # [points, seeds]
        values = np.array([p["values"][measure] for p in points])
        ax.plot(seconds.mean(1), values.mean(1), color=color)
        ax.plot(seconds.ravel(), values.ravel(), "o", ms=4, color=color)
        ax.set_xscale("log")
        ticks = [float(f"{s:.1g}") for s in seconds.mean(1)]
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()
        ax.set_xlabel("seconds of training")
        title, _, label = words.partition(": ")
        ax.set_title(title, loc="left")
        ax.set_ylabel(label.partition(",")[0].partition(" (")[0])
    return fig
