"""Chapter 4, effective fields: how much of its receptive field an output uses, by formula and by gradients."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import jax
import numpy as np

from imgbook.cnn_arithmetic import Layer, Pair, as_layers


def effective_width(layers: Sequence[Layer | tuple]) -> tuple[float, float]:
    """Standard deviation in pixels, (height, width), of the mean squared gradient around the centre of the field.

    Of a network whose weights are independent, of mean zero and of equal variance within a layer. Each layer then
    passes the mean square of the gradient on to its k taps in equal parts. So the variances of taps add up, to
    sum_l (k_l^2 - 1) d_l^2 J_l^2 / 12 (Luo et al. 2016, section 2, there for strides of 1). Errors as for `as_layers`.
    """
    variances = np.zeros(2)
    for axis, kernel, gap in _taps(layers):
        variances[axis] += (kernel**2 - 1) / 12 * gap**2
    return tuple(np.sqrt(variances).tolist())


def effective_profile(layers: Sequence[Layer | tuple]) -> tuple[np.ndarray, np.ndarray]:
    """The mean squared gradient that `effective_width` is about, along the rows and along the columns of the field.

    Arrays as long as the field, with sum 1: boxes of k taps, d J pixels apart, convolved with each other.
    """
    profiles = [np.ones(1), np.ones(1)]
    for axis, kernel, gap in _taps(layers):
        box = np.zeros((kernel - 1) * gap + 1)
        box[::gap] = 1 / kernel
        profiles[axis] = np.convolve(profiles[axis], box)
    return tuple(profiles)


def _taps(layers: Sequence[Layer | tuple]) -> Iterator[tuple[int, int, int]]:
    """Axis, size of the kernel, and how many pixels of the image its taps are apart, of each layer."""
    jumps = [1, 1]
    for layer, axis in product(as_layers(layers), (0, 1)):
        kernel, stride, _, dilation = layer.along(axis)
        yield axis, kernel, dilation * jumps[axis]
        jumps[axis] *= stride


def gradient_energy(
    function: Callable[[jax.Array], jax.Array],
    images: jax.Array,
    place: Pair,
    directions: jax.Array,
) -> jax.Array:
    """How strongly the output at `place` depends on each pixel, `[H, W]`: mean squared gradient over `images`.

    `function` turns `[N, H, W, C]` into `[N, h, w, B]`. Squares are summed over the channels of image and output, over
    the output's by chance: `directions` `[N, B]` are Gaussian numbers, and the square of the gradient along them has
    that sum as its mean.
    """

    def along(x: jax.Array) -> jax.Array:
        return (function(x)[:, place[0], place[1]] * directions).sum()

    return (jax.grad(along)(images) ** 2).sum(3).mean(0)


def spread(energy: np.ndarray) -> tuple[float, float]:
    """Standard deviation of `energy` `[H, W]`, 0 or more, along rows and columns around its own centre, in pixels.

    Raises:
        ValueError: the energy is not a plane, or nowhere above 0.
    """
    energy = np.asarray(energy, np.float64)
    if energy.ndim != 2 or not energy.sum() > 0:
        raise ValueError(f"energy {energy.shape}, sum {energy.sum()}; allowed: [H, W], above 0")
    widths = []
    for axis in (1, 0):
        share, at = energy.sum(axis) / energy.sum(), np.arange(energy.shape[1 - axis])
        widths.append(float(np.sqrt(share @ (at - share @ at) ** 2)))
    return tuple(widths)
