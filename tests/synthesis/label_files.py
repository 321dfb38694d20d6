"""Small label files for tests."""

from pathlib import Path

import nibabel as nib
import numpy as np

# An oblique stack with exact numbers: 1.33 mm pixels, 9 mm between slices.
_ROWS = [[0, 1.33, 0, -40], [-1.33, 0, 0, 12.5], [0, 0, 9, 3], [0, 0, 0, 1]]
AFFINE = np.array(_ROWS, np.float32).astype(np.float64)  # as NIfTI stores it


def draw_labels() -> np.ndarray:
    """Cavity labels [x, y, z] = [20, 30, 3], no symmetry; slice 2 is empty."""
    labels = np.zeros((20, 30, 3), np.uint8)
    labels[4:14, 6:20, :2] = 2
    labels[6:12, 8:18, 0] = 1
    labels[14:18, 6:26, 1] = 3
    return labels


def write_labels(
    path: Path, values: np.ndarray, *, affine: np.ndarray = AFFINE
) -> Path:
    """Writes values in the file's own axes, with nibabel alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)
    return path
