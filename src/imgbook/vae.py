"""Chapter 5: a variational autoencoder with a Bernoulli likelihood, its bound, training step
and sampling.

All log-likelihoods and divergences are in nats of one image: summed over pixels or latents,
averaged over images.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from imgbook import presets, training
from imgbook.data import Dataset
from imgbook.training import TrainState


@dataclass(frozen=True)
class VAEConfig:
    """Hyperparameters of the VAE."""

    image_shape: tuple[int, int, int] = (28, 28, 1)
    hidden: int = 500
    latent_dim: int = 20
    learning_rate: float = 2e-3  # start of a cosine decay to zero
    batch_size: int = 128
    num_steps: int = 3600


def config_for(dataset: Dataset, preset: str | None = None, **changes: object) -> VAEConfig:
    """Hyperparameters for a data set at a preset; `changes` override single fields."""
    steps = {"smoke": dict(num_steps=4), "quick": {}, "full": dict(num_steps=9000)}
    return replace(
        VAEConfig(),
        **{"image_shape": dataset.image_shape, **steps[presets.current(preset)], **changes},
    )


class Encoder(nnx.Module):
    """q(z | x): pixels to the mean and log-variance of a Gaussian with diagonal covariance."""

    def __init__(self, config: VAEConfig, *, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(int(np.prod(config.image_shape)), config.hidden, rngs=rngs)
        self.mean = nnx.Linear(config.hidden, config.latent_dim, rngs=rngs)
        self.logvar = nnx.Linear(config.hidden, config.latent_dim, rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`x` `[N, H, W, C]` in {0, 1} to mean and log-variance, each `[N, latent_dim]`."""
        h = nnx.relu(self.hidden(x.reshape(len(x), -1)))  # [N, H, W, C] -> [N, H * W * C]
        return self.mean(h), self.logvar(h)


class Decoder(nnx.Module):
    """p(x | z): latents to the logits of independent Bernoulli pixels."""

    def __init__(self, config: VAEConfig, *, rngs: nnx.Rngs):
        self.image_shape = config.image_shape
        self.hidden = nnx.Linear(config.latent_dim, config.hidden, rngs=rngs)
        self.logits = nnx.Linear(config.hidden, int(np.prod(config.image_shape)), rngs=rngs)

    def __call__(self, latents: jax.Array) -> jax.Array:
        """Latents `[N, latent_dim]` to logits `[N, H, W, C]`."""
        logits = self.logits(nnx.relu(self.hidden(latents)))
        return logits.reshape(len(latents), *self.image_shape)  # [N, H * W * C] -> [N, H, W, C]


class VAE(nnx.Module):
    def __init__(self, config: VAEConfig, *, rngs: nnx.Rngs):
        if config.latent_dim < 1:
            raise ValueError(f"latent_dim = {config.latent_dim}; allowed: 1 or more")
        self.encoder = Encoder(config, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)


def binarize(images: jax.Array, key: jax.Array) -> jax.Array:
    """Stochastic binarisation: each pixel becomes 1 with probability its grey level; uint8
    to floats in {0, 1}.
    """
    return jax.random.bernoulli(key, images.astype(jnp.float32) / 255).astype(jnp.float32)


def reparameterize(key: jax.Array, mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """A sample of N(mean, exp(logvar)) through which gradients pass: mean + exp(logvar / 2) * noise."""
    return mean + jnp.exp(logvar / 2) * jax.random.normal(key, mean.shape)


def gaussian_kl(mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """KL(N(mean, exp(logvar)) || N(0, I)) in nats, summed over the last axis (Kingma and
    Welling 2013, appendix B).
    """
    return 0.5 * jnp.sum(mean**2 + jnp.exp(logvar) - 1 - logvar, axis=-1)


def bernoulli_log_likelihood(logits: jax.Array, x: jax.Array) -> jax.Array:
    """log p(x) of independent Bernoulli pixels in nats, summed over all but the first axis;
    `x` in {0, 1}.
    """
    return -optax.sigmoid_binary_cross_entropy(logits, x).sum(axis=tuple(range(1, x.ndim)))


def elbo(model: VAE, x: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The bound of each image `[N]` in nats with one latent sample, and its parts.

    Returns (bound, log-likelihood, KL).
    """
    mean, logvar = model.encoder(x)
    latents = reparameterize(key, mean, logvar)
    log_likelihood = bernoulli_log_likelihood(model.decoder(latents), x)
    kl = gaussian_kl(mean, logvar)
    return log_likelihood - kl, log_likelihood, kl


def optimizer(config: VAEConfig) -> optax.GradientTransformation:
    """Adam with a cosine decay to zero."""
    return optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.num_steps))


def init(config: VAEConfig, key: jax.Array) -> tuple[nnx.GraphDef, TrainState]:
    """A fresh VAE: its structure and its training state."""
    model_key, run_key = jax.random.split(key)
    return training.init_state(VAE(config, rngs=nnx.Rngs(model_key)), optimizer(config), run_key)


def make_train_step(graphdef: nnx.GraphDef, config: VAEConfig) -> Callable:
    """The training step `step(state, (images,)) -> (state, metrics)`; images uint8.

    The images are `[N, H, W, C]` grey levels; each visit binarises them anew.
    """
    tx = optimizer(config)

    def loss_fn(params, stats, x, key):
        bound, log_likelihood, kl = elbo(nnx.merge(graphdef, params, stats), x, key)
        return -bound.mean(), (-log_likelihood.mean(), kl.mean())

    @partial(jax.jit, donate_argnums=0)
    def step(state: TrainState, batch: tuple[jax.Array]) -> tuple[TrainState, dict[str, jax.Array]]:
        pixel_key, latent_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        x = binarize(batch[0], pixel_key)  # a new binary image at every visit
        (loss, (reconstruction, kl)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, state.stats, x, latent_key
        )
        return state.updated(grads, tx), {"loss": loss, "reconstruction": reconstruction, "kl": kl}

    return step


def train(
    dataset: Dataset,
    config: VAEConfig,
    key: jax.Array,
    progress: bool = True,
    **fit_options: object,
) -> tuple[nnx.GraphDef, TrainState, training.History]:
    """Initialise and train a VAE on a data set: what the chapter's training cell does.

    `fit_options` go to `training.fit`.
    """
    graphdef, state = init(config, jax.random.fold_in(key, 0))
    stream = training.batches((dataset.images,), config.batch_size, jax.random.fold_in(key, 1))
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
) -> dict[str, float]:
    """Mean -ELBO and its parts in nats of uint8 images, stochastically binarised once by
    `key`, one latent sample.
    """

    @jax.jit
    def parts(params, stats, images, key):
        pixel_key, latent_key = jax.random.split(key)
        return elbo(nnx.merge(graphdef, params, stats), binarize(images, pixel_key), latent_key)

    sums, starts = np.zeros(3), range(0, len(images), batch_size)
    for i in starts:
        bound = parts(
            state.params, state.stats, images[i : i + batch_size], jax.random.fold_in(key, i)
        )
        sums += [float(p.sum()) for p in bound]
    negative_elbo, reconstruction, kl = sums / len(images) * [-1, -1, 1]
    return {"negative_elbo": negative_elbo, "reconstruction": reconstruction, "kl": kl}


def reconstruct(graphdef: nnx.GraphDef, state: TrainState, images: np.ndarray) -> np.ndarray:
    """Decoded pixel probabilities `[N, H, W, C]` at the encoder's mean, for uint8 images
    given as grey levels.
    """
    model = training.as_module(graphdef, state)
    mean, _ = model.encoder(jnp.asarray(images, jnp.float32) / 255)
    return np.asarray(jax.nn.sigmoid(model.decoder(mean)))


def sample(graphdef: nnx.GraphDef, state: TrainState, key: jax.Array, n: int) -> np.ndarray:
    """`n` decoded samples of the prior as pixel probabilities `[n, H, W, C]` in [0, 1]
    (means, not binary draws).
    """
    model = training.as_module(graphdef, state)
    latent_dim = model.encoder.mean.out_features
    return np.asarray(jax.nn.sigmoid(model.decoder(jax.random.normal(key, (n, latent_dim)))))


def mean_image_negative_log_likelihood(train_images: np.ndarray, test_images: np.ndarray) -> float:
    """-log p in nats of the model that ignores the image: every pixel Bernoulli with its
    training mean.

    The expectation over stochastic binarisation is taken exactly: a pixel of grey level g costs
    -(g log m + (1 - g) log(1 - m)). Means are kept off 0 and 1 by one pseudo-image of level
    1/2.
    """
    mean = (train_images.astype(np.float64).sum(axis=0) / 255 + 0.5) / (len(train_images) + 1)
    grey = test_images.astype(np.float64) / 255
    return float(-(grey * np.log(mean) + (1 - grey) * np.log1p(-mean)).sum(axis=(1, 2, 3)).mean())
