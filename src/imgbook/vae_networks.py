"""Chapter 5, encoder and decoder: their hyperparameters, dense or convolutional, for binary digits or colour."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from imgbook import presets
from imgbook.data import Dataset
from imgbook.layers import Conv, ConvTranspose
from imgbook.vae_terms import (
    LEVELS,
    bernoulli_log_likelihood,
    binarize,
    dequantize,
    gaussian_log_likelihood,
)

NETWORKS, LIKELIHOODS = ("mlp", "conv"), ("bernoulli", "gaussian")


@dataclass(frozen=True)
class VAEConfig:
    """Hyperparameters of the VAE; what is out of range raises ValueError."""

    image_shape: tuple[int, int, int] = (28, 28, 1)
    num_classes: int = 0  # 0: labels are not used; otherwise encoder and decoder see them
    network: str = "mlp"
    hidden: int = 500  # units of a dense layer
    depth: int = 1  # how many of them, in the encoder and in the decoder
    width: int = 32  # of "conv": channels at half resolution; twice as many at a quarter
    latent_dim: int = 20
    likelihood: str = "bernoulli"  # of binarised pixels; "gaussian": of grey levels or colours
    sigma: float = 0.0  # of "gaussian": the pixels' standard deviation, in [0, 1]; 0: learned
    beta: float = 1.0  # weight of the divergence; other than 1 the loss is no bound
    warm_up: int = 0  # steps over which that weight rises from 0
    free_bits: float = 0.0  # nats of each latent that cost nothing, on the batch's average
    learning_rate: float = 2e-3  # start of a cosine decay to zero
    batch_size: int = 128
    num_steps: int = 3600

    def __post_init__(self) -> None:
        for name, allowed in (("network", NETWORKS), ("likelihood", LIKELIHOODS)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}; allowed: {', '.join(allowed)}"
                )
        positive = ("hidden", "depth", "width", "latent_dim", "batch_size", "num_steps")
        for name in (
            *positive,
            "num_classes",
            "beta",
            "warm_up",
            "free_bits",
            "learning_rate",
            "sigma",
        ):
            if not getattr(self, name) >= (least := int(name in positive)):
                raise ValueError(f"{name} = {getattr(self, name)}; allowed: {least} or more")


# All digits allow a deeper network and more latents. The rest of a preset are its steps.
FULL_DIGITS = dict(
    hidden=400, depth=2, latent_dim=32, learning_rate=3e-3, batch_size=256, num_steps=16_000
)


def config_for(dataset: Dataset, preset: str | None = None, **changes: object) -> VAEConfig:
    """Hyperparameters for a data set at a preset; `changes` override single fields.

    Grey images get dense layers and a Bernoulli likelihood, colours convolutions and a Gaussian one.
    """
    sizes: dict[str, object] = {"image_shape": dataset.image_shape}
    steps = {"smoke": dict(num_steps=4), "quick": {}, "full": FULL_DIGITS}
    if dataset.image_shape[-1] == 3:
        sizes.update(network="conv", likelihood="gaussian", hidden=256, latent_dim=64)
        sizes.update(learning_rate=1e-3, num_steps=800)
        steps["full"] = dict(num_steps=7000)
    return replace(VAEConfig(), **{**sizes, **steps[presets.current(preset)], **changes})


class Encoder(nnx.Module):
    """q(z | x): pixels to the mean and log-variance of a Gaussian with diagonal covariance."""

    def __init__(self, config: VAEConfig, *, rngs: nnx.Rngs):
        height, width, channels = config.image_shape
        self.convs = nnx.data([])
        if config.network == "conv":
            for features in (config.width, 2 * config.width):
                self.convs.append(Conv(channels, features, (4, 4), 2, padding="SAME", rngs=rngs))
                height, width, channels = -(-height // 2), -(-width // 2), features
        inputs = height * width * channels + config.num_classes
        self.hidden = nnx.Linear(inputs, config.hidden, rngs=rngs)
        self.deeper = dense_layers(config, rngs)
        self.mean = nnx.Linear(config.hidden, config.latent_dim, rngs=rngs)
        self.logvar = nnx.Linear(config.hidden, config.latent_dim, rngs=rngs)

    def __call__(self, x: jax.Array, labels: jax.Array | None = None) -> tuple[jax.Array, ...]:
        """`x` `[N, H, W, C]` in [0, 1], labels `[N]`, to mean and log-variance, each `[N, latent_dim]`."""
        for conv in self.convs:
            x = nnx.gelu(conv(x))
        h = x.reshape(len(x), -1)  # [N, H, W, C] -> [N, H * W * C]
        h = nnx.gelu(self.hidden(beside(h, labels, self.hidden)))
        for layer in self.deeper:
            h = nnx.gelu(layer(h))
        return self.mean(h), self.logvar(h)


class Decoder(nnx.Module):
    """p(x | z): latents to one number a pixel, the logit of a Bernoulli or the mean of a Gaussian pixel."""

    def __init__(self, config: VAEConfig, *, rngs: nnx.Rngs):
        self.image_shape = height, width, channels = tuple(config.image_shape)
        self.latent_dim = config.latent_dim
        self.hidden = nnx.Linear(config.latent_dim + config.num_classes, config.hidden, rngs=rngs)
        self.deeper = dense_layers(config, rngs)
        self.convs = nnx.data([])
        if config.network == "conv":
            height, width = -(-height // 4), -(-width // 4)
            channels = 2 * config.width
            for inputs, features in ((channels, config.width), (config.width, self.image_shape[2])):
                self.convs.append(
                    ConvTranspose(inputs, features, (4, 4), 2, padding="SAME", rngs=rngs)
                )
        self.first = height, width, channels  # what the dense layers make
        self.logits = nnx.Linear(config.hidden, height * width * channels, rngs=rngs)

    def __call__(self, latents: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """Latents `[N, latent_dim]`, labels `[N]`, to logits or means `[N, H, W, C]`."""
        h = nnx.gelu(self.hidden(beside(latents, labels, self.hidden)))
        for layer in self.deeper:
            h = nnx.gelu(layer(h))
        y = self.logits(h).reshape(len(latents), *self.first)  # [N, h * w * c] -> [N, h, w, c]
        for conv in self.convs:
            y = conv(nnx.gelu(y))
        return y[:, : self.image_shape[0], : self.image_shape[1]]  # sizes that 4 does not divide


def dense_layers(config: VAEConfig, rngs: nnx.Rngs) -> list[nnx.Linear]:
    """The dense layers after the first."""
    count = config.depth - 1
    return nnx.data([nnx.Linear(config.hidden, config.hidden, rngs=rngs) for _ in range(count)])


def beside(h: jax.Array, labels: jax.Array | None, layer: nnx.Linear) -> jax.Array:
    """What a layer takes: `h` `[N, D]`, and beside it the labels as one-hot vectors, if it takes labels.

    The one is sqrt(inputs), so that a label moves a fresh layer's units as much as all the rest: with a plain one it is
    a single input among many, the code has said which digit it is before the label is heard, and it stays unheard.

    Raises:
        ValueError: labels that the model does not use, or none where it does.
    """
    num_classes = layer.in_features - h.shape[1]
    if (labels is None) != (num_classes == 0):
        given = "no labels" if labels is None else "labels"
        raise ValueError(f"{given} for a model with num_classes = {num_classes}")
    if labels is None:
        return h
    one_hot = jax.nn.one_hot(labels, num_classes) * layer.in_features**0.5
    return jnp.concatenate([h, one_hot], axis=1)


class VAE(nnx.Module):
    """Encoder, decoder, and what their numbers mean: the likelihood."""

    def __init__(self, config: VAEConfig, *, rngs: nnx.Rngs):
        self.encoder = Encoder(config, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)
        self.likelihood = config.likelihood
        if config.likelihood == "gaussian":
            start = 2 * np.log(config.sigma) if config.sigma else -4.0
            self.log_sigma2 = nnx.Param(jnp.asarray(start, jnp.float32))  # one for all pixels
            self.learns_sigma = config.sigma == 0

    def observe(self, images: jax.Array, key: jax.Array) -> jax.Array:
        """What the likelihood is of, drawn from uint8 images: binary pixels, or grey levels spread over [0, 1)."""
        return (binarize if self.likelihood == "bernoulli" else dequantize)(images, key)

    def log_likelihood(
        self, latents: jax.Array, x: jax.Array, labels: jax.Array | None = None
    ) -> jax.Array:
        """log p(x | z) in nats `[N]`; Gaussian: of the 256 grey levels, so that discrete images can be compared."""
        decoded = self.decoder(latents, labels)
        if self.likelihood == "bernoulli":
            return bernoulli_log_likelihood(decoded, x)
        log_sigma2 = self.log_sigma2[...]
        if not self.learns_sigma:
            log_sigma2 = jax.lax.stop_gradient(log_sigma2)
        density = gaussian_log_likelihood(decoded, log_sigma2, x)
        return density - np.prod(x.shape[1:]) * np.log(LEVELS)

    def decode(self, latents: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """The mean pixel in [0, 1] at each place `[N, H, W, C]`: no draw from the likelihood."""
        decoded = self.decoder(latents, labels)
        return nnx.sigmoid(decoded) if self.likelihood == "bernoulli" else jnp.clip(decoded, 0, 1)
