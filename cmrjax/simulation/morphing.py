"""Gives a measured heart another size and shape; what lies around it moves along.

Across the long axis each ray is mapped by itself, piecewise linear from the wanted
borders to the measured ones: the cavity stays within the muscle and nothing folds.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cmrjax.simulation.heart_profile import ANGLES, HeartProfile

_TABLE_ANGLES = 720
_TABLE_STEP = 0.5  # of heights in the look-up tables, mm
_MIN_REACH = 60.0  # least width of what moves along around the heart, mm
_CORE, _RIM = 65.0, 150.0  # full and no lengthening and turn of the heart, mm
_MIN_RADIUS = 0.05  # mm


@dataclass(frozen=True)
class HeartTargets:
    """The heart wanted at one phase, in the phantom's millimetres.

    Attributes:
        lv_ml: Volume of the cavity.
        wall_mm: Mean thickness of the wall.
        rv_ml: Volume of the right ventricle.
        length: Length of the ventricles over the measured one.
        turn: Turn of the heart in the chest, radians.
    """

    lv_ml: float
    wall_mm: float
    rv_ml: float
    length: float
    turn: float


@dataclass(frozen=True)
class HeartMorph:
    """A map from the wanted heart to the measured one.

    Attributes:
        profile: The measured heart.
        wanted: [3, z, ANGLES] float32 mm: outer radii of cavity, wall and right heart,
            by the heights of the profile.
        length: As in `HeartTargets`.
        turn: As in `HeartTargets`.
    """

    profile: HeartProfile
    wanted: np.ndarray
    length: float
    turn: float


@dataclass(frozen=True)
class MorphedPoints:
    """Where points of the new heart lie in the phantom.

    Attributes:
        source: [3, ...] float32 mm, (z, y, x) in the phantom.
        radius: [...] float32 mm, distance from the long axis in the new heart.
        borders: [3, ...] float32 mm, outer radii of the new cavity, wall and right
            heart on the point's ray.
    """

    source: np.ndarray
    radius: np.ndarray
    borders: np.ndarray


def sample_relief(
    rng: np.random.Generator,
    profile: HeartProfile,
    amplitude: tuple[float, float, float],
) -> np.ndarray:
    """Draws smooth relative changes of cavity, wall and right heart.

    Args:
        rng: Source of randomness.
        profile: The measured heart.
        amplitude: Standard deviations of the three factors.

    Returns:
        [3, z, ANGLES] float32 around 1, at least 0.4.
    """
    sigma = (22.0 / profile.step, ANGLES / 9)
    factors = []
    for scale in amplitude:
        noise = rng.standard_normal(profile.endo.shape, dtype=np.float32)
        noise = np.asarray(ndimage.gaussian_filter(noise, sigma, mode="wrap"))
        noise /= max(float(noise.std()), 1e-6)
        factors.append((1 + scale * noise.clip(-2.2, 2.2)).clip(0.4))
    return np.stack(factors).astype(np.float32)


def fit_heart(
    profile: HeartProfile, targets: HeartTargets, relief: np.ndarray
) -> HeartMorph:
    """Finds the borders that have the wanted volumes and wall.

    Args:
        profile: The measured heart.
        targets: What is wanted.
        relief: [3, z, ANGLES] from `sample_relief`.

    Returns:
        The map. Volumes are those of the borders between base and apex.
    """
    part = profile.sections
    voxel = 2 * np.pi / ANGLES * profile.step * targets.length / 1000  # ml per mm^2
    endo = profile.endo * relief[0]
    endo = endo * np.sqrt(targets.lv_ml / (0.5 * (endo[part] ** 2).sum() * voxel))
    thickness = profile.epi - profile.endo
    with_cavity = profile.endo[part] > 3.0
    wall = thickness * relief[1]
    wall = wall * (targets.wall_mm / wall[part][with_cavity].mean())
    epi = endo + wall
    # The crescent's sections are ring sectors: half of (epi + k s)^2 - epi^2; `filled`
    # is the part of them that the blood fills in the phantom.
    measured = profile.right[part] * (profile.epi + 0.5 * profile.right)[part]
    filled = profile.rv_ml / max(measured.sum() * voxel / targets.length, 1e-6)
    right = profile.right * relief[2]
    square = 0.5 * (right[part] ** 2).sum()
    linear = (right[part] * epi[part]).sum()
    wanted = targets.rv_ml / max(filled * voxel, 1e-9)
    factor = 1.0
    if square > 0:
        factor = (np.sqrt(linear**2 + 4 * square * wanted) - linear) / (2 * square)
    right = right * np.clip(factor, 0.2, 2.5)
    borders = np.stack([endo, epi, epi + right]).astype(np.float32)
    return HeartMorph(profile, borders, targets.length, targets.turn)


def wall_volume_ml(morph: HeartMorph) -> float:
    """Return the volume between the wanted inner and outer border of the wall, ml."""
    endo, epi, _ = morph.wanted[:, morph.profile.sections]
    voxel = 2 * np.pi / ANGLES * morph.profile.step * morph.length / 1000
    return float(0.5 * (epi**2 - endo**2).sum() * voxel)


def morph_points(morph: HeartMorph, points: np.ndarray) -> MorphedPoints:
    """Finds where points lie in the phantom.

    Args:
        morph: The map.
        points: [3, ...] float32 mm, (z, y, x), in the phantom with the new heart.

    Returns:
        The points in the phantom as it is.
    """
    profile = morph.profile
    heights = np.arange(len(profile.centre)) * profile.step
    z, y, x = points
    middle = [np.interp(z, heights, c).astype(np.float32) for c in profile.centre.T]
    near = fade(
        (np.hypot(y - middle[0], x - middle[1]) - _CORE) / np.float32(_RIM - _CORE)
    )
    z = z + near * (profile.apex - z) * np.float32(1 - 1 / morph.length)
    middle = [np.interp(z, heights, c).astype(np.float32) for c in profile.centre.T]
    y, x = y - middle[0], x - middle[1]
    radius = np.hypot(y, x)
    angle = np.arctan2(y, x) - np.float32(morph.turn) * near
    measured = np.stack([profile.endo, profile.epi, profile.epi + profile.right])
    index = _table_index(z, angle, profile)
    borders = np.stack([_table(t, profile).ravel()[index] for t in morph.wanted])
    inner = np.stack([_table(t, profile).ravel()[index] for t in measured])
    reach = max(_MIN_REACH, 2.0 * float(np.abs(morph.wanted[2] - measured[2]).max()))
    mapped = _map_radius(radius, borders, inner, reach)
    source = np.stack(
        [z, middle[0] + mapped * np.sin(angle), middle[1] + mapped * np.cos(angle)]
    )
    return MorphedPoints(source.astype(np.float32), radius, borders)


def _map_radius(
    radius: np.ndarray, wanted: np.ndarray, measured: np.ndarray, reach: float
) -> np.ndarray:
    """Map radii from the wanted borders to the measured ones; [...] float32."""
    wanted = np.maximum(wanted, _MIN_RADIUS)
    mapped = radius * (measured[0] / wanted[0])
    for inside, outside in ((0, 1), (1, 2)):
        width = np.maximum(wanted[outside] - wanted[inside], _MIN_RADIUS)
        slope = (measured[outside] - measured[inside]) / width
        part = measured[inside] + (radius - wanted[inside]) * slope
        mapped = np.where(radius > wanted[inside], part, mapped)
    shift = wanted[2] - measured[2]
    beyond = radius - shift * fade((radius - wanted[2]) / np.float32(reach))
    return np.where(radius > wanted[2], beyond, mapped)


def fade(t: np.ndarray) -> np.ndarray:
    """Returns 1 up to t = 0 and 0 from t = 1, smooth between."""
    t = t.clip(0, 1)
    return (1 - t) ** 2 * (1 + 2 * t)


def _table(values: np.ndarray, profile: HeartProfile) -> np.ndarray:
    """Interpolate [z, ANGLES] to the steps of the look-up; [heights, angles]."""
    heights = np.arange(0, (len(values) - 1) * profile.step, _TABLE_STEP)
    rows = heights / profile.step
    low = np.floor(rows).astype(int).clip(max=len(values) - 2)
    share = (rows - low)[:, None]
    values = values[low] * (1 - share) + values[low + 1] * share
    columns = np.arange(_TABLE_ANGLES) * (ANGLES / _TABLE_ANGLES)
    left = np.floor(columns).astype(int)
    share = columns - left
    return (
        values[:, left] * (1 - share) + values[:, (left + 1) % ANGLES] * share
    ).astype(np.float32)


def _table_index(z: np.ndarray, angle: np.ndarray, profile: HeartProfile) -> np.ndarray:
    """Return the flat index into a table made by `_table`."""
    count = len(np.arange(0, (len(profile.centre) - 1) * profile.step, _TABLE_STEP))
    row = np.rint(z / np.float32(_TABLE_STEP)).clip(0, count - 1).astype(np.int32)
    column = np.rint(angle * np.float32(_TABLE_ANGLES / (2 * np.pi))).astype(np.int32)
    return row * _TABLE_ANGLES + column % _TABLE_ANGLES
