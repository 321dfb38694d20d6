"""Images and label maps as another simulator might leave them."""

import json
import pathlib

import numpy as np

from cmrjax.data.nifti import write_volume

AFFINE = np.array(
    [[-1.5, 0, 0, 40], [0, -1.5, 0, 30], [0, 0, 9.0, -20], [0, 0, 0, 1]], np.float64
)
LABELS = {"0": "background", "5": "LV", "6": "MYO", "7": "RV", "9": "lung"}
MAPPING = {
    "labels": LABELS,
    "image_pattern": "{subject}/{phase}_image.nii.gz",
    "label_pattern": "{subject}/{phase}_label.nii.gz",
}


def make_labels(lv_pixels: int) -> np.ndarray:
    """Label map [3, 8, 10] with some pixels of LV in the middle slice."""
    labels = np.full((3, 8, 10), 9, np.uint8)
    labels[1, 1, :lv_pixels] = 5
    labels[1, 3], labels[1, 5] = 6, 7
    return labels


def write_pair(
    folder: pathlib.Path, phase: str, labels: np.ndarray, *, affine: np.ndarray = AFFINE
) -> np.ndarray:
    """Writes one phase of a subject; returns its image."""
    image = np.arange(labels.size, dtype=np.float32).reshape(labels.shape) / 7
    write_volume(folder / f"{phase}_image.nii.gz", image, affine)
    write_volume(folder / f"{phase}_label.nii.gz", labels, affine)
    return image


def write_mapping(folder: pathlib.Path, **changes: object) -> pathlib.Path:
    """Writes the mapping file; ``changes`` replace or (None) remove keys."""
    content = {k: v for k, v in {**MAPPING, **changes}.items() if v is not None}
    path = folder / "mapping.json"
    path.write_text(json.dumps(content))
    return path
