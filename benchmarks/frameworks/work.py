"""The work that all frameworks are given, as NumPy: networks, first weights, data, noise, and their cost in FLOPs.

The networks are those of chapters 3, 4 and 5 as they were when the benchmark was first recorded, and stay so: a
benchmark must not change with the chapters. Kernels are `[height, width, in, out]`, images `[N, H, W, C]`.

- cnn: 3x3 VALID convolutions to 32, 64 and 128 channels, each with ReLU and 2x2 max pooling; dense 128, ReLU, dropout
  1/2, dense 10; mean cross-entropy; Adam 1e-3.
- gan: generator dense 100 -> 7x7x128 without bias, BatchNorm, ReLU, transposed convolution to 64 without bias,
  BatchNorm, ReLU, transposed convolution to 1, tanh; discriminator convolution to 64, LeakyReLU 0.2, convolution to 128
  without bias, BatchNorm, LeakyReLU 0.2, dense 1; kernels 4x4, stride 2, SAME. One turn of the discriminator (real and
  generated batches apart), then one of the generator against the updated discriminator, the same latents in both;
  non-saturating losses; Adam 2e-4, beta1 1/2.
- vae: 784-500-20-500-784, ReLU, Gaussian posterior, Bernoulli pixels, binarised at random at every visit; Adam 1e-3.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

MODELS = ("cnn", "gan", "vae")
IMAGES = {"cnn": "cifar10", "gan": "mnist", "vae": "mnist"}
BATCH_SIZES = {"cnn": 64, "gan": 64, "vae": 128}
LEARNING_RATES = {"cnn": 1e-3, "gan": 2e-4, "vae": 1e-3}
BETA1 = {"cnn": 0.9, "gan": 0.5, "vae": 0.9}
LATENTS = {"gan": 100, "vae": 20}
BETA2, EPSILON = 0.999, 1e-8  # of Adam
NORM_MOMENTUM, NORM_EPSILON = 0.9, 1e-5  # of BatchNorm: the part of the running average that stays
SLOPE = 0.2  # of LeakyReLU

SHAPES = {
    "cnn": {
        "conv1.kernel": (3, 3, 3, 32), "conv1.bias": (32,),
        "conv2.kernel": (3, 3, 32, 64), "conv2.bias": (64,),
        "conv3.kernel": (3, 3, 64, 128), "conv3.bias": (128,),
        "dense.kernel": (512, 128), "dense.bias": (128,),
        "head.kernel": (128, 10), "head.bias": (10,),
    },
    "gan": {
        "g.dense.kernel": (100, 6272), "g.norm1.scale": (128,), "g.norm1.bias": (128,),
        "g.up1.kernel": (4, 4, 128, 64), "g.norm2.scale": (64,), "g.norm2.bias": (64,),
        "g.up2.kernel": (4, 4, 64, 1), "g.up2.bias": (1,),
        "d.down1.kernel": (4, 4, 1, 64), "d.down1.bias": (64,),
        "d.down2.kernel": (4, 4, 64, 128), "d.norm2.scale": (128,), "d.norm2.bias": (128,),
        "d.dense.kernel": (6272, 1), "d.dense.bias": (1,),
    },
    "vae": {
        "hidden.kernel": (784, 500), "hidden.bias": (500,), "mean.kernel": (500, 20), "mean.bias": (20,),
        "logvar.kernel": (500, 20), "logvar.bias": (20,), "up.kernel": (20, 500), "up.bias": (500,),
        "logits.kernel": (500, 784), "logits.bias": (784,),
    },
}  # fmt: skip


def weights(model: str) -> dict[str, np.ndarray]:
    """The same first weights for every framework: He's scale, for the GAN N(0, 0.02)."""
    rng = np.random.default_rng(0)
    made = {}
    for name, shape in SHAPES[model].items():
        if name.endswith("kernel"):
            scale = 0.02 if model == "gan" else np.sqrt(2 / np.prod(shape[:-1]))
            made[name] = (scale * rng.standard_normal(shape)).astype(np.float32)
        else:
            made[name] = np.full(shape, float(name.endswith("scale")), np.float32)
    return made


@lru_cache(maxsize=4)
def _epoch(n: int, batch_size: int, number: int) -> np.ndarray:
    order = np.random.default_rng(number).permutation(n)[: n - n % batch_size]
    return order.reshape(-1, batch_size).astype(np.int32)


def rows(n: int, batch_size: int, step: int) -> np.ndarray:
    """Indices int32 `[batch_size]` of the images of a step: a new order each epoch, the same for every framework."""
    epoch, place = divmod(step, n // batch_size)
    return _epoch(n, batch_size, epoch)[place]


def noise(model: str, batch_size: int, seed: int) -> dict[str, np.ndarray]:
    """The random numbers of one step, given from outside where frameworks are compared: dropout's mask, latents, ..."""
    rng = np.random.default_rng(seed)
    if model == "cnn":
        return {"keep": (rng.random((batch_size, 128)) < 0.5).astype(np.float32)}
    drawn = {"latents": rng.standard_normal((batch_size, LATENTS[model])).astype(np.float32)}
    if model == "vae":
        drawn["levels"] = rng.random((batch_size, 784)).astype(np.float32)
    return drawn


class Layer(NamedTuple):
    """A layer that multiplies: multiply-adds of one image forward, and how often a training step does as much.

    A forward pass, a gradient by the weights and one by the input are as much each.
    """

    words: str
    multiply_adds: int
    passes: int


LAYERS = {
    "cnn": (
        Layer(
            "30 x 30 x 32 outputs of 3 x 3 x 3", 30 * 30 * 32 * 27, 2
        ),  # no gradient by the image
        Layer("13 x 13 x 64 outputs of 3 x 3 x 32", 13 * 13 * 64 * 288, 3),
        Layer("4 x 4 x 128 outputs of 3 x 3 x 64", 4 * 4 * 128 * 576, 3),
        Layer("dense 512 to 128", 512 * 128, 3),
        Layer("dense 128 to 10", 128 * 10, 3),
    ),
    "gan": (
        Layer("generator: dense 100 to 6272", 100 * 6272, 2),
        Layer("generator: 7 x 7 x 128 inputs to 4 x 4 x 64", 49 * 128 * 16 * 64, 3),
        Layer("generator: 14 x 14 x 64 inputs to 4 x 4 x 1", 196 * 64 * 16, 3),
        # real and fake each forward and by the weights; then the generator's turn, forward and by the input
        Layer("discriminator: 14 x 14 x 64 outputs of 4 x 4 x 1", 196 * 64 * 16, 2 + 2 + 2),
        Layer("discriminator: 7 x 7 x 128 outputs of 4 x 4 x 64", 49 * 128 * 16 * 64, 3 + 3 + 2),
        Layer("discriminator: dense 6272 to 1", 6272, 3 + 3 + 2),
    ),
    "vae": (
        Layer("dense 784 to 500", 784 * 500, 2),
        Layer("dense 500 to 20, twice", 2 * 500 * 20, 3),
        Layer("dense 20 to 500", 20 * 500, 3),
        Layer("dense 500 to 784", 500 * 784, 3),
    ),
}


def flops(model: str) -> int:
    """Floating-point operations of one image in one training step: two for each multiply-add, products alone."""
    return sum(2 * layer.multiply_adds * layer.passes for layer in LAYERS[model])
