"""Smooth random displacement of points in space."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

_CELL = 16.0  # distance of the field's samples, mm
_SIGMA = (1.6, 2.4, 2.4)  # of the filter that makes it smooth (z, y, x), samples


@dataclass(frozen=True)
class ElasticField:
    """A displacement field on a coarse grid around the origin.

    Attributes:
        values: [3, nz, ny, nx] float32 mm, displacement along z, y and x.
        reach: (z, y, x), mm: the grid covers -reach to reach; beyond, the values at
            its border go on.
    """

    values: np.ndarray
    reach: tuple[float, float, float]

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Returns the displacement at points, linearly interpolated.

        Args:
            points: [3, ...] float32 mm, (z, y, x).

        Returns:
            [3, ...] float32 mm.
        """
        at = [
            (p + r) / _CELL for p, r in zip(points, self.reach, strict=True)
        ]  # sample index
        moved = [
            ndimage.map_coordinates(v, at, order=1, mode="nearest") for v in self.values
        ]
        return np.stack(moved)


def sample_elastic_field(
    rng: np.random.Generator,
    amplitude: tuple[float, float, float],
    *,
    reach: tuple[float, float, float] = (80.0, 240.0, 240.0),
) -> ElasticField:
    """Draws a field of filtered Gaussian noise.

    With amplitudes up to 9 mm in plane its gradient stays well below 1 (its length
    scale is 38 mm), so that nothing folds.

    Args:
        rng: Source of randomness.
        amplitude: Standard deviation along z, y and x, mm.
        reach: What the grid covers, mm.

    Returns:
        The field; displacements are cut at 2.5 standard deviations.
    """
    shape = [int(np.ceil(2 * r / _CELL)) + 1 for r in reach]
    fields = []
    for scale in amplitude:
        noise = rng.standard_normal(shape, dtype=np.float32)
        noise = np.asarray(ndimage.gaussian_filter(noise, _SIGMA, mode="wrap"))
        noise /= max(float(noise.std()), 1e-6)
        fields.append(np.float32(scale) * noise.clip(-2.5, 2.5))
    return ElasticField(np.stack(fields).astype(np.float32), reach)
