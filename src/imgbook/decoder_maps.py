"""Which latents move which pixels of a decoder: maps of slopes, the moves they should predict, and controls.

Every function takes `decode`, from codes `[N, L]` to images `[N, H, W]`, each of a code on its own. The slopes are an
explanation; changing a latent and looking is the experiment that it can be held against.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.tree_util import Partial


@jax.jit
def slopes(decode: Partial, z: jax.Array) -> jax.Array:
    """|d pixel / d latent|, `[N, L, H, W]`, at codes z `[N, L]`."""

    def one(code: jax.Array) -> jax.Array:
        return jnp.moveaxis(jax.jacfwd(lambda c: decode(c[None])[0])(code), -1, 0)

    return jnp.abs(jax.vmap(one)(z))


@jax.jit
def moves(decode: Partial, z: jax.Array, size: jax.Array) -> jax.Array:
    """|decode(z + size e_l) - decode(z)|, `[N, L, H, W]`: how much each pixel moves when latent l moves by `size`."""
    n, latents = z.shape
    moved = z[:, None] + size * jnp.eye(latents)
    images = decode(moved.reshape(n * latents, latents))  # [N, L, L] -> [N * L, L]
    images = images.reshape(n, latents, *images.shape[1:])  # [N * L, H, W] -> [N, L, H, W]
    return jnp.abs(images - decode(z)[:, None])


def of_other_latents(maps: jax.Array) -> jax.Array:
    """Maps `[N, L, H, W]`, each latent with the map of the next: right image, wrong latent. ValueError if L is 1."""
    if maps.shape[1] < 2:
        raise ValueError(f"maps have {maps.shape[1]} latent; expected at least 2")
    return jnp.roll(maps, 1, axis=1)


def of_other_images(maps: jax.Array) -> jax.Array:
    """Maps `[N, L, H, W]`, each image with those of the next one: right latent, wrong image. ValueError for N < 2."""
    if len(maps) < 2:
        raise ValueError(f"maps of {len(maps)} image; expected at least 2")
    return jnp.roll(maps, 1, axis=0)


def of_the_image(images: jax.Array, latents: int) -> jax.Array:
    """x (1 - x) of images `[N, H, W]` in [0, 1], for each latent alike `[N, L, H, W]`: a map that knows no latent.

    A pixel that is the sigmoid of a logit has this slope by it, so every slope by a latent contains it as a factor.
    """
    return jnp.repeat((images * (1 - images))[:, None], latents, axis=1)


def agreement(maps: jax.Array, truth: jax.Array, similarity: Callable) -> jax.Array:
    """`similarity` of maps and truth `[N, L, H, W]` for each image and latent, `[N, L]`.

    similarity: of two stacks of maps `[M, H, W]`, `[M]`, as `cnn_sanity.similarity`. ValueError for unequal shapes.
    """
    if maps.shape != truth.shape:
        raise ValueError(f"maps {maps.shape}, truth {truth.shape}; expected one shape [N, L, H, W]")
    n, latents, *size = maps.shape
    flat = (m.reshape(n * latents, *size) for m in (maps, truth))  # [N, L, H, W] -> [N * L, H, W]
    return similarity(*flat).reshape(n, latents)  # [N * L] -> [N, L]


def decoder_of(network: Callable, model: nnx.Module) -> Partial:
    """`decode` of a Flax module: `network(graphdef, state, z)` gives the images of a module split into these two.

    Modules of one structure share their compiled programs, so `network` has to be the same function for them.
    """
    return Partial(network, *nnx.split(model))
