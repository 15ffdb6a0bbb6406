"""Classifier-free guidance where everything is known: labelled Gaussians in the plane, exact velocities and densities.

Guidance at weight w follows v(x, t) + w (v(x, t | y) - v(x, t)) (Ho & Salimans 2022, whose own weight is w - 1). At
every time that is the velocity of the law p_t(x) p_t(y | x)^w. But the laws of different times are not noised copies
of one law, so what arrives at t = 1 is not p(x) p(y | x)^w. Both are computed here.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from imgbook import flow


@dataclass(frozen=True)
class LabelledMixture:
    """Equally likely Gaussians N(means[k], std^2 I) in the plane, each with a class label.

    ValueError for a std that is not positive, or not one label for each mean `(float, float)`.
    """

    means: tuple[tuple[float, float], ...] = (
        (-2.4, 0.0),
        (-0.6, 1.6),
        (-0.6, -1.6),
        (0.6, 1.6),
        (0.6, -1.6),
    )
    labels: tuple[int, ...] = (0, 0, 0, 1, 1)
    std: float = 0.5

    def __post_init__(self) -> None:
        if not self.std > 0 or not self.means or len(self.means) != len(self.labels):
            raise ValueError(
                f"std = {self.std}, {len(self.means)} means, {len(self.labels)} labels; expected a positive number "
                "and one label for each mean"
            )

    def means_of(self, label: int | None = None) -> jax.Array:
        """Centres `[K, 2]` of a class, or of all; ValueError for a label that no Gaussian has."""
        return jnp.array(self._chosen(label))

    def _chosen(self, label: int | None) -> list[tuple[float, float]]:
        if label is not None and label not in self.labels:
            known = ", ".join(map(str, sorted(set(self.labels))))
            raise ValueError(f"label = {label}; allowed: {known}")
        pairs = zip(self.means, self.labels, strict=True)
        return [mean for mean, own in pairs if label in (None, own)]

    def log_density(self, x: np.ndarray, label: int | None = None) -> np.ndarray:
        """log p(x), or log p(x | label), at points `[..., 2]`."""
        means = np.array(self._chosen(label))
        squares = ((np.asarray(x, np.float64)[..., None, :] - means) ** 2).sum(-1)
        constant = np.log(len(means) * 2 * np.pi * self.std**2)
        return np.logaddexp.reduce(-squares / (2 * self.std**2), axis=-1) - constant

    def log_posterior(self, x: np.ndarray, label: int) -> np.ndarray:
        """log p(label | x) at points `[..., 2]`, by Bayes' rule; a class has the probability of its Gaussians."""
        prior = np.log(self.labels.count(label) / len(self.labels))
        return self.log_density(x, label) + prior - self.log_density(x)

    def sample(self, key: jax.Array, n: int, label: int | None = None) -> jax.Array:
        """`n` points `[n, 2]` of p(x), or of p(x | label)."""
        mode_key, noise_key = jax.random.split(key)
        means = self.means_of(label)
        modes = jax.random.randint(mode_key, (n,), 0, len(means))
        return means[modes] + self.std * jax.random.normal(noise_key, (n, 2))


def guided_velocity(
    x: jax.Array,
    t: jax.Array,
    means: jax.Array,
    class_means: jax.Array,
    std: float,
    weight: jax.Array,
) -> jax.Array:
    """v(x, t) + weight (v(x, t | y) - v(x, t)) `[N, 2]`, both velocities exact.

    means `[K, 2]` are those of all Gaussians, class_means those of the class y.
    """
    everywhere = flow.exact_velocity(x, t, means, std)
    return everywhere + weight * (flow.exact_velocity(x, t, class_means, std) - everywhere)


def guided(mixture: LabelledMixture, label: int, weight: float) -> Partial:
    """The guided velocity towards a class as a function v(x, t), as `flow.sample` takes it.

    weight 0 asks for nothing, 1 for the class, more than 1 exaggerates. ValueError for an unknown label.
    """
    return Partial(
        guided_velocity,
        means=mixture.means_of(),
        class_means=mixture.means_of(label),
        std=mixture.std,
        weight=jnp.asarray(weight, jnp.float32),
    )


# --- the law that guidance is said to sample -----------------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """Square cells over [-extent, extent]^2, `cells` a side; ValueError unless both are positive."""

    extent: float = 5.0
    cells: int = 200

    def __post_init__(self) -> None:
        if not self.extent > 0 or self.cells < 1:
            raise ValueError(
                f"extent = {self.extent}, cells = {self.cells}; expected positive numbers"
            )

    @property
    def side(self) -> float:
        """The side of a cell."""
        return 2 * self.extent / self.cells

    def centres(self) -> np.ndarray:
        """Centres of the cells `[cells, cells, 2]`: first coordinate along the first axis."""
        axis = (np.arange(self.cells) + 0.5) * self.side - self.extent
        return np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)

    def shares(self, points: np.ndarray) -> np.ndarray:
        """Shares `[cells, cells]` of points `[N, 2]` in the cells; those outside are counted at the border."""
        index = np.floor((np.asarray(points, np.float64) + self.extent) / self.side).astype(int)
        counts = np.zeros((self.cells, self.cells))
        np.add.at(counts, tuple(index.clip(0, self.cells - 1).T), 1)
        return counts / len(points)

    def draw(self, rng: np.random.Generator, shares: np.ndarray, n: int) -> np.ndarray:
        """`n` points `[n, 2]` of a law by its cells `[cells, cells]`, uniform inside a cell."""
        cell = rng.choice(shares.size, n, p=shares.ravel())
        corner = np.stack(np.unravel_index(cell, shares.shape), -1)
        return (corner + rng.random((n, 2))) * self.side - self.extent


def reweighted(mixture: LabelledMixture, label: int, weight: float, grid: Grid) -> np.ndarray:
    """p(x) p(label | x)^weight, normalised, as probabilities of the cells `[cells, cells]`."""
    points = grid.centres()
    log_p = mixture.log_density(points) + weight * mixture.log_posterior(points, label)
    p = np.exp(log_p - log_p.max())
    return p / p.sum()


def coarser(shares: np.ndarray, factor: int) -> np.ndarray:
    """Probabilities of `factor` x `factor` cells taken together; ValueError unless the factor divides the sides."""
    if factor < 1 or any(side % factor for side in shares.shape):
        raise ValueError(f"factor = {factor}; allowed: divisors of {shares.shape}")
    rows, columns = (side // factor for side in shares.shape)
    # [rows * factor, columns * factor] -> [rows, factor, columns, factor]
    return shares.reshape(rows, factor, columns, factor).sum((1, 3))


def measures(
    points: np.ndarray, mixture: LabelledMixture, label: int, law: np.ndarray, grid: Grid
) -> dict[str, float]:
    """Of points `[N, 2]`: how well they obey, how much they vary, and how far they are from a law `[cells, cells]`.

    obedience: mean of p(label | x). spread: root of the mean squared distance from their mean. distance: total
    variation between the points and the law in squares of 0.5 x 0.5 or the nearest size that fits.
    """
    points = np.asarray(points, np.float64)
    sizes = [f for f in range(1, grid.cells + 1) if grid.cells % f == 0]
    factor = min(sizes, key=lambda f: abs(f * grid.side - 0.5))
    found = coarser(grid.shares(points), factor)
    return {
        "obedience": float(np.exp(mixture.log_posterior(points, label)).mean()),
        "spread": float(np.sqrt(points.var(axis=0).sum())),
        "distance": float(np.abs(found - coarser(law, factor)).sum() / 2),
    }
