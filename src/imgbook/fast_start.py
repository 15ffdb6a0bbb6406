"""Chapter 4, a good start: kernels that a network need not learn first (Jordan 2024)."""

import jax
import jax.numpy as jnp
import numpy as np

WHITENING_NOISE = 5e-4  # added to the variances: directions that hardly vary are not blown up


def patches(images: np.ndarray, kernel: int) -> np.ndarray:
    """All patches of images `[N, H, W, C]`, as rows `[N (H - k + 1) (W - k + 1), k k C]`."""
    views = np.lib.stride_tricks.sliding_window_view(images, (kernel, kernel), axis=(1, 2))
    rows = np.moveaxis(views, 3, 5)  # [N, h, w, C, k, k] -> [N, h, w, k, k, C]
    return rows.reshape(-1, kernel * kernel * images.shape[-1])


def whitening_kernel(images: np.ndarray, kernel: int = 2) -> np.ndarray:
    """A kernel `[k, k, C, k k C]` whose outputs on patches of these images are uncorrelated and of unit variance.

    images: floats `[N, H, W, C]`, as the network takes them. The outputs are a patch's coordinates along the
    eigenvectors of the patches' covariance, largest variance first, each divided by its standard deviation (of which
    `WHITENING_NOISE` keeps the smallest from zero).

    Raises:
        ValueError: no images, or a kernel larger than they are.
    """
    if images.ndim != 4 or not len(images) or not 1 <= kernel <= min(images.shape[1:3]):
        raise ValueError(
            f"images {images.shape} and kernel {kernel}; allowed: [N, H, W, C] with N at least 1, "
            "and a kernel of 1 pixel to the smaller of H and W"
        )
    rows = patches(np.asarray(images, np.float64), kernel)
    variances, vectors = np.linalg.eigh(np.cov(rows, rowvar=False))
    scaled = vectors / np.sqrt(np.maximum(variances, 0) + WHITENING_NOISE)
    columns = scaled[:, ::-1].astype(np.float32)
    return columns.reshape(kernel, kernel, images.shape[-1], -1)  # [k k C, B] -> [k, k, C, B]


def dirac(kernel: jax.Array) -> jax.Array:
    """A kernel `[k, k, A, B]` whose first min(A, B) outputs repeat the inputs: one in the middle, else zero.

    A stack of such convolutions begins as the identity, so that the first steps see the image (Zagoruyko and
    Komodakis 2017).
    """
    k, same = kernel.shape[0], min(kernel.shape[2:])
    kernel = kernel.at[:, :, :, :same].set(0)
    return kernel.at[k // 2, k // 2, jnp.arange(same), jnp.arange(same)].set(1)
