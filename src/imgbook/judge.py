"""A judge of generated digits: the chapter's CNN, trained on real digits that no chapter's model has seen.

It was trained on the official MNIST training digits 10,001 to 60,000; the digits in the package are the first
10,000. A classifier that knows only digits must call everything a digit, and calls noise one with high confidence;
so this one has an eleventh class, "not a digit", for noise, shuffled and averaged digits.
`python -m imgbook record judge` (needs the whole data set) trains it anew.
"""

from functools import cache
from pathlib import Path

import jax
import numpy as np

from imgbook import cnn, weights
from imgbook.pixels import as_unit

PATH = Path(__file__).parent / "judge.safetensors"
CONFIG = cnn.CNNConfig(image_shape=(28, 28, 1), num_classes=11, flip=False, shift=1, num_steps=7000)
CONFIDENCE = 0.9  # "recognised" means: the probability of one of the ten digits is above this


def non_digits(digits: np.ndarray, n: int, seed: int) -> np.ndarray:
    """`n` images that are no digits, uint8 `[n, H, W, C]`, made from `digits` uint8 `[N, H, W, C]`.

    A third each: noise of a random brightness, digits with their pixels shuffled, and weighted means of 32 digits.
    """
    rng = np.random.default_rng(seed)
    third = -(-n // 3)
    shape = (third, *digits.shape[1:])
    noise = rng.uniform(size=shape) * rng.uniform(size=(third, 1, 1, 1)) * 255
    flat = digits[rng.integers(len(digits), size=third)].reshape(third, -1)  # [n/3, H * W * C]
    shuffled = rng.permuted(flat, axis=1).reshape(shape)
    weights_of_32 = rng.dirichlet(np.ones(32), size=third)
    means = np.stack(
        [np.tensordot(w, digits[rng.integers(len(digits), size=32)], 1) for w in weights_of_32]
    )
    return np.rint(np.concatenate([noise, shuffled, means])[:n]).astype(np.uint8)


@cache
def load() -> tuple:
    """The judge: (structure, state, description). The description says how it was made and how well it does.

    Raises:
        FileNotFoundError: one of its two files is missing. ValueError: one is damaged.
    """
    graphdef, state = cnn.init(CONFIG, jax.random.key(0))
    params, description = weights.load(PATH, state.params)
    return graphdef, state._replace(params=params), description


def probabilities(images: np.ndarray) -> np.ndarray:
    """Probabilities `[N, 11]` of the ten digits and of "not a digit", for images `[N, 28, 28, 1]`, uint8 or [0, 1].

    Raises:
        ValueError: another shape, or pixels out of range.
    """
    images = np.rint(as_unit(images) * 255).astype(np.uint8)
    if images.shape[1:] != CONFIG.image_shape:
        raise ValueError(
            f"images have shape {images.shape[1:]}; the judge knows digits of {CONFIG.image_shape}"
        )
    graphdef, state, _ = load()
    return np.asarray(jax.nn.softmax(cnn.predict(graphdef, state, images)))


def score(images: np.ndarray) -> dict[str, float | np.ndarray]:
    """How digit-like a set of images is, and how varied.

    recognised: share of images to which the judge gives one digit a probability above 0.9, in [0, 1].
    class_shares: `[10]`, the shares of the digits among the recognised images (zeros if none is). smallest_share:
    the smallest of them times ten, so that 1 is balance and 0 a lost class. classes: how many occur.
    """
    p = probabilities(images)[:, :10]
    recognised = p.max(axis=1) > CONFIDENCE
    counts = np.bincount(p[recognised].argmax(axis=1), minlength=p.shape[1])
    shares = counts / max(1, counts.sum())
    return {
        "recognised": float(recognised.mean()),
        "class_shares": shares,
        "smallest_share": float(shares.min() * len(shares)),
        "classes": int((counts > 0).sum()),
    }
