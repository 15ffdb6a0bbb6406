"""NumPy's matrix product, for the machine's peak."""

from collections.abc import Callable

import numpy as np


def product(a: np.ndarray) -> Callable[[], object]:
    """A function that multiplies a matrix by itself and has finished when it returns."""
    return lambda: a @ a
