"""Overlap of label maps: the Dice coefficient."""

import numpy as np


def dice_of_counts(both: float, first: float, second: float) -> float:
    """Returns the Dice coefficient of two regions from their sizes.

    2 |A and B| / (|A| + |B|) (Dice 1945).

    Args:
        both: Number of pixels in both regions.
        first: Number of pixels of the one.
        second: Number of pixels of the other.

    Returns:
        0 to 1; 0 if one region alone is empty; NaN if both are: there is nothing to
        agree on, and counting it as 1 would reward slices without the class.

    Raises:
        ValueError: If the regions have fewer pixels than they share, or a size is
            negative.
    """
    if not 0 <= both <= min(first, second):
        raise ValueError(
            f"regions of {first} and {second} pixels cannot share {both} pixels"
        )
    total = first + second
    return 2.0 * both / total if total else float("nan")


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the Dice coefficient of two masks.

    Args:
        first: [...] bool.
        second: Same shape, bool.

    Returns:
        See ``dice_of_counts``.

    Raises:
        ValueError: If the shapes or types do not fit.
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape or {first.dtype, second.dtype} != {np.dtype(bool)}:
        raise ValueError(
            "expected two bool masks of one shape, got"
            f" {first.dtype} {list(first.shape)} and {second.dtype}"
            f" {list(second.shape)}; for class 2 of label maps: dice(a == 2, b == 2)"
        )
    sizes = [int(np.count_nonzero(mask)) for mask in (first & second, first, second)]
    return dice_of_counts(*sizes)
