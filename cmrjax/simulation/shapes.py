"""Painting of simple solids into the voxels of one thick image slice."""

from dataclasses import dataclass

import numpy as np

Window = tuple[slice, slice]


@dataclass(frozen=True)
class SlicePlane:
    """The sample points of one image slice, with sub-slices through its thickness.

    Attributes:
        origin: [3] float64 mm, patient position (left, posterior, superior) of the
            pixel in row 0, column 0 at the centre of the slice.
        column_axis: [3] float64, unit vector along growing columns.
        row_axis: [3] float64, unit vector along growing rows.
        normal: [3] float64, unit vector across the slice.
        shape: (h, w) of the sampled grid.
        spacing: Distance of samples in plane, mm.
        offsets: Positions of the sub-slices along the normal, mm; odd number, the
            middle one 0.
    """

    origin: np.ndarray
    column_axis: np.ndarray
    row_axis: np.ndarray
    normal: np.ndarray
    shape: tuple[int, int]
    spacing: float
    offsets: tuple[float, ...]

    def points(self) -> np.ndarray:
        """Return the patient positions of all samples.

        Returns:
            [3, s, h, w] float32 mm (left, posterior, superior).
        """
        h, w = self.shape
        across = np.asarray(self.offsets)[:, None, None]
        rows = (np.arange(h) * self.spacing)[None, :, None]
        columns = (np.arange(w) * self.spacing)[None, None, :]
        planes = [
            self.origin[i]
            + self.normal[i] * across
            + self.row_axis[i] * rows
            + self.column_axis[i] * columns
            for i in range(3)
        ]
        return np.stack(planes).astype(np.float32)

    def window(self, centre: np.ndarray, radius: float) -> Window | None:
        """Return the rows and columns that a ball can touch, or None.

        Args:
            centre: [3] float64 mm, patient position.
            radius: Radius of the ball, mm.

        Returns:
            Slices of rows and columns, or None if the ball misses the slice.
        """
        offset = centre - self.origin
        if abs(offset @ self.normal) > radius + max(self.offsets):
            return None
        window = []
        for axis, size in ((self.row_axis, self.shape[0]), (self.column_axis, None)):
            size = self.shape[1] if size is None else size
            middle, reach = offset @ axis / self.spacing, radius / self.spacing
            first = max(0, int(np.floor(middle - reach)))
            last = min(size, int(np.ceil(middle + reach)) + 1)
            if first >= last:
                return None
            window.append(slice(first, last))
        return window[0], window[1]


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid whose axes are those of the patient.

    Attributes:
        tissue: Tissue id painted inside.
        centre: mm (left, posterior, superior).
        radii: Half axes, mm.
        wall: Thickness of a wall of tissue ``wall_tissue`` painted outside, mm.
        wall_tissue: Tissue id of the wall.
    """

    tissue: int
    centre: tuple[float, ...]
    radii: tuple[float, ...]
    wall: float = 0.0
    wall_tissue: int = 0

    def paint(
        self,
        tissue: np.ndarray,
        points: np.ndarray,
        plane: SlicePlane,
        *,
        where: np.ndarray | None = None,
        margin: float = 10.0,
    ) -> None:
        """Paint into ``tissue`` in place.

        Args:
            tissue: [s, h, w] uint8 tissue ids, changed.
            points: [3, s, h, w] float32 mm, positions (bent ones as well).
            plane: The slice they belong to.
            where: [s, h, w] bool; voxels that may be painted, all if None.
            margin: How far ``points`` may be bent, mm.
        """
        window = plane.window(
            np.asarray(self.centre), max(self.radii) + self.wall + margin
        )
        if window is None:
            return
        local = points[:, :, window[0], window[1]]
        target = tissue[:, window[0], window[1]]
        free = True if where is None else where[:, window[0], window[1]]
        for extra, value in ((self.wall, self.wall_tissue), (0.0, self.tissue)):
            if extra == 0.0 and value != self.tissue:
                continue
            distance = sum(
                ((local[i] - self.centre[i]) / (self.radii[i] + extra)) ** 2
                for i in range(3)
            )
            target[(distance < 1.0) & free] = value


@dataclass(frozen=True)
class Capsule:
    """A tube with round ends: a vessel.

    Attributes:
        tissue: Tissue id painted inside.
        start: One end of the centre line, mm (left, posterior, superior).
        end: The other end, mm.
        radius: Radius, mm.
        wall: Thickness of a wall of tissue ``wall_tissue`` painted outside, mm.
        wall_tissue: Tissue id of the wall.
    """

    tissue: int
    start: tuple[float, ...]
    end: tuple[float, ...]
    radius: float
    wall: float = 0.0
    wall_tissue: int = 0

    def paint(
        self,
        tissue: np.ndarray,
        points: np.ndarray,
        plane: SlicePlane,
        *,
        where: np.ndarray | None = None,
        margin: float = 10.0,
    ) -> None:
        """Paint into ``tissue`` in place; arguments as in `Ellipsoid.paint`."""
        start, end = np.asarray(self.start), np.asarray(self.end)
        axis = end - start
        window = plane.window(
            (start + end) / 2,
            float(np.linalg.norm(axis)) / 2 + self.radius + self.wall + margin,
        )
        if window is None:
            return
        local = points[:, :, window[0], window[1]]
        target = tissue[:, window[0], window[1]]
        free = True if where is None else where[:, window[0], window[1]]
        relative = [local[i] - np.float32(start[i]) for i in range(3)]
        step = axis / max(float(axis @ axis), 1e-9)
        along = sum(relative[i] * np.float32(step[i]) for i in range(3))
        along = np.clip(along, 0.0, 1.0)
        squared = sum(
            (relative[i] - along * np.float32(axis[i])) ** 2 for i in range(3)
        )
        if self.wall > 0:
            target[(squared < (self.radius + self.wall) ** 2) & free] = self.wall_tissue
        target[(squared < self.radius**2) & free] = self.tissue


def bend(
    points: np.ndarray, waves: np.ndarray, phases: np.ndarray, amplitudes: np.ndarray
) -> np.ndarray:
    """Move points by a sum of plane sine waves, which makes shapes irregular.

    Args:
        points: [3, s, h, w] float32 mm, positions on a regular (affine) grid.
        waves: [n, 3] float64 rad/mm, wave vectors.
        phases: [n] float64 rad.
        amplitudes: [n, 3] float64 mm, displacement of each wave.

    Returns:
        [3, s, h, w] float32 mm.
    """
    origin = points[:, 0, 0, 0].astype(np.float64)
    steps = []
    for axis in range(3):
        line = points[(slice(None), *(0,) * axis, slice(None), *(0,) * (2 - axis))]
        steps.append(line.astype(np.float64) - origin[:, None])
    moved = points.copy()
    for wave, phase, amplitude in zip(waves, phases, amplitudes, strict=True):
        parts = [np.exp(1j * (wave @ step)) for step in steps]
        parts[0] = parts[0] * np.exp(1j * (wave @ origin + phase))
        inner = (parts[1][:, None] * parts[2][None, :]).astype(np.complex64)
        for index, factor in enumerate(parts[0].astype(np.complex64)):
            sine = (inner * factor).imag
            for component in range(3):
                moved[component, index] += np.float32(amplitude[component]) * sine
    return moved
