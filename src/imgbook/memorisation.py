"""Does a generator return its training images? The exact velocity of a finite set, and how near samples come.

For a finite training set the best answer to the flow-matching loss is known: `flow.exact_velocity` with a mode of
width zero at every training image. Followed to the end it can only arrive at one of them.
"""

from functools import partial

import jax
import numpy as np

from imgbook import metrics, vector_flow

COPY = 1 / 3  # a copy is nearer to its nearest training image than a third of the way to the second


def finite_velocity(x: jax.Array, t: jax.Array, images: jax.Array) -> jax.Array:
    """E[x1 - x0 | x_t = x] `[N, D]` for x0 ~ N(0, I) and x1 drawn from the rows of images `[K, D]`; t `[N]` below 1.

    `flow.exact_velocity` in the limit of width zero: with posterior weights w_k proportional to
    exp(-|x - t m_k|^2 / 2 (1 - t)^2) it is (sum_k w_k m_k - x) / (1 - t). Written with matrix products, so that
    thousands of images of hundreds of pixels fit. ValueError for other shapes.
    """
    if x.ndim != 2 or t.shape != x.shape[:1] or images.ndim != 2 or images.shape[1] != x.shape[1]:
        raise ValueError(
            f"x {x.shape}, t {t.shape}, images {images.shape}; expected [N, D], [N], [K, D]"
        )
    t = t[:, None]
    # |x - t m|^2 without |x|^2, which all images share and the softmax drops.
    squares = t**2 * (images**2).sum(1) - 2 * t * (x @ images.T)
    weights = jax.nn.softmax(-squares / (2 * (1 - t) ** 2), axis=1)
    return (weights @ images - x) / (1 - t)


@partial(jax.jit, static_argnames="num_steps")
def follow_finite(images: jax.Array, x0: jax.Array, num_steps: int = 100) -> jax.Array:
    """Where `finite_velocity` takes noise x0 `[N, D]` in Euler steps, `[N, D]`.

    The last step goes from t = 1 - 1 / num_steps straight to the mean of the images that are left.
    """
    return vector_flow.carry(lambda x, t: finite_velocity(x, t, images), x0, num_steps)


def nearness(samples: np.ndarray, training: np.ndarray) -> dict[str, np.ndarray]:
    """Of samples `[N, D]` and training vectors `[M, D]`, M at least 2: distance and ratio `[N]`.

    distance: to the nearest training vector. ratio: that over the distance to the second nearest, in [0, 1]; 0 is an
    exact copy, and what knows nothing of the training set has ratios near 1. Errors as
    `metrics.nearest_neighbours`.
    """
    _, distances = metrics.nearest_neighbours(samples, training, k=2)
    first, second = distances.T
    ratio = np.divide(first, second, out=np.ones_like(first), where=second > 0)
    return {"distance": first, "ratio": ratio}


def copied(samples: np.ndarray, training: np.ndarray, below: float = COPY) -> float:
    """Share of samples `[N, D]` whose `nearness` ratio is less than `below`: the criterion of Gu et al. (2023)."""
    return float((nearness(samples, training)["ratio"] < below).mean())


def codes(images: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, float]:
    """What turns images into `count` numbers each: mean `[D]`, axes `[count, D]` and a common unit.

    Principal components of images `[N, ...]`, in a unit in which a code has variance 1 on average over its numbers.
    ValueError for a count that is not 1 to the number of pixels or of images.
    """
    flat = np.asarray(images, np.float64).reshape(len(images), -1)  # [N, ...] -> [N, D]
    if not 1 <= count <= min(flat.shape):
        raise ValueError(f"count = {count}; allowed: 1 to {min(flat.shape)}")
    mean = flat.mean(0)
    values, vectors = np.linalg.eigh(np.cov(flat, rowvar=False))
    return mean, vectors[:, ::-1][:, :count].T, float(np.sqrt(values[::-1][:count].mean()))


def encode(images: np.ndarray, basis: tuple[np.ndarray, np.ndarray, float]) -> np.ndarray:
    """Codes `[N, count]`, float32, of images by `codes`."""
    mean, axes, unit = basis
    flat = np.asarray(images, np.float64).reshape(len(images), -1)  # [N, ...] -> [N, D]
    return ((flat - mean) @ axes.T / unit).astype(np.float32)


def decode(
    points: np.ndarray, basis: tuple[np.ndarray, np.ndarray, float], shape: tuple[int, ...]
) -> np.ndarray:
    """Images `[N, *shape]` of codes `[N, count]`, not clipped."""
    mean, axes, unit = basis
    return (np.asarray(points, np.float64) @ axes * unit + mean).reshape(len(points), *shape)
