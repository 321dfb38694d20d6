"""Painting of the heart into image slices: ventricles, walls, atria, vessels.

Heart coordinates are those of `cmrjax.simulation.heart`.
"""

from dataclasses import replace

import numpy as np

from cmrjax.simulation.heart import APEX_WALL, TOP, HeartShape
from cmrjax.simulation.shapes import Capsule, Ellipsoid, SlicePlane
from cmrjax.simulation.tissues import TISSUE_IDS


def heart_coordinates(
    points: np.ndarray, base: np.ndarray, axes: np.ndarray
) -> np.ndarray:
    """Return heart coordinates of patient positions.

    Args:
        points: [3, ...] float32 mm, patient positions.
        base: [3] float64 mm, where the long axis meets the end-diastolic base plane.
        axes: [3, 3] float64, rows u, v, w as unit vectors.

    Returns:
        [3, ...] float32 mm: u, v, w.
    """
    axes, base = axes.astype(np.float32), base.astype(np.float32)
    relative = [points[i] - base[i] for i in range(3)]
    return np.stack(
        [sum(axis[i] * relative[i] for i in range(3)) for axis in axes]
    ).astype(np.float32)


def paint_ventricles(
    heart: HeartShape, tissue: np.ndarray, local: np.ndarray, roughness: np.ndarray
) -> None:
    """Paint both ventricles, their walls and the fat on them, in place.

    Args:
        heart: The shape at this phase.
        tissue: [s, h, w] uint8 tissue ids, changed.
        local: [3, s, h, w] float32 mm, heart coordinates.
        roughness: [h, w] float32, smooth noise of unit variance; makes trabeculae.
    """
    ids = TISSUE_IDS
    u, v, w = local
    rho, theta = np.sqrt(u * u + v * v), np.arctan2(v, u)
    below = w >= heart.base
    wave = 1.0 + sum(
        a * np.cos(k * theta + p) for k, (a, p) in enumerate(heart.ripple, start=2)
    )
    amplitude, phase = heart.wall_ripple
    thick = heart.wall * (1.0 + amplitude * np.cos(theta + phase))
    inner = _profile(heart, w, 0.0) * heart.radius * wave
    outer = _profile(heart, w, heart.wall) * (heart.radius * wave + thick)
    position = ((w - heart.base) / heart.rv_length).clip(0, 1)
    angle = np.mod(theta - heart.rv_angle + np.pi, 2 * np.pi) - np.pi
    turn = angle / (heart.rv_half_angle * (1.0 - 0.3 * position**2))
    skewed = turn - heart.rv_skew * (1 - turn * turn) * 0.6
    bulge = np.cos(np.clip(skewed, -1, 1) * (np.pi / 2)).clip(0, None) ** 0.55
    right = (np.abs(turn) < 1) & (w - heart.base < heart.rv_length) & below
    width = heart.rv_width * np.sqrt(1.0 - position**1.7) * bulge * right
    free = outer + width + np.where(width > 1.0, 2.5, 0.0)
    groove = 6.0 * np.exp(-(((w - heart.base) / 9.0) ** 2))
    corner = 1.6 * np.exp(-(((np.abs(turn) - 1.0) / 0.18) ** 2))
    taper = ((heart.apex - w) / 15.0).clip(0.2, 1.0)
    fat = taper * heart.fat * (0.6 + corner + 0.15 * roughness) + groove
    tail = w < heart.apex + APEX_WALL * heart.wall
    tissue[(rho < free + fat.clip(0)) & below & tail] = ids["fat"]
    tissue[(rho < free) & below] = ids["rv_wall"]
    in_right = (rho < outer + width) & below
    tissue[in_right] = ids["rv_blood"]
    depth = (outer + width - rho) / np.maximum(width, 1.0)
    rough = roughness > 0.5 + 2.4 * depth + 0.8 * (1 - position)
    tissue[in_right & rough & (width > 4)] = ids["trabecula"]
    tissue[(rho < outer) & below] = ids["myocardium"]
    cavity = (rho < inner) & below
    tissue[cavity] = ids["lv_blood"]
    _paint_papillary(heart, tissue, local, cavity, roughness, rho / (inner + 1e-3))


def _profile(heart: HeartShape, w: np.ndarray, wall: float) -> np.ndarray:
    """Return the relative radius along the long axis: 1 where widest, 0 at the end."""
    top = heart.base + TOP * heart.length
    half = (1 - TOP) * heart.length + APEX_WALL * wall
    return np.sqrt((1.0 - ((w - top) / half) ** 2).clip(0, None))


def _paint_papillary(
    heart: HeartShape,
    tissue: np.ndarray,
    local: np.ndarray,
    cavity: np.ndarray,
    roughness: np.ndarray,
    level: np.ndarray,
) -> None:
    """Paint papillary muscles and apical trabeculae into the left cavity."""
    u, v, w = local
    position = (w - heart.base) / heart.length
    middle = (position > 0.3) & (position < 0.82) & cavity
    size = heart.papillary_radius * (1.0 + 0.2 * roughness)
    for angle in heart.papillary_angles:
        place = 0.72 * heart.radius * np.sqrt((1.0 - position**2).clip(0.1, None))
        du, dv = u - place * np.cos(angle), v - place * np.sin(angle)
        tissue[middle & (du * du + dv * dv < size * size)] = TISSUE_IDS["papillary"]
    rough = roughness > 1.2 + 6.0 * (1.0 - level) + 2.0 * (0.6 - position).clip(0)
    tissue[cavity & rough] = TISSUE_IDS["papillary"]


def paint_great_vessels(
    heart: HeartShape,
    tissue: np.ndarray,
    points: np.ndarray,
    plane: SlicePlane,
    *,
    base: np.ndarray,
    axes: np.ndarray,
    scale: float,
) -> None:
    """Paint atria and great vessels, in place; the ventricles are painted after them.

    Args:
        heart: The shape at this phase; the vessels follow its base plane.
        tissue: [s, h, w] uint8 tissue ids, changed.
        points: [3, s, h, w] float32 mm, patient positions.
        plane: The slice they belong to.
        base: [3] float64 mm, origin of the heart coordinates.
        axes: [3, 3] float64, rows u, v, w.
        scale: Size relative to a cavity of 150 ml.
    """
    blood, wall = TISSUE_IDS["vessel"], TISSUE_IDS["rv_wall"]

    def at(u, v, w, patient=(0.0, 0.0, 0.0)):
        local = np.array((u, v, w)) * scale + (0.0, 0.0, heart.base)
        place = base + local @ axes + np.asarray(patient) * scale
        return tuple(float(value) for value in place)

    s = scale
    root, artery = at(-10, -12, 4), at(-34, -34, 6)
    atrium, inflow = at(6, 8, -23), at(-48, 14, -25)
    ascending = at(-10, -12, 4, (-16, -14, 42))
    shapes = [
        Capsule(blood, at(-48, 18, -28), at(-48, 18, -28, (0, 10, -150)), 10 * s),
        Capsule(blood, inflow, at(-48, 14, -25, (-4, 4, 120)), 9 * s),
        Capsule(blood, atrium, at(6, 8, -23, (70, 26, 10)), 6.5 * s),
        Capsule(blood, atrium, at(6, 8, -23, (66, 32, -22)), 6.0 * s),
        Capsule(blood, atrium, at(6, 8, -23, (-80, 20, 12)), 6.5 * s),
        Ellipsoid(blood, inflow, (25 * s, 28 * s, 33 * s)),
        Ellipsoid(blood, atrium, (31 * s, 25 * s, 28 * s)),
        Capsule(blood, artery, at(-34, -34, 6, (6, 4, 48)), 13 * s),
        Capsule(
            blood, at(-34, -34, 6, (6, 4, 48)), at(-34, -34, 6, (30, 50, 66)), 11 * s
        ),
        Capsule(blood, root, ascending, 15 * s),
        Capsule(blood, ascending, at(-10, -12, 4, (-10, 0, 90)), 14 * s),
    ]
    for shape in shapes:
        solid = replace(shape, wall=1.8, wall_tissue=wall)
        solid.paint(tissue, points, plane, margin=8.0)
