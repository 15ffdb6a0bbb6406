"""Chapter 3: a deep convolutional GAN, its two losses, its training step and sampling.

Images are in [-1, 1] inside the networks (the generator ends in tanh) and in [0, 1] or uint8
outside.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from imgbook import parallel, presets, training
from imgbook.data import Dataset
from imgbook.layers import Conv, ConvTranspose
from imgbook.training import TrainState

# Radford, Metz and Chintala (2015): all weights start from N(0, 0.02).
normal_init = nnx.initializers.normal(0.02)


@dataclass(frozen=True)
class GANConfig:
    """Hyperparameters of the DCGAN."""

    image_shape: tuple[int, int, int] = (28, 28, 1)
    latent_dim: int = 100
    width: int = 32  # channels at half resolution, in both networks; twice as many at a quarter
    learning_rate: float = 5e-4
    beta1: float = 0.5
    batch_size: int = 64
    num_steps: int = 1800


def config_for(dataset: Dataset, preset: str | None = None, **changes: object) -> GANConfig:
    """Hyperparameters for a data set at a preset; `changes` override single fields."""
    steps = {
        "smoke": dict(num_steps=4, width=8, batch_size=32),
        "quick": {},
        "full": dict(num_steps=20_000),
    }
    return replace(
        GANConfig(),
        **{"image_shape": dataset.image_shape, **steps[presets.current(preset)], **changes},
    )


class Generator(nnx.Module):
    """Latents to images: dense, then two transposed convolutions (kernel 4, stride 2), each
    doubling the size.
    """

    def __init__(self, config: GANConfig, *, rngs: nnx.Rngs):
        height, width, channels = config.image_shape
        if height % 4 or width % 4:
            raise ValueError(
                f"images of {height} x {width} pixels; both sides must be multiples of 4 (two doublings)"
            )
        self.base = (height // 4, width // 4, 2 * config.width)
        self.dense = nnx.Linear(
            config.latent_dim,
            int(np.prod(self.base)),
            use_bias=False,
            kernel_init=normal_init,
            rngs=rngs,
        )
        self.norm1 = nnx.BatchNorm(2 * config.width, momentum=0.9, rngs=rngs)
        self.up1 = ConvTranspose(
            2 * config.width,
            config.width,
            (4, 4),
            (2, 2),
            use_bias=False,
            kernel_init=normal_init,
            rngs=rngs,
        )
        self.norm2 = nnx.BatchNorm(config.width, momentum=0.9, rngs=rngs)
        self.up2 = ConvTranspose(
            config.width, channels, (4, 4), (2, 2), kernel_init=normal_init, rngs=rngs
        )

    def __call__(self, latents: jax.Array) -> jax.Array:
        """Latents `[N, latent_dim]` to images `[N, H, W, C]` in [-1, 1]."""
        x = self.dense(latents).reshape(
            len(latents), *self.base
        )  # [N, H/4 * W/4 * 2w] -> [N, H/4, W/4, 2w]
        x = nnx.relu(self.norm1(x))
        x = nnx.relu(self.norm2(self.up1(x)))  # [N, H/2, W/2, w]
        return jnp.tanh(self.up2(x))  # [N, H, W, C]


class Discriminator(nnx.Module):
    """Images to one logit each: two convolutions of stride 2, then a dense layer."""

    def __init__(self, config: GANConfig, *, rngs: nnx.Rngs):
        height, width, channels = config.image_shape
        conv = partial(Conv, kernel_size=(4, 4), strides=(2, 2), kernel_init=normal_init, rngs=rngs)
        self.down1 = conv(channels, config.width)
        self.down2 = conv(config.width, 2 * config.width, use_bias=False)
        self.norm2 = nnx.BatchNorm(2 * config.width, momentum=0.9, rngs=rngs)
        self.dense = nnx.Linear(
            (height // 4) * (width // 4) * 2 * config.width, 1, kernel_init=normal_init, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Images `[N, H, W, C]` in [-1, 1] to logits `[N]`: positive means "real"."""
        x = nnx.leaky_relu(self.down1(x), 0.2)  # [N, H/2, W/2, w]
        x = nnx.leaky_relu(self.norm2(self.down2(x)), 0.2)  # [N, H/4, W/4, 2w]
        return self.dense(x.reshape(len(x), -1))[:, 0]  # [N, H/4 * W/4 * 2w] -> [N, 1] -> [N]


def discriminator_loss(real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """-E log D(x) - E log(1 - D(G(z))) with D = sigmoid(logit), in nats (Goodfellow et al.
    2014, equation 1).
    """
    return jax.nn.softplus(-real_logits).mean() + jax.nn.softplus(fake_logits).mean()


def generator_loss(fake_logits: jax.Array) -> jax.Array:
    """The non-saturating loss -E log D(G(z)) in nats (Goodfellow et al. 2014, section 3)."""
    return jax.nn.softplus(-fake_logits).mean()


class GANState(NamedTuple):
    """Both networks' training states, one pytree."""

    generator: TrainState
    discriminator: TrainState


class GraphDefs(NamedTuple):
    generator: nnx.GraphDef
    discriminator: nnx.GraphDef


def optimizer(config: GANConfig) -> optax.GradientTransformation:
    """Adam with the small first moment of Radford et al. (2015)."""
    return optax.adam(config.learning_rate, b1=config.beta1)


def init(config: GANConfig, key: jax.Array) -> tuple[GraphDefs, GANState]:
    """Two fresh networks: their structures and their training states."""
    g_key, d_key, g_run_key, d_run_key = jax.random.split(key, 4)
    tx = optimizer(config)
    g_graphdef, generator = training.init_state(
        Generator(config, rngs=nnx.Rngs(g_key)), tx, g_run_key
    )
    d_graphdef, discriminator = training.init_state(
        Discriminator(config, rngs=nnx.Rngs(d_key)), tx, d_run_key
    )
    return GraphDefs(g_graphdef, d_graphdef), GANState(generator, discriminator)


def apply(
    graphdef: nnx.GraphDef, params: nnx.State, stats: nnx.State, x: jax.Array
) -> tuple[jax.Array, nnx.State]:
    """Run a network in training mode: its output, and its BatchNorm averages afterwards."""
    stats = jax.tree.map(
        lambda a: a, stats
    )  # a copy: Flax updates no variable made outside the current transformation
    model = nnx.merge(graphdef, params, stats)
    output = model(x)
    return output, nnx.state(model, nnx.Not(nnx.Param))


def make_train_step(graphdefs: GraphDefs, config: GANConfig) -> Callable:
    """The training step `step(state, (images,)) -> (state, metrics)`; images uint8.

    One step is a turn of the discriminator and then a turn of the generator. Images `[N, H, W, C]`.
    """
    tx = optimizer(config)
    generate = partial(apply, graphdefs.generator)
    discriminate = partial(apply, graphdefs.discriminator)

    def d_loss_fn(params, stats, real, fake):
        real_logits, stats = discriminate(
            params, stats, real
        )  # real and fake batches are normalised
        fake_logits, stats = discriminate(
            params, stats, fake
        )  # apart, as the generator will see it
        return discriminator_loss(real_logits, fake_logits), (stats, real_logits, fake_logits)

    def g_loss_fn(fake, params, stats):
        fake_logits, _ = discriminate(params, stats, fake)
        return generator_loss(fake_logits)

    @partial(jax.jit, donate_argnums=0)
    def step(state: GANState, batch: tuple[jax.Array]) -> tuple[GANState, dict[str, jax.Array]]:
        g, d = state
        real = batch[0].astype(jnp.float32) / 127.5 - 1.0
        latents = jax.random.normal(
            jax.random.fold_in(g.key, g.step), (len(real), config.latent_dim)
        )
        latents = parallel.divided(latents)  # over devices, if there are several
        fake, g_vjp, g_stats = jax.vjp(
            lambda params: generate(params, g.stats, latents), g.params, has_aux=True
        )

        # The discriminator's turn: `fake` is a constant here, no gradient flows into the generator.
        (d_loss, (d_stats, real_logits, fake_logits)), d_grads = jax.value_and_grad(
            d_loss_fn, has_aux=True
        )(d.params, d.stats, real, fake)
        d = d.updated(d_grads, tx, stats=d_stats)

        # The generator's turn, against the updated discriminator, whose weights are constants here.
        g_loss, fake_grads = jax.value_and_grad(g_loss_fn)(fake, d.params, d.stats)
        (g_grads,) = g_vjp(fake_grads)
        g = g.updated(g_grads, tx, stats=g_stats)

        metrics = {
            "discriminator_loss": d_loss,
            "generator_loss": g_loss,
            "real_probability": jax.nn.sigmoid(real_logits).mean(),
            "fake_probability": jax.nn.sigmoid(fake_logits).mean(),
        }
        return GANState(g, d), metrics

    return step


def train(
    dataset: Dataset,
    config: GANConfig,
    key: jax.Array,
    progress: bool = True,
    **fit_options: object,
) -> tuple[GraphDefs, GANState, training.History]:
    """Initialise and train a GAN on a data set: what the chapter's training cell does.

    `fit_options` go to `training.fit`.
    """
    graphdefs, state = init(config, jax.random.fold_in(key, 0))
    stream = training.batches((dataset.images,), config.batch_size, jax.random.fold_in(key, 1))
    step = make_train_step(graphdefs, config)
    state, history = training.fit(
        state, step, stream, config.num_steps, progress=progress, **fit_options
    )
    return graphdefs, state, history


def sample(
    graphdefs: GraphDefs, state: GANState, latents: jax.Array, batch_size: int = 500
) -> np.ndarray:
    """Images `[N, H, W, C]` in [0, 1] for latents `[N, latent_dim]`, BatchNorm in evaluation
    mode.
    """

    @jax.jit
    def generate(generator, latents):
        return (training.as_module(graphdefs.generator, generator)(latents) + 1) / 2

    return np.concatenate(
        [
            generate(state.generator, latents[i : i + batch_size])
            for i in range(0, len(latents), batch_size)
        ]
    )


def interpolate(start: jax.Array, end: jax.Array, n: int) -> jax.Array:
    """`n` latents on the great circle from `start` to `end` (each `[latent_dim]`), which
    keeps their typical length.
    """
    t = jnp.linspace(0, 1, n)[:, None]
    cosine = jnp.clip(jnp.vdot(start, end) / (jnp.linalg.norm(start) * jnp.linalg.norm(end)), -1, 1)
    angle = jnp.arccos(cosine)
    return (jnp.sin((1 - t) * angle) * start + jnp.sin(t * angle) * end) / jnp.sin(angle)
