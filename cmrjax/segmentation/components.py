"""The shape of a label in one slice: its pieces, and what encloses it."""

import numpy as np
from scipy import ndimage

_EIGHT = np.ones((3, 3), bool)
LARGE_SHARE = 0.1
"""A piece is large from this share of the largest one on,"""
LARGE_PIXELS = 10
"""if it has at least so many pixels."""


def component_sizes(mask: np.ndarray) -> np.ndarray:
    """Measures the connected pieces of a mask; diagonal neighbours are connected.

    Args:
        mask: [h, w] bool.

    Returns:
        [n] int64, pixels of each piece, largest first; empty if there is none.
    """
    pieces, _ = ndimage.label(mask, _EIGHT)  # pyright: ignore[reportGeneralTypeIssues]
    sizes = np.bincount(pieces.ravel())[1:]
    return np.sort(sizes)[::-1]


def count_large(sizes: np.ndarray) -> int:
    """Counts the large pieces: specks do not make an organ double.

    Args:
        sizes: [n] pixels of each piece, largest first.

    Returns:
        How many have ``LARGE_SHARE`` of the largest and ``LARGE_PIXELS`` pixels; 0 for
        a mask that has no piece of ``LARGE_PIXELS`` pixels.
    """
    if not len(sizes):
        return 0
    return int(np.sum((sizes >= LARGE_SHARE * sizes[0]) & (sizes >= LARGE_PIXELS)))


def enclosed_share(inner: np.ndarray, shell: np.ndarray) -> float:
    """Tells how much of a region's rim the shell covers.

    Args:
        inner: [h, w] bool, for example LV.
        shell: [h, w] bool, for example MYO.

    Returns:
        Share, 0 to 1, of the pixels that touch ``inner`` from outside (by a side) that
        are in ``shell``; pixels beyond the image do not count. NaN if ``inner`` is
        empty or fills the image.
    """
    rim = ndimage.binary_dilation(inner) & ~inner
    size = np.count_nonzero(rim)
    return np.count_nonzero(rim & shell) / size if size else float("nan")
