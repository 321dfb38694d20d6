"""Shape of the beating heart at end-diastole and end-systole.

Heart coordinates are millimetres (u, v, w): w runs along the long axis of the left
ventricle from its end-diastolic base (0) to its apex, u to the lateral wall (image
right), v down to the diaphragm. The right ventricle lies at the angle pi = -u.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

TOP = 0.25  # the widest place of the ventricle, as a part of its length
APEX_WALL = 0.7  # wall thickness at the apex over that at the base


@dataclass(frozen=True)
class HeartShape:
    """Shape of the heart at one phase; lengths in mm, angles in radians.

    Attributes:
        base: Position of the base plane along the long axis (0 at end-diastole).
        length: Length of the left cavity from the base plane to its end.
        radius: Largest radius of the left cavity.
        wall: Thickness of the myocardium where the cavity is widest.
        rv_base: Distance of the tricuspid plane from the base plane.
        rv_tilt: Rise of that plane towards the outflow tract, mm per mm.
        rv_width: Largest width of the right ventricle, septum to free wall.
        rv_length: Length of the right ventricle from the base plane.
        rv_angle: Direction of the right ventricle half-way down.
        rv_twist: Turn of that direction to the front from half-way to the base.
        rv_half_angle: Half of the angle it holds on to the septum.
        rv_span: Half of its extent along the septum over the heart's radius.
        rv_bend: How much it curves around the left ventricle.
        rv_skew: Place of its bulge, -1 (front) to 1 (diaphragm).
        rv_powers: Exponents (a, b) of its free wall, (1 - |s|^a)^b.
        rv_outflow: Reach of the outflow tract to the front at the base, relative.
        rv_wall: Thickness of its free wall.
        ripple: [3, 2] amplitude and phase of the angular waves 2, 3, 4 of the wall.
        wall_ripple: (relative amplitude, phase) of the thickness around the wall.
        papillary_angles: Directions of the two papillary muscles.
        papillary_radius: Their radius.
        papillary_place: Their distance from the axis over the cavity's radius.
        fat: Thickness of the fat on the heart.
        fat_right: How many times thicker it is on the right ventricle.
    """

    base: float
    length: float
    radius: float
    wall: float
    rv_base: float
    rv_tilt: float
    rv_width: float
    rv_length: float
    rv_angle: float
    rv_twist: float
    rv_half_angle: float
    rv_span: float
    rv_bend: float
    rv_skew: float
    rv_powers: tuple[float, float]
    rv_outflow: float
    rv_wall: float
    ripple: np.ndarray
    wall_ripple: tuple[float, float]
    papillary_angles: tuple[float, float]
    papillary_radius: float
    papillary_place: float
    fat: float
    fat_right: float

    @property
    def apex(self) -> float:
        """End of the left cavity along the long axis, mm."""
        return self.base + self.length

    def lv_volume_ml(self) -> float:
        """Return the volume of the left cavity, ml."""
        return _cup_volume(self.length, self.radius, TOP * self.length) / 1000.0

    def wall_volume_ml(self) -> float:
        """Return the volume of the left myocardium, ml."""
        return _wall_volume(self.length, self.radius, self.wall) / 1000.0


def _cup_volume(length: float, radius: float, top: float) -> float:
    """Return the volume of an ellipsoid cut ``top`` above its widest place, mm^3."""
    half = length - top
    return np.pi * radius**2 * (2 / 3 * half + top - top**3 / (3 * half**2))


def _wall_volume(length: float, radius: float, wall: float) -> float:
    """Return the volume between the cavity and the outer surface, mm^3."""
    top = TOP * length
    outer = _cup_volume(length + APEX_WALL * wall, radius + wall, top)
    return outer - _cup_volume(length, radius, top)


def _radius_for(volume_ml: float, length: float) -> float:
    """Return the cavity radius that gives a volume at a length, mm."""
    return float(np.sqrt(1000.0 * volume_ml / _cup_volume(length, 1.0, TOP * length)))


def sample_heart(
    rng: np.random.Generator, *, edv_ml: float, ejection_fraction: float
) -> tuple[HeartShape, HeartShape]:
    """Draw a heart at end-diastole and end-systole.

    The myocardium is incompressible: from the cavity's end-systolic volume and the
    movement of the base towards the apex follows the thickening of the wall.

    Args:
        rng: Source of randomness.
        edv_ml: End-diastolic volume of the left cavity, ml.
        ejection_fraction: Stroke volume over ``edv_ml``, 0 to 1.

    Returns:
        (end-diastole, end-systole).
    """
    size = (1000.0 * edv_ml) ** (1 / 3)
    length = float(np.clip(size * rng.uniform(1.35, 1.75), 60, 112))
    ed = HeartShape(
        base=0.0,
        length=length,
        radius=_radius_for(edv_ml, length),
        wall=_sample_wall(rng),
        **_sample_right(rng, size, length),
        ripple=np.stack(
            [rng.normal(0, (0.04, 0.02, 0.012)), rng.uniform(0, 2 * np.pi, 3)], axis=1
        ),
        wall_ripple=(float(rng.uniform(0, 0.2)), float(rng.uniform(0, 2 * np.pi))),
        papillary_angles=(
            float(rng.normal(-0.75, 0.25)),
            float(rng.normal(1.05, 0.25)),
        ),
        papillary_radius=float(rng.uniform(2.8, 6.2)),
        papillary_place=float(rng.uniform(0.58, 0.84)),
        fat=float(np.clip(rng.lognormal(np.log(2.8), 0.65), 0.5, 11.0)),
        fat_right=float(rng.uniform(0.7, 2.4)),
    )
    return ed, _end_systole(rng, ed, ejection_fraction)


def _sample_wall(rng: np.random.Generator) -> float:
    """Draw the thickness of the left wall: one in seven is hypertrophic, mm."""
    normal = np.clip(rng.lognormal(np.log(7.7), 0.24), 4.3, 13.0)
    thick = rng.uniform(11.0, 19.0)
    return float(thick if rng.uniform() < 0.12 else normal)


def _sample_right(
    rng: np.random.Generator, size: float, length: float
) -> dict[str, Any]:
    """Draw the right ventricle; the measures cover those of expert labels.

    Args:
        rng: Source of randomness.
        size: Cube root of the left end-diastolic volume, mm.
        length: Length of the left cavity, mm.

    Returns:
        The fields of `HeartShape` that begin with ``rv_``.
    """
    mean = 0.55 * size + 17.0  # follows the left ventricle only in part
    rv_base = float(np.clip(rng.normal(8.0, 7.0), 0.0, 20.0))
    return {
        "rv_base": rv_base,
        "rv_tilt": float(rng.uniform(0.0, 0.25)),
        "rv_width": float(np.clip(mean * rng.lognormal(0.0, 0.26), 19, 72)),
        "rv_length": length * float(rng.uniform(0.86, 1.08)) - rv_base,
        "rv_angle": float(np.pi - rng.normal(0.16, 0.18)),
        "rv_twist": float(rng.normal(0.16, 0.1)),
        "rv_half_angle": float(np.clip(rng.normal(0.9, 0.14), 0.55, 1.25)),
        "rv_span": float(np.clip(rng.normal(1.03, 0.14), 0.7, 1.4)),
        "rv_bend": float(rng.uniform(0.0, 0.35)),
        "rv_skew": float(np.clip(rng.normal(0.08, 0.28), -0.5, 0.5)),
        "rv_powers": (float(rng.uniform(1.6, 2.5)), float(rng.uniform(0.6, 1.1))),
        "rv_outflow": float(np.clip(rng.normal(0.48, 0.2), 0.05, 0.95)),
        "rv_wall": float(rng.uniform(2.0, 4.5)),
    }


def _end_systole(
    rng: np.random.Generator, ed: HeartShape, ejection_fraction: float
) -> HeartShape:
    """Return the end-systolic shape that keeps the volume of the myocardium."""
    volume_ml = ed.lv_volume_ml() * (1.0 - ejection_fraction)
    base = float(20.0 * ejection_fraction * rng.uniform(0.6, 1.15))
    tip = ed.length + APEX_WALL * ed.wall - float(rng.uniform(0.0, 6.0))
    goal = _wall_volume(ed.length, ed.radius, ed.wall)
    low, high = 0.5 * ed.wall, 4.0 * ed.wall
    for _ in range(50):
        wall = (low + high) / 2
        length = tip - APEX_WALL * wall - base
        grown = _wall_volume(length, _radius_for(volume_ml, length), wall)
        low, high = (low, wall) if grown > goal else (wall, high)
    shrink = 1.0 - rng.uniform(0.3, 0.7) * ejection_fraction
    return replace(
        ed,
        base=base,
        length=length,
        radius=_radius_for(volume_ml, length),
        wall=wall,
        rv_width=float(ed.rv_width * shrink),
        rv_length=0.96 * ed.rv_length - 1.5 * base,
        rv_base=ed.rv_base + 0.25 * base,
        rv_span=ed.rv_span * float(rng.uniform(0.88, 1.02)),
        rv_wall=ed.rv_wall * 1.25,
    )
