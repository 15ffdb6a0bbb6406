"""Optimal transport between weighted points (Sinkhorn's algorithm), and pictures as distributions of ink.

NumPy in double precision. What transport costs is measured from both sides: a plan gives an upper bound of the least
cost, potentials a lower one.
"""

from typing import NamedTuple

import numpy as np

from imgbook import concepts, distances, games, metrics


class Transport(NamedTuple):
    """A plan `[N, M]` whose rows sum to p and columns to q, its cost, and a lower bound of the least cost."""

    plan: np.ndarray
    cost: float
    bound: float


def sinkhorn(
    p: np.ndarray,
    q: np.ndarray,
    cost: np.ndarray,
    epsilon: float = 0.02,
    num_steps: int = 60,
) -> Transport:
    """A nearly optimal plan between distributions `[N]` and `[M]`, all positive, for a cost matrix `[N, M]`.

    Entropic transport (Cuturi 2013) by logarithms, at temperatures from the largest cost down to `epsilon`, in units of
    the cost, `num_steps` at each. The plan is then rounded to the exact sums (Altschuler et al. 2017), so its cost is
    at least the optimum; potentials that obey f_i + g_j <= cost give the bound, at most the optimum. ValueError for
    what does not fit together.
    """
    p, q = distances.law("p", p), distances.law("q", q)
    cost = np.asarray(cost, np.float64)
    if cost.shape != (len(p), len(q)) or not (p.min() > 0 and q.min() > 0 and epsilon > 0):
        raise ValueError(
            f"cost {cost.shape} for {len(p)} and {len(q)} probabilities, the least {min(p.min(), q.min()):.3g}, "
            f"epsilon = {epsilon}; expected one cost a pair, all positive (leave out points without mass)"
        )
    f, g = np.zeros(len(p)), np.zeros(len(q))
    halvings = max(0, int(np.ceil(np.log2(max(cost.max(), epsilon) / epsilon))))
    for temperature in epsilon * 2.0 ** np.arange(halvings, -1, -1):
        for _ in range(num_steps):
            f = temperature * (np.log(p) - _log_sum_exp((g - cost) / temperature, axis=1))
            g = temperature * (np.log(q) - _log_sum_exp((f[:, None] - cost) / temperature, axis=0))
    plan = _rounded(np.exp((f[:, None] + g - cost) / temperature), p, q)
    g = (cost - f[:, None]).min(axis=0)  # the largest that the costs allow
    f = (cost - g).min(axis=1)
    return Transport(plan, float((plan * cost).sum()), float(p @ f + q @ g))


def _log_sum_exp(a: np.ndarray, axis: int) -> np.ndarray:
    largest = a.max(axis=axis)
    return largest + np.log(np.exp(a - np.expand_dims(largest, axis)).sum(axis=axis))


def _rounded(plan: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """A plan near the given one with exactly these sums: what is too much is cut, what lacks is spread."""
    plan = plan * np.minimum(p / plan.sum(axis=1), 1)[:, None]
    plan = plan * np.minimum(q / plan.sum(axis=0), 1)
    rows, columns = (p - plan.sum(axis=1)).clip(0), (q - plan.sum(axis=0)).clip(0)  # rounding aside
    lacking = rows.sum()
    return plan + np.outer(rows, columns) / lacking if lacking > 0 else plan


def distances_between(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Euclidean distances `[N, M]` of points `[N, D]` and `[M, D]`."""
    return np.linalg.norm(np.asarray(x)[:, None] - np.asarray(y), axis=-1)


# --- pictures as ink --------------------------------------------------------------------------------------------


def ink(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A grey picture `[H, W]` as a distribution: shares `[K]` of its ink, and its pixels' rows and columns `[K, 2]`.

    ValueError for a picture without ink, or with negative values.
    """
    image = np.asarray(image, np.float64)
    if image.ndim != 2 or image.min() < 0 or not image.sum() > 0:
        raise ValueError(
            f"picture of shape {image.shape}, least {image.min():.3g}, sum {image.sum():.3g}; "
            "expected [H, W], none negative, not all 0"
        )
    places = np.argwhere(image > 0)
    return image[tuple(places.T)] / image.sum(), places.astype(np.float64)


def moved(image: np.ndarray, right: int, width: int) -> np.ndarray:
    """A picture `[H, W]` on a canvas `[H, width]`, so many pixels to the right; ValueError if it does not fit."""
    space = width - image.shape[1] - right
    if right < 0 or space < 0:
        raise ValueError(
            f"{right} pixels to the right, on {width}; allowed: 0 to {width - image.shape[1]}"
        )
    return np.pad(image, ((0, 0), (right, space)))


def carry(a: np.ndarray, b: np.ndarray, order: int = 1, epsilon: float = 0.02) -> Transport:
    """Transport of the ink of picture a to that of b, at the price (distance in pixels)^order; see `sinkhorn`."""
    (p, x), (q, y) = ink(a), ink(b)
    return sinkhorn(p, q, distances_between(x, y) ** order, epsilon)


def picture_measures(a: np.ndarray, b: np.ndarray, even: float = 0.01) -> dict[str, float]:
    """Squared error of two pictures `[H, W]`, and KL, JSD (in nats) and total variation of their ink.

    For KL alone both get the share `even` of ink spread evenly over all pixels: without it KL is infinite as soon as
    one has ink where the other has none.
    """
    p, q = a.ravel() / a.sum(), b.ravel() / b.sum()
    mixed = [(1 - even) * r + even / r.size for r in (p, q)]
    return {
        "squared error": float(((a - b) ** 2).sum()),
        "KL": concepts.kl_divergence(*mixed),
        "JSD": games.jensen_shannon(p, q),
        "TV": metrics.total_variation(p, q),
    }


def displaced(
    plan: np.ndarray, x: np.ndarray, y: np.ndarray, t: float
) -> tuple[np.ndarray, np.ndarray]:
    """Masses `[K]` and places `[K, D]` when each mass of a plan `[N, M]` has gone the part t of its way from x to y."""
    i, j = np.nonzero(plan > 1e-12)
    return plan[i, j], (1 - t) * x[i] + t * y[j]


def painted(mass: np.ndarray, places: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Masses `[K]` at rows and columns `[K, 2]`, between pixels too, as a picture of that shape with the same sum.

    Each mass is shared among the four pixels around it, by how near they are, so that its centre stays.
    """
    picture = np.zeros(shape)
    low = np.minimum(np.floor(places).astype(int), np.array(shape) - 2)
    part = places - low
    for row in (0, 1):
        for column in (0, 1):
            near = np.abs(1 - row - part[:, 0]) * np.abs(1 - column - part[:, 1])
            np.add.at(picture, (low[:, 0] + row, low[:, 1] + column), mass * near)
    return picture
