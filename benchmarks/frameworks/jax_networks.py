"""The networks and losses of jax_steps.py, in Flax; `naive` has Flax's own layers, `engine` those of this package."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from frameworks import work
from imgbook import layers


class Layers(NamedTuple):
    conv: type[nnx.Module]
    conv_transpose: type[nnx.Module]
    max_pool: Callable


LAYERS = {
    "naive": Layers(nnx.Conv, nnx.ConvTranspose, nnx.max_pool),
    "engine": Layers(layers.Conv, layers.ConvTranspose, layers.max_pool),
}


# --- networks -------------------------------------------------------------------------------------------------


class CNN(nnx.Module):
    def __init__(self, kinds: Layers, rngs: nnx.Rngs):
        self.max_pool = kinds.max_pool
        conv = partial(kinds.conv, kernel_size=(3, 3), padding="VALID", rngs=rngs)
        self.conv1, self.conv2, self.conv3 = conv(3, 32), conv(32, 64), conv(64, 128)
        self.dense, self.head = nnx.Linear(512, 128, rngs=rngs), nnx.Linear(128, 10, rngs=rngs)
        self.dropout = nnx.Dropout(0.5)

    def __call__(self, x: jax.Array, keep: jax.Array | None, key: jax.Array) -> jax.Array:
        for conv in (self.conv1, self.conv2, self.conv3):
            x = self.max_pool(nnx.relu(conv(x)), (2, 2), strides=(2, 2))
        h = nnx.relu(self.dense(x.reshape(len(x), -1)))
        h = self.dropout(h, rngs=key) if keep is None else h * keep * 2
        return self.head(h)


def batch_norm(channels: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    momentum, epsilon = work.NORM_MOMENTUM, work.NORM_EPSILON
    return nnx.BatchNorm(channels, momentum=momentum, epsilon=epsilon, rngs=rngs)


class Generator(nnx.Module):
    def __init__(self, kinds: Layers, rngs: nnx.Rngs):
        up = partial(
            kinds.conv_transpose, kernel_size=(4, 4), strides=(2, 2), padding="SAME", rngs=rngs
        )
        self.dense = nnx.Linear(100, 6272, use_bias=False, rngs=rngs)
        self.norm1, self.norm2 = batch_norm(128, rngs), batch_norm(64, rngs)
        self.up1, self.up2 = up(128, 64, use_bias=False), up(64, 1)

    def __call__(self, latents: jax.Array) -> jax.Array:
        x = self.dense(latents).reshape(-1, 7, 7, 128)
        x = self.up1(nnx.relu(self.norm1(x)))
        return jnp.tanh(self.up2(nnx.relu(self.norm2(x))))


class Discriminator(nnx.Module):
    def __init__(self, kinds: Layers, rngs: nnx.Rngs):
        down = partial(kinds.conv, kernel_size=(4, 4), strides=(2, 2), padding="SAME", rngs=rngs)
        self.down1, self.down2 = down(1, 64), down(64, 128, use_bias=False)
        self.norm2 = batch_norm(128, rngs)
        self.dense = nnx.Linear(6272, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.leaky_relu(self.down1(x), work.SLOPE)
        x = nnx.leaky_relu(self.norm2(self.down2(x)), work.SLOPE)
        return self.dense(x.reshape(len(x), -1))[:, 0]


class VAE(nnx.Module):
    def __init__(self, kinds: Layers, rngs: nnx.Rngs):
        self.hidden, self.up = nnx.Linear(784, 500, rngs=rngs), nnx.Linear(20, 500, rngs=rngs)
        self.mean, self.logvar = (nnx.Linear(500, 20, rngs=rngs) for _ in range(2))
        self.logits = nnx.Linear(500, 784, rngs=rngs)

    def __call__(self, x: jax.Array, latents: jax.Array) -> jax.Array:
        """The negative bound in nats, mean over images."""
        h = nnx.relu(self.hidden(x))
        mean, logvar = self.mean(h), self.logvar(h)
        logits = self.logits(nnx.relu(self.up(mean + jnp.exp(logvar / 2) * latents)))
        kl = 0.5 * (mean**2 + jnp.exp(logvar) - 1 - logvar).sum(-1)
        return (optax.sigmoid_binary_cross_entropy(logits, x).sum(-1) + kl).mean()


NETS = {"cnn": {"": CNN}, "vae": {"": VAE}, "gan": {"g.": Generator, "d.": Discriminator}}


def build(model: str, variant: str) -> dict[str, nnx.Module]:
    """The networks with their first weights, by the prefix of their weights' names."""
    nets = {p: make(LAYERS[variant], nnx.Rngs(0)) for p, make in NETS[model].items()}
    for name, array in work.weights(model).items():
        prefix = next(p for p in nets if name.startswith(p))
        layer, kind = name.removeprefix(prefix).split(".")
        module = getattr(nets[prefix], layer)
        setattr(module, kind, nnx.Param(jnp.asarray(array)))
    return nets


# --- losses ---------------------------------------------------------------------------------------------------


def cnn_loss(net: CNN, batch: tuple, noise: dict, key: jax.Array) -> jax.Array:
    images, labels = batch
    logits = net(images.astype(jnp.float32) / 63.75 - 2.0, noise.get("keep"), key)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def vae_loss(net: VAE, batch: tuple, noise: dict, key: jax.Array) -> jax.Array:
    grey = batch[0]
    if noise:
        return net((noise["levels"] < grey / 255).astype(jnp.float32), noise["latents"])
    keys = jax.random.split(key)
    latents = jax.random.normal(keys[1], (len(grey), work.LATENTS["vae"]))
    return net(binarised(grey, keys[0]), latents)


def binarised(grey: jax.Array, key: jax.Array) -> jax.Array:
    """1 with probability grey / 255, to 2**-16: a pixel needs 16 random bits, and JAX draws them by 32."""
    bits = jax.random.bits(key, (len(grey), grey.shape[1] // 2), jnp.uint32)
    levels = jax.lax.bitcast_convert_type(bits, jnp.uint16).reshape(grey.shape)
    return (levels.astype(jnp.int32) < 257 * grey.astype(jnp.int32)).astype(jnp.float32)


LOSSES = {"cnn": cnn_loss, "vae": vae_loss}


def gan_inputs(batch: tuple, noise: dict, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Real images in [-1, 1] and latents."""
    real = batch[0].astype(jnp.float32) / 127.5 - 1.0
    if noise:
        return real, noise["latents"]
    return real, jax.random.normal(key, (len(real), work.LATENTS["gan"]))


def d_loss(d: Discriminator, real: jax.Array, fake: jax.Array) -> jax.Array:
    return nnx.softplus(-d(real)).mean() + nnx.softplus(d(fake)).mean()


def g_loss(g: Generator, d: Discriminator, latents: jax.Array) -> jax.Array:
    return nnx.softplus(-d(g(latents))).mean()


def norm(grads: nnx.State) -> jax.Array:
    """The Euclidean norm of all gradients."""
    return jnp.sqrt(sum((g**2).sum() for g in jax.tree.leaves(grads)))
