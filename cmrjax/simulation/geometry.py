"""Where the short-axis slices of a virtual subject lie."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cmrjax.simulation.shapes import SlicePlane


@dataclass(frozen=True)
class Geometry:
    """Where the image voxels lie in the patient.

    Attributes:
        image_size: Rows and columns of the image.
        spacing: Distance of pixels, mm.
        slice_distance: Distance of slice centres, mm.
        slice_thickness: Thickness of a slice, mm.
        num_slices: Number of slices.
        origin: [3] float64 mm, pixel (0, 0) of slice 0 (left, posterior, superior).
        axes: [3, 3] float64, unit vectors along columns, rows and slices.
    """

    image_size: int
    spacing: float
    slice_distance: float
    slice_thickness: float
    num_slices: int
    origin: np.ndarray
    axes: np.ndarray

    def affine(self) -> np.ndarray:
        """Return the NIfTI affine for arrays indexed [x (column), y (row), slice].

        Returns:
            [4, 4] float64; world coordinates are right, anterior, superior in mm.
        """
        affine = np.eye(4)
        steps = (self.spacing, self.spacing, self.slice_distance)
        affine[:3, :3] = self.axes.T * steps
        affine[:3, 3] = self.origin
        return np.diag((-1.0, -1.0, 1.0, 1.0)) @ affine

    def planes(self, *, sub_slices: int, oversampling: int) -> Iterator[SlicePlane]:
        """Yield the sample points of the slices, in order.

        Args:
            sub_slices: Samples through the slice, odd.
            oversampling: Samples per pixel and axis; sample 0 is pixel 0.
        """
        size = self.image_size * oversampling
        part = self.slice_thickness / sub_slices
        offsets = tuple(part * (i - sub_slices // 2) for i in range(sub_slices))
        for index in range(self.num_slices):
            yield SlicePlane(
                origin=self.origin + index * self.slice_distance * self.axes[2],
                column_axis=self.axes[0],
                row_axis=self.axes[1],
                normal=self.axes[2],
                shape=(size, size),
                spacing=self.spacing / oversampling,
                offsets=offsets,
            )


def sample_geometry(
    rng: np.random.Generator,
    *,
    image_size: int,
    spacing: float,
    slice_distance: float,
    heart_base: np.ndarray,
    heart_axes: np.ndarray,
    tip: float,
) -> Geometry:
    """Draw slices across the heart: turned, tilted a little, off-centre.

    As on scanners, columns run to the patient's left or, where the slice counts as
    sagittal, to the back: the heart's axis lies half-way, so both occur, and the
    technician turns the field of view. The order of the slices, base or apex first,
    is drawn too.

    Args:
        rng: Source of randomness.
        image_size: Rows and columns of the images.
        spacing: Distance of pixels, mm.
        slice_distance: Distance of slices, mm.
        heart_base: [3] float64 mm, patient position of the heart's origin.
        heart_axes: [3, 3] float64, unit vectors u, v, w of the heart.
        tip: Distance of the heart's tip from its base, mm.

    Returns:
        The geometry: 7 to 14 slices from above the base to beyond the tip.
    """
    turn, tilt = rng.normal(0, 0.24), rng.normal(0, 0.03, 2).clip(-0.07, 0.07)
    u, v, w = heart_axes
    normal = w + tilt[0] * u + tilt[1] * v
    normal /= np.linalg.norm(normal)
    toward = np.eye(3)[1 if rng.uniform() < 0.72 else 0]
    column = toward - (toward @ normal) * normal
    column /= np.linalg.norm(column)
    column = np.cos(turn) * column + np.sin(turn) * np.cross(column, normal)
    row = np.cross(column, normal)
    first = -rng.uniform(0.4, 2.4) * slice_distance
    beyond = rng.uniform(0.1, 1.6) * slice_distance
    count = int(np.clip(np.ceil((tip + beyond - first) / slice_distance), 7, 14))
    shift = np.clip(rng.normal(0, 15, 2), -38, 38)
    reverse, thickness = rng.uniform() < 0.5, slice_distance * rng.uniform(0.7, 1.0)
    half = spacing * (image_size // 2)
    origin = heart_base + first * normal
    origin = origin - (half - shift[0]) * column - (half - shift[1]) * row
    if reverse:
        origin = origin + (count - 1) * slice_distance * normal
        normal = -normal
    return Geometry(
        image_size=image_size,
        spacing=spacing,
        slice_distance=slice_distance,
        slice_thickness=float(thickness),
        num_slices=count,
        origin=origin,
        axes=np.stack([column, row, normal]),
    )
