"""Short-axis label volumes: turned as on scanners, resampled, papillary muscles.

Made for XCAT, whose axes are those of the phantom and whose papillary muscles are
painted as myocardium; they serve any label volume.
"""

from dataclasses import dataclass

import numpy as np

from cmrjax.data.resample import interpolate_labels
from cmrjax.labels import MULTI_TISSUE, LabelSchema


def fill_papillary(
    labels: np.ndarray, *, schema: LabelSchema = MULTI_TISSUE
) -> np.ndarray:
    """Gives papillary muscles to the cavity, as experts draw it.

    Myocardium inside the convex hull of a slice's cavity becomes cavity: in a short
    axis the endocardium is convex but for papillary muscles and trabeculae.

    Args:
        labels: [d, h, w] uint8, ids of ``schema``.
        schema: A schema with LV and MYO.

    Returns:
        [d, h, w] uint8, a copy.
    """
    lv, myo = schema.id_of("LV"), schema.id_of("MYO")
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    normals = np.stack([np.cos(angles), np.sin(angles)])
    filled = labels.copy()
    for slice_labels in filled:
        cavity = np.argwhere(slice_labels == lv)
        muscle = np.argwhere(slice_labels == myo)
        if len(cavity) and len(muscle):
            inside = (muscle @ normals <= (cavity @ normals).max(0) + 1e-6).all(1)
            slice_labels[tuple(muscle[inside].T)] = lv
    return filled


@dataclass(frozen=True)
class Pose:
    """How rows and columns are turned: swapped first, then each one reversed.

    Attributes:
        swap: Whether rows become columns.
        rows: 1, or -1 to reverse the (new) rows.
        columns: 1, or -1 to reverse the (new) columns.
    """

    swap: bool
    rows: int
    columns: int

    @property
    def mirrored(self) -> bool:
        """Whether slices are then seen from the other side."""
        return self.swap != (self.rows * self.columns < 0)

    def turn(self, volume: np.ndarray) -> np.ndarray:
        """Turns each slice of a volume [d, h, w]; the slices keep their order."""
        turned = volume.swapaxes(1, 2) if self.swap else volume
        return turned[:, :: self.rows, :: self.columns]


def short_axis_pose(labels: np.ndarray, *, schema: LabelSchema = MULTI_TISSUE) -> Pose:
    """Finds how slices must be turned, by quarters, to lie as on scanners.

    Args:
        labels: [d, h, w] integers with LV, RV and abdomen; rows and columns are
            equally spaced.
        schema: The schema of the ids.

    Returns:
        The pose after which RV is left of LV and the abdomen below.

    Raises:
        ValueError: If LV, RV or abdomen is in no slice.
    """
    lv, rv, abdomen = (
        _centre(labels, (schema.id_of(name),), name) for name in ("LV", "RV", "abdomen")
    )
    to_rv, to_abdomen = rv - lv, abdomen - lv
    to_rv, to_abdomen = (v / np.linalg.norm(v) for v in (to_rv, to_abdomen))

    def score(pose: Pose) -> float:
        a, b = (v[::-1] if pose.swap else v for v in (to_rv, to_abdomen))
        return float(pose.rows * b[0] - pose.columns * a[1])

    signs = (1, -1)
    poses = [Pose(s, r, c) for s in (False, True) for r in signs for c in signs]
    return max(poses, key=score)


def _centre(labels: np.ndarray, ids: tuple[int, ...], name: str) -> np.ndarray:
    """Mean (row, column) of some classes, [2] float64 pixels."""
    counts = np.isin(labels, ids).sum(0)
    if not counts.any():
        raise ValueError(f"the labels hold no {name} to go by; they hold none of {ids}")
    rows, columns = np.nonzero(counts)
    weights = counts[rows, columns]
    return np.array([np.average(i, weights=weights) for i in (rows, columns)])


def resample_short_axis(
    labels: np.ndarray,
    spacing: tuple[float, float, float],
    *,
    target_spacing: float = 1.33,
    image_size: int = 256,
    centre: tuple[float, float] | None = None,
    schema: LabelSchema = MULTI_TISSUE,
) -> np.ndarray:
    """Resamples labels in plane and cuts a square around the heart.

    The largest linearly interpolated share wins, as for real labels. The square is
    moved as far as it must to stay in the field of view; beyond that is background.

    Args:
        labels: [d, h, w] integers, ids of ``schema``.
        spacing: (z, y, x), mm.
        target_spacing: Distance of the new pixels, mm.
        image_size: Rows and columns of the result.
        centre: (row, column) in pixels of ``labels``; by default the mean position of
            LV, MYO and RV in all slices.
        schema: The schema of the ids.

    Returns:
        [d, image_size, image_size], the type of ``labels``.

    Raises:
        ValueError: If there is no heart and no ``centre``, or a size is not positive.
    """
    if labels.ndim != 3 or not min(*spacing, target_spacing, image_size) > 0:
        raise ValueError(
            "expected labels [d, h, w], positive spacings and image_size; got shape"
            f" {labels.shape}, {spacing} and {target_spacing} mm, {image_size}"
        )
    middle = _heart_centre(labels, schema) if centre is None else centre
    (rows, rows_inside), (columns, columns_inside) = (
        _square_side(middle[i], labels.shape[i + 1], step, image_size)
        for i, step in enumerate(
            (target_spacing / spacing[1], target_spacing / spacing[2])
        )
    )
    cut = [interpolate_labels(part[None], rows, columns) for part in labels]
    return np.where(rows_inside[:, None] & columns_inside, np.concatenate(cut), 0)


def _square_side(
    middle: float, size: int, step: float, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Native index of each new pixel along an axis, and whether it lies inside."""
    slack = (size - count * step) / 2  # how far the middle may be off, native pixels
    native_centre = (size - 1) / 2
    shift = np.clip(middle - native_centre, -max(slack, 0), max(slack, 0))
    index = native_centre + shift + (np.arange(count) - (count - 1) / 2) * step
    return index, np.abs(index - native_centre) <= size / 2


def _heart_centre(labels: np.ndarray, schema: LabelSchema) -> tuple[float, float]:
    """Mean (row, column) of the heart in all slices, pixels."""
    _, rows, columns = np.nonzero(np.isin(labels, schema.heart_ids))
    if not len(rows):
        raise ValueError("the labels hold no LV, MYO or RV to centre on; give centre")
    return float(rows.mean()), float(columns.mean())
