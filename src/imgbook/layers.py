"""Convolution, transposed convolution and max pooling: the values of Flax's layers, several times faster on a CPU.

A convolution C_k, a transposed convolution and the gradient by the kernel are the three partial derivatives of one
trilinear form,

    T(k, x, y) = <C_k x, y> = <x, C_k' y> = <k, G(x, y)>,

with C_k' the adjoint of C_k, which is the transposed convolution (Dumoulin and Visin 2016, chapter 4), and G(x, y) the
gradient of T by the kernel. So each derivative of one of the three is again one of the three, to any order: what a
gradient penalty differentiates twice is as fast as what a plain loss differentiates once. Derivatives are reverse
mode only: `jax.jvp` and `jax.hessian` raise TypeError (nested `jax.jacrev` does not).

On a CPU all three are written as one matrix product with *patches*, the pixels under the kernel at each position:
XLA's own convolution is slow there for few channels, for a dilated input, and, inside a loop, by a factor of a hundred
for the gradient by the kernel (jax-ml/jax issue 12868). On other platforms XLA's convolutions are used.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

NHWC = ("NHWC", "HWIO", "NHWC")
Pair = tuple[int, int]


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
    return _by_platform(conv_patches, conv_xla, window, x, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_transpose(y: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """C_k' y, the adjoint of `conv`: `y` `[N, *window.output, B]`, same `kernel`, to `[N, *window.image, A]`."""
    _check(window, len(y), *kernel.shape[-2:], y=y, kernel=kernel)
    return _by_platform(conv_transpose_patches, conv_transpose_xla, window, y, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_kernel(x: jax.Array, y: jax.Array, window: Window) -> jax.Array:
    """G(x, y), the gradient of <C_k x, y> by k: `x` and `y` as input and output of `conv`, to `[kh, kw, A, B]`."""
    _check(window, len(x), x.shape[-1], y.shape[-1], x=x, y=y)
    return _by_platform(conv_kernel_patches, conv_kernel_xla, window, x, y)


def _check(window: Window, n: int, a: int, b: int, **arrays: jax.Array) -> None:
    image, output = (n, *window.image, a), (n, *window.output, b)
    allowed = {"x": image, "y": output, "kernel": (*window.kernel, a, b)}
    given = {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
    types = {array.dtype for array in arrays.values()}
    if len(types) > 1 or any(shape != allowed[name] for name, (shape, _) in given.items()):
        raise ValueError(f"{given} do not fit {window}; allowed: one type, and shapes {allowed}")


def _by_platform(cpu: Callable, default: Callable, window: Window, *arrays: jax.Array) -> jax.Array:
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


def conv_patches(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    y = patches(x, window) @ kernel.reshape(-1, kernel.shape[-1])  # [N h w, kh kw A] @ [kh kw A, B]
    return y.reshape(len(x), *window.output, kernel.shape[-1])  # [N h w, B] -> [N, h, w, B]


def conv_kernel_patches(x: jax.Array, y: jax.Array, window: Window) -> jax.Array:
    grad = patches(x, window).T @ y.reshape(-1, y.shape[-1])  # [kh kw A, N h w] @ [N h w, B]
    return grad.reshape(*window.kernel, x.shape[-1], y.shape[-1])  # [kh kw A, B] -> [kh, kw, A, B]


def conv_transpose_patches(y: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """Every pixel of y paints the kernel, times its value, into the image; overlapping paint adds up.

    The kernel is cut into tiles of the size of the stride: tile (i, j) of all pixels covers the image without overlap,
    so that a few shifted sums of tiled images are all there is to do.
    """
    n, height, width, b = y.shape
    (kh, kw), (sh, sw), (top, left) = window.kernel, window.strides, [p[0] for p in window.padding]
    a = kernel.shape[2]
    tiles_h, tiles_w = -(-kh // sh), -(-kw // sw)  # tiles a kernel, rounded up
    kernel = jnp.pad(kernel, ((0, tiles_h * sh - kh), (0, tiles_w * sw - kw), (0, 0), (0, 0)))
    kernel = kernel.reshape(-1, b).T  # [tiles sh, tiles sw, A, B] -> [B, tiles sh tiles sw A]
    wide = jnp.promote_types(y.dtype, jnp.float32)  # overlaps are not added in half precision
    paint = jnp.matmul(y.reshape(-1, b), kernel, preferred_element_type=wide)
    paint = paint.reshape(n, height, width, tiles_h, sh, tiles_w, sw, a)
    image = sum(
        jnp.pad(
            paint[:, :, :, i, :, j],  # [N, h, w, sh, sw, A]
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


# --- max pooling ----------------------------------------------------------------------------------------------


def max_pool(
    x: jax.Array,
    window_shape: Pair,
    strides: Pair | None = None,
    padding: str | Sequence[Pair] = "VALID",
) -> jax.Array:
    """`flax.nnx.max_pool` of images `[..., H, W, C]` (strides 1 by default, as there), its gradient cheap on a CPU.

    Where a window's maximum is attained several times, the gradient goes to the first in reading order, as in Flax.
    Windows over the edge ignore what lies outside. Errors as for `window`.
    """
    if x.ndim < 3:
        raise ValueError(f"max_pool of an array {x.shape}; allowed: images [..., H, W, C]")
    w = window(x.shape[-3:-1], window_shape, 1 if strides is None else strides, padding)
    y = _max_pool(x.reshape(-1, *x.shape[-3:]), w)
    return y.reshape(*x.shape[:-3], *y.shape[1:])


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x: jax.Array, window: Window) -> jax.Array:
    return _by_platform(_maximum, _stock_max_pool, window, x)


_max_pool.defvjp(
    lambda x, window: (_max_pool(x, window), x),
    lambda window, x, c: (_by_platform(_to_first_maximum, _stock_max_pool_gradient, window, x, c),),
)


def _stock_max_pool(x: jax.Array, window: Window) -> jax.Array:
    return nnx.max_pool(x, window.kernel, window.strides, window.padding)


def _stock_max_pool_gradient(x: jax.Array, c: jax.Array, window: Window) -> jax.Array:
    return jax.vjp(lambda x: _stock_max_pool(x, window), x)[1](c)[0]


def _maximum(x: jax.Array, window: Window) -> jax.Array:
    return reduce(jnp.maximum, views(x, window, -jnp.inf))


def _to_first_maximum(x: jax.Array, c: jax.Array, window: Window) -> jax.Array:
    """The cotangent `c` `[N, *window.output, C]` at each window's first maximum, else zero: `[N, H, W, C]`."""
    first, *others = views(x, window, -jnp.inf)
    y, place = first, jnp.zeros(first.shape, jnp.int32)
    for n, view in enumerate(others, 1):
        keep = y >= view
        y, place = jnp.where(keep, y, view), jnp.where(keep, place, n)
    shares = [jnp.where(place == n, c, 0) for n in range(len(others) + 1)]
    return jax.linear_transpose(partial(views, window=window), x)(shares)[0]


# --- Flax's layers --------------------------------------------------------------------------------------------


class Conv(nnx.Conv):
    """`flax.nnx.Conv`, same arguments, parameters and values; `[N, H, W, A]` to `[N, *window.output, B]`.

    What `conv` does not do (other than two dimensions, dilation, groups, a stated precision) is left to Flax. A kernel
    larger than the padded image raises ValueError.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, conv_general_dilated=_conv_general_dilated, **kwargs)


def _conv_general_dilated(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Any, **options: Any
) -> jax.Array:
    """What `flax.nnx.Conv` calls, arguments of `lax.conv_general_dilated`; images and kernels are NHWC and HWIO."""
    if _is_plain(x, kernel, padding, options | {"dimension_numbers": None}):
        return conv(x, kernel, window(x.shape[1:3], kernel.shape[:2], strides, padding))
    return lax.conv_general_dilated(x, kernel, strides, padding, **options)


def _is_plain(x: jax.Array, kernel: jax.Array, padding: Any, options: dict[str, Any]) -> bool:
    """Whether `conv` does it: two dimensions, floats, and every option unset (None, or 1 as groups and dilations)."""
    return (
        x.ndim == kernel.ndim == 4
        and x.dtype == kernel.dtype
        and jnp.issubdtype(x.dtype, jnp.floating)
        and all(option in (None, 1, (1, 1)) for option in options.values())
        and (padding in ("SAME", "VALID") if isinstance(padding, str) else np.min(padding) >= 0)
    )


class ConvTranspose(nnx.ConvTranspose):
    """`flax.nnx.ConvTranspose`, same arguments, parameters and values: `[N, H, W, A]` to `[N, H s, W s, B]` if SAME.

    Padding VALID gives `H s + max(k - s, 0)`. What `conv_transpose` does not do (other than two dimensions, dilation,
    a mask, explicit padding, a transposed kernel, a stated precision) is left to Flax.
    """

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """See `flax.nnx.ConvTranspose`."""
        bias = None if self.bias is None else self.bias[...]
        x, kernel, bias = self.promote_dtype((inputs, self.kernel[...], bias), dtype=self.dtype)
        names = ("precision", "kernel_dilation", "preferred_element_type")  # the last: Flax 0.12
        options = {name: getattr(self, name, None) for name in names}
        if (
            self.mask is not None
            or self.transpose_kernel
            or self.padding not in ("SAME", "VALID")
            or not _is_plain(x, kernel, self.padding, options)
        ):
            return super().__call__(inputs)
        strides = np.broadcast_to(1 if self.strides is None else self.strides, 2)
        image = np.multiply(x.shape[1:3], strides)
        if self.padding == "VALID":
            image += np.maximum(np.subtract(self.kernel_size, strides), 0)
        # Flax's kernel is laid out for a convolution of the dilated input; the adjoint form wants it turned by 180
        # degrees and its two channel axes exchanged: [kh, kw, A, B] -> [kh, kw, B, A].
        kernel = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
        w = window(image.tolist(), self.kernel_size, strides.tolist(), self.padding)
        y = conv_transpose(x, kernel, w)
        return y if bias is None else y + bias
