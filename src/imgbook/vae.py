"""Chapter 5: a variational autoencoder, its bound, training step and sampling.

All log-likelihoods and divergences are in nats of one image: summed over pixels or latents, averaged over images.

The rest of the chapter can be had from here too: `importance_weighted_bound`, `active_units`, ..., see `ELSEWHERE`.
"""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from imgbook import training
from imgbook.data import Dataset
from imgbook.training import TrainState
from imgbook.vae_networks import VAE, VAEConfig, config_for  # noqa: F401
from imgbook.vae_terms import (  # noqa: F401 - the chapter's names
    bernoulli_log_likelihood,
    binarize,
    bits_per_dim,
    check_pixels,
    dequantize,
    gaussian_kl,
    gaussian_log_likelihood,
    grey_floor,
    mean_image_negative_log_likelihood,
    reparameterize,
)

# What trains nothing, by module. Imported when it is asked for, so that a training's record does not depend on it.
ELSEWHERE = {
    "importance_weighted_bound": "vae_bounds",
    "log_weights": "vae_bounds",
    "active_units": "vae_bounds",
    "negative_log_likelihoods": "vae_bounds",
    "linear_vae": "",
}


def __getattr__(name: str) -> Any:
    if name not in ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = ELSEWHERE[name]
    found = importlib.import_module(f"imgbook.{module or name}")
    return getattr(found, name) if module else found


def elbo(
    model: VAE, x: jax.Array, key: jax.Array, labels: jax.Array | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The bound of each image `[N]` in nats with one latent sample, and its parts: (bound, log-likelihood, KL).

    `x` `[N, H, W, C]` is what the likelihood is of, as `model.observe` draws it from grey levels.

    Raises:
        ValueError: pixels that the likelihood does not have (where values are known, so not inside `jit`).
    """
    check_pixels(x, model.likelihood)
    mean, logvar = model.encoder(x, labels)
    latents = reparameterize(key, mean, logvar)
    log_likelihood = model.log_likelihood(latents, x, labels)
    kl = gaussian_kl(mean, logvar)
    return log_likelihood - kl, log_likelihood, kl


def divergence_weight(config: VAEConfig, step: int | jax.Array) -> jax.Array:
    """The divergence's weight at a step, from 0: `beta`, reached along a line over `warm_up` steps."""
    return config.beta * jnp.minimum(1.0, (step + 1) / max(config.warm_up, 1))


def optimizer(config: VAEConfig) -> optax.GradientTransformation:
    """Adam with a cosine decay to zero."""
    return optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.num_steps))


def init(
    config: VAEConfig, key: jax.Array, model_class: type[VAE] = VAE
) -> tuple[nnx.GraphDef, TrainState]:
    """A fresh VAE: its structure and its training state."""
    model_key, run_key = jax.random.split(key)
    model = model_class(config, rngs=nnx.Rngs(model_key))
    return training.init_state(model, optimizer(config), run_key)


def make_train_step(graphdef: nnx.GraphDef, config: VAEConfig) -> Callable:
    """The training step `step(state, (images,)) -> (state, metrics)`; images uint8 `[N, H, W, C]`.

    Each visit draws the image anew: binary pixels of its grey levels. With labels the batch is (images, labels).
    The loss is -ELBO, unless `beta`, `warm_up` or `free_bits` (Kingma et al. 2016, equation 15) make it another.
    """
    tx = optimizer(config)

    def loss_fn(params, stats, x, labels, key, step):
        model = nnx.merge(graphdef, params, stats)
        mean, logvar = model.encoder(x, labels)
        latents = reparameterize(key, mean, logvar)
        reconstruction = -model.log_likelihood(latents, x, labels).mean()
        kl = gaussian_kl(mean[..., None], logvar[..., None]).mean(0)  # [latent_dim], nats a latent
        paid = jnp.maximum(kl, config.free_bits).sum()
        return reconstruction + divergence_weight(config, step) * paid, (reconstruction, kl.sum())

    @partial(jax.jit, donate_argnums=0)
    def step(state: TrainState, batch: tuple) -> tuple[TrainState, dict[str, jax.Array]]:
        images, labels = batch if config.num_classes else (*batch, None)
        pixel_key, latent_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        model = nnx.merge(graphdef, state.params, state.stats)
        x = model.observe(images, pixel_key)  # a new binary image at every visit
        (loss, (reconstruction, kl)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, state.stats, x, labels, latent_key, state.step
        )
        return state.updated(grads, tx), {"loss": loss, "reconstruction": reconstruction, "kl": kl}

    return step


def train(
    dataset: Dataset,
    config: VAEConfig,
    key: jax.Array,
    model_class: type[VAE] = VAE,
    progress: bool = True,
    **fit_options: object,
) -> tuple[nnx.GraphDef, TrainState, training.History]:
    """Initialise and train a VAE on a data set: what the chapter's training cell does.

    `fit_options` go to `training.fit`.
    """
    graphdef, state = init(config, jax.random.fold_in(key, 0), model_class)
    arrays = (dataset.images, dataset.labels) if config.num_classes else (dataset.images,)
    stream = training.batches(arrays, config.batch_size, jax.random.fold_in(key, 1))
    step = make_train_step(graphdef, config)
    state, history = training.fit(
        state, step, stream, config.num_steps, progress=progress, **fit_options
    )
    return graphdef, state, history


def evaluate(
    graphdef: nnx.GraphDef,
    state: TrainState,
    images: np.ndarray,
    key: jax.Array,
    batch_size: int = 500,
    labels: np.ndarray | None = None,
) -> dict[str, float]:
    """Mean -ELBO and its parts in nats of uint8 images, observed once by `key`, with one latent sample each."""

    @jax.jit
    def parts(params, stats, images, labels, key):
        pixel_key, latent_key = jax.random.split(key)
        model = nnx.merge(graphdef, params, stats)
        return elbo(model, model.observe(images, pixel_key), latent_key, labels)

    sums, starts = np.zeros(3), range(0, len(images), batch_size)
    for i in starts:
        part = slice(i, i + batch_size)
        some = None if labels is None else labels[part]
        bound = parts(state.params, state.stats, images[part], some, jax.random.fold_in(key, i))
        sums += [float(p.sum()) for p in bound]
    negative_elbo, reconstruction, kl = sums / len(images) * [-1, -1, 1]
    return {"negative_elbo": negative_elbo, "reconstruction": reconstruction, "kl": kl}


def reconstruct(
    graphdef: nnx.GraphDef,
    state: TrainState,
    images: np.ndarray,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """Mean pixels `[N, H, W, C]` decoded at the encoder's mean, for uint8 images given as grey levels."""
    model = training.as_module(graphdef, state)
    mean, _ = model.encoder(jnp.asarray(images, jnp.float32) / 255, labels)
    return np.asarray(model.decode(mean, labels))


def sample(
    graphdef: nnx.GraphDef,
    state: TrainState,
    key: jax.Array,
    n: int,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """`n` decoded samples of the prior as mean pixels `[n, H, W, C]` in [0, 1] (means, not draws of the likelihood)."""
    model = training.as_module(graphdef, state)
    latents = jax.random.normal(key, (n, model.decoder.latent_dim))
    return np.asarray(model.decode(latents, labels))
