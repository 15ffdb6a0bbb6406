"""The layers of the book's networks: Flax's convolution, transposed convolution and max pooling, with the same values.

They are several times faster on a CPU, and stay so inside a loop; how, `imgbook.convolution` explains. Other layers are
Flax's own.
"""

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from imgbook.convolution import (  # noqa: F401 - chapters call `layers.conv`
    Pair,
    Window,
    by_platform,
    conv,
    conv_kernel,
    conv_transpose,
    views,
    window,
)

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
    return by_platform(_maximum, _stock_max_pool, window, x)


_max_pool.defvjp(
    lambda x, window: (_max_pool(x, window), x),
    lambda window, x, c: (by_platform(_to_first_maximum, _stock_max_pool_gradient, window, x, c),),
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
