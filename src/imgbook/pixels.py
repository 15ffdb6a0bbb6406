"""Pixels in one form, for measures and figures alike."""

import numpy as np


def as_unit(images: np.ndarray) -> np.ndarray:
    """Images as float32 in [0, 1]: uint8 is divided by 255, floats are checked and kept.

    Raises:
        ValueError: not `[N, H, W, C]` with 1 or 3 channels, or floats outside [0, 1].
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"images have shape {images.shape}; expected [N, H, W, C] with 1 or 3 channels"
        )
    if images.dtype == np.uint8:
        return images.astype(np.float32) / 255
    low, high = float(images.min(initial=0)), float(images.max(initial=0))
    if not (low >= -1e-6 and high <= 1 + 1e-6):
        raise ValueError(
            f"pixels range over [{low:.3g}, {high:.3g}]; expected [0, 1] (a tanh output needs (x + 1) / 2)"
        )
    return np.clip(images.astype(np.float32), 0, 1)
