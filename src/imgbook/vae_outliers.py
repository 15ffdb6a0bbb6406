"""Chapter 5: does a likelihood know digits from other images? Other images, scores, and how well a score tells them.

A score is a number an image, larger for what is to be called an outlier.
"""

import jax
import jax.numpy as jnp
import numpy as np

from imgbook import vae
from imgbook.vae_compression import as_bits, png_bits


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, the mean of their ranks for values that are equal `[N]`."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[which]


def _scores(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{name} have shape {values.shape}; expected [N], with N above 0")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} hold values that are not finite")
    return values


def auroc(inliers: np.ndarray, outliers: np.ndarray) -> float:
    """The probability that an outlier scores above an inlier, ties counted half: the area under the ROC curve.

    From the ranks of all scores together (Mann and Whitney 1947). 1: told apart without error; 0.5: not at all; 0:
    without error, and the wrong way round.

    Raises:
        ValueError: no scores, or some that are not finite.
    """
    inliers, outliers = _scores(inliers, "inliers"), _scores(outliers, "outliers")
    ranks = _ranks(np.concatenate([inliers, outliers]))[len(inliers) :]
    n = len(outliers)
    return float((ranks.sum() - n * (n + 1) / 2) / (len(inliers) * n))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's: the correlation of the ranks of `a` and of `b`, both `[N]`.

    Raises:
        ValueError: lengths that differ, no values, some that are not finite, or all of one side equal.
    """
    a, b = _scores(a, "values"), _scores(b, "values")
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values on one side, {len(b)} on the other")
    ranks = _ranks(a), _ranks(b)
    if min(r.std() for r in ranks) == 0:
        raise ValueError("all values of one side are equal; a correlation needs some that differ")
    return float(np.corrcoef(*ranks)[0, 1])


# --- images that are no digits of the usual kind ----------------------------------------------------------------


def other_images(
    digits: np.ndarray, ones: np.ndarray, photos: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Grey images, uint8 `[N, H, W, 1]`, by name: as many of each kind as there are digits, ones or photographs.

    digits, ones: uint8 `[N, H, W, 1]`. photos: uint8 `[M, H', W', 3]`, cut to the middle.

    Raises:
        ValueError: digits that are not grey, photographs that are smaller than digits or not in colour.
    """
    height, width = digits.shape[1:3]
    if digits.shape[-1] != 1 or photos.shape[-1] != 3 or photos.shape[1] < height:
        raise ValueError(
            f"digits {digits.shape[1:]}, photographs {photos.shape[1:]}; expected grey digits and "
            "photographs in colour that are at least as large"
        )
    top, left = (photos.shape[1] - height) // 2, (photos.shape[2] - width) // 2
    cut = photos[:, top : top + height, left : left + width]
    grey = np.rint(cut.mean(-1, keepdims=True)).astype(np.uint8)
    return {
        "noise": rng.integers(0, 256, digits.shape, dtype=np.uint8),
        "photographs, grey": grey,
        "inverted": 255 - digits,
        "upside down": digits[:, ::-1],
        "mirrored": digits[:, :, ::-1],
        "moved half out": moved(digits, width // 2),
        "thinned": thinned(digits),
        "only ones": ones,
        "all black": np.zeros_like(digits[:1]),
    }


def moved(images: np.ndarray, by: int) -> np.ndarray:
    """Images moved to the right by so many pixels; black comes in, and what leaves is lost."""
    result = np.zeros_like(images)
    result[:, :, by:] = images[:, :, : images.shape[2] - by]
    return result


def thinned(images: np.ndarray) -> np.ndarray:
    """Strokes made thinner by a pixel: the smallest of each pixel, its right, its lower and its lower right one."""
    padded = np.pad(images, ((0, 0), (0, 1), (0, 1), (0, 0)))
    corners = padded[:, :-1, :-1], padded[:, 1:, :-1], padded[:, :-1, 1:], padded[:, 1:, 1:]
    return np.minimum.reduce(corners)


def drawn(images: np.ndarray, key: jax.Array) -> np.ndarray:
    """Binary images of uint8 ones, float32 of 0 and 1, each drawn once."""
    return np.asarray(vae.binarize(jnp.asarray(images), key))


# --- simpler codes, to hold a likelihood against ------------------------------------------------------------------


def ink_bits(x: np.ndarray) -> np.ndarray:
    """Bits of each binary image `[N]` by a code that knows nothing but how many pixels are 1.

    It sends that number, all equally likely, and then which of the images with as many it is: log2(D + 1) +
    log2 binomial(D, n).
    """
    bits = as_bits(x).reshape(len(x), -1)
    total, ink = bits.shape[1], bits.sum(1)
    log_factorial = np.concatenate([[0], np.cumsum(np.log2(np.arange(1, total + 1)))])
    choices = log_factorial[total] - log_factorial[ink] - log_factorial[total - ink]
    return np.log2(total + 1) + choices


def borders(x: np.ndarray) -> np.ndarray:
    """How many pairs of neighbouring pixels of each binary image differ `[N]`: the length of all outlines."""
    bits = as_bits(x)
    across, down = bits[:, :, 1:] != bits[:, :, :-1], bits[:, 1:] != bits[:, :-1]
    return across.sum((1, 2)) + down.sum((1, 2))


def scores(length: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
    """Three scores of binary images, by name: the model's code length in bits alone, and less those of simpler codes.

    length: `[N]` in bits. The last is the score of Serra et al. (2020), with PNG as the compressor.
    """
    return {
        "code length": length,
        "less that of the ink": length - ink_bits(x),
        "less that of PNG": length - png_bits(x),
    }
