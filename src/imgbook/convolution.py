"""Convolution and its two companions on images `[N, H, W, C]`, several times faster on a CPU than XLA's.

A convolution C_k, a transposed convolution and the gradient by the kernel are the three partial derivatives of one
trilinear form,

    T(k, x, y) = <C_k x, y> = <x, C_k' y> = <k, G(x, y)>,

with C_k' the adjoint of C_k, which is the transposed convolution (Dumoulin and Visin 2016, chapter 4), and G(x, y) the
gradient of T by the kernel. So each derivative of one of the three is again one of the three, to any order: what a
gradient penalty differentiates twice is as fast as what a plain loss differentiates once. Derivatives are reverse
mode only: `jax.jvp` and `jax.hessian` raise TypeError (nested `jax.jacrev` does not).

On a CPU all three are written as one matrix product with *patches*, the pixels under the kernel at each position:
XLA's own convolution is slow there for few channels, for a dilated input, and, inside a loop, by a factor of ten to a
hundred for the gradient by the kernel (jax-ml/jax issue 12868). On other platforms XLA's convolutions are used.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

NHWC = ("NHWC", "HWIO", "NHWC")
Pair = tuple[int, int]
CACHED = 16e6  # bytes of patches up to which a product is done at once: more do not stay in the cache of a CPU
IN_TWO = (
    4e6  # bytes of paint from which on a transposed convolution is done in two halves side by side
)


class Window(NamedTuple):
    """How a kernel moves over an image: all sizes of one convolution, (height, width) each."""

    image: Pair
    kernel: Pair
    strides: Pair
    padding: tuple[Pair, Pair]  # zeros before and after, of rows and of columns

    @property
    def output(self) -> Pair:
        """Positions of the kernel: floor((image + padding - kernel) / stride) + 1."""
        return tuple((n + sum(pad) - k) // s + 1 for n, k, s, pad in zip(*self, strict=True))


def window(
    image: Sequence[int],
    kernel: Sequence[int],
    strides: int | Sequence[int] = 1,
    padding: str | Sequence[Pair] = "SAME",
) -> Window:
    """The window of a convolution; `padding`: SAME (output = image / stride, rounded up), VALID (none) or explicit.

    Raises:
        ValueError: another or a negative padding, a stride or size below 1, or a kernel larger than the padded image.
    """
    image, kernel = tuple(image), tuple(kernel)
    strides = (strides,) * 2 if np.ndim(strides) == 0 else tuple(strides)
    if any(len(sizes) != 2 or min(sizes) < 1 for sizes in (image, kernel, strides)):
        raise ValueError(
            f"image {image}, kernel {kernel}, strides {strides}; allowed: (height, width), 1 or more"
        )
    if isinstance(padding, str) and padding in ("SAME", "VALID"):
        padding = lax.padtype_to_pads(image, kernel, strides, padding)
    if np.shape(padding) != (2, 2) or np.min(padding) < 0:
        raise ValueError(
            f"padding {padding!r}; allowed: SAME, VALID or ((top, bottom), (left, right)), 0 or more"
        )
    padding = tuple((int(low), int(high)) for low, high in padding)
    result = Window(image, kernel, strides, padding)
    if min(result.output) < 1:
        raise ValueError(f"kernel {kernel} is larger than image {image} with padding {padding}")
    return result


# --- the three derivatives of one form ------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """C_k x, cross-correlation: `x` `[N, *window.image, A]`, `kernel` `[kh, kw, A, B]` to `[N, *window.output, B]`.

    Other shapes, or two types, raise ValueError, here and in the two functions below.
    """
    _check(window, len(x), *kernel.shape[-2:], x=x, kernel=kernel)
    return by_platform(conv_patches, conv_xla, window, x, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_transpose(y: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """C_k' y, the adjoint of `conv`: `y` `[N, *window.output, B]`, same `kernel`, to `[N, *window.image, A]`."""
    _check(window, len(y), *kernel.shape[-2:], y=y, kernel=kernel)
    return by_platform(conv_transpose_patches, conv_transpose_xla, window, y, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_kernel(x: jax.Array, y: jax.Array, window: Window) -> jax.Array:
    """G(x, y), the gradient of <C_k x, y> by k: `x` and `y` as input and output of `conv`, to `[kh, kw, A, B]`."""
    _check(window, len(x), x.shape[-1], y.shape[-1], x=x, y=y)
    return by_platform(conv_kernel_patches, conv_kernel_xla, window, x, y)


def _check(window: Window, n: int, a: int, b: int, **arrays: jax.Array) -> None:
    image, output = (n, *window.image, a), (n, *window.output, b)
    allowed = {"x": image, "y": output, "kernel": (*window.kernel, a, b)}
    given = {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
    types = {array.dtype for array in arrays.values()}
    if len(types) > 1 or any(shape != allowed[name] for name, (shape, _) in given.items()):
        raise ValueError(f"{given} do not fit {window}; allowed: one type, and shapes {allowed}")


def by_platform(cpu: Callable, default: Callable, window: Window, *arrays: jax.Array) -> jax.Array:
    """`cpu(*arrays, window)` on a CPU, `default` elsewhere; chosen when the program is lowered for a device."""
    return lax.platform_dependent(
        *arrays, cpu=partial(cpu, window=window), default=partial(default, window=window)
    )


def _saved(function):
    """The forward rule: the value, and the two arguments for the backward rule."""
    return lambda a, b, window: (function(a, b, window), (a, b))


# Each is linear in both arguments; c is the cotangent.
conv.defvjp(
    _saved(conv),
    lambda window, xk, c: (conv_transpose(c, xk[1], window), conv_kernel(xk[0], c, window)),
)
conv_transpose.defvjp(
    _saved(conv_transpose),
    lambda window, yk, c: (conv(c, yk[1], window), conv_kernel(c, yk[0], window)),
)
conv_kernel.defvjp(
    _saved(conv_kernel),
    lambda window, xy, c: (conv_transpose(xy[1], c, window), conv(xy[0], c, window)),
)


def conv_xla(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, window.strides, window.padding, dimension_numbers=NHWC
    )


def conv_transpose_xla(y: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    x = jax.ShapeDtypeStruct((len(y), *window.image, kernel.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: conv_xla(x, kernel, window), x)(y)[0]


def conv_kernel_xla(x: jax.Array, y: jax.Array, window: Window) -> jax.Array:
    kernel = jax.ShapeDtypeStruct((*window.kernel, x.shape[-1], y.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda k: conv_xla(x, k, window), kernel)(y)[0]


def views(x: jax.Array, window: Window, outside: float = 0.0) -> list[jax.Array]:
    """For each place (i, j) in the window, the pixels that stand there: kh * kw arrays `[N, *window.output, A]`."""
    (height, width), (kh, kw), (sh, sw) = window.output, window.kernel, window.strides
    x = jnp.pad(x, ((0, 0), *window.padding, (0, 0)), constant_values=outside)
    rows, columns = (height - 1) * sh + 1, (width - 1) * sw + 1  # from the first pixel to the last
    return [x[:, i : i + rows : sh, j : j + columns : sw] for i in range(kh) for j in range(kw)]


def patches(x: jax.Array, window: Window) -> jax.Array:
    """All pixels under the kernel at each position, as rows of a matrix: `[N h w, kh kw A]`."""
    p = jnp.concatenate(views(x, window), axis=3)  # [N, h, w, kh kw A]
    return p.reshape(-1, p.shape[-1])


def patches_bytes(n: int, window: Window, channels: int, itemsize: int) -> int:
    """What the patches of `n` images need."""
    return n * prod(window.output) * prod(window.kernel) * channels * itemsize


def parts(n: int, need: int) -> int:
    """Into how many equal parts to divide `n` images, so that the patches of one part stay in the cache."""
    return next((d for d in range(1, n + 1) if n % d == 0 and need <= d * CACHED), max(n, 1))


def divided(array: jax.Array, parts: int) -> jax.Array:
    """`[N, ...]` to `[parts, N / parts, ...]`: every parts-th image in one part.

    Not parts of neighbours: a batch that is split over devices, neighbours on the same one, stays split in every part.
    """
    array = array.reshape(len(array) // parts, parts, *array.shape[1:])  # [N / parts, parts, ...]
    return jnp.moveaxis(array, 1, 0)


def united(array: jax.Array) -> jax.Array:
    """The inverse of `divided`."""
    array = jnp.moveaxis(array, 0, 1)
    return array.reshape(-1, *array.shape[2:])  # [N / parts, parts, ...] -> [N, ...]


def conv_patches(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    a, b = kernel.shape[2:]
    flat = kernel.reshape(-1, b)  # [kh, kw, A, B] -> [kh kw A, B]
    m = parts(len(x), patches_bytes(len(x), window, a, x.dtype.itemsize))

    def product(x: jax.Array) -> jax.Array:
        y = patches(x, window) @ flat  # [N h w, B]
        return y.reshape(len(x), *window.output, b)

    return product(x) if m == 1 else united(lax.map(product, divided(x, m)))


def conv_kernel_patches(x: jax.Array, y: jax.Array, window: Window) -> jax.Array:
    a, b = x.shape[-1], y.shape[-1]

    def gradient(x: jax.Array, y: jax.Array) -> jax.Array:
        return patches(x, window).T @ y.reshape(-1, b)  # [kh kw A, N h w] @ [N h w, B]

    m = parts(len(x), patches_bytes(len(x), window, a, x.dtype.itemsize))
    if m == 1:
        grad = gradient(x, y)
    else:
        wide = jnp.promote_types(x.dtype, jnp.float32)
        zero = jnp.zeros((prod(window.kernel) * a, b), wide)
        split = divided(x, m), divided(y, m)
        grad, _ = lax.scan(lambda total, xy: (total + gradient(*xy), None), zero, split)
    return grad.astype(x.dtype).reshape(*window.kernel, a, b)  # [kh kw A, B] -> [kh, kw, A, B]


def conv_transpose_patches(y: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Every pixel of y paints the kernel, times its value, into the image; overlapping paint adds up.

    The kernel is cut into tiles of the size of the stride: tile (i, j) of all pixels covers the image without overlap,
    so that a few shifted sums of tiled images are all there is to do.
    """
    need = patches_bytes(len(y), window, kernel.shape[2], y.dtype.itemsize)
    m, paint_part = parts(len(y), need), partial(paint, kernel=kernel, window=window)
    if m > 1:
        return united(lax.map(paint_part, divided(y, m)))
    if need < IN_TWO or len(y) % 2:
        return paint_part(y)
    # One core adds up one half's paint while another multiplies for the other half.
    return united(jnp.stack([paint_part(half) for half in divided(y, 2)]))


def paint(y: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """`conv_transpose_patches` of a batch at once."""
    n, height, width, b = y.shape
    (kh, kw), (sh, sw), (top, left) = window.kernel, window.strides, [p[0] for p in window.padding]
    a = kernel.shape[2]
    tiles_h, tiles_w = -(-kh // sh), -(-kw // sw)  # tiles a kernel, rounded up
    kernel = jnp.pad(kernel, ((0, tiles_h * sh - kh), (0, tiles_w * sw - kw), (0, 0), (0, 0)))
    kernel = kernel.reshape(-1, b).T  # [tiles sh, tiles sw, A, B] -> [B, tiles sh tiles sw A]
    wide = jnp.promote_types(y.dtype, jnp.float32)  # overlaps are not added in half precision
    tiles = jnp.matmul(y.reshape(-1, b), kernel, preferred_element_type=wide)
    tiles = tiles.reshape(n, height, width, tiles_h, sh, tiles_w, sw, a)
    image = sum(
        jnp.pad(
            tiles[:, :, :, i, :, j],  # [N, h, w, sh, sw, A]
            ((0, 0), (i, tiles_h - 1 - i), (j, tiles_w - 1 - j), (0, 0), (0, 0), (0, 0)),
        )
        for i in range(tiles_h)
        for j in range(tiles_w)
    )
    rows, columns = (height + tiles_h - 1) * sh, (width + tiles_w - 1) * sw
    image = image.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows, columns, a)  # tiles side by side
    # Cut the padding off; zeros where the kernel never came (a stride that leaves a remainder).
    edges = (
        (-low, low + size - have, 0)
        for low, size, have in zip((top, left), window.image, (rows, columns), strict=True)
    )
    return lax.pad(image, jnp.zeros((), wide), ((0, 0, 0), *edges, (0, 0, 0))).astype(y.dtype)
