"""Chapter 5: the bound beside what it bounds, where that can be computed, and two ways to estimate a gradient.

With one latent, the integral over codes is a sum over a fine grid: log p(x), the true posterior and the gap between the
bound and log p(x) are then known for any decoder. All in nats of one image.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from imgbook import vae


class OnGrid(NamedTuple):
    """What is known of N images on a grid of G codes."""

    codes: np.ndarray  # [G]
    log_posterior: np.ndarray  # log p(z | x) [N, G]
    log_proposal: np.ndarray  # log q(z | x) [N, G]
    log_marginal: np.ndarray  # log p(x) [N]
    elbo: np.ndarray  # [N]
    gap: np.ndarray  # KL(q(z | x) || p(z | x)) [N]


def on_grid(model: vae.VAE, x: jax.Array, points: int = 2001, reach: float = 8.0) -> OnGrid:
    """The bound, its gap and log p(x) of images `[N, H, W, C]` in {0, 1}, for a VAE with one latent.

    Integrals are sums over `points` equally spaced codes from -reach to reach; outside lie 1e-15 of the prior. The
    three are related by `eq-vae-gap`: log p(x) = elbo + gap.

    Raises:
        ValueError: the model has more latents than one; the grid is too coarse for a proposal, fewer than two codes to
            a standard deviation, or too narrow, fewer than four deviations to an end.
    """
    mean, logvar = model.encoder(x)  # [N, 1] each
    if mean.shape[1] != 1:
        raise ValueError(f"{mean.shape[1]} latents; a grid is for latent_dim = 1")
    codes = jnp.linspace(-reach, reach, points)
    spacing = 2 * reach / (points - 1)
    narrowest = float(jnp.exp(logvar.min() / 2))
    if narrowest < 2 * spacing:
        raise ValueError(
            f"a proposal has the standard deviation {narrowest:.2g}, the grid a spacing of {spacing:.2g}; "
            f"take {int(np.ceil(4 * reach / narrowest)) + 1:,} points or more"
        )
    farthest = float((jnp.abs(mean) + 4 * jnp.exp(logvar / 2)).max())
    if farthest > reach:
        raise ValueError(
            f"a proposal reaches to {farthest:.3g}, the grid to {reach:g}; take a larger reach"
        )
    logits = model.decoder(codes[:, None])  # [G, H, W, C]
    log_likelihood = jax.lax.map(  # [N, G], one image at a time
        lambda image: vae.bernoulli_log_likelihood(logits, jnp.broadcast_to(image, logits.shape)), x
    )
    log_joint = log_likelihood + norm.logpdf(codes)
    log_marginal = jax.nn.logsumexp(log_joint, 1) + np.log(spacing)
    log_posterior = log_joint - log_marginal[:, None]
    log_proposal = norm.logpdf(codes, mean, jnp.exp(logvar / 2))
    weights = jax.nn.softmax(log_proposal, 1)  # q on the grid, [N, G]
    elbo = (weights * (log_joint - log_proposal)).sum(1)
    gap = (weights * (log_proposal - log_posterior)).sum(1)
    found = codes, log_posterior, log_proposal, log_marginal, elbo, gap
    return OnGrid(*(np.asarray(part, np.float64) for part in found))


def gradient_estimates(
    f: Callable[[jax.Array], jax.Array],
    mean: jax.Array,
    logvar: jax.Array,
    key: jax.Array,
    count: int,
    baseline: float | jax.Array = 0.0,
) -> dict[str, jax.Array]:
    """Estimates of the gradient of E[f(z)], z ~ N(mean, exp(logvar)), by the mean; each from one sample, `[count, K]`.

    "reparameterised": the gradient of f(mean + sigma noise). "score function": (f(z) - baseline) times the gradient of
    log q(z), which needs no gradient of f (Williams 1992; Mohamed et al. 2020, sections 4 and 5). Both have the same
    expectation, whatever the baseline, as long as it does not depend on z.

    f: one code `[K]` to a number.
    """
    noise = jax.random.normal(key, (count, *mean.shape))
    z = mean + jnp.exp(logvar / 2) * noise
    values, slopes = jax.lax.map(jax.value_and_grad(f), z, batch_size=100)
    score = noise * jnp.exp(-logvar / 2)  # the gradient of log q by the mean
    return {"reparameterised": slopes, "score function": (values - baseline)[:, None] * score}
