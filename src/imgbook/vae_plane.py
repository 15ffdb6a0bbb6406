"""Chapter 5, two latents: the plane of codes, and what the best decoder of given codes would show."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm


def plane(side: int, outermost: float = 0.02) -> jax.Array:
    """`side` x `side` codes `[side * side, 2]`, row by row, at equal steps of the prior's probability along each axis.

    The first and the last have the probability `outermost` beyond them. Rows go down from large to small second
    coordinates, as a picture's do (Kingma and Welling 2013, figure 4).
    """
    quantiles = norm.ppf(jnp.linspace(outermost, 1 - outermost, side))
    across, down = jnp.meshgrid(quantiles, quantiles[::-1])
    return jnp.stack([across.ravel(), down.ravel()], axis=1)


def code_shares(codes: jax.Array, mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """How much of each code is whose: q(z | x_i) over its sum over images, `[M, N]`; rows sum to 1.

    codes `[M, K]`; mean and logvar of the N images' proposals `[N, K]`.
    """
    log_q = norm.logpdf(codes[:, None], mean[None], jnp.exp(logvar / 2)[None]).sum(-1)  # [M, N]
    return jax.nn.softmax(log_q, axis=1)


def best_decoded(shares: jax.Array, images: np.ndarray) -> np.ndarray:
    """The pixels that make the likelihood term largest at each code, `[M, H, W, C]`: an average of the images.

    images: uint8 `[N, H, W, C]`; shares: of `code_shares`. The derivative of sum_i share_i (x_i log m +
    (1 - x_i) log(1 - m)) by m is zero where m = sum_i share_i x_i, and so it is for a Gaussian likelihood.
    """
    flat = jnp.asarray(images.reshape(len(images), -1), jnp.float32) / 255  # [N, H, W, C] -> [N, D]
    return np.asarray(shares @ flat).reshape(-1, *images.shape[1:])  # [M, D] -> [M, H, W, C]


def effective_number(shares: jax.Array) -> np.ndarray:
    """How many images a code is shared by `[M]`: 1 over the sum of squared shares, from 1 to N."""
    return np.asarray(1 / (shares**2).sum(1))


def greyness(pixels: np.ndarray) -> float:
    """How far pixels `[N, H, W, C]` in [0, 1] are from black and white: the mean of 4 p (1 - p), from 0 to 1."""
    return float((4 * pixels * (1 - pixels)).mean())
