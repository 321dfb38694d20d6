"""Shape of the beating heart at end-diastole and end-systole.

Heart coordinates are millimetres (u, v, w): w runs along the long axis of the left
ventricle from its end-diastolic base (0) to its apex, u to the lateral wall (image
right), v down to the diaphragm. The right ventricle lies at the angle pi = -u.
"""

from dataclasses import dataclass, replace

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
        rv_width: Largest width of the right ventricle, septum to free wall.
        rv_length: Length of the right ventricle from the base plane.
        rv_angle: Direction of the right ventricle.
        rv_half_angle: Half of the angle it holds on to the septum.
        rv_skew: Shift of its bulge towards the diaphragm (positive) or the front.
        ripple: [3, 2] amplitude and phase of the angular waves 2, 3, 4 of the wall.
        wall_ripple: (relative amplitude, phase) of the thickness around the wall.
        papillary_angles: Directions of the two papillary muscles.
        papillary_radius: Their radius.
        fat: Thickness of the fat on the heart.
    """

    base: float
    length: float
    radius: float
    wall: float
    rv_width: float
    rv_length: float
    rv_angle: float
    rv_half_angle: float
    rv_skew: float
    ripple: np.ndarray
    wall_ripple: tuple[float, float]
    papillary_angles: tuple[float, float]
    papillary_radius: float
    fat: float

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
    length = float(np.clip(size * rng.uniform(1.55, 1.85), 66, 112))
    angle = np.pi + rng.normal(0, 0.15)
    ed = HeartShape(
        base=0.0,
        length=length,
        radius=_radius_for(edv_ml, length),
        wall=float(np.clip(rng.normal(8.3, 1.5), 6.2, 13.0)),
        rv_width=float(np.clip(size * rng.normal(0.68, 0.1), 22, 58)),
        rv_length=length * float(rng.uniform(0.78, 0.96)),
        rv_angle=float(angle),
        rv_half_angle=float(rng.uniform(1.15, 1.45)),
        rv_skew=float(rng.normal(0.0, 0.25)),
        ripple=np.stack(
            [rng.normal(0, (0.035, 0.02, 0.012)), rng.uniform(0, 2 * np.pi, 3)], axis=1
        ),
        wall_ripple=(float(rng.uniform(0, 0.15)), float(rng.uniform(0, 2 * np.pi))),
        papillary_angles=(
            float(rng.normal(-0.75, 0.2)),
            float(rng.normal(1.05, 0.2)),
        ),
        papillary_radius=float(rng.uniform(2.8, 4.8)),
        fat=float(np.clip(rng.normal(3.5, 2.0), 0.8, 9.0)),
    )
    return ed, _end_systole(rng, ed, ejection_fraction)


def _end_systole(
    rng: np.random.Generator, ed: HeartShape, ejection_fraction: float
) -> HeartShape:
    """Return the end-systolic shape that keeps the volume of the myocardium."""
    volume_ml = ed.lv_volume_ml() * (1.0 - ejection_fraction)
    base = float(20.0 * ejection_fraction * rng.uniform(0.85, 1.25))
    tip = ed.length + APEX_WALL * ed.wall
    goal = _wall_volume(ed.length, ed.radius, ed.wall)
    low, high = 0.5 * ed.wall, 4.0 * ed.wall
    for _ in range(50):
        wall = (low + high) / 2
        length = tip - APEX_WALL * wall - base
        grown = _wall_volume(length, _radius_for(volume_ml, length), wall)
        low, high = (low, wall) if grown > goal else (wall, high)
    shrink = 1.0 - rng.uniform(0.45, 0.75) * ejection_fraction
    return replace(
        ed,
        base=base,
        length=length,
        radius=_radius_for(volume_ml, length),
        wall=wall,
        rv_width=float(ed.rv_width * shrink),
        rv_length=ed.rv_length * 0.97 - base,
    )
