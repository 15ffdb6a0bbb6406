"""How far apart two distributions are: Gaussians fitted by KL either way, and Wasserstein distances in closed form.

The Kullback-Leibler divergence is `concepts.kl_divergence`, Jensen-Shannon's `games.jensen_shannon`, the total
variation `metrics.total_variation`, the Fréchet distance `metrics.frechet_distance_from_moments`; transport between
points is in `imgbook.transport`. NumPy in double precision; only the fits of Gaussians use the gradients of JAX.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from imgbook import concepts, games, metrics

DIRECTIONS = ("forward", "reverse")


def law(name: str, values: np.ndarray) -> np.ndarray:
    """Probabilities `[K]` in double precision with sum exactly 1; ValueError, with that name, for what is none."""
    p = np.asarray(values, np.float64)
    if p.ndim != 1 or not np.all(p >= 0) or not np.isclose(p.sum(), 1, atol=1e-5):
        raise ValueError(
            f"{name} of shape {p.shape}, sum {p.sum():.6g}, least entry {p.min(initial=np.inf):.3g}; expected "
            "probabilities [K], none negative, with sum 1 (divide by the sum if they are weights)"
        )
    return p / p.sum()


# --- Gaussians in the plane -------------------------------------------------------------------------------------


class Fit(NamedTuple):
    """A Gaussian fitted to a distribution: mean `[D]`, covariance `[D, D]`, and the divergence reached, in nats."""

    mean: np.ndarray
    covariance: np.ndarray
    kl: float


def plane(reach: float = 12.0, cells: int = 97) -> np.ndarray:
    """The points `[cells^2, 2]` of an even square grid from -reach to reach, the first coordinate running slowest."""
    axis = np.linspace(-reach, reach, cells)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(
        -1, 2
    )  # [n, n, 2] -> [n * n, 2]


def gaussian_log_density(
    points: np.ndarray, mean: np.ndarray, covariance: np.ndarray
) -> np.ndarray:
    """log N(x; mean, covariance) `[K]` at points `[K, D]`."""
    away = points - mean
    squares = (away * np.linalg.solve(covariance, away.T).T).sum(axis=1)
    _, log_det = np.linalg.slogdet(covariance)
    return -(squares + log_det + points.shape[1] * np.log(2 * np.pi)) / 2


def mixture_log_cells(
    points: np.ndarray, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray
) -> np.ndarray:
    """Log-probabilities `[K]` of the cells around points `[K, D]` of an even grid, under a mixture of M Gaussians.

    weights `[M]`, means `[M, D]`, covariances `[M, D, D]`. Their exponentials sum to 1.
    """
    parts = [
        np.log(w) + gaussian_log_density(points, m, s)
        for w, m, s in zip(weights, means, covariances, strict=True)
    ]
    log_p = np.logaddexp.reduce(parts, axis=0)
    return log_p - np.logaddexp.reduce(log_p)


def moments_of(p: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean `[D]` and covariance `[D, D]` of probabilities `[K]` at points `[K, D]`.

    The Gaussian that has them is the one with the smallest KL(p || q).
    """
    mean = p @ points
    away = points - mean
    return mean, (p[:, None] * away).T @ away


def fit_gaussian(
    log_p: np.ndarray,
    points: np.ndarray,
    direction: str,
    start: np.ndarray,
    num_steps: int = 600,
) -> Fit:
    """Fit a Gaussian q on a grid of points `[K, 2]` to log-probabilities `[K]` by Adam, from the mean `start` `[2]`.

    direction: "forward" makes KL(p || q) small, "reverse" KL(q || p); ValueError for another. q is normalised on the
    grid. The covariance is L L^T, with L a lower triangle whose diagonal is an exponential; it starts as the identity.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction {direction!r}; allowed: {', '.join(DIRECTIONS)}")
    mean, (a, b, c), kl = _fitted(
        jnp.asarray(log_p), jnp.asarray(points), jnp.asarray(start), direction, num_steps
    )
    root = np.array([[np.exp(a), 0], [c, np.exp(b)]], np.float64)
    return Fit(np.asarray(mean, np.float64), root @ root.T, float(kl))


@partial(jax.jit, static_argnames=("direction", "num_steps"))
def _fitted(
    log_p: jax.Array, points: jax.Array, start: jax.Array, direction: str, num_steps: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean `[2]`, entries `[3]` of L (two logarithms, then the one below the diagonal), and the divergence."""

    def divergence(params: tuple[jax.Array, jax.Array]) -> jax.Array:
        mean, (a, b, c) = params
        first = (points[:, 0] - mean[0]) / jnp.exp(a)  # L^-1 (x - mean), by substitution
        second = (points[:, 1] - mean[1] - c * first) / jnp.exp(b)
        log_q = jax.nn.log_softmax(-(first**2 + second**2) / 2)
        if direction == "forward":
            return (jnp.exp(log_p) * (log_p - log_q)).sum()
        return (jnp.exp(log_q) * (log_q - log_p)).sum()

    tx = optax.adam(optax.cosine_decay_schedule(0.05, num_steps))
    params = (jnp.asarray(start, log_p.dtype), jnp.zeros(3, log_p.dtype))

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        params, memory = carry
        updates, memory = tx.update(jax.grad(divergence)(params), memory)
        return (optax.apply_updates(params, updates), memory), None

    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), length=num_steps)
    return *params, divergence(params)


# --- a line -----------------------------------------------------------------------------------------------------


def wasserstein_line(p: np.ndarray, q: np.ndarray, places: np.ndarray) -> float:
    """W1 of probabilities `[K]` at ascending places `[K]`: the area between the distribution functions.

    In units of the places. ValueError unless both are distributions on as many places, in ascending order.
    """
    ahead = _ahead(p, q, places)
    return float((np.abs(ahead) * np.diff(places)).sum())


def best_critic(p: np.ndarray, q: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The function `[K]` with slopes from -1 to 1 and the largest E_p f - E_q f, which is W1; 0 at the first place.

    It falls where p has more behind it than q, and rises where it has less. Errors as in `wasserstein_line`.
    """
    slope = -np.sign(_ahead(p, q, places))
    return np.concatenate([[0.0], np.cumsum(slope * np.diff(places))])


def _ahead(p: np.ndarray, q: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The distribution function of p less that of q `[K - 1]`, between neighbouring places."""
    p, q, places = law("p", p), law("q", q), np.asarray(places, np.float64)
    if not p.shape == q.shape == places.shape or not np.all(np.diff(places) > 0):
        raise ValueError(
            f"{len(p)} and {len(q)} probabilities at places {places.shape}; expected as many of all, places ascending"
        )
    return np.cumsum(p - q)[:-1]


def measures(p: np.ndarray, q: np.ndarray, places: np.ndarray) -> dict[str, float]:
    """KL(p || q), JSD (both in nats), total variation and W1 of probabilities `[K]` at ascending places `[K]`."""
    return {
        "KL": concepts.kl_divergence(p, q),
        "JSD": games.jensen_shannon(p, q),
        "TV": metrics.total_variation(p, q),
        "W1": wasserstein_line(p, q, places),
    }


def box_cells(places: np.ndarray, middle: float, half: float = 1.0) -> np.ndarray:
    """Equal probabilities `[K]` on those of the places `[K]` that are less than `half` from the middle, else 0."""
    inside = np.abs(places - middle) < half
    return inside / inside.sum()


def sorted_distance(x: np.ndarray, y: np.ndarray, order: float = 1) -> float:
    """W_order of two sets of equally many numbers `[N]`: the smallest is carried to the smallest, and so on."""
    x, y = np.sort(np.asarray(x, np.float64)), np.sort(np.asarray(y, np.float64))
    if x.ndim != 1 or x.shape != y.shape or not order >= 1:
        raise ValueError(
            f"shapes {x.shape} and {y.shape}, order {order}; expected equal [N], 1 or more"
        )
    return float((np.abs(x - y) ** order).mean() ** (1 / order))


# --- Gaussians: the Fréchet distance ----------------------------------------------------------------------------


def gaussian_map(cov1: np.ndarray, cov2: np.ndarray) -> np.ndarray:
    """The matrix A `[D, D]`, symmetric, that carries N(0, S1) to N(0, S2) at the least mean squared distance; S1 > 0.

    A = S1^(-1/2) (S1^(1/2) S2 S1^(1/2))^(1/2) S1^(-1/2) (Peyré and Cuturi 2019, remark 2.31).
    """
    root = _power(cov1, 0.5)
    inverse = _power(cov1, -0.5)
    return inverse @ _power(root @ cov2 @ root, 0.5) @ inverse


def _power(covariance: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * values.clip(0) ** exponent) @ vectors.T
