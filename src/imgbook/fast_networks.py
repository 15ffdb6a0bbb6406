"""Chapter 4, the networks of the fast recipe and their hyperparameters: a VGG-like network that starts well (whitening,
Dirac kernels), a residual one, and the article's with BatchNorm.

The first is in the spirit of Jordan (2024), "94% on CIFAR-10 in 3.29 Seconds on a Single GPU". All take standardised
images `[N, H, W, C]` to logits `[N, K]`.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from imgbook import cnn
from imgbook.fast_start import dirac, whitening_kernel
from imgbook.layers import Conv, conv, max_pool, window

FLIPS = ("none", "random", "alternating")
OPTIMIZERS = ("nesterov", "adam", "adam_constant")


@dataclass(frozen=True)
class FastConfig:
    """Hyperparameters of the recipe; what is out of range raises ValueError."""

    image_shape: tuple[int, int, int] = (32, 32, 3)
    num_classes: int = 10
    network: str = "fast"  # a name in NETWORKS
    widths: tuple[int, ...] = (32, 64, 128)  # channels at a half, a quarter, ... of the resolution
    stride: int = 2  # of the first layer, whose kernel has a side of one more; published: 1
    whiten: bool = True  # the first layer's kernel is computed from images, not trained
    dirac: bool = True  # the other convolutions begin by repeating their inputs
    norm: bool = True  # BatchNorm, without scale
    logit_scale: float = 1 / 9  # small logits at the start
    hidden: int = (
        128  # the article's network: units of its dense layer, and dropout before the last
    )
    dropout: float = 0.5
    flip: str = "alternating"  # which training images are mirrored, see `augment`
    shift: int = 2  # pixels by which they are moved at most
    cutout: int = 0  # side in pixels of the square that is blanked out
    label_smoothing: float = 0.2
    optimizer: str = "nesterov"  # or Adam: under a one-cycle schedule, or at a constant rate
    learning_rate: float = 0.25  # the peak of its schedule
    momentum: float = 0.85
    weight_decay: float = 1e-3  # of kernels
    bias_rate: float = 64.0  # of biases, in units of the learning rate
    batch_size: int = 128
    num_steps: int = 700

    def __post_init__(self) -> None:
        for name, allowed in (
            ("network", NETWORKS),
            ("flip", FLIPS),
            ("optimizer", OPTIMIZERS),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}; allowed: {', '.join(allowed)}"
                )
        if self.stride not in (1, 2):
            raise ValueError(f"stride = {self.stride}; allowed: 1, 2")
        positive = ("num_classes", "batch_size", "num_steps", "learning_rate", "logit_scale")
        for name in (*positive, "shift", "cutout", "weight_decay", "bias_rate"):
            value = getattr(self, name)
            if value < 0 or (name in positive and value == 0):
                raise ValueError(
                    f"{name} = {value}; allowed: more than 0"
                    if name in positive
                    else f"{name} = {value}; allowed: 0 or more"
                )
        for name in ("label_smoothing", "momentum", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}; allowed: at least 0, below 1")
        if not self.widths or min(self.widths) < 1:
            raise ValueError(
                f"widths = {self.widths}; allowed: one or more numbers, each 1 or more"
            )


class Frozen(nnx.Variable):
    """Numbers that belong to a network and are not trained."""


# --- networks ---------------------------------------------------------------------------------------------------


class FirstLayer(nnx.Module):
    """A convolution to as many channels as a patch has numbers, and as many again of the other sign.

    Its kernel is random and trained, or whitens the patches of `images` and stays (random too, if there are no images
    yet, because stored weights are to be put in).
    """

    def __init__(self, config: FastConfig, images: np.ndarray | None, *, rngs: nnx.Rngs):
        k, channels = config.stride + 1, config.image_shape[-1]
        half = nnx.initializers.he_normal()(rngs.params(), (k, k, channels, k * k * channels))
        if config.whiten and images is not None:
            half = jnp.asarray(whitening_kernel(images, k))
        kind = Frozen if config.whiten else nnx.Param
        self.kernel = kind(jnp.concatenate([half, -half], axis=3))
        self.stride = config.stride

    def __call__(self, x: jax.Array) -> jax.Array:
        """`[N, H, W, C]` to `[N, h, w, 2kkC]`, without padding."""
        kernel = self.kernel[...]
        return conv(x, kernel, window(x.shape[1:3], kernel.shape[:2], self.stride, "VALID"))


class Block(nnx.Module):
    """Two 3 x 3 convolutions without bias, each with BatchNorm and GELU; `halves` pools after the first.

    Pooling comes before the norm, which then has a quarter of the numbers to look at.
    """

    def __init__(
        self, channels: int, width: int, halves: bool, config: FastConfig, *, rngs: nnx.Rngs
    ):
        def kernel(a: int) -> nnx.Param:
            made = nnx.initializers.he_uniform()(rngs.params(), (3, 3, a, width))
            return nnx.Param(dirac(made) if config.dirac else made)

        self.kernel1, self.kernel2 = kernel(channels), kernel(width)
        self.norm1, self.norm2 = (_norm(width, config, rngs) for _ in range(2))
        self.halves = halves

    def __call__(self, x: jax.Array) -> jax.Array:
        """`[N, H, W, channels]` to `[N, H // 2, W // 2, width]`, or to `[N, H, W, width]`."""
        x = _conv3(x, self.kernel1[...])
        if self.halves:
            x = max_pool(x, (2, 2), strides=(2, 2))
        x = nnx.gelu(self.norm1(x))
        return nnx.gelu(self.norm2(_conv3(x, self.kernel2[...])))


def _conv3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return conv(x, kernel, window(x.shape[1:3], (3, 3), 1, "SAME"))


def _norm(width: int, config: FastConfig, rngs: nnx.Rngs) -> nnx.Module:
    if config.norm:
        return nnx.BatchNorm(width, momentum=0.9, use_scale=False, rngs=rngs)
    return Bias(width)


class Bias(nnx.Module):
    """Adds a number to each channel: what is left of a BatchNorm without the norm."""

    def __init__(self, channels: int):
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.bias[...]


class FastCNN(nnx.Module):
    """Whitening, blocks that halve the size, the largest number of each channel, a dense layer; small logits."""

    def __init__(self, config: FastConfig, images: np.ndarray | None = None, *, rngs: nnx.Rngs):
        height, width, _ = self.image_shape = tuple(config.image_shape)
        if min(height, width) - 1 < 2 ** len(config.widths):
            raise ValueError(
                f"images of {config.image_shape[:2]} pixels are too small for {len(config.widths)} "
                "blocks; give fewer widths or larger images"
            )
        self.first = FirstLayer(config, images, rngs=rngs)
        channels, blocks = self.first.kernel.shape[-1], []
        for i, features in enumerate(config.widths):
            halves = i > 0 or config.stride == 1  # else the first layer has halved the size
            blocks.append(Block(channels, features, halves, config, rngs=rngs))
            channels = features
        self.blocks = nnx.Sequential(*blocks)
        self.head = nnx.Linear(channels, config.num_classes, use_bias=False, rngs=rngs)
        self.logit_scale = config.logit_scale

    def features(self, x: jax.Array) -> jax.Array:
        """The penultimate layer `[N, widths[-1]]`."""
        cnn.check_images(x, self.image_shape)
        return self.blocks(nnx.gelu(self.first(x))).max((1, 2))  # [N, h, w, c] -> [N, c]

    def __call__(self, x: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
        """Logits `[N, num_classes]`; the key is not used."""
        return self.logit_scale * self.head(self.features(x))


class Residual(nnx.Module):
    """x + f(x), f two 3 x 3 convolutions with BatchNorm; the first halves the size if the width grows (He et al.
    2016).
    """

    def __init__(self, channels: int, width: int, *, rngs: nnx.Rngs):
        stride = 1 if channels == width else 2
        self.conv1 = Conv(channels, width, (3, 3), strides=stride, use_bias=False, rngs=rngs)
        self.conv2 = Conv(width, width, (3, 3), use_bias=False, rngs=rngs)
        self.norm1 = nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
        # At zero a block begins as the identity (Goyal et al. 2017, section 5.1).
        self.norm2 = nnx.BatchNorm(
            width, momentum=0.9, scale_init=nnx.initializers.zeros_init(), rngs=rngs
        )
        self.shortcut = (
            None
            if stride == 1
            else Conv(channels, width, (1, 1), strides=2, use_bias=False, rngs=rngs)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """`[N, H, W, channels]` to the same, or to `[N, H / 2, W / 2, width]`, rounded up."""
        y = self.norm2(self.conv2(nnx.relu(self.norm1(self.conv1(x)))))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    """A convolution of stride 2, two residual blocks for each width, the mean over places, a dense layer."""

    def __init__(self, config: FastConfig, images: np.ndarray | None = None, *, rngs: nnx.Rngs):
        channels, blocks = config.widths[0], []
        self.image_shape = tuple(config.image_shape)
        self.first = Conv(self.image_shape[-1], channels, (3, 3), strides=2, rngs=rngs)
        for width in config.widths:
            blocks += [
                Residual(channels, width, rngs=rngs),
                Residual(width, width, rngs=rngs),
            ]
            channels = width
        self.blocks = nnx.Sequential(*blocks)
        self.head = nnx.Linear(channels, config.num_classes, rngs=rngs)
        self.logit_scale = config.logit_scale

    def features(self, x: jax.Array) -> jax.Array:
        """The penultimate layer `[N, widths[-1]]`."""
        cnn.check_images(x, self.image_shape)
        return self.blocks(nnx.relu(self.first(x))).mean((1, 2))  # [N, h, w, c] -> [N, c]

    def __call__(self, x: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
        """Logits `[N, num_classes]`; the key is not used."""
        return self.logit_scale * self.head(self.features(x))


class ArticleCNN(cnn.CNN):
    """The article's network."""

    def __init__(self, config: FastConfig, images: np.ndarray | None = None, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)


class NormedCNN(ArticleCNN):
    """The article's network with BatchNorm after each convolution."""

    def __init__(self, config: FastConfig, images: np.ndarray | None = None, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        norms = (nnx.BatchNorm(width, momentum=0.9, rngs=rngs) for width in config.widths)
        self.norms = nnx.Sequential(*norms)

    def features(self, x: jax.Array) -> jax.Array:
        """The penultimate layer `[N, hidden]`."""
        cnn.check_images(x, self.image_shape)
        for layer, norm in zip(self.convs.layers, self.norms.layers, strict=True):
            x = nnx.relu(norm(max_pool(layer(x), (2, 2), strides=(2, 2))))
        x = x.reshape(len(x), -1)  # [N, h, w, c] -> [N, h * w * c]
        return nnx.relu(self.dense(x))


NETWORKS = {
    "fast": FastCNN,
    "residual": ResNet,
    "article": ArticleCNN,
    "article_norm": NormedCNN,
}
