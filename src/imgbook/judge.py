"""A judge of generated digits: the chapter's CNN, trained on real digits that no chapter's model has seen.

It was trained on the official MNIST training digits 10,001 to 60,000; the digits in the package are the first
10,000. `python -m imgbook record judge` (needs the whole data set) trains it anew.
"""

from functools import cache
from pathlib import Path

import jax
import numpy as np

from imgbook import cnn, plotting, weights

PATH = Path(__file__).parent / "judge.safetensors"
CONFIG = cnn.CNNConfig(image_shape=(28, 28, 1), flip=False, num_steps=6000)
CONFIDENCE = 0.9  # "recognised" means: the largest class probability is above this


@cache
def load() -> tuple:
    """The judge: (structure, state, description). The description says how it was made and how well it does.

    Raises:
        ValueError: the weights file is missing or damaged.
    """
    graphdef, state = cnn.init(CONFIG, jax.random.key(0))
    params, description = weights.load(PATH, state.params)
    return graphdef, state._replace(params=params), description


def probabilities(images: np.ndarray) -> np.ndarray:
    """Class probabilities `[N, 10]` of digits `[N, 28, 28, 1]`, uint8 or floats in [0, 1].

    Raises:
        ValueError: another shape, or pixels out of range.
    """
    images = np.rint(plotting.as_unit(images) * 255).astype(np.uint8)
    if images.shape[1:] != CONFIG.image_shape:
        raise ValueError(f"images have shape {images.shape[1:]}; the judge knows digits of {CONFIG.image_shape}")
    graphdef, state, _ = load()
    return np.asarray(jax.nn.softmax(cnn.predict(graphdef, state, images)))


def score(images: np.ndarray) -> dict[str, float | np.ndarray]:
    """How digit-like a set of images is, and how varied.

    recognised: share of images with a class probability above 0.9, in [0, 1]. class_shares: `[10]`, the shares of
    the classes among the recognised ones (zeros if none is). smallest_share: the smallest of them times ten, so
    that 1 is balance and 0 a lost class. classes: how many occur.
    """
    p = probabilities(images)
    recognised = p.max(axis=1) > CONFIDENCE
    counts = np.bincount(p[recognised].argmax(axis=1), minlength=p.shape[1])
    shares = counts / max(1, counts.sum())
    return {
        "recognised": float(recognised.mean()),
        "class_shares": shares,
        "smallest_share": float(shares.min() * len(shares)),
        "classes": int((counts > 0).sum()),
    }
