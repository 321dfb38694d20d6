"""In-plane grids: resampling, centred crop and pad, the way back, and affines.

Everything is one affine relation between two pixel grids that share their centre of
the field of view, so that each direction interpolates once and the affine of what is
written is exact. Nothing is reoriented: rows stay the file's y index, columns its x
index, slices its z index.
"""

from dataclasses import dataclass

import numpy as np

from cmrjax.data.resample import interpolate, interpolate_labels

LARGEST_FIELD = 2500.0
"""No field of view is larger, mm: whole bodies are 2 m. More is a wrong pixel size, and
a grid of the model's pixels over it would fill the memory."""


@dataclass(frozen=True)
class GridMap:
    """Relation between a native in-plane grid and the model's grid.

    Pairs are (rows, columns). The native field of view, ``native_shape`` times
    ``native_spacing``, is covered by ``resampled_shape`` pixels of ``spacing`` with
    the same centre; these are cropped or padded centrally to ``image_size``.

    Attributes:
        native_shape: Size of the native grid, pixels.
        native_spacing: Pixel size of the native grid, mm.
        spacing: Pixel size of the model's grid, mm.
        image_size: Size of the model's grid, pixels.
    """

    native_shape: tuple[int, int]
    native_spacing: tuple[float, float]
    spacing: tuple[float, float]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        """Refuses sizes and spacings that are not positive, and fields too large."""
        for name in ("native_shape", "native_spacing", "spacing", "image_size"):
            values = getattr(self, name)
            if len(values) != 2 or not all(0 < v < np.inf for v in values):
                raise ValueError(f"{name} must be two positive numbers, got {values}")
        pairs = zip(self.native_shape, self.native_spacing, strict=True)
        rows, columns = (n * s for n, s in pairs)
        if max(rows, columns) > LARGEST_FIELD:
            raise ValueError(
                f"pixels of {self.native_spacing[0]:g} x {self.native_spacing[1]:g} mm"
                f" make a field of view of {rows:g} x {columns:g} mm, expected at most"
                f" {LARGEST_FIELD:g} mm; say the pixel size in mm"
            )

    @property
    def resampled_shape(self) -> tuple[int, int]:
        """Size of the field of view in pixels of the model's spacing, at least 1."""
        rows, columns = (
            max(1, round(n * s / t))
            for n, s, t in zip(
                self.native_shape, self.native_spacing, self.spacing, strict=True
            )
        )
        return rows, columns

    @property
    def offset(self) -> tuple[int, int]:
        """Model index of the first resampled pixel; negative where it is cropped."""
        rows, columns = (
            (s - r) // 2
            for s, r in zip(self.image_size, self.resampled_shape, strict=True)
        )
        return rows, columns

    @property
    def valid_box(self) -> tuple[int, int, int, int]:
        """Part of the model's grid inside the field of view: (r0, r1, c0, c1)."""
        (r, c), (h, w) = self.offset, self.resampled_shape
        size = self.image_size
        return max(r, 0), min(r + h, size[0]), max(c, 0), min(c + w, size[1])

    def native_coordinates(self, axis: int) -> np.ndarray:
        """Native index of each model pixel along an axis (0 rows, 1 columns).

        Returns:
            [image_size[axis]] float64, in native pixels.
        """
        scale, shift = self._scale_shift(axis)
        return scale * np.arange(self.image_size[axis]) + shift

    def model_coordinates(self, axis: int) -> np.ndarray:
        """Model index of each native pixel along an axis (0 rows, 1 columns).

        Returns:
            [native_shape[axis]] float64, in model pixels.
        """
        scale, shift = self._scale_shift(axis)
        return (np.arange(self.native_shape[axis]) - shift) / scale

    def model_affine(self, native_affine: np.ndarray) -> np.ndarray:
        """Affine of the model's grid.

        Args:
            native_affine: [4, 4] from native (x, y, z) indices to mm.

        Returns:
            [4, 4] float64 from model (column, row, slice) indices to mm.
        """
        to_native = np.eye(4)
        for file_axis, axis in ((0, 1), (1, 0)):  # x is columns, y is rows
            scale, shift = self._scale_shift(axis)
            to_native[file_axis, file_axis] = scale
            to_native[file_axis, 3] = shift
        return np.asarray(native_affine, np.float64) @ to_native

    def image_to_model(self, volume: np.ndarray, *, fill: float = -1.0) -> np.ndarray:
        """Resamples linearly, then crops or pads.

        Args:
            volume: [d, h, w] float, native grid.
            fill: Value of the padding.

        Returns:
            [d, *image_size] float32.

        Raises:
            ValueError: If the volume is not on the native grid.
        """
        self._check_shape(volume, self.native_shape, "native")
        values = interpolate(
            np.asarray(volume, np.float32),
            self.native_coordinates(0),
            self.native_coordinates(1),
        )
        return self._pad(values, fill)

    def labels_to_model(self, labels: np.ndarray) -> np.ndarray:
        """Resamples labels, then crops or pads with background (0).

        Each class is interpolated linearly and the largest share wins, ties going to
        the nearest pixel: a border falls where the interpolated share is one half,
        whereas nearest neighbour moves it by up to half a pixel. On an equal grid
        both are exact, and no id appears that was not there.

        Args:
            labels: [d, h, w] integers, native grid.

        Returns:
            [d, *image_size], the type of ``labels``.

        Raises:
            ValueError: If the labels are not on the native grid.
        """
        self._check_shape(labels, self.native_shape, "native")
        values = interpolate_labels(
            labels, self.native_coordinates(0), self.native_coordinates(1)
        )
        return self._pad(values, 0)

    def image_to_native(self, image: np.ndarray, *, fill: float = -1.0) -> np.ndarray:
        """Resamples from the model's grid back to the native one, linearly.

        Args:
            image: [d, *image_size] float, model grid.
            fill: Value where the native grid reaches beyond the model's (cropped).

        Returns:
            [d, *native_shape] float32.

        Raises:
            ValueError: If the image is not on the model's grid.
        """
        self._check_shape(image, self.image_size, "model")
        r0, r1, c0, c1 = self.valid_box
        values = interpolate(
            np.asarray(image[:, r0:r1, c0:c1], np.float32),
            self.model_coordinates(0) - r0,
            self.model_coordinates(1) - c0,
        )
        return np.where(self.native_coverage(), values, np.float32(fill))

    def labels_to_native(self, labels: np.ndarray) -> np.ndarray:
        """Resamples labels from the model's grid back to the native one.

        Args:
            labels: [d, *image_size] integers, model grid.

        Returns:
            [d, *native_shape], the type of ``labels``; background where the native
            grid reaches beyond the model's.

        Raises:
            ValueError: If the labels are not on the model's grid.
        """
        self._check_shape(labels, self.image_size, "model")
        r0, r1, c0, c1 = self.valid_box
        values = interpolate_labels(
            labels[:, r0:r1, c0:c1],
            self.model_coordinates(0) - r0,
            self.model_coordinates(1) - c0,
        )
        return np.where(self.native_coverage(), values, values.dtype.type(0))

    def native_coverage(self) -> np.ndarray:
        """Which native pixels the model's grid covers.

        Where nothing was cropped this is all of them, also the rim that rounding the
        resampled size to whole pixels leaves out.

        Returns:
            [*native_shape] bool.
        """
        inside = []
        for axis in (0, 1):
            index = self.model_coordinates(axis)
            if self.resampled_shape[axis] <= self.image_size[axis]:
                inside.append(np.ones(index.shape, bool))
            else:
                inside.append((index >= -0.5) & (index <= self.image_size[axis] - 0.5))
        return inside[0][:, None] & inside[1][None, :]

    def _scale_shift(self, axis: int) -> tuple[float, float]:
        """Native index = scale * model index + shift."""
        scale = self.spacing[axis] / self.native_spacing[axis]
        native_centre = (self.native_shape[axis] - 1) / 2
        model_centre = self.offset[axis] + (self.resampled_shape[axis] - 1) / 2
        return scale, native_centre - scale * model_centre

    def _pad(self, values: np.ndarray, fill: float) -> np.ndarray:
        r0, r1, c0, c1 = self.valid_box
        padded = np.full_like(values, fill)
        padded[:, r0:r1, c0:c1] = values[:, r0:r1, c0:c1]
        return padded

    def _check_shape(
        self, values: np.ndarray, expected: tuple[int, int], grid: str
    ) -> None:
        if values.ndim != 3 or values.shape[1:] != tuple(expected):
            raise ValueError(
                f"expected [d, {expected[0]}, {expected[1]}] on the {grid} grid, got"
                f" {list(values.shape)}"
            )


def with_spacing(
    affine: np.ndarray, shape: tuple[int, ...], spacing: tuple[float, float, float]
) -> np.ndarray:
    """Returns an affine of the same directions and centre, with another voxel size.

    Args:
        affine: [4, 4] from (x, y, z) indices to mm.
        shape: Slices, rows, columns of the grid.
        spacing: Voxel size (z, y, x), mm.

    Returns:
        [4, 4] float64.
    """
    old = np.asarray(affine, np.float64)
    new = old.copy()
    new[:3, :3] *= np.asarray(spacing[::-1]) / np.linalg.norm(old[:3, :3], axis=0)
    centre = (np.asarray(shape[::-1], np.float64) - 1) / 2
    new[:3, 3] = old[:3, :3] @ centre + old[:3, 3] - new[:3, :3] @ centre
    return new


def centre_crop_box(
    size: tuple[int, int], crop: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Returns (r0, r1, c0, c1) of a central crop.

    Raises:
        ValueError: If the crop is larger than the image or not positive.
    """
    if not all(0 < c <= s for c, s in zip(crop, size, strict=True)):
        raise ValueError(
            f"a crop of {crop[0]}x{crop[1]} does not fit into {size[0]}x{size[1]}"
        )
    r0, c0 = ((s - c) // 2 for s, c in zip(size, crop, strict=True))
    return r0, r0 + crop[0], c0, c0 + crop[1]
