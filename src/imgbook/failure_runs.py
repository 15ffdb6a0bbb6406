"""The failure gallery's networks: a small conditional GAN that works, and variants in which one thing is wrong.

A `Recipe` holds what a variant may replace: a number, or a short function. Both networks learn from one gradient,
that of the sum of their losses; `losses` says what is a constant for whom. Images are in [-1, 1] inside the networks.
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
from jax.lax import stop_gradient as constant

from imgbook import gan, training
from imgbook.gan_losses import discriminator_loss, generator_loss
from imgbook.gan_networks import Discriminator, GANConfig, Generator, normal_init
from imgbook.layers import ConvTranspose
from imgbook.training import TrainState

Images = tuple[
    jax.Array, jax.Array
]  # images [N, H, W, C] and the labels [N] that are shown with them
Losses = tuple[jax.Array, jax.Array]  # the discriminator's and the generator's

# --- the pieces: the working one, and what may stand in its place -----------------------------------------------------


def scale(images: jax.Array) -> jax.Array:
    """Pixels 0 to 255 in the range of the generator's tanh."""
    return images / 127.5 - 1


def scale_to_unit(images: jax.Array) -> jax.Array:
    """Pixels 0 to 255 in the upper half of the range of tanh."""
    return images / 255.0


def draw_latents(key: jax.Array, step: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Latents `[N, latent_dim]`, new ones at each step."""
    return jax.random.normal(jax.random.fold_in(key, step), shape)


def draw_same_latents(key: jax.Array, step: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Latents `[N, latent_dim]`, the same at each step."""
    return jax.random.normal(key, shape)


def losses(discriminate: Callable, d: nnx.State, real: Images, fake: Images) -> Losses:
    """In each player's loss the other one is a constant."""
    d_loss = discriminator_loss(discriminate(d, *real), discriminate(d, *constant(fake)))
    g_loss = generator_loss(discriminate(constant(d), *fake))
    return d_loss, g_loss


def losses_on_real(discriminate: Callable, d: nnx.State, real: Images, fake: Images) -> Losses:
    """The generator's loss is computed on real images."""
    d_loss = discriminator_loss(discriminate(d, *real), discriminate(d, *constant(fake)))
    g_loss = generator_loss(discriminate(constant(d), *real))
    return d_loss, g_loss


def losses_shared(discriminate: Callable, d: nnx.State, real: Images, fake: Images) -> Losses:
    """Nothing is a constant: each player also minimises the other's loss."""
    d_loss = discriminator_loss(discriminate(d, *real), discriminate(d, *fake))
    g_loss = generator_loss(discriminate(d, *fake))
    return d_loss, g_loss


def losses_twice(discriminate: Callable, d: nnx.State, real: Images, fake: Images) -> Losses:
    """The discriminator ends in a sigmoid, and the losses have one of their own."""
    discriminate = with_sigmoid(discriminate)
    d_loss = discriminator_loss(discriminate(d, *real), discriminate(d, *constant(fake)))
    g_loss = generator_loss(discriminate(constant(d), *fake))
    return d_loss, g_loss


def losses_minimax(discriminate: Callable, d: nnx.State, real: Images, fake: Images) -> Losses:
    """The generator's loss is flat where the discriminator is sure."""
    d_loss = discriminator_loss(discriminate(d, *real), discriminate(d, *constant(fake)))
    g_loss = generator_loss(discriminate(constant(d), *fake), "minimax")
    return d_loss, g_loss


def with_sigmoid(discriminate: Callable) -> Callable:
    """A discriminator that gives probabilities `[N]` in place of logits."""
    return lambda *inputs: nnx.sigmoid(discriminate(*inputs))


def show_labels(labels: jax.Array, key: jax.Array) -> jax.Array:
    """The labels `[N]` that the discriminator sees with false images."""
    return labels


def show_other_labels(labels: jax.Array, key: jax.Array) -> jax.Array:
    """The labels `[N]` that the discriminator sees with false images."""
    return jax.random.permutation(key, labels)


def prepare(model: nnx.Module) -> None:
    """What is done with a generator before samples are drawn."""
    model.eval()


def prepare_nothing(model: nnx.Module) -> None:
    """What is done with a generator before samples are drawn."""
    model.train()


SMALL = GANConfig(
    num_classes=10,
    latent_dim=32,
    num_codes=0,
    width=16,
    hidden=0,
    penalty="none",
    learning_rate=2e-3,
    average=0.0,
    batch_size=16,
    num_steps=1000,
)


@dataclass(frozen=True)
class Recipe:
    """A GAN of the gallery: its numbers, and the pieces that a variant may replace."""

    config: GANConfig = SMALL
    d_rate: float = 2e-3  # of the discriminator; the generator's is config.learning_rate
    kernel: int = 4  # of the generator's transposed convolutions, pixels; their stride is 2
    scale: Callable = scale
    draw_latents: Callable = draw_latents
    losses: Callable = losses
    show_labels: Callable = show_labels
    prepare: Callable = prepare

    def changed(self, **changes: object) -> "Recipe":
        """This recipe with other fields of its configuration."""
        return replace(self, config=replace(self.config, **changes))


WORKING = Recipe()
BROKEN = {
    "real-images": replace(WORKING, losses=losses_on_real),
    "strong": replace(WORKING, d_rate=2e-2, losses=losses_minimax),
    "probabilities": replace(WORKING, losses=losses_twice),
    "shared": replace(WORKING, losses=losses_shared),
    "rate": replace(WORKING, d_rate=4e-2).changed(learning_rate=4e-2),
    "range": replace(WORKING, scale=scale_to_unit),
    "kernel": replace(WORKING, kernel=3),
    "collapse": replace(WORKING, d_rate=1e-4).changed(learning_rate=4e-2),
    "latent": WORKING.changed(latent_dim=1),
    "labels": replace(WORKING, show_labels=show_other_labels),
    "key": replace(WORKING, draw_latents=draw_same_latents),
    "batch": replace(WORKING, prepare=prepare_nothing),
}

# --- training ---------------------------------------------------------------------------------------------------------


class Networks(NamedTuple):
    """Both networks' training states."""

    generator: TrainState
    discriminator: TrainState


def make_generator(config: GANConfig, kernel: int, key: jax.Array) -> Generator:
    """The chapter's generator, its transposed convolutions with kernels of `kernel` x `kernel` pixels."""
    rngs = nnx.Rngs(key)
    model = Generator(config, rngs=rngs)
    if kernel != 4:
        options = dict(strides=(2, 2), kernel_init=normal_init, rngs=rngs)
        size, width = (kernel, kernel), config.width
        model.up1 = ConvTranspose(2 * width, width, size, use_bias=False, **options)
        model.up2 = ConvTranspose(width, config.image_shape[-1], size, **options)
    return model


def optimizer(rate: float = 0.0) -> optax.GradientTransformation:
    """Adam whose rate is part of its state: recipes that differ in rates alone share one compiled program."""
    return optax.inject_hyperparams(optax.adam)(rate, b1=0.5, b2=0.99)


def init(recipe: Recipe, key: jax.Array) -> tuple[gan.GraphDefs, Networks]:
    """Two fresh networks: their structures and their training states."""
    g_key, d_key, run_key = jax.random.split(key, 3)
    config = recipe.config
    g, generator = training.init_state(
        make_generator(config, recipe.kernel, g_key), optimizer(config.learning_rate), run_key
    )
    d, discriminator = training.init_state(
        Discriminator(config, rngs=nnx.Rngs(d_key)), optimizer(recipe.d_rate), run_key
    )
    return gan.GraphDefs(g, d), Networks(generator, discriminator)


def make_train_step(recipe: Recipe, graphdefs: gan.GraphDefs) -> Callable:
    """The training step `step(state, (images, labels)) -> (state, metrics)`; images uint8 `[N, H, W, C]`."""
    tx = optimizer()

    @partial(jax.jit, donate_argnums=0)
    def step(
        state: Networks, batch: tuple[jax.Array, jax.Array]
    ) -> tuple[Networks, dict[str, jax.Array]]:
        g, d = state
        images, labels = batch
        latents = recipe.draw_latents(g.key, g.step, (len(images), recipe.config.latent_dim))
        shown = recipe.show_labels(labels, jax.random.fold_in(d.key, d.step))

        def total(g_params, d_params):
            discriminate = lambda *inputs: score(graphdefs, d.stats, *inputs)  # noqa: E731
            fake, stats = gan.apply(graphdefs.generator, g_params, g.stats, latents, labels)
            real = recipe.scale(images), labels
            d_loss, g_loss = recipe.losses(discriminate, d_params, real, (fake, shown))
            return d_loss + g_loss, (d_loss, g_loss, stats)

        (g_grads, d_grads), (d_loss, g_loss, stats) = jax.grad(total, (0, 1), has_aux=True)(
            g.params, d.params
        )
        metrics = {
            "discriminator_loss": d_loss,
            "generator_loss": g_loss,
            "generator_gradient": jnp.sqrt(sum(jnp.vdot(x, x) for x in jax.tree.leaves(g_grads))),
        }
        return Networks(g.updated(g_grads, tx, stats=stats), d.updated(d_grads, tx)), metrics

    return step


def score(
    graphdefs: gan.GraphDefs, stats: nnx.State, d: nnx.State, images: jax.Array, labels: jax.Array
) -> jax.Array:
    """The discriminator's logits `[N]` of images `[N, H, W, C]` in [-1, 1] shown with labels `[N]`."""
    return gan.apply(graphdefs.discriminator, d, stats, images, labels)[0]


@partial(jax.jit, static_argnums=(0, 1))
def _generate(
    prepare: Callable, graphdef: nnx.GraphDef, g: TrainState, latents: jax.Array, labels: jax.Array
) -> jax.Array:
    # A copy of the averages: Flax updates no variable made outside the current transformation.
    model = nnx.merge(graphdef, g.params, jax.tree.map(jnp.copy, g.stats))
    prepare(model)
    return (model(latents, labels) + 1) / 2


def sample(
    recipe: Recipe,
    graphdefs: gan.GraphDefs,
    state: Networks,
    latents: jax.Array,
    labels: np.ndarray,
) -> np.ndarray:
    """Images `[N, H, W, C]` in [0, 1] for latents `[N, latent_dim]` and labels `[N]`, drawn as one batch."""
    return np.asarray(
        _generate(
            recipe.prepare, graphdefs.generator, state.generator, latents, jnp.asarray(labels)
        )
    )
