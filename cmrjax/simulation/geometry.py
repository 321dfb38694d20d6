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
        The geometry: 7 to 14 slices, or as many more as it takes, from above the base
        to the tip or beyond.
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
    count = count_slices(
        first, tip + beyond, tip=tip, distance=slice_distance, usual=(7, 14)
    )
    shift = np.clip(rng.normal(0, 15, 2), -38, 38)
    return place_slices(
        rng,
        image_size=image_size,
        spacing=spacing,
        slice_distance=slice_distance,
        num_slices=count,
        start=heart_base + first * normal,
        shift=shift,
        axes=np.stack([column, row, normal]),
    )


def heart_axes_at(azimuth: float, down: float) -> np.ndarray:
    """Return the axes of a heart that points to the left, to the front and down.

    Args:
        azimuth: Turn of the long axis w from the front to the left, radians.
        down: Its angle under the level, radians.

    Returns:
        [3, 3] float64, unit vectors u (level), v (down) and w in the patient (left,
        posterior, superior).
    """
    level = np.cos(down)
    w = np.array([np.sin(azimuth) * level, -np.cos(azimuth) * level, -np.sin(down)])
    u = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    return np.stack([u, np.cross(u, w), w])


def count_slices(
    first: float, last: float, *, tip: float, distance: float, usual: tuple[int, int]
) -> int:
    """Return the number of slices: a usual one, unless the tip would be cut off.

    Args:
        first: Position of the first slice along the heart's axis, mm.
        last: Where the stack is wanted to end, mm.
        tip: Position of the heart's tip, mm.
        distance: Distance of slices, mm.
        usual: Least and largest usual number.
    """
    wanted = int(np.clip(np.ceil((last - first) / distance), *usual))
    return max(wanted, int(np.ceil((tip - first) / distance)) + 1)


def place_slices(
    rng: np.random.Generator,
    *,
    image_size: int,
    spacing: float,
    slice_distance: float,
    num_slices: int,
    start: np.ndarray,
    shift: np.ndarray,
    axes: np.ndarray,
) -> Geometry:
    """Place a stack in the patient; its order and the slices' thickness are drawn.

    Args:
        rng: Source of randomness.
        image_size: Rows and columns of the images.
        spacing: Distance of pixels, mm.
        slice_distance: Distance of slices, mm.
        num_slices: Number of slices.
        start: [3] float64 mm, where the heart's axis meets the slice at the base.
        shift: [2] float64 mm, how far the field of view is off it along columns, rows.
        axes: [3, 3] float64, unit vectors along columns, rows and from base to apex.

    Returns:
        The geometry.
    """
    column, row, normal = axes
    reverse, thickness = rng.uniform() < 0.5, slice_distance * rng.uniform(0.7, 1.0)
    half = spacing * (image_size // 2)
    origin = start - (half - shift[0]) * column - (half - shift[1]) * row
    if reverse:
        origin = origin + (num_slices - 1) * slice_distance * normal
        normal = -normal
    return Geometry(
        image_size=image_size,
        spacing=spacing,
        slice_distance=slice_distance,
        slice_thickness=float(thickness),
        num_slices=num_slices,
        origin=origin,
        axes=np.stack([column, row, normal]),
    )
