"""The game of a GAN where it can be computed: on finite sets, on a line, and between two numbers.

The value of the game is V(D, G) = E[log D(x)] + E[log(1 - D(G(z)))] (Goodfellow et al. 2014). Here are its optimum for
densities that are known, and what becomes of players who follow its gradient (Mescheder et al. 2018). NumPy in double
precision; only the gradients of the players come from JAX.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

RULES = ("simultaneous", "alternating", "continuous")
SUM_TOLERANCE = 1e-5  # probabilities may come from float32

# --- finite sets ----------------------------------------------------------------------------------------------


def optimal_discriminator(p_data: np.ndarray, p_g: np.ndarray) -> np.ndarray:
    """D* = p_data / (p_data + p_g) `[K]`, the best answer to a generator on K points.

    Where neither has probability any value is as good; it is 1/2 there. ValueError unless both are distributions.
    """
    p, q = _distributions(p_data=p_data, p_g=p_g)
    total = p + q
    return np.divide(p, total, out=np.full_like(p, 0.5), where=total > 0)


def value(discriminator: np.ndarray, p_data: np.ndarray, p_g: np.ndarray) -> float:
    """V(D, G) = sum p_data log D + p_g log(1 - D) in nats, for a discriminator `[K]` in [0, 1].

    It is minus infinity for a discriminator that excludes what occurs. Where one probability is so much smaller than
    the other that D* itself rounds to 0 or 1, the smaller one is left out: in V(D*, G) it has no weight. ValueError
    unless p_data and p_g `[K]` are distributions and the discriminator has their shape and range.
    """
    p, q = _distributions(p_data=p_data, p_g=p_g)
    d = np.asarray(discriminator, np.float64)
    if d.shape != p.shape or not np.all((d >= 0) & (d <= 1)):
        raise ValueError(
            f"discriminator {d.tolist()}; expected {len(p)} probabilities, each from 0 to 1"
        )
    least = np.finfo(np.float64).eps
    real, fake = np.where(p > least * q, p, 0), np.where(q > least * p, q, 0)
    return float(_expected_log(real, d) + _expected_log(fake, 1 - d))


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """JSD(p || q) in nats, from 0 (equal) to log 2 (disjoint), of two distributions `[K]`; else ValueError.

    The mean divergence KL of p and of q from their middle (p + q) / 2.
    """
    p, q = _distributions(p=p, q=q)
    middle = (p + q) / 2
    entropies = [-_expected_log(r, r) for r in (middle, p, q)]
    return float(entropies[0] - (entropies[1] + entropies[2]) / 2)


def _expected_log(p: np.ndarray, values: np.ndarray) -> np.floating:
    """Sum of p log(values), where p = 0 contributes nothing."""
    with np.errstate(divide="ignore"):
        return np.sum(p * np.log(values, out=np.zeros_like(p), where=p > 0))


def _distributions(**named: np.ndarray) -> list[np.ndarray]:
    """The arrays in double precision, their sums exactly 1; ValueError names the one that is no distribution."""
    arrays = {name: np.asarray(array, np.float64) for name, array in named.items()}
    for name, p in arrays.items():
        if p.ndim != 1 or not np.all(p >= 0) or abs(p.sum() - 1) > SUM_TOLERANCE:
            raise ValueError(
                f"{name} of shape {p.shape}, sum {p.sum():.6g}, least entry {p.min(initial=np.inf):.3g}; expected "
                "probabilities [K], none negative, with sum 1 (divide by the sum if they are weights)"
            )
    if len({p.shape for p in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {p.shape}" for name, p in arrays.items())
        raise ValueError(f"{shapes}; expected distributions on the same points")
    return [p / p.sum() for p in arrays.values()]


# --- a line ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mixture:
    """Equally likely Gaussians on the line, N(means[k], std^2); ValueError for std <= 0 or no means."""

    means: tuple[float, ...] = (-1.0, 1.0)
    std: float = 0.4

    def __post_init__(self) -> None:
        if not self.std > 0 or not self.means:
            raise ValueError(
                f"means = {self.means}, std = {self.std}; expected at least one, and positive"
            )

    def shifted(self, by: float) -> "Mixture":
        """The same mixture moved along the line: the law of x + by."""
        return Mixture(tuple(mean + by for mean in self.means), self.std)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """log p(x), of the shape of x; exact in the tails too, where p itself is zero in floating point."""
        squares = ((np.asarray(x, np.float64)[..., None] - self.means) / self.std) ** 2
        constant = np.log(len(self.means) * self.std * np.sqrt(2 * np.pi))
        return np.logaddexp.reduce(-squares / 2, axis=-1) - constant

    def cells(self, grid: np.ndarray) -> np.ndarray:
        """Probabilities `[K]` of the cells around the points of an even grid `[K]`, their sum made 1.

        ValueError for a grid that misses more than one part in a thousand, or that is too coarse.
        """
        p = np.exp(self.log_density(grid)) * (grid[1] - grid[0])
        if abs(p.sum() - 1) > 1e-3:
            raise ValueError(
                f"a grid from {grid[0]:.3g} to {grid[-1]:.3g} in {len(grid)} points holds {p.sum():.4g} of the "
                "probability; take one that is wider or finer"
            )
        return p / p.sum()

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """`n` points `[n]`, float32."""
        mode_key, noise_key = jax.random.split(key)
        modes = jax.random.randint(mode_key, (n,), 0, len(self.means))
        return jnp.asarray(self.means)[modes] + self.std * jax.random.normal(noise_key, (n,))


def log_ratio(p_data: Mixture, p_g: Mixture, grid: np.ndarray) -> np.ndarray:
    """The logit of D*, log p_data(x) - log p_g(x), on a grid `[K]`."""
    return p_data.log_density(grid) - p_g.log_density(grid)


def shift_gradients(logits: np.ndarray, p_g: Mixture, grid: np.ndarray) -> dict[str, float]:
    """Derivatives of the generator's two losses when p_g moves along the line, against a discriminator held fixed.

    logits `[K]` are the discriminator's on an even grid `[K]`. A sample x + s has slope 1 in s, so the derivatives are
    E[-sigmoid(a) a'] for E log(1 - D), "minimax", and E[-(1 - sigmoid(a)) a'] for -E log D, "non_saturating",
    with x from p_g. In nats a unit of length.
    """
    slope = np.gradient(np.asarray(logits, np.float64), grid)
    d = 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
    weights = p_g.cells(grid) * slope
    return {
        "minimax": float(-(weights * d).sum()),
        "non_saturating": float(-(weights * (1 - d)).sum()),
    }


# --- two numbers ----------------------------------------------------------------------------------------------


def bilinear(theta: jax.Array, psi: jax.Array) -> jax.Array:
    """The simplest game, V = theta psi: the first player wants it small, the second large."""
    return theta * psi


def dirac_gan(theta: jax.Array, psi: jax.Array, gamma: float = 0.0) -> jax.Array:
    """The value of the Dirac-GAN (Mescheder et al. 2018) in nats, with the penalty R1 of weight `gamma`.

    All data are the point 0, all samples the point theta, and the discriminator's logit is a(x) = psi x. The gradient
    of a is psi, so R1 is gamma psi^2 / 2. It does not contain theta, and can stand in the value of both players.
    """
    logits = psi * jnp.array([0.0, 1.0]) * theta  # of the data and of the samples
    v = jax.nn.log_sigmoid(logits[0]) + jax.nn.log_sigmoid(-logits[1])
    return v - gamma * psi**2 / 2


def field(game: Callable) -> Callable[[jax.Array], jax.Array]:
    """The players' directions as a function of (theta, psi) `[2]`: down V for the first, up V for the second."""
    slopes = jax.grad(game, argnums=(0, 1))

    def directions(players: jax.Array) -> jax.Array:
        by_theta, by_psi = slopes(players[0], players[1])
        return jnp.stack([-by_theta, by_psi])

    return directions


def play(
    game: Callable, start: tuple[float, float], rate: float, num_steps: int, rule: str
) -> np.ndarray:
    """The path `[num_steps + 1, 2]` of (theta, psi) from `start`, in steps of size `rate`.

    Rules: "simultaneous": both move at once. "alternating": the second player, the discriminator, moves first and the
    other answers. "continuous": both follow the field itself, for the time `rate` a step (Runge-Kutta of order 4).
    ValueError for another rule, a rate that is not positive, or less than one step.
    """
    if rule not in RULES or not rate > 0 or num_steps < 1:
        raise ValueError(
            f"rule {rule!r}, rate {rate}, {num_steps} steps; expected one of {', '.join(RULES)}, positive, at least 1"
        )
    directions = field(game)

    def move(players: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        if rule == "simultaneous":
            moved = players + rate * directions(players)
        elif rule == "alternating":
            half = players.at[1].add(rate * directions(players)[1])
            moved = half.at[0].add(rate * directions(half)[0])
        else:
            k1 = directions(players)
            k2 = directions(players + rate / 2 * k1)
            k3 = directions(players + rate / 2 * k2)
            k4 = directions(players + rate * k3)
            moved = players + rate / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return moved, players

    first = jnp.asarray(start, jnp.float32)
    last, path = jax.jit(partial(jax.lax.scan, move, length=num_steps))(first, None)
    return np.concatenate([path, last[None]])


def eigenvalues(game: Callable, at: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Eigenvalues `[2]`, complex, of the Jacobian of the players' directions at an equilibrium.

    Near it the players follow a linear system: they approach it if all real parts are negative, turn around it at the
    speed of the imaginary parts, in radians a unit of time.
    """
    matrix = jax.jit(jax.jacobian(field(game)))(jnp.asarray(at, jnp.float32))
    return np.sort_complex(np.linalg.eigvals(np.asarray(matrix, np.float64)))
