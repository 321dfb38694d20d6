"""The labels that are kept: the network's tissues, and whose heart.

Amirrajab et al. 2022, section 4.3: the heart classes of the prediction are replaced by
the expert's.
"""

import numpy as np

from cmrjax.data.geometry import GridMap
from cmrjax.data.resample import interpolate
from cmrjax.labels import LabelSchema


def likeliest(
    probabilities: np.ndarray, *, without: tuple[int, ...] = ()
) -> np.ndarray:
    """Picks the likeliest class of each pixel; ties go to the smaller id.

    Args:
        probabilities: [..., k] float, >= 0.
        without: Ids that are not picked.

    Returns:
        [...] uint8 ids.
    """
    if without:
        probabilities = probabilities.copy()
        probabilities[..., list(without)] = -1.0
    return probabilities.argmax(axis=-1).astype(np.uint8)


def with_expert_heart(
    probabilities: np.ndarray, heart: np.ndarray, schema: LabelSchema
) -> np.ndarray:
    """Puts the expert's heart into a prediction.

    Where the expert marks LV, MYO or RV the pixel gets that class. Everywhere else it
    gets its likeliest class that is none of them: pixels that the prediction takes for
    heart and the expert does not fall to the next likely class, the others keep theirs.

    Args:
        probabilities: [d, h, w, k] float, of the schema's classes.
        heart: [d, h, w] ids of the schema; ids that are not of the heart are ignored.
        schema: The schema.

    Returns:
        [d, h, w] uint8 ids.
    """
    tissues = likeliest(probabilities, without=schema.heart_ids)
    is_heart = np.isin(heart, schema.heart_ids)
    return np.where(is_heart, heart, tissues).astype(np.uint8)


def background_outside(labels: np.ndarray, box: tuple[int, int, int, int]) -> None:
    """Sets labels outside of a box to background, in place.

    Args:
        labels: [d, h, w] ids.
        box: (r0, r1, c0, c1), pixels.
    """
    r0, r1, c0, c1 = box
    labels[:, :r0] = labels[:, r1:] = 0
    labels[:, :, :c0] = labels[:, :, c1:] = 0


def full_grid(grid: GridMap) -> tuple[GridMap, tuple[slice, slice]]:
    """Widens a grid until it crops nothing of the native field of view.

    Args:
        grid: The model's grid.

    Returns:
        A grid with the same pixels, and the rows and columns of it that are the model's
        grid.
    """
    size = tuple(map(max, grid.image_size, grid.resampled_shape))
    full = GridMap(
        grid.native_shape, grid.native_spacing, grid.spacing, (size[0], size[1])
    )
    first = [f - g for f, g in zip(full.offset, grid.offset, strict=True)]
    rows, columns = (
        slice(start, start + n) for start, n in zip(first, grid.image_size, strict=True)
    )
    return full, (rows, columns)


def probabilities_to_native(probabilities: np.ndarray, grid: GridMap) -> np.ndarray:
    """Resamples probabilities linearly from a model's grid to the native one.

    Args:
        probabilities: [d, *grid.image_size, k] float32.
        grid: A grid that crops nothing, see ``full_grid``.

    Returns:
        [d, *grid.native_shape, k] float32.
    """
    r0, r1, c0, c1 = grid.valid_box
    rows = grid.model_coordinates(0) - r0
    columns = grid.model_coordinates(1) - c0
    inside = probabilities[:, r0:r1, c0:c1]
    classes = [
        interpolate(inside[..., k], rows, columns) for k in range(inside.shape[-1])
    ]
    return np.stack(classes, axis=-1)
