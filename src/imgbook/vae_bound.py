"""Chapter 5, the page that checks the bound: log p(x) by brute force, the divergence three ways, what a gap is made of,
and what the Bernoulli formula makes of grey pixels.

All likelihoods and divergences are in nats of one image.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import norm

from imgbook.vae_exact import OnGrid
from imgbook.vae_networks import VAE
from imgbook.vae_terms import check_levels

AT_A_TIME = 1000  # codes that are decoded together


# --- the integral by sampling -----------------------------------------------------------------------------------


def prior_log_likelihoods(model: VAE, x: jax.Array, key: jax.Array, num_samples: int) -> jax.Array:
    """log p(x | z) of one image `[1, H, W, C]` at codes from the prior, `[num_samples]` in nats.

    The mean of their exponentials estimates p(x) without bias, from the definition of the integral alone.

    Raises:
        ValueError: several images, or more than 1,000 samples that are no multiple of 1,000.
    """
    if len(x) != 1:
        raise ValueError(f"{len(x)} images; give one, x[:1]")
    if num_samples < 1 or (num_samples > AT_A_TIME and num_samples % AT_A_TIME):
        raise ValueError(
            f"num_samples = {num_samples}; allowed: up to {AT_A_TIME}, or a multiple of it"
        )
    together = min(num_samples, AT_A_TIME)
    copies = jnp.broadcast_to(x, (together, *x.shape[1:]))

    def some(key: jax.Array) -> jax.Array:
        latents = jax.random.normal(key, (together, model.decoder.latent_dim))
        return model.log_likelihood(latents, copies)

    return jax.lax.map(some, jax.random.split(key, num_samples // together)).ravel()


def estimates(log_terms: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """log of the mean of the first n terms, for each n of `sizes`: `[R, S]` log-terms to `[R, len(sizes)]`.

    Raises:
        ValueError: a size outside of 1 .. S.
    """
    log_terms = np.asarray(log_terms, np.float64)
    if wrong := [n for n in sizes if not 1 <= n <= log_terms.shape[1]]:
        raise ValueError(f"sizes {wrong}; allowed: 1 to {log_terms.shape[1]}, the terms there are")
    running = np.logaddexp.accumulate(log_terms, axis=1)
    return np.stack([running[:, n - 1] - np.log(n) for n in sizes], axis=1)


def largest_share(log_terms: np.ndarray) -> np.ndarray:
    """How much of a sum the largest of its terms is, in (0, 1]: `[..., S]` log-terms to `[...]`."""
    log_terms = np.asarray(log_terms, np.float64)
    return np.exp(log_terms.max(-1) - np.logaddexp.reduce(log_terms, axis=-1))


# --- the divergence three ways ----------------------------------------------------------------------------------


def kl_by_sampling(
    mean: jax.Array, logvar: jax.Array, key: jax.Array, num_samples: int
) -> tuple[float, float]:
    """KL(N(mean, exp(logvar)) || N(0, I)) in nats as the mean of log q(z) - log p(z) over draws of q: (mean, error).

    mean, logvar: `[K]`. The error is the mean's standard error, NaN of one draw.
    """
    noise = jax.random.normal(key, (num_samples, *mean.shape))
    z = mean + jnp.exp(logvar / 2) * noise
    terms = (norm.logpdf(noise) - logvar / 2 - norm.logpdf(z)).sum(-1)
    terms = np.asarray(terms, np.float64)
    error = terms.std(ddof=1) / np.sqrt(num_samples) if num_samples > 1 else np.nan
    return float(terms.mean()), float(error)


def kl_by_integration(
    mean: np.ndarray, logvar: np.ndarray, points: int = 2001, reach: float = 12.0
) -> float:
    """The same divergence as a sum over a grid, one latent after the other, by the trapezoidal rule.

    mean, logvar: `[K]`. The grid reaches `reach` standard deviations to both sides of a mean.
    """
    mean, logvar = np.asarray(mean, np.float64)[:, None], np.asarray(logvar, np.float64)[:, None]
    noise = np.linspace(-reach, reach, points)
    z = mean + np.exp(logvar / 2) * noise  # [K, points]
    log_q = -0.5 * (noise**2 + np.log(2 * np.pi) + logvar)
    log_p = -0.5 * (z**2 + np.log(2 * np.pi))
    return float(np.trapezoid(np.exp(log_q) * (log_q - log_p), z, axis=1).sum())


# --- what a gap is made of --------------------------------------------------------------------------------------


def best_gaussian_gaps(
    found: OnGrid, num_steps: int = 200, learning_rate: float = 0.05
) -> np.ndarray:
    """The gap that would be left with the best Gaussian for each image, `[N]` in nats: the family's own part.

    The rest of `found.gap` is the encoder's, which has one set of weights for all images (Cremer et al. 2018). Adam
    from the encoder's proposal, and from the posterior's mean and variance; the better of the two ends counts.
    """
    codes, log_posterior = jnp.asarray(found.codes), jnp.asarray(found.log_posterior)
    spacing = found.codes[1] - found.codes[0]
    starts = [_moments(found.codes, p) for p in (found.log_proposal, found.log_posterior)]
    # Deviations of less than two steps of the grid would not be seen by it.
    floor = float(np.log(2 * spacing))
    ends = [
        _descend(codes, log_posterior, *start, floor, num_steps, learning_rate) for start in starts
    ]
    return np.minimum(found.gap, np.minimum(*(np.asarray(end, np.float64) for end in ends)))


def _moments(codes: np.ndarray, log_density: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Mean and log standard deviation `[N]` of densities `[N, G]` on a grid."""
    weights = np.exp(log_density - log_density.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    mean = weights @ codes
    variance = (weights * (codes - mean[:, None]) ** 2).sum(1)
    return jnp.asarray(mean), jnp.asarray(np.log(variance) / 2)


@partial(jax.jit, static_argnames=("num_steps",))
def _descend(codes, log_posterior, mean, log_sigma, floor, num_steps, learning_rate):
    """KL(N(m, s) || posterior) `[N]` after Adam on m, in units of the first s, and on log s."""

    def gaps(moves):
        m = mean + jnp.exp(log_sigma) * moves[0]
        log_s = jnp.maximum(log_sigma + moves[1], floor)
        log_q = norm.logpdf(codes, m[:, None], jnp.exp(log_s)[:, None])
        return (jax.nn.softmax(log_q, 1) * (log_q - log_posterior)).sum(1)

    tx = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))

    def step(carry, _):
        moves, opt_state = carry
        grads = jax.grad(lambda moves: gaps(moves).sum())(moves)
        updates, opt_state = tx.update(grads, opt_state)
        return (optax.apply_updates(moves, updates), opt_state), None

    moves = jnp.zeros((2, len(mean)))
    (moves, _), _ = jax.lax.scan(step, (moves, tx.init(moves)), length=num_steps)
    return gaps(moves)


# --- two estimators ---------------------------------------------------------------------------------------------


def noise_of_averages(draws: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """How far averages of n draws scatter around their mean, for each n: `[S, K]` to `[len(sizes)]`.

    Draws are cut into groups of n. The root of the variance, summed over the K components: a length, as a gradient's.

    Raises:
        ValueError: a size that leaves fewer than two groups.
    """
    draws = np.asarray(draws, np.float64)
    if wrong := [n for n in sizes if n < 1 or len(draws) // n < 2]:
        raise ValueError(f"sizes {wrong}; allowed: 1 to {len(draws) // 2}, for two groups or more")
    found = []
    for n in sizes:
        groups = len(draws) // n
        means = draws[: groups * n].reshape(groups, n, -1).mean(1)  # [groups, K]
        found.append(np.sqrt(means.var(0, ddof=1).sum()))
    return np.array(found)


def standard_errors_apart(a: np.ndarray, b: np.ndarray) -> float:
    """The root mean square over components of the difference of two means, in its standard errors; about 1 by chance.

    a, b: independent draws `[S, K]`.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    error2 = a.var(0, ddof=1) / len(a) + b.var(0, ddof=1) / len(b)
    return float(np.sqrt(((a.mean(0) - b.mean(0)) ** 2 / error2).mean()))


# --- pixels -----------------------------------------------------------------------------------------------------


def pooled(images: np.ndarray, size: int) -> np.ndarray:
    """Means over squares of `size` x `size` pixels: uint8 `[N, H, W, C]` to [0, 1], `[N, H / size * W / size * C]`.

    Raises:
        ValueError: images that are no uint8, or a size that does not divide height and width.
    """
    check_levels(images)
    n, height, width, channels = images.shape
    if size < 1 or height % size or width % size:
        raise ValueError(f"size = {size}; allowed: divisors of height {height} and width {width}")
    squares = images.reshape(n, height // size, size, width // size, size, channels)
    return squares.mean((2, 4), dtype=np.float64).reshape(n, -1) / 255


def bernoulli_total(p: np.ndarray | float) -> np.ndarray:
    """The integral of p^x (1 - p)^(1 - x) over x from 0 to 1: (2 p - 1) / log(p / (1 - p)), and 1/2 at p = 1/2.

    A density would have 1 (Loaiza-Ganem and Cunningham 2019).

    Raises:
        ValueError: a p outside of (0, 1).
    """
    p = np.asarray(p, np.float64)
    if not ((p > 0) & (p < 1)).all():
        raise ValueError(f"p = {p}; allowed: between 0 and 1, both excluded")
    odds = 2 * p - 1
    middle = np.abs(odds) < 1e-4  # 0 / 0; there the series 1/2 - odds^2 / 6 is exact to 1e-17
    safe = np.where(middle, 0.25, p)
    return np.where(middle, 0.5 - odds**2 / 6, (2 * safe - 1) / np.log(safe / (1 - safe)))


def mean_photo_bits(train_images: np.ndarray, test_images: np.ndarray) -> float:
    """Bits per dimension of the model without a code: each number Gaussian around its training mean, one variance.

    The variance is the training images' around that mean, levels spread evenly (which adds 1/12 of a level squared).
    """
    check_levels(train_images)
    check_levels(test_images)
    train, test = train_images.astype(np.float64), test_images.astype(np.float64)
    mean = train.mean(0)
    variance = ((train - mean) ** 2).mean() + 1 / 12
    squares = ((test - mean) ** 2).mean() + 1 / 12
    nats = 0.5 * (np.log(2 * np.pi * variance) + squares / variance)  # of levels: no log 256 is due
    return float(nats / np.log(2))


def over_seeds(record: Mapping, measure: str, form: str) -> str:
    """Mean ± standard deviation of a measure over a record's seeds, however few there are but one, in a format."""
    values = np.asarray(record["values"][measure], np.float64)
    return f"{values.mean():{form}} ± {values.std(ddof=1):{form}}"
