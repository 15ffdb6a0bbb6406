"""Tables of the GAN chapter: what the judge says of sets of images, on a page or in a record."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from imgbook import judge, plotting, records

HEADER = (
    "images",
    "recognised (%)",
    "Fréchet",
    "kernel × 1000",
    "precision",
    "recall",
    "rarest, commonest digit",
)


def far_ends(real: judge.Opinion, images: np.ndarray) -> dict[str, dict[str, float]]:
    """What `judge.compare` says of the mean of training images `[M, H, W, C]`, uint8, and of uniform noise, by name: of
    as many as there are real ones.
    """
    shape = (len(real.features), *images.shape[1:])
    mean = np.broadcast_to(images.mean(axis=0, keepdims=True) / 255, shape)
    noise = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
    made = {"mean image": mean, "noise": noise}
    return {name: judge.compare(real, judge.opinion(images)) for name, images in made.items()}


def table_of(scores: Mapping[str, Mapping[str, float]]) -> tuple[tuple[str, ...], list[tuple]]:
    """Header and rows of `judge.compare`'s measures by name; the kernel distance with its standard error."""
    rows = [
        (
            name,
            f"{100 * s['recognised']:.1f}",
            f"{s['frechet']:.2f}",
            f"{1000 * s['kernel']:.1f} ± {1000 * s['kernel_error']:.1f}",
            f"{s['precision']:.2f}",
            f"{s['recall']:.2f}",
            f"{s['smallest_share']:.2f}, {s['largest_share']:.2f}",
        )
        for name, s in scores.items()
    ]
    return HEADER, rows


def note(real: judge.Opinion, description: Mapping) -> str:
    """What a table of `table_of` says of itself: features, numbers, judge, and what it must not be taken for."""
    n, d = real.features.shape
    result = description["result"]
    return (
        f"Features: the judge's last layer but one, D = {d}; each set is compared with {n:,} images of real test "
        f"digits, of which {judge.summary(real)['recognised']:.1%} are recognised. The judge is right on "
        f"{result['test_accuracy']:.2%} of the official test digits. These are no Inception features, so the distances "
        "cannot be set beside published FIDs or KIDs. Last column: shares among the recognised images, in units of the "
        "real ones'. ±: standard error over the images."
    )


def record_rows(
    names: Mapping[str, str], variants: Sequence[str] = ()
) -> tuple[tuple[str, ...], list[tuple]]:
    """The same columns from records, mean ± standard deviation over their seeds: a row a record or, with `variants`, a
    row a variant of each. `names`: records by label.
    """
    rows: list[tuple] = []
    for label, name in names.items():
        record = records.load(name)
        for variant in variants or ("",):
            prefix = f"{variant}/" if variant else ""
            values = {m: np.asarray(record["values"][prefix + m]) for m in COLUMNS}
            seeds = len(record["seeds"])
            ratio = values["frechet"] / np.asarray(record["values"]["floor"])
            lowest, highest = values["smallest_share"].min(), values["largest_share"].max()
            rows.append(
                (
                    variant or label,
                    _spread(100 * values["recognised"], ".1f"),
                    _spread(values["frechet"], ".2f"),
                    _spread(ratio, ".1f"),
                    _spread(values["precision"], ".2f"),
                    _spread(values["recall"], ".2f"),
                    f"{lowest:.2f}, {highest:.2f}",
                    f"{values['seconds'].min():.0f}",
                    seeds,
                )
            )
    return RECORD_HEADER, rows


COLUMNS = (
    "recognised",
    "frechet",
    "precision",
    "recall",
    "smallest_share",
    "largest_share",
    "seconds",
)
RECORD_HEADER = (
    "run",
    "recognised (%)",
    "Fréchet",
    "× floor",
    "precision",
    "recall",
    "rarest, commonest digit",
    "training (s), least",
    "seeds",
)


def _spread(values: np.ndarray, fmt: str) -> str:
    """Mean ± standard deviation; of one value, the value."""
    text = format(values.mean(), fmt)
    return text if len(values) < 2 else f"{text} ± {format(values.std(ddof=1), fmt)}"


def record_note(record: Mapping, real: judge.Opinion, ends: Mapping[str, Mapping]) -> str:
    """Where the rows of a record come from, what they are measured with, and how near and far a distance can be.

    real: of the images that they are compared with; ends: of `far_ends`.
    """
    floor, recognised = (float(np.mean(record["values"][name])) for name in ("floor", "real"))
    n, d = real.features.shape
    far = ", ".join(f"{name} {values['frechet']:.1f}" for name, values in ends.items())
    return (
        f"Recorded by `{record['command']}` on {record['date']}; ±: standard deviation over seeds. Features: the "
        f"judge's last layer but one, D = {d}, no Inception features; about {n:,} samples against as many real digits. "
        f"Of other real digits {recognised:.1%} are recognised, and their distance is the floor, {floor:.2f}; {far}. "
        "Rarest, commonest digit: the extremes of all seeds."
    )


def draw_spread(record: Mapping, variants: Sequence[str]) -> Figure:
    """Recognised share, Fréchet distance and recall of each variant: a point a seed, a line at their mean."""
    panels = (
        ("recognised", 100.0, "recognised (%)"),
        ("frechet", 1.0, "Fréchet distance"),
        ("recall", 1.0, "recall"),
    )
    fig, axes = plt.subplots(1, 3, figsize=(8.4, 0.6 + 0.34 * len(variants)), sharey=True)
    rows = np.arange(len(variants))
    for ax, (measure, scale, label) in zip(axes, panels, strict=True):
        values = scale * np.array([record["values"][f"{v}/{measure}"] for v in variants])
        for row, points in zip(rows, values, strict=True):
            ax.plot(points, np.full(len(points), row), "o", color=plotting.COLORS["measured"])
            ax.plot([points.mean()] * 2, [row - 0.3, row + 0.3], color=plotting.INK)
        ax.set_xlabel(label)
    axes[0].set_yticks(rows, variants)
    axes[0].invert_yaxis()
    return fig
