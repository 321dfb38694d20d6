"""Measures the ventricles of a label phantom as radii around the long axis."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cmrjax.simulation.tissues import TISSUE_IDS

ANGLES = 72
_RAY_STEP, _RAY_LENGTH = 0.5, 110.0  # mm
_RV_REACH = 75.0  # how far the right heart may lie outside the epicardium, mm
_CAVITY = ("lv_blood", "papillary")
# Veins are nearest to the right heart; a phantom may call all of its vessels alike.
_RIGHT = ("rv_blood", "trabecula", "rv_wall", "venous_vessel", "vessel")


@dataclass(frozen=True)
class HeartProfile:
    """Borders of the heart by height and angle.

    Angle i is 2 pi i / ANGLES, measured from the columns' direction to the rows'.

    Attributes:
        step: Distance of heights, mm; height 0 is that of slice 0.
        centre: [z, 2] float32 mm, (y, x) of the long axis.
        endo: [z, ANGLES] float32 mm, radius of the cavity, papillary muscles included.
        epi: [z, ANGLES] float32 mm, outer radius of the muscle.
        right: [z, ANGLES] float32 mm, thickness of the right heart outside of it.
        base: Height of the first section of the left ventricle, mm.
        apex: Height of its last section, mm.
        rv_ml: Volume of the right ventricle's blood, ml.
    """

    step: float
    centre: np.ndarray
    endo: np.ndarray
    epi: np.ndarray
    right: np.ndarray
    base: float
    apex: float
    rv_ml: float

    @property
    def sections(self) -> slice:
        """The heights from base to apex."""
        return slice(round(self.base / self.step), round(self.apex / self.step) + 1)


def measure_heart(
    tissue: np.ndarray, spacing: tuple[float, float, float]
) -> HeartProfile:
    """Measures the heart along rays across the long axis.

    Above the base the borders go on as at the base, so that what is deformed with the
    ventricles has no step there.

    Args:
        tissue: [z, y, x] uint8 tissue ids, slices from base to apex.
        spacing: (z, y, x), mm.

    Returns:
        The profile.

    Raises:
        ValueError: If there is no left ventricle.
    """
    cavity = np.isin(tissue, [TISSUE_IDS[n] for n in _CAVITY])
    left = cavity | (tissue == TISSUE_IDS["myocardium"])
    right = np.isin(tissue, [TISSUE_IDS[n] for n in _RIGHT])
    height = np.flatnonzero(cavity.any(axis=(1, 2)))
    if not len(height):
        raise ValueError("the phantom shows no left ventricle (lv_blood)")
    base = int(height[0])
    apex = int(np.flatnonzero(left.any(axis=(1, 2)))[-1])
    centre = _long_axis(left, base, apex, spacing)
    endo, epi, outer = (
        _rays(mask, centre, spacing) for mask in (cavity, left, left | right)
    )
    endo, epi = endo.sum(1) * _RAY_STEP, epi.sum(1) * _RAY_STEP
    radius = np.arange(outer.shape[1]) * _RAY_STEP
    reach = outer & (radius[None, :, None] < epi[:, None] + _RV_REACH)
    extent = np.where(reach, radius[None, :, None], 0).max(1) + _RAY_STEP / 2
    thickness = (extent - epi).clip(0)
    thickness[extent < 2 * _RAY_STEP] = 0
    parts = [endo, np.maximum(epi, endo), np.where(thickness < 2, 0, thickness)]
    for part in parts:
        part[:base], part[apex + 1 :] = part[base], part[apex]
        along = ndimage.gaussian_filter1d(part, 2.0 / spacing[0], 0, mode="nearest")
        part[:] = ndimage.gaussian_filter1d(along, 1.5, 1, mode="wrap")
    rv = tissue == TISSUE_IDS["rv_blood"]
    return HeartProfile(
        step=spacing[0],
        centre=centre.astype(np.float32),
        endo=parts[0].astype(np.float32),
        epi=parts[1].astype(np.float32),
        right=parts[2].astype(np.float32),
        base=base * spacing[0],
        apex=apex * spacing[0],
        rv_ml=float(rv[base : apex + 1].sum() * np.prod(spacing) / 1000),
    )


def _long_axis(
    left: np.ndarray, base: int, apex: int, spacing: tuple[float, float, float]
) -> np.ndarray:
    """A smooth line through the sections' centres, constant outside; [z, 2] mm."""
    heights = np.arange(base, apex + 1)
    centres = np.array([np.mean(np.nonzero(left[k]), axis=1) for k in heights])
    clamped = np.arange(len(left)).clip(base, apex)
    columns = []
    for axis in (0, 1):
        fit = np.polynomial.Polynomial.fit(heights, centres[:, axis], 2)
        columns.append(fit(clamped) * spacing[1 + axis])
    return np.stack(columns, axis=1)


def _rays(
    mask: np.ndarray, centre: np.ndarray, spacing: tuple[float, float, float]
) -> np.ndarray:
    """Samples a mask along rays from the long axis; [z, radii, ANGLES] bool."""
    angle = 2 * np.pi * np.arange(ANGLES) / ANGLES
    radius = np.arange(0, _RAY_LENGTH, _RAY_STEP)[:, None]
    rows = centre[:, 0, None, None] + radius * np.sin(angle)
    columns = centre[:, 1, None, None] + radius * np.cos(angle)
    y = np.rint(rows / spacing[1]).astype(np.int64)
    x = np.rint(columns / spacing[2]).astype(np.int64)
    _, h, w = mask.shape
    inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
    z = np.arange(len(mask))[:, None, None]
    return mask[z, y.clip(0, h - 1), x.clip(0, w - 1)] & inside
