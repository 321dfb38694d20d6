"""Which slices stand for many."""

import numpy as np


def evenly_spaced(indices: np.ndarray, count: int) -> np.ndarray:
    """Returns at most `count` of the indices, evenly spaced; 0: all of them."""
    if count <= 0 or len(indices) <= count:
        return indices
    return indices[np.linspace(0, len(indices) - 1, count).round().astype(int)]
