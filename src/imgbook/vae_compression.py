"""Chapter 5: how many bits a binary image costs, by general compressors, by pixel means and by a VAE's bound.

Images are `[N, H, W, 1]` in {0, 1}. Sizes are bits of all images together, so that they can be shared out as one likes.
"""

import bz2
import io
import lzma
import zlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.scipy.stats import norm
from PIL import Image

from imgbook import training, vae
from imgbook.training import TrainState
from imgbook.vae_networks import VAE

COLUMNS = 50  # images in a row of the sheet


def as_bits(x: np.ndarray) -> np.ndarray:
    """Binary images as booleans `[N, H, W]`.

    Raises:
        ValueError: not `[N, H, W, 1]`, no images, or a pixel that is neither 0 nor 1.
    """
    x = np.asarray(x)
    if x.ndim != 4 or x.shape[-1] != 1 or x.size == 0:
        raise ValueError(f"images have shape {x.shape}; expected [N, H, W, 1], none of them 0")
    if grey := np.mean((x != 0) & (x != 1)):
        raise ValueError(
            f"{grey:.1%} of the pixels are neither 0 nor 1; draw them from grey levels with "
            "vae.binarize(images, key)"
        )
    return x[..., 0] != 0


def packed(x: np.ndarray) -> bytes:
    """The pixels of all images, eight to a byte, in order; the last byte is filled up with zeros."""
    return np.packbits(as_bits(x)).tobytes()


def stream_bits(x: np.ndarray) -> dict[str, int]:
    """Bits of all images as one stream of packed pixels, by the general compressors of Python's library."""
    raw = packed(x)
    compressed = {
        "zlib": zlib.compress(raw, 9),
        "bz2": bz2.compress(raw, 9),
        "lzma": lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME),
    }
    return {name: 8 * len(content) for name, content in compressed.items()}


def png_bits(x: np.ndarray) -> np.ndarray:
    """Bits of each image `[N]` as a file of its own, PNG at one bit a pixel."""
    return np.array([8 * len(_png(image)) for image in as_bits(x)])


def sheet_bits(x: np.ndarray, columns: int = COLUMNS) -> int:
    """Bits of all images in one PNG, in rows of `columns`; the last row is filled up with black."""
    bits = as_bits(x)
    n, height, width = bits.shape
    rows = -(-n // columns)
    filled = np.concatenate([bits, np.zeros((rows * columns - n, height, width), bool)])
    sheet = filled.reshape(rows, columns, height, width).swapaxes(1, 2)  # [rows, H, columns, W]
    return 8 * len(_png(sheet.reshape(rows * height, columns * width)))


def _png(bits: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(bits).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def mean_image_bits(train_images: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Bits of each image `[N]` by arithmetic coding with a probability for each pixel, its mean in training.

    An arithmetic coder comes within two bits of a whole message's -log2 p (Witten et al. 1987), which is not counted.
    train_images: uint8. Means are kept off 0 and 1 by one pseudo-image of level 1/2.
    """
    bits = as_bits(x)[..., None]
    mean = (train_images.astype(np.float64).sum(0) / 255 + 0.5) / (len(train_images) + 1)
    return -np.where(bits, np.log2(mean), np.log2(1 - mean)).sum((1, 2, 3))


# --- the VAE's code -------------------------------------------------------------------------------------------


def code_parts(model: VAE, x: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What bits-back coding sends of each image `[N]` and gets back, in nats, with one code drawn from the encoder.

    Returns -log p(x | z), -log p(z) and -log q(z | x). The last two are densities: with codes rounded to a grid, both
    grow by the same, the number of latents times -log of the grid's spacing. The cost is the first plus the second
    less the third, and its mean over codes is -ELBO (Hinton and van Camp 1993; Townsend et al. 2019).
    """
    vae.check_pixels(x, model.likelihood)
    mean, logvar = model.encoder(x)
    noise = jax.random.normal(key, mean.shape)
    latents = mean + jnp.exp(logvar / 2) * noise
    pixels = -model.log_likelihood(latents, x)
    code = -norm.logpdf(latents).sum(-1)
    back = -(norm.logpdf(noise) - logvar / 2).sum(-1)
    return pixels, code, back


def lengths(
    graphdef: nnx.GraphDef, state: TrainState, x: np.ndarray, key: jax.Array, part: int = 500
) -> np.ndarray:
    """-ELBO of each binary image `[N]` in bits: the expected length of its code, estimated with one sample."""
    model = training.as_module(graphdef, state)
    graphdef, weights = nnx.split(model)

    @jax.jit
    def negative_elbo(weights, x, key):
        return -vae.elbo(nnx.merge(graphdef, weights), x, key)[0]

    vae.check_pixels(x, model.likelihood)
    found = [
        negative_elbo(weights, jnp.asarray(x[i : i + part]), jax.random.fold_in(key, i))
        for i in range(0, len(x), part)
    ]
    return np.concatenate(found).astype(np.float64) / np.log(2)


def weight_bits(state: TrainState) -> int:
    """Bits of a model's weights as they are held in memory: both sides need encoder and decoder."""
    return sum(8 * leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.params))


def break_even(once: float, each: float, other: float) -> float:
    """From how many images on a code pays that costs `once` bits, then `each` an image, against `other` an image.

    Infinite if it never does.
    """
    return once / (other - each) if other > each else float("inf")
