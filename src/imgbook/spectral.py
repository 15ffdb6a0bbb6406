"""Spectral normalisation: kernels divided by their largest singular value."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax


def spectral_norm(
    kernel: jax.Array, u: jax.Array, num_iterations: int = 1
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A kernel divided by its largest singular value, that value, and the next u (Miyato et al. 2018, algorithm 1).

    kernel: `[..., out]`, taken as a matrix `[-1, out]`; u: `[out]`, not 0, a guess of that matrix's leading right
    singular vector. The value sigma is found by power iteration, from below; keep the new u for the next step: as
    the weights change little, one iteration a step is enough. No gradient flows through u; sigma has its gradient.
    A kernel of zeros has sigma 0 and is returned as it is.

    A convolution's operator norm is another number: it also depends on stride, padding and how the kernel overlaps.

    Raises:
        ValueError: a kernel with fewer than 2 axes, a u that is not `[out]`, or `num_iterations` below 1.
    """
    if kernel.ndim < 2 or u.shape != kernel.shape[-1:]:
        raise ValueError(
            f"kernel of shape {list(kernel.shape)}, u of shape {list(u.shape)}; "
            "allowed: [..., out] with 2 axes or more, and [out]"
        )
    if num_iterations < 1:
        raise ValueError(f"num_iterations = {num_iterations}; allowed: 1 or more")
    matrix = kernel.reshape(-1, kernel.shape[-1])
    constant = lax.stop_gradient(matrix)
    u = lax.stop_gradient(u)
    for _ in range(num_iterations):
        v = _unit(constant @ u)
        u = _unit(v @ constant)
    sigma = v @ matrix @ u
    return kernel / jnp.where(sigma > 0, sigma, 1), sigma, u


def _unit(x: jax.Array) -> jax.Array:
    """x divided by its length; a vector of zeros stays so."""
    return x / jnp.maximum(jnp.linalg.norm(x), jnp.finfo(x.dtype).tiny)


class SpectralNorm(nnx.Module):
    """A layer with a kernel `[..., out]` (Conv, ConvTranspose, Linear), applied with `spectral_norm` of its kernel.

    The layer's own parameters are left as they are. u is a BatchStat: split off with what is not trained, like
    BatchNorm's averages. In training mode each call moves it; in evaluation mode (`model.eval()`) none does. Flax has
    a layer of this name from 0.12 on, which overwrites the parameters.

    Raises:
        TypeError: the layer has no kernel.
    """

    def __init__(self, layer: nnx.Module, *, num_iterations: int = 1, rngs: nnx.Rngs):
        kernel = getattr(layer, "kernel", None)
        if not isinstance(kernel, nnx.Param):
            raise TypeError(
                f"{type(layer).__name__} has no kernel; allowed: Conv, ConvTranspose, Linear"
            )
        self.layer = layer
        self.num_iterations = num_iterations
        self.use_running_average = False  # the name by which `eval` and `train` switch BatchNorm
        out = kernel[...].shape[-1]
        self.u = nnx.BatchStat(_unit(jax.random.normal(rngs.params(), (out,), kernel[...].dtype)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """What the layer gives, its kernel divided by the largest singular value."""
        kernel, _, u = spectral_norm(self.layer.kernel[...], self.u[...], self.num_iterations)
        if not self.use_running_average:
            self.u[...] = u
        layer = nnx.clone(self.layer)
        layer.kernel = nnx.Param(kernel)
        return layer(x)
