"""Chapter 3: a deep convolutional GAN, its training step and sampling; with labels, a conditional one.

Images are in [-1, 1] inside the networks (the generator ends in tanh) and in [0, 1] or uint8
outside. The networks are in `imgbook.gan_networks`, losses and penalties in `imgbook.gan_losses`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from imgbook import parallel, training
from imgbook.data import Dataset
from imgbook.gan_losses import (
    discriminator_loss,
    ema,
    generator_loss,
    gradient_penalty,
    lazy,
    r1_penalty,
    r2_penalty,
)
from imgbook.gan_networks import Discriminator, GANConfig, Generator, config_for  # noqa: F401
from imgbook.training import TrainState


class GANState(NamedTuple):
    """Both networks' training states and the generator whose weights are averages, one pytree."""

    generator: TrainState
    discriminator: TrainState
    average: TrainState  # what samples are drawn with


class GraphDefs(NamedTuple):
    generator: nnx.GraphDef
    discriminator: nnx.GraphDef


def optimizer(config: GANConfig, factor: float = 1.0) -> optax.GradientTransformation:
    """Adam at `factor` times the learning rate, which falls to zero over the second half if `decay`."""
    rate = factor * config.learning_rate
    if config.decay:
        half = config.num_steps // 2
        rate = optax.linear_schedule(rate, 0.0, config.num_steps - half, half)
    return optax.adam(rate, b1=config.beta1, b2=config.beta2)


def init(config: GANConfig, key: jax.Array) -> tuple[GraphDefs, GANState]:
    """Two fresh networks: their structures and their training states."""
    g_key, d_key, g_run_key, d_run_key = jax.random.split(key, 4)
    tx, d_tx = optimizer(config), optimizer(config, config.discriminator_rate)
    g_graphdef, generator = training.init_state(
        Generator(config, rngs=nnx.Rngs(g_key)), tx, g_run_key
    )
    d_graphdef, discriminator = training.init_state(
        Discriminator(config, rngs=nnx.Rngs(d_key)), d_tx, d_run_key
    )
    _, average = training.init_state(
        Generator(config, rngs=nnx.Rngs(g_key)), optax.identity(), g_run_key
    )
    return GraphDefs(g_graphdef, d_graphdef), GANState(generator, discriminator, average)


def apply(
    graphdef: nnx.GraphDef, params: nnx.State, stats: nnx.State, *inputs: jax.Array
) -> tuple[jax.Array, nnx.State]:
    """Run a network in training mode: its output, and its BatchNorm averages afterwards."""
    stats = jax.tree.map(
        lambda a: a, stats
    )  # a copy: Flax updates no variable made outside the current transformation
    model = nnx.merge(graphdef, params, stats)
    output = model(*inputs)
    return output, nnx.state(model, nnx.Not(nnx.Param))


def penalty(
    config: GANConfig, critic: Callable, real: jax.Array, fake: jax.Array, key: jax.Array
) -> jax.Array:
    """The penalty that a configuration names, without its weight: a scalar."""
    match config.penalty:
        case "r1":
            return r1_penalty(critic, real)
        case "r1_r2":
            return r1_penalty(critic, real) + r2_penalty(critic, fake)
        case "gradient":
            return gradient_penalty(critic, real, fake, key)
    return jnp.zeros(())


def make_train_step(graphdefs: GraphDefs, config: GANConfig) -> Callable:
    """The training step `step(state, (images,)) -> (state, metrics)`; images uint8.

    One step is a turn of the discriminator and then a turn of the generator. Images `[N, H, W,
    C]`; of a conditional GAN the batch is (images, labels `[N]`), and samples have those labels.
    """
    tx, d_tx = optimizer(config), optimizer(config, config.discriminator_rate)
    generate = partial(apply, graphdefs.generator)
    discriminate = partial(apply, graphdefs.discriminator)

    def d_loss_fn(params, stats, real, fake, labels):
        # Real and fake images apart: BatchNorm, if there is one, sees the fake ones so later too.
        real_logits, stats = discriminate(params, stats, real, *labels)
        fake_logits, stats = discriminate(params, stats, fake, *labels)
        loss = discriminator_loss(real_logits, fake_logits, config.loss)
        return loss, (stats, real_logits, fake_logits)

    def penalty_fn(params, stats, real, fake, labels, key):
        critic = lambda x: discriminate(params, stats, x, *labels)[0]  # noqa: E731
        return config.penalty_weight * penalty(config, critic, real, fake, key)

    def g_loss_fn(fake, params, stats, real, labels):
        fake_logits, _ = discriminate(params, stats, fake, *labels)
        real_logits = None
        if config.loss == "relativistic":
            real_logits, _ = discriminate(params, stats, real, *labels)
        return generator_loss(fake_logits, config.loss, real_logits)

    @partial(jax.jit, donate_argnums=0)
    def step(state: GANState, batch: tuple) -> tuple[GANState, dict[str, jax.Array]]:
        g, d, average = state
        images, *labels = batch if config.num_classes else batch[:1]
        latents = jax.random.normal(
            jax.random.fold_in(g.key, g.step), (len(images), config.latent_dim)
        )
        latents = parallel.divided(latents)  # over devices, if there are several
        penalty_key = jax.random.fold_in(d.key, d.step)
        fake, g_vjp, g_stats = jax.vjp(
            lambda params: generate(params, g.stats, latents, *labels), g.params, has_aux=True
        )
        real = images.astype(fake.dtype) / 127.5 - 1.0

        # The discriminator's turn: `fake` is a constant here, no gradient flows into the generator.
        (d_loss, (d_stats, real_logits, fake_logits)), d_grads = jax.value_and_grad(
            d_loss_fn, has_aux=True
        )(d.params, d.stats, real, fake, labels)
        if config.penalty != "none":
            penalised = lambda params: penalty_fn(params, d.stats, real, fake, labels, penalty_key)  # noqa: E731
            value, gradient = lazy(penalised, d.params, d.step, config.penalty_every)
            d_loss, d_grads = d_loss + value, jax.tree.map(jnp.add, d_grads, gradient)
        d = d.updated(d_grads, d_tx, stats=d_stats)

        # The generator's turn, against the updated discriminator, whose weights are constants here.
        g_loss, fake_grads = jax.value_and_grad(g_loss_fn)(fake, d.params, d.stats, real, labels)
        (g_grads,) = g_vjp(fake_grads)
        g_step, g = g.step, g.updated(g_grads, tx, stats=g_stats)
        params, stats = (
            ema(old, new, config.average, g_step)
            for old, new in ((average.params, g.params), (average.stats, g.stats))
        )
        metrics = {
            "discriminator_loss": d_loss,
            "generator_loss": g_loss,
            "real_probability": jax.nn.sigmoid(real_logits).mean(),
            "fake_probability": jax.nn.sigmoid(fake_logits).mean(),
        }
        return GANState(g, d, average._replace(params=params, stats=stats)), metrics

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
    arrays = (dataset.images, dataset.labels) if config.num_classes else (dataset.images,)
    stream = training.batches(arrays, config.batch_size, jax.random.fold_in(key, 1))
    step = make_train_step(graphdefs, config)
    state, history = training.fit(
        state, step, stream, config.num_steps, progress=progress, **fit_options
    )
    return graphdefs, state, history


def sample(
    graphdefs: GraphDefs,
    state: GANState,
    latents: jax.Array,
    labels: jax.Array | None = None,
    batch_size: int = 500,
) -> np.ndarray:
    """Images `[N, H, W, C]` in [0, 1] for latents `[N, latent_dim]`, by the averaged generator,
    BatchNorm in evaluation mode; of a conditional GAN for labels `[N]` too.

    Raises:
        ValueError: labels given to a GAN that is not conditional, none to one that is, a label out
            of range, or not one for each latent.
    """
    check_labels(graphdefs, state, latents, labels)

    @jax.jit
    def generate(generator, *inputs):
        return (training.as_module(graphdefs.generator, generator)(*inputs) + 1) / 2

    inputs = (latents,) if labels is None else (latents, jnp.asarray(labels))
    return np.concatenate(
        [
            generate(state.average, *(x[i : i + batch_size] for x in inputs))
            for i in range(0, len(latents), batch_size)
        ]
    )


def check_labels(
    graphdefs: GraphDefs, state: GANState, latents: jax.Array, labels: jax.Array | None
) -> None:
    """Raise ValueError unless labels are those that a generator needs, see `sample`."""
    inputs = state.average.params["dense"]["kernel"].shape[0]
    num_classes = inputs - latents.shape[1]
    if num_classes == 0 and labels is None:
        return
    if num_classes <= 0 or labels is None:
        raise ValueError(
            f"latents of {latents.shape[1]} numbers {'without' if labels is None else 'and'} labels; this generator "
            f"takes {inputs} numbers in all: latents, and as many more as it has classes"
        )
    labels = np.asarray(labels)
    if labels.shape != (len(latents),) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels {labels.dtype} {labels.shape}; allowed: integers, one for each of {len(latents)} latents"
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels range over {labels.min()}..{labels.max()}; allowed: 0..{num_classes - 1}"
        )


def interpolate(start: jax.Array, end: jax.Array, n: int) -> jax.Array:
    """`n` latents on the great circle from `start` to `end` (each `[latent_dim]`), which
    keeps their typical length.
    """
    t = jnp.linspace(0, 1, n)[:, None]
    cosine = jnp.clip(jnp.vdot(start, end) / (jnp.linalg.norm(start) * jnp.linalg.norm(end)), -1, 1)
    angle = jnp.arccos(cosine)
    return (jnp.sin((1 - t) * angle) * start + jnp.sin(t * angle) * end) / jnp.sin(angle)
