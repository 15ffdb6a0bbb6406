"""Two layers that a CPU runs several times faster than the stock ones, with the same values.

The stock gradients of max pooling (a select-and-scatter) and of the transposed convolution (a convolution over a
dilated input, differentiated automatically) are the bottlenecks of the book's networks on a CPU. Both are written
here in a form whose gradient is cheap.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

default_kernel_init = nnx.initializers.lecun_normal()  # Flax's default too


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """2 x 2 max pooling, stride 2, VALID: `[N, H, W, C]` to `[N, H // 2, W // 2, C]`.

    Written as a reshape and a maximum, because windows that do not overlap need no more. Where a window's maximum
    is attained several times, the gradient is shared equally (`flax.linen.max_pool` gives it to the first).
    """
    n, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]  # an odd last row or column has no window
    x = x.reshape(n, height // 2, 2, width // 2, 2, channels)  # [N, H/2, 2, W/2, 2, C]
    return x.max(axis=(2, 4))


def strided_conv(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """SAME cross-correlation C of `x` `[N, H, W, A]` with `kernel` `[kh, kw, A, B]`."""
    return lax.conv_general_dilated(
        x, kernel, strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_transpose(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """Transposed convolution: `x` `[N, H, W, B]`, `kernel` `[kh, kw, A, B]` to `[N, H * s, W * s, A]`.

    It is the adjoint of the strided convolution C with the same kernel, <C y, x> = <y, conv_transpose(x)>
    (Dumoulin and Visin 2016, chapter 4), and that is also how its gradient is computed: the gradient with
    respect to `x` is C itself, and that with respect to the kernel is C's kernel gradient with the roles of input
    and cotangent exchanged.
    """
    n, height, width, _ = x.shape
    large = jax.ShapeDtypeStruct(
        (n, height * strides[0], width * strides[1], kernel.shape[2]), x.dtype
    )
    (y,) = jax.linear_transpose(lambda y: strided_conv(y, kernel, strides), large)(x)
    return y


def _conv_transpose_forward(x, kernel, strides):
    return conv_transpose(x, kernel, strides), (x, kernel)


def _conv_transpose_backward(strides, saved, cotangent):
    x, kernel = saved
    small, kernel_vjp = jax.vjp(lambda k: strided_conv(cotangent, k, strides), kernel)
    return small, kernel_vjp(x)[0]


conv_transpose.defvjp(_conv_transpose_forward, _conv_transpose_backward)


class ConvTranspose(nnx.Module):
    """SAME transposed convolution layer with the parameters of `flax.nnx.ConvTranspose`.

    kernel: `[kh, kw, in_features, out_features]`; bias: `[out_features]`. Input `[N, H, W, in_features]`, output
    `[N, H * s, W * s, out_features]`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sequence[int],
        strides: Sequence[int] = (1, 1),
        *,
        use_bias: bool = True,
        kernel_init: nnx.Initializer = default_kernel_init,
        rngs: nnx.Rngs,
    ):
        self.strides = tuple(strides)
        self.kernel = nnx.Param(
            kernel_init(rngs.params(), (*kernel_size, in_features, out_features), jnp.float32)
        )
        self.bias = nnx.Param(jnp.zeros(out_features)) if use_bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        # Flax's kernel is laid out for a convolution of the dilated input; the adjoint form wants it turned by 180
        # degrees and its two channel axes exchanged: [kh, kw, in, out] -> [kh, kw, out, in].
        kernel = jnp.flip(self.kernel[...], (0, 1)).swapaxes(2, 3)
        y = conv_transpose(x, kernel, self.strides)
        return y if self.bias is None else y + self.bias[...]
