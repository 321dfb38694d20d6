"""Separable interpolation of images and labels at rows and columns."""

import numpy as np


def _neighbours(
    coordinates: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper index and upper weight; clamped at the borders."""
    clamped = np.clip(coordinates, 0, size - 1)
    lower = np.minimum(np.floor(clamped).astype(np.intp), max(size - 2, 0))
    upper = np.minimum(lower + 1, size - 1)
    return lower, upper, (clamped - lower).astype(np.float32)


def interpolate(
    volume: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Interpolates linearly at every pair of a row and a column.

    Args:
        volume: [d, h, w] float32.
        rows: [p] float64, in pixels; clamped to the volume.
        columns: [q] float64, in pixels; clamped to the volume.

    Returns:
        [d, p, q] float32; exact where rows and columns are whole numbers.
    """
    low, high, weight = _neighbours(rows, volume.shape[1])
    weight = weight[:, None]
    volume = volume[:, low] * (1 - weight) + volume[:, high] * weight
    low, high, weight = _neighbours(columns, volume.shape[2])
    return volume[:, :, low] * (1 - weight) + volume[:, :, high] * weight


def interpolate_labels(
    labels: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Picks the class with the largest linearly interpolated share.

    Ties go to the nearest pixel's class.

    Args:
        labels: [d, h, w] integers.
        rows: [p] float64, in pixels; clamped to the volume.
        columns: [q] float64, in pixels; clamped to the volume.

    Returns:
        [d, p, q], the type of ``labels``; holds no id that ``labels`` does not hold.
    """
    nearest = _nearest(labels, rows, columns)
    best = np.full(nearest.shape, -1.0, np.float32)
    winner = nearest.copy()
    for class_id in np.unique(labels):
        share = interpolate((labels == class_id).astype(np.float32), rows, columns)
        share += np.float32(1e-4) * (nearest == class_id)
        better = share > best
        best[better] = share[better]
        winner[better] = class_id
    return winner


def _nearest(labels: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    r = np.clip(np.floor(rows + 0.5).astype(np.intp), 0, labels.shape[1] - 1)
    c = np.clip(np.floor(columns + 0.5).astype(np.intp), 0, labels.shape[2] - 1)
    return labels[:, r[:, None], c[None, :]]
