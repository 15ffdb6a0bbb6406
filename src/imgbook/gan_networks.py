"""Chapter 3, the two networks: their hyperparameters, the generator, the discriminator.

Images are in [-1, 1] inside the networks; the generator ends in tanh.
"""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from imgbook import presets
from imgbook.data import Dataset
from imgbook.gan_losses import LOSSES
from imgbook.layers import Conv, ConvTranspose
from imgbook.spectral import SpectralNorm

# Radford, Metz and Chintala (2015): all weights start from N(0, 0.02).
normal_init = nnx.initializers.normal(0.02)
# Without normalisation that is too small: signals would fade from layer to layer (He et al. 2015).
he_init = nnx.initializers.he_normal()

PENALTIES = ("none", "r1", "r1_r2", "gradient")


@dataclass(frozen=True)
class GANConfig:
    """Hyperparameters of the GAN; what is out of range raises ValueError."""

    image_shape: tuple[int, int, int] = (28, 28, 1)
    num_classes: int = 0  # 0: labels are not used; otherwise generator and discriminator see them
    latent_dim: int = 52
    num_codes: int = 32  # so many of the latents choose one of as many codes, see `with_code`
    width: int = 16  # channels at half resolution, in both networks; twice as many at a quarter
    loss: str = "non_saturating"
    hidden: int = 128  # units of the discriminator's dense layer before its logit; 0: no such layer
    batch_norm: bool = False  # in the discriminator; the generator always has it
    spectral_norm: bool = False  # of the discriminator's kernels
    penalty: str = "r1"
    penalty_weight: float = 1.0
    penalty_every: int = 8  # steps; the weight is that much larger in a step that has it
    learning_rate: float = 4e-3
    discriminator_rate: float = 1.0  # the discriminator's, in units of the learning rate
    beta1: float = 0.0
    beta2: float = 0.99
    decay: bool = True  # learning rates fall to zero, linearly over the second half
    average: float = 0.995  # of the generator's weights over steps; 0: no average
    batch_size: int = 64
    num_steps: int = 5000

    def __post_init__(self) -> None:
        for name, allowed in (("loss", LOSSES), ("penalty", PENALTIES)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}; allowed: {', '.join(allowed)}"
                )
        positive = ("latent_dim", "width", "penalty_every", "batch_size", "num_steps")
        for name in (*positive, "num_classes", "hidden", "penalty_weight", "learning_rate"):
            if getattr(self, name) < (least := int(name in positive)):
                raise ValueError(f"{name} = {getattr(self, name)}; allowed: {least} or more")
        if not 0 <= self.num_codes <= self.latent_dim:
            raise ValueError(
                f"num_codes = {self.num_codes} with latent_dim = {self.latent_dim}; allowed: 0 (none) to latent_dim"
            )
        if not 0 <= self.average < 1:
            raise ValueError(f"average = {self.average}; allowed: at least 0 and less than 1")
        if self.batch_norm and self.penalty != "none":
            raise ValueError(
                f"batch_norm with penalty {self.penalty!r}: the penalty is on the gradient of each logit by its own "
                'image, and BatchNorm mixes the images of a batch; use batch_norm=False or penalty="none"'
            )


def config_for(dataset: Dataset, preset: str | None = None, **changes: object) -> GANConfig:
    """Hyperparameters for a data set at a preset; `changes` override single fields."""
    steps = {
        "smoke": dict(num_steps=4, width=8, batch_size=32),
        "quick": {},
        "full": dict(width=32, num_steps=20_000),
    }
    return replace(
        GANConfig(),
        **{"image_shape": dataset.image_shape, **steps[presets.current(preset)], **changes},
    )


def with_code(latents: jax.Array, num_codes: int) -> jax.Array:
    """Latents `[N, latent_dim]`, the first `num_codes` of them replaced by a code.

    The largest of these is set to the typical length of the others, and the rest of these to
    zero: a choice among `num_codes` at equal chances. What a generator makes of normal latents is
    in one piece, since they are; digits are in ten. With codes there are as many pieces
    (Gurumurthy et al. 2017, Khayatkhoei et al. 2018).
    """
    if not num_codes:
        return latents
    length = max(1, latents.shape[1] - num_codes) ** 0.5
    code = jax.nn.one_hot(latents[:, :num_codes].argmax(1), num_codes, dtype=latents.dtype)
    return jnp.concatenate([length * code, latents[:, num_codes:]], axis=1)


class Generator(nnx.Module):
    """Latents, a code among them, to images: dense, then two transposed convolutions (kernel 4, stride 2), each
    doubling the size.
    """

    def __init__(self, config: GANConfig, *, rngs: nnx.Rngs):
        height, width, channels = config.image_shape
        if height % 4 or width % 4:
            raise ValueError(
                f"images of {height} x {width} pixels; both sides must be multiples of 4 (two doublings)"
            )
        self.num_codes = config.num_codes
        self.base = (height // 4, width // 4, 2 * config.width)
        self.dense = nnx.Linear(
            config.latent_dim + config.num_classes,
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

    def __call__(self, latents: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """Latents `[N, latent_dim]`, and labels `[N]` if it is conditional, to images `[N, H, W,
        C]` in [-1, 1].
        """
        num_classes = self.dense.in_features - latents.shape[1]
        latents = with_code(latents, self.num_codes)
        if num_classes:
            latents = jnp.concatenate([latents, jax.nn.one_hot(labels, num_classes)], axis=1)
        x = self.dense(latents).reshape(
            len(latents), *self.base
        )  # [N, H/4 * W/4 * 2w] -> [N, H/4, W/4, 2w]
        x = nnx.relu(self.norm1(x))
        x = nnx.relu(self.norm2(self.up1(x)))  # [N, H/2, W/2, w]
        return jnp.tanh(self.up2(x))  # [N, H, W, C]


class Discriminator(nnx.Module):
    """Images to one logit each: two convolutions of stride 2, a hidden dense layer, a dense layer.

    Without the hidden layer a logit is a sum over places of what small windows show, and nothing
    asks whether they fit together. A conditional one adds the product of its features with a
    vector of the label's (Miyato and Koyama 2018).
    """

    def __init__(self, config: GANConfig, *, rngs: nnx.Rngs):
        height, width, channels = config.image_shape
        kernel_init = normal_init if config.batch_norm else he_init
        conv = partial(Conv, kernel_size=(4, 4), strides=(2, 2), kernel_init=kernel_init, rngs=rngs)
        dense = partial(nnx.Linear, rngs=rngs)
        wrap = partial(SpectralNorm, rngs=rngs) if config.spectral_norm else lambda layer: layer
        size = (height // 4) * (width // 4) * 2 * config.width
        self.down1 = wrap(conv(channels, config.width))
        self.down2 = wrap(conv(config.width, 2 * config.width, use_bias=not config.batch_norm))
        self.norm2 = nnx.BatchNorm(2 * config.width, rngs=rngs) if config.batch_norm else None
        self.hidden = (
            wrap(dense(size, config.hidden, kernel_init=he_init)) if config.hidden else None
        )
        size = config.hidden or size
        self.dense = wrap(dense(size, 1, kernel_init=normal_init))
        self.classes = (
            nnx.Embed(config.num_classes, size, embedding_init=normal_init, rngs=rngs)
            if config.num_classes
            else None
        )

    def __call__(self, x: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """Images `[N, H, W, C]` in [-1, 1], and labels `[N]` if it is conditional, to logits
        `[N]`: positive means "real".
        """
        x = nnx.leaky_relu(self.down1(x), 0.2)  # [N, H/2, W/2, w]
        x = self.down2(x)  # [N, H/4, W/4, 2w]
        if self.norm2 is not None:
            x = self.norm2(x)
        x = nnx.leaky_relu(x, 0.2).reshape(len(x), -1)  # -> [N, H/4 * W/4 * 2w]
        if self.hidden is not None:
            x = nnx.leaky_relu(self.hidden(x), 0.2)  # [N, hidden]
        logits = self.dense(x)[:, 0]
        if self.classes is not None:
            logits += (self.classes(labels) * x).sum(1)
        return logits
