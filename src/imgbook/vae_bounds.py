"""Chapter 5, measuring a trained VAE: bounds from many samples, log p(x) nearly exactly, latents that are in use."""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.scipy.stats import norm

from imgbook import training
from imgbook.training import TrainState
from imgbook.vae_networks import VAE
from imgbook.vae_terms import check_pixels

NUM_SAMPLES = 5000  # Burda et al. (2016) and most who followed
DECODED = 50_000_000  # numbers that are decoded at a time: some hundred megabytes, whatever the number of samples


def log_weights(
    model: VAE,
    x: jax.Array,
    key: jax.Array,
    num_samples: int,
    labels: jax.Array | None = None,
) -> jax.Array:
    """log p(x, z) - log q(z | x) of `num_samples` codes for each image, `[num_samples, N]` in nats.

    Codes are decoded some at a time, so memory grows by one number a sample and image alone. log q is computed from
    the noise, which is exact at any log-variance.

    Raises:
        ValueError: no samples, or pixels that the likelihood does not have.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples = {num_samples}; allowed: 1 or more")
    check_pixels(x, model.likelihood)
    mean, logvar = model.encoder(x, labels)

    def one(key: jax.Array) -> jax.Array:
        noise = jax.random.normal(key, mean.shape)
        latents = mean + jnp.exp(logvar / 2) * noise
        log_prior = norm.logpdf(latents).sum(-1)
        log_proposal = (norm.logpdf(noise) - logvar / 2).sum(-1)
        return model.log_likelihood(latents, x, labels) + log_prior - log_proposal

    at_a_time = int(np.clip(DECODED // x.size, 1, num_samples))
    return jax.lax.map(one, jax.random.split(key, num_samples), batch_size=at_a_time)


def log_mean_exp(values: jax.Array, axis: int = 0) -> jax.Array:
    """log of the mean of exp(values), without overflow: the largest is taken out first."""
    return jax.nn.logsumexp(values, axis) - np.log(values.shape[axis])


def importance_weighted_bound(
    model: VAE,
    x: jax.Array,
    key: jax.Array,
    num_samples: int,
    labels: jax.Array | None = None,
) -> jax.Array:
    """log of the mean importance weight of each image `[N]` in nats (Burda et al. 2016, equation 8).

    Its expectation rises with `num_samples` from the ELBO (one sample) to log p(x). Errors as `log_weights`.
    """
    return log_mean_exp(log_weights(model, x, key, num_samples, labels))


def ladder(weights: jax.Array, sizes: Sequence[int]) -> dict[int, np.ndarray]:
    """The bound of each image `[N]` at several numbers of samples, all from the same log-weights `[S, N]`.

    A size k takes the weights in groups of k and averages the groups' bounds: no sample is left idle at a small k,
    and what the bounds differ by is hardly noise.

    Raises:
        ValueError: a size that does not divide the number of weights.
    """
    total, count = weights.shape
    if wrong := [k for k in sizes if k < 1 or total % k]:
        raise ValueError(f"sizes {wrong} do not divide {total} samples")
    groups = {k: weights.reshape(total // k, k, count) for k in sizes}  # [S, N] -> [S / k, k, N]
    return {k: np.asarray(log_mean_exp(g, 1).mean(0), np.float64) for k, g in groups.items()}


def negative_log_likelihoods(
    graphdef: nnx.GraphDef,
    state: TrainState,
    images: np.ndarray,
    key: jax.Array,
    num_samples: int = NUM_SAMPLES,
    sizes: Sequence[int] = (),
    labels: np.ndarray | None = None,
) -> dict[int, np.ndarray]:
    """-log p(x) of uint8 images, observed once by `key`, bounded with `num_samples` samples, and with fewer.

    Returns a number an image, in nats, for `num_samples` and each of `sizes`, which must divide it.
    """
    sizes = (*sizes, num_samples)

    @jax.jit
    def weights_of(params, stats, images, labels, key):
        pixel_key, latent_key = jax.random.split(key)
        model = nnx.merge(graphdef, params, stats)
        return log_weights(model, model.observe(images, pixel_key), latent_key, num_samples, labels)

    parts = []
    for i, (some, their_labels) in enumerate(_in_parts(images, labels)):
        arguments = state.params, state.stats, some, their_labels, jax.random.fold_in(key, i)
        parts.append(ladder(weights_of(*arguments), sizes))
    return {k: -np.concatenate([part[k] for part in parts]) for k in sizes}


def _in_parts(
    images: np.ndarray, labels: np.ndarray | None, size: int = 100
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    for i in range(0, len(images), size):
        yield images[i : i + size], None if labels is None else labels[i : i + size]


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean over images and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def posterior_means(
    graphdef: nnx.GraphDef,
    state: TrainState,
    images: np.ndarray,
    key: jax.Array,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """The encoder's mean codes `[N, latent_dim]` of uint8 images, observed once by `key`."""
    model = training.as_module(graphdef, state)
    encode = jax.jit(lambda images, key, labels: model.encoder(model.observe(images, key), labels))
    return np.asarray(encode(images, key, labels)[0])


def active_units(
    graphdef: nnx.GraphDef,
    state: TrainState,
    images: np.ndarray,
    key: jax.Array,
    threshold: float = 0.01,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """Which latents are in use `[latent_dim]`: the variance over images of the posterior mean is above the threshold.

    Burda et al. (2016), section 5.2. A collapsed latent has the prior for a posterior, whatever the image.
    """
    return posterior_means(graphdef, state, images, key, labels).var(axis=0) > threshold
