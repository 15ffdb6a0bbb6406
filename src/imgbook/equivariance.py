"""What a convolution is: a matrix with shared weights, and a function that moves its output when its input moves.

A layer f of stride s is *equivariant* if f(T_sd x) = T_d f(x), where T_d moves an image by d pixels; a classifier is
*invariant* if f(T_d x) = f(x). On a torus (circular shifts and padding) a convolution is equivariant for every d, and
on a plane away from the border; other shifts, and padding with zeros, break it (Azulay and Weiss 2019; Zhang 2019).
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imgbook import layers
from imgbook.convolution import Window

Array = np.ndarray | jax.Array
Pair = tuple[int, int]
MODES = ("wrap", "zeros", "edge")
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))  # right, left, down, up
MAX_ENTRIES = 20_000_000  # of a matrix that is written out


# --- moving ---------------------------------------------------------------------------------------------------


def shift(images: Array, dy: int, dx: int, mode: str = "wrap") -> Array:
    """Images `[..., H, W, C]` moved down by `dy` and right by `dx` pixels; shape, dtype and kind of array stay.

    mode: what comes in where the image has moved away: "wrap" what went out on the other side, "zeros", or "edge" the
    nearest pixel.

    Raises:
        ValueError: another mode, or fewer than three axes. TypeError: shifts that are not whole numbers.
    """
    if mode not in MODES:
        raise ValueError(f"mode {mode!r}; allowed: {', '.join(MODES)}")
    if images.ndim < 3:
        raise ValueError(f"images of shape {images.shape}; expected [..., H, W, C]")
    if not all(isinstance(d, int | np.integer) for d in (dy, dx)):
        raise TypeError(f"shift ({dy!r}, {dx!r}); expected whole numbers of pixels")
    height, width = images.shape[-3:-1]
    rows, columns = np.arange(height) - dy, np.arange(width) - dx  # where each pixel comes from
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    if mode == "wrap":
        rows, columns = rows % height, columns % width
    else:
        rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    moved = images[..., rows, :, :][..., columns, :]
    return moved * inside[..., None].astype(moved.dtype) if mode == "zeros" else moved


@partial(jax.jit, static_argnames="stride")
def conv_circular(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Cross-correlation on a torus: `x` `[N, H, W, A]`, `kernel` `[kh, kw, A, B]` to `[N, H / s, W / s, B]`.

    Output (i, j) has its kernel centred at pixel (s i, s j); what hangs over one side sees the other side.

    Raises:
        ValueError: sides that the stride does not divide (no grid of outputs closes around the torus), a kernel
            larger than the image, or shapes that do not fit.
    """
    image, sizes = x.shape[1:3], kernel.shape[:2]
    if stride < 1 or any(n % stride for n in image):
        raise ValueError(f"stride {stride}, image {image}; the stride must divide both sides")
    if any(k > n for k, n in zip(sizes, image, strict=True)):
        raise ValueError(f"kernel {sizes} is larger than image {image}")
    pad = [((k - 1) // 2, k // 2) for k in sizes]
    x = jnp.pad(x, ((0, 0), *pad, (0, 0)), mode="wrap")
    return layers.conv(x, kernel, layers.window(x.shape[1:3], sizes, stride, "VALID"))


def equivariance_error(
    function: Callable[[Array], Array],
    images: Array,
    shifts: Sequence[Pair],
    stride: int = 1,
    mode: str = "wrap",
    margin: int = 0,
) -> np.ndarray:
    """||f(T_d x) - T_(d / s) f(x)|| / ||f(x)|| over all images together, one number in [0, ...) for each shift.

    function: images `[N, H, W, A]` to `[N, h, w, B]`, each output step `stride` pixels. shifts: (dy, dx) in pixels.
    Where d / s is no whole number there is no T_(d / s): the best of the whole shifts around it is taken, so that the
    error is the least that any reading of the claim leaves. mode: as in `shift`, for images and outputs. margin:
    outputs so near to the border, in output pixels, are left out above and below the fraction line.

    Raises:
        ValueError: a stride below 1, a margin that leaves nothing, outputs that are all zero or no images.
    """
    if stride < 1 or margin < 0:
        raise ValueError(f"stride {stride}, margin {margin}; allowed: 1 or more, 0 or more")
    still = np.asarray(function(images), np.float64)
    if still.ndim != 4 or min(still.shape[1:3]) <= 2 * margin:
        raise ValueError(
            f"the function gives {still.shape}; expected [N, h, w, B], h and w more than 2 x margin = {2 * margin}"
        )
    inner = np.s_[:, margin : still.shape[1] - margin, margin : still.shape[2] - margin]
    scale = np.linalg.norm(still[inner])
    if scale == 0:
        raise ValueError("the function gives zeros for these images; there is nothing to compare")

    def error(dy: int, dx: int) -> float:
        moved = np.asarray(function(shift(images, dy, dx, mode)), np.float64)
        around = [sorted({d // stride, -(-d // stride)}) for d in (dy, dx)]
        expected = (shift(still, i, j, mode) for i in around[0] for j in around[1])
        return min(np.linalg.norm((moved - e)[inner]) for e in expected) / scale

    return np.array([error(dy, dx) for dy, dx in shifts])


class Invariance(NamedTuple):
    """How a classifier's answers survive shifts, `[distances, directions]` each, shares and probabilities in [0, 1]."""

    kept: np.ndarray  # share of images whose most probable class stays the same
    change: (
        np.ndarray
    )  # mean change, in absolute value, of the probability of the class predicted at first


def invariance(
    logits_of: Callable[[Array], Array],
    images: Array,
    distances: Sequence[int],
    directions: Sequence[Pair] = DIRECTIONS,
    mode: str = "edge",
) -> Invariance:
    """Both measures of Azulay and Weiss (2019, section 2) for shifts by each of `distances` in each direction.

    logits_of: images `[M, H, W, C]` to logits `[M, K]`; called once, with all moved images, so that it is compiled
    once. images: `[N, H, W, C]`. mode: as in `shift`.

    Raises:
        ValueError: no image, distance or direction, or logits of another shape.
    """
    if not (len(images) and len(distances) and len(directions)):
        raise ValueError(
            f"{len(images)} images, {len(distances)} distances, {len(directions)} directions; allowed: 1 or more each"
        )
    steps = [(d * dy, d * dx) for d in distances for dy, dx in directions]
    moved = np.concatenate([np.asarray(shift(images, *s, mode)) for s in ((0, 0), *steps)])
    logits = np.asarray(logits_of(moved), np.float64)
    if logits.ndim != 2 or len(logits) != len(moved):
        raise ValueError(f"logits {logits.shape} of {len(moved)} images; expected [N, K]")
    logits = logits.reshape(1 + len(steps), len(images), -1)  # [S N, K] -> [S, N, K]
    guess = logits[0].argmax(-1)
    kept = (logits[1:].argmax(-1) == guess).mean(1)
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    believed = probabilities[:, np.arange(len(images)), guess]  # [S, N]
    change = np.abs(believed[1:] - believed[0]).mean(1)
    shape = len(distances), len(directions)
    return Invariance(kept.reshape(shape), change.reshape(shape))  # [S] -> [distances, directions]


# --- as a matrix ----------------------------------------------------------------------------------------------


def matrix_of(function: Callable[[Array], Array], image_shape: Sequence[int]) -> np.ndarray:
    """The matrix `[out, in]` of a linear function of images `[N, *image_shape]`: column n is its value at unit image n.

    Then `matrix @ x.ravel()` is `function(x[None]).ravel()` for every image x.

    Raises:
        ValueError: the function of a black image is not zero (it has a bias and no matrix), or the matrix has more
            than `MAX_ENTRIES` entries.
    """
    image_shape, inputs = tuple(image_shape), prod(image_shape)
    zero = np.asarray(function(np.zeros((1, *image_shape), np.float32)))
    if inputs * zero.size > MAX_ENTRIES:
        raise ValueError(
            f"a matrix of {zero.size} x {inputs} entries; allowed: {MAX_ENTRIES:,} in all, so take a smaller image"
        )
    if zero.any():
        raise ValueError(
            "the function is not 0 at the image 0: it is not linear; leave the bias out"
        )
    units = np.eye(inputs, dtype=np.float32).reshape(-1, *image_shape)  # [in, H, W, A]
    return np.asarray(function(units)).reshape(inputs, -1).T  # [in, h, w, B] -> [out, in]


def conv_matrix(kernel: Array, window: Window) -> np.ndarray:
    """The matrix `[h w B, H W A]` of `layers.conv` with `kernel` `[kh, kw, A, B]`; errors as for `matrix_of`.

    For A = B = 1 it consists of blocks, and each block, as the blocks themselves, repeats along its diagonals (doubly
    block Toeplitz, at stride 1). Its transpose is the matrix of `layers.conv_transpose`.
    """
    kernel = jnp.asarray(kernel, jnp.float32)
    image = (*window.image, kernel.shape[2])
    return matrix_of(jax.jit(lambda x: layers.conv(x, kernel, window)), image)


def shared_weights(window: Window) -> np.ndarray:
    """Which weight stands where in `conv_matrix` of one channel: int `[h w, H W]`, 0 for none, 1 to kh kw in reading
    order of the kernel.
    """
    numbers = np.arange(1, prod(window.kernel) + 1).reshape(*window.kernel, 1, 1)
    return np.rint(conv_matrix(numbers, window)).astype(int)


class Counts(NamedTuple):
    """Of the matrix of a convolution: all entries (the weights of a dense layer), those not zero by structure, and the
    weights that are different ones.
    """

    entries: int
    nonzero: int
    weights: int


def matrix_counts(window: Window, a: int, b: int) -> Counts:
    """The counts of `conv_matrix` for `a` channels in and `b` out, without writing the matrix out; biases left out."""
    inside = 1
    for n, k, s, (low, _), m in zip(*window, window.output, strict=True):
        place = np.arange(m)[:, None] * s - low + np.arange(k)  # [outputs, kernel], along one axis
        inside *= int(((place >= 0) & (place < n)).sum())
    entries = prod(window.output) * b * prod(window.image) * a
    return Counts(entries, inside * a * b, prod(window.kernel) * a * b)
