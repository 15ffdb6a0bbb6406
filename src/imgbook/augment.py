"""Random changes of images that leave open what they show: mirrored, moved."""

import jax
import jax.numpy as jnp


def random_flip(images: jax.Array, key: jax.Array) -> jax.Array:
    """Mirror each image `[N, H, W, C]` left to right with probability 1/2."""
    mirrored = jax.random.bernoulli(key, 0.5, (len(images), 1, 1, 1))
    return jnp.where(mirrored, images[:, :, ::-1], images)


def random_shift(images: jax.Array, key: jax.Array, pixels: int) -> jax.Array:
    """Move each image `[N, H, W, C]` by up to `pixels` in each direction; the border is
    repeated into the gap.
    """
    n, height, width, channels = images.shape
    padded = jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="edge")
    offsets = jax.random.randint(key, (n, 2), 0, 2 * pixels + 1)

    def crop(image: jax.Array, offset: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (offset[0], offset[1], 0), (height, width, channels))

    return jax.vmap(crop)(padded, offsets)
