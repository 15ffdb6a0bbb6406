"""Chapter 5, the terms of the bound: divergence, likelihoods, sampling through which gradients pass, units.

All likelihoods and divergences are in nats of one image: summed over pixels or latents, never averaged.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import norm

LEVELS = 256  # grey levels of a uint8 image


def binarize(images: jax.Array, key: jax.Array) -> jax.Array:
    """Stochastic binarisation: each pixel becomes 1 with probability its grey level; uint8 to floats in {0, 1}.

    Raises:
        ValueError: the images are not uint8.
    """
    check_levels(images)
    return jax.random.bernoulli(key, images.astype(jnp.float32) / 255).astype(jnp.float32)


def dequantize(images: jax.Array, key: jax.Array) -> jax.Array:
    """Grey levels 0 .. 255 (uint8) to floats in [0, 1): each spread evenly over its 256th part.

    A bound on the density of the result bounds the probability of the grey levels (arXiv:1511.01844, section 3.1).

    Raises:
        ValueError: the images are not uint8.
    """
    check_levels(images)
    noise = jax.random.uniform(key, images.shape)
    return (images.astype(jnp.float32) + noise) / LEVELS


def check_levels(images: jax.Array | np.ndarray) -> None:
    """Raise ValueError unless images hold grey levels as uint8."""
    if images.dtype != np.uint8:
        raise ValueError(
            f"images of {images.dtype}; expected grey levels 0 to 255 as uint8 "
            "(pixels in [0, 1]: (255 * x).round().astype('uint8'))"
        )


def check_pixels(x: jax.Array | np.ndarray, likelihood: str) -> None:
    """Raise ValueError unless `x` is what a likelihood is of: 0 or 1 for "bernoulli", [0, 1] for "gaussian".

    Inside a compiled function values are not known yet; there nothing is checked.
    """
    if isinstance(x, jax.core.Tracer):
        return
    x = np.asarray(x)
    low, high = float(x.min(initial=0)), float(x.max(initial=0))
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"pixels range over [{low:.3g}, {high:.3g}]; expected [0, 1] (uint8: use binarize or dequantize)"
        )
    if likelihood == "bernoulli" and (grey := np.mean((x != 0) & (x != 1))):
        raise ValueError(
            f"{grey:.1%} of the pixels are neither 0 nor 1, and a Bernoulli likelihood is one of binary images: "
            "draw them from uint8 grey levels with binarize(images, key)"
        )


def reparameterize(key: jax.Array, mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """A sample of N(mean, exp(logvar)) through which gradients pass: mean + exp(logvar / 2) * noise."""
    return mean + jnp.exp(logvar / 2) * jax.random.normal(key, mean.shape)


def gaussian_kl(mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """KL(N(mean, exp(logvar)) || N(0, I)) in nats, summed over the last axis (Kingma and Welling 2013, appendix B).

    Finite, as are its gradients, for log-variances from -80 to 80; exp overflows float32 from 89 on.
    """
    return 0.5 * jnp.sum(mean**2 + jnp.exp(logvar) - 1 - logvar, axis=-1)


def bernoulli_log_likelihood(logits: jax.Array, x: jax.Array) -> jax.Array:
    """log p(x) of independent Bernoulli pixels in nats, summed over all but the first axis; `x` in {0, 1}."""
    return -optax.sigmoid_binary_cross_entropy(logits, x).sum(axis=tuple(range(1, x.ndim)))


def gaussian_log_likelihood(
    mean: jax.Array, log_sigma2: float | jax.Array, x: jax.Array
) -> jax.Array:
    """log p(x) of independent pixels N(mean, exp(log_sigma2)) in nats, summed over all but the first axis.

    A density on the scale of `x`: positive where it is above 1. `log_sigma2` broadcasts against the pixels.
    """
    log_density = norm.logpdf(x, mean, jnp.exp(0.5 * jnp.asarray(log_sigma2)))
    return log_density.sum(axis=tuple(range(1, x.ndim)))


def bits_per_dim(nats: float | np.ndarray, shape: Sequence[int]) -> float | np.ndarray:
    """-log P of one image in nats, or a bound on it, as bits per dimension; `shape` is one image's, `(H, W, C)`.

    Raises:
        ValueError: a shape without numbers, or negative nats: no discrete image has a probability above 1.
    """
    size = int(np.prod(shape)) if len(shape) else 0
    if size < 1:
        raise ValueError(f"shape {tuple(shape)}; expected that of one image, (H, W, C)")
    if np.any(np.asarray(nats) < 0):
        raise ValueError(
            f"nats = {np.min(nats):.4g}; expected -log P of discrete pixels, which is never negative "
            "(log p has the other sign; a density needs dequantize)"
        )
    return nats / (size * np.log(2))


# --- trivial baselines ----------------------------------------------------------------------------------------


def mean_image_negative_log_likelihood(train_images: np.ndarray, test_images: np.ndarray) -> float:
    """-log p in nats of the model that ignores the image: every pixel Bernoulli with its training mean.

    The expectation over stochastic binarisation is taken exactly: a pixel of grey level g costs
    -(g log m + (1 - g) log(1 - m)). Means are kept off 0 and 1 by one pseudo-image of level 1/2.
    """
    mean = (train_images.astype(np.float64).sum(axis=0) / 255 + 0.5) / (len(train_images) + 1)
    grey = test_images.astype(np.float64) / 255
    return float(-(grey * np.log(mean) + (1 - grey) * np.log1p(-mean)).sum(axis=(1, 2, 3)).mean())


def grey_floor(images: np.ndarray) -> float:
    """The cross-entropy of grey targets with themselves in nats an image, their mean entropy as coin tosses.

    What a perfect reconstruction scores if grey levels (uint8 `[N, H, W, C]`) are put into the Bernoulli formula, and,
    for a model of images binarised by chance, the entropy of that chance, below which no test likelihood can go.
    """
    grey = images.astype(np.float64) / 255
    entropy = -np.where(grey > 0, grey * np.log(np.maximum(grey, 1e-300)), 0)
    entropy -= np.where(grey < 1, (1 - grey) * np.log1p(-np.minimum(grey, 1 - 1e-16)), 0)
    return float(entropy.sum(axis=(1, 2, 3)).mean())
