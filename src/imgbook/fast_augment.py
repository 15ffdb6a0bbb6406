"""Chapter 4, augmentation inside the training step: images mirrored, moved, partly covered, by a key."""

import jax
import jax.numpy as jnp

from imgbook.augment import random_flip, random_shift
from imgbook.fast_networks import FastConfig


def augment(
    images: jax.Array, indices: jax.Array, epoch: jax.Array, key: jax.Array, config: FastConfig
) -> jax.Array:
    """Training images `[N, H, W, C]`, standardised, as this step sees them: mirrored, moved, with a hole.

    indices: int32 `[N]`, which images of the data set these are; `epoch`: how often all have been seen. Both are used
    by the alternating flip alone. key: this step's.
    """
    flip_key, shift_key, cutout_key = jax.random.split(key, 3)
    if config.flip == "random":
        images = random_flip(images, flip_key)
    if config.flip == "alternating":
        images = alternating_flip(images, indices, epoch)
    if config.shift:
        images = random_shift(images, shift_key, config.shift)
    if config.cutout:
        images = random_cutout(images, cutout_key, config.cutout)
    return images


def alternating_flip(images: jax.Array, indices: jax.Array, epoch: jax.Array) -> jax.Array:
    """Mirror each image `[N, H, W, C]` left to right in every second epoch, half of them in the
    even ones (Jordan 2024).

    An image is so seen from both sides in any two epochs, which a random flip leaves to chance.
    indices: integers `[N]`, the images' own numbers; those whose hash is odd begin mirrored.
    """
    hashed = (indices.astype(jnp.uint32) * jnp.uint32(2654435761)) >> 31  # Knuth's: the top bit
    mirrored = (hashed + epoch.astype(jnp.uint32)) % 2 == 1
    return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def random_cutout(images: jax.Array, key: jax.Array, side: int) -> jax.Array:
    """Set a square of `side` pixels to zero in each image `[N, H, W, C]`, its place drawn uniformly
    among those inside (DeVries and Taylor 2017, whose squares may stick out).

    Raises:
        ValueError: a side below 1 or larger than the images.
    """
    n, height, width, _ = images.shape
    if not 1 <= side <= min(height, width):
        raise ValueError(f"side = {side}; allowed: 1 to {min(height, width)}, the smaller side")
    corners = jax.random.randint(key, (n, 2), 0, jnp.array([height - side + 1, width - side + 1]))
    covered = [
        (corner <= jnp.arange(size)) & (jnp.arange(size) < corner + side)
        for corner, size in ((corners[:, :1], height), (corners[:, 1:], width))
    ]
    square = covered[0][:, :, None] & covered[1][:, None, :]  # [N, H] and [N, W] -> [N, H, W]
    return jnp.where(square[..., None], 0, images)
