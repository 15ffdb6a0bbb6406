"""How good a classifier is, beyond one accuracy: its confusions, its worst mistakes, what its probabilities mean."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


def standard_error(accuracy: float, count: int) -> float:
    """Standard error of an accuracy (in [0, 1]) measured on `count` independent images: sqrt(a (1 - a) / count).

    It says how the accuracy would scatter over other test sets of that size, and nothing of other runs of training.

    Raises:
        ValueError: an accuracy outside [0, 1] or no image.
    """
    if not 0 <= accuracy <= 1 or count < 1:
        raise ValueError(f"accuracy {accuracy} on {count} images; allowed: 0 to 1, on 1 or more")
    return float(np.sqrt(accuracy * (1 - accuracy) / count))


def confusion(logits: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Shares `[K, K]` in [0, 1]: row r, column c is how many of the images of class r are taken for c.

    logits: `[N, K]`, or probabilities. Each row sums to 1; the row of a class without images is NaN.

    Raises:
        ValueError: shapes that do not fit, or labels outside 0..K-1. TypeError: labels that are not integers.
    """
    logits, labels = _checked(logits, labels)
    if logits.shape[1] != num_classes:
        raise ValueError(
            f"logits {logits.shape} for {num_classes} classes; expected [N, {num_classes}]"
        )
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (labels, logits.argmax(-1)), 1)
    totals = counts.sum(1, keepdims=True)
    return np.divide(counts, totals, where=totals > 0, out=np.full_like(counts, np.nan))


def most_confident_mistakes(
    probabilities: np.ndarray, labels: np.ndarray, count: int
) -> np.ndarray:
    """Indices of the wrong predictions with the largest probability, the surest first: at most `count` of them.

    probabilities: `[N, K]`. labels: `[N]`. Raises as `calibration` does.
    """
    probabilities, labels = _checked_probabilities(probabilities, labels)
    wrong = np.flatnonzero(probabilities.argmax(-1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(-1), kind="stable")][:count]


# --- calibration ----------------------------------------------------------------------------------------------


class Calibration(NamedTuple):
    """What predictions of a similar confidence are worth, in bins of equal width; `[B]` each, NaN in an empty bin."""

    confidence: np.ndarray  # mean probability of the predicted class
    accuracy: np.ndarray  # share of right predictions
    count: np.ndarray  # images
    error: float  # the expected calibration error, in [0, 1]


def calibration(probabilities: np.ndarray, labels: np.ndarray, num_bins: int = 10) -> Calibration:
    """Bins of the confidence, the largest of the K probabilities, and the expected calibration error.

        ECE = sum_b count_b / N * |accuracy_b - confidence_b|       (Guo et al. 2017, equation 3)

    probabilities: `[N, K]`. labels: `[N]`. Bin b holds confidences in (b / B, (b + 1) / B].

    Raises:
        ValueError: shapes that do not fit, labels outside 0..K-1, rows that are no probabilities (logits, say), no
            image or no bin. TypeError: labels that are not integers.
    """
    probabilities, labels = _checked_probabilities(probabilities, labels)
    right = probabilities.argmax(-1) == labels
    return _binned(probabilities.max(-1), right, num_bins)


def calibration_floor(
    probabilities: np.ndarray, rng: np.random.Generator, num_bins: int = 10, draws: int = 200
) -> np.ndarray:
    """Calibration errors `[draws]` of a perfectly calibrated classifier with these confidences on as many images.

    Each draw makes prediction n right with probability equal to its confidence. The error is then due to the finite
    number of images alone, and not 0: an absolute value is never negative.

    probabilities: `[N, K]`. Raises as `calibration` does, and ValueError for fewer than one draw.
    """
    labels = np.zeros(len(probabilities), int)  # any: they are not used
    probabilities, _ = _checked_probabilities(probabilities, labels)
    if draws < 1:
        raise ValueError(f"draws = {draws}; allowed: 1 or more")
    confidence = probabilities.max(-1)
    uniform = rng.random((draws, len(confidence)))
    return np.array([_binned(confidence, u < confidence, num_bins).error for u in uniform])


def _binned(confidence: np.ndarray, right: np.ndarray, num_bins: int) -> Calibration:
    if num_bins < 1:
        raise ValueError(f"num_bins = {num_bins}; allowed: 1 or more")
    # Bin b is (b / B, (b + 1) / B]; the confidence 0 cannot be, as the largest of K is at least 1 / K.
    edges = np.arange(1, num_bins) / num_bins
    bins = np.searchsorted(edges, confidence, side="left")

    def total(values: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(bins, values, num_bins)

    count = total()
    sums = total(confidence), total(right.astype(np.float64))
    error = np.abs(sums[0] - sums[1]).sum() / len(confidence)
    means = (np.divide(s, count, where=count > 0, out=np.full(num_bins, np.nan)) for s in sums)
    return Calibration(*means, count.astype(int), float(error))


# --- what is given --------------------------------------------------------------------------------------------


def _checked(
    logits: np.ndarray, labels: np.ndarray | Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or 0 in logits.shape:
        raise ValueError(
            f"logits or probabilities {logits.shape} and labels {labels.shape}; expected [N, K] and [N], N >= 1"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(
            f"labels of type {labels.dtype}; expected integers 0..{logits.shape[1] - 1}"
        )
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(
            f"labels range over {labels.min()}..{labels.max()}; with {logits.shape[1]} classes allowed are "
            f"0..{logits.shape[1] - 1}"
        )
    return logits, labels


def _checked_probabilities(
    probabilities: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    probabilities, labels = _checked(probabilities, labels)
    p = probabilities.astype(np.float64)
    if not (p.min() >= 0 and np.allclose(p.sum(-1), 1, atol=1e-3)):  # NaN is refused, too
        raise ValueError(
            f"probabilities from {p.min():.3g} to {p.max():.3g}, rows that sum to {p.sum(-1).min():.3g} to "
            f"{p.sum(-1).max():.3g}; expected rows in [0, 1] that sum to 1: take the softmax of logits"
        )
    return p, labels
