"""Painting of the heart into image slices: ventricles, their walls and fat.

Heart coordinates are those of `cmrjax.simulation.heart`.
"""

import numpy as np

from cmrjax.simulation.heart import APEX_WALL, TOP, HeartShape
from cmrjax.simulation.tissues import TISSUE_IDS

_TIP = 0.25  # height of the right ventricle's corners over the line they hang on


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
    heart: HeartShape,
    tissue: np.ndarray,
    local: np.ndarray,
    roughness: np.ndarray,
    *,
    gap: np.ndarray | None = None,
) -> None:
    """Paint both ventricles, their walls and the fat on them, in place.

    Args:
        heart: The shape at this phase.
        tissue: [s, h, w] uint8 tissue ids, changed.
        local: [3, s, h, w] float32 mm, heart coordinates.
        roughness: [h, w] float32, smooth noise of unit variance; makes trabeculae.
        gap: [s, h, w] float32 mm, distance from the chest's wall and the diaphragm;
            fat fills narrow spaces between those and the heart. None: far away.
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
    right, above = right_distance(heart, local)
    in_right = (right < 0) & (rho >= outer)
    _paint_fat(heart, tissue, local, rho - outer, right, gap)
    vessels = [ids[n] for n in ("vessel", "venous_vessel", "vessel_wall")]
    free = ~np.isin(tissue, vessels) & (rho >= outer)
    tissue[(above < 1.5) & free] = ids["vessel_wall"]
    tissue[(above < 0) & free] = ids["venous_vessel"]
    ring = ~below & (w > heart.base - 9.0)  # the left atrium widens from the valve
    tissue[ring & (rho < inner)] = ids["vessel_wall"]
    tissue[ring & (rho < inner - 1.5)] = ids["vessel"]
    tissue[(right < heart.rv_wall) & (rho >= outer) & (above > 0)] = ids["rv_wall"]
    tissue[in_right] = ids["rv_blood"]
    position = ((w - heart.base) / heart.length).clip(0, 1)
    rough = roughness > 0.5 - 0.13 * right + 1.2 * (0.7 - position)
    tissue[in_right & rough] = ids["trabecula"]
    tissue[(rho < outer) & below] = ids["myocardium"]
    cavity = (rho < inner) & below
    tissue[cavity] = ids["lv_blood"]
    _paint_papillary(heart, tissue, local, cavity, roughness, rho / (inner + 1e-3))


def right_distance(
    heart: HeartShape, local: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far outside the right ventricle's free wall positions are.

    Across the axis, the ventricle is what a curved free wall and a straight line
    through the insertions enclose; the left ventricle, painted over it, makes it a
    crescent. The free wall's height over the line is (1 - |s|^a)^b.

    Args:
        heart: The shape at this phase.
        local: [3, s, h, w] float32 mm, heart coordinates.

    Returns:
        [s, h, w] float32 mm, negative inside; a bound, not the exact distance. Then
        the same for the blood above its valves: right atrium and pulmonary root.
    """
    w = local[2]
    below_valve = w - heart.base - heart.rv_base
    across, q = _right_section(heart, local, (below_valve / heart.rv_length).clip(0, 1))
    along = np.minimum(below_valve - heart.rv_tilt * q, w - heart.base)
    ends = np.maximum(-along, below_valve - heart.rv_length)
    narrowed = across - 0.8 * along  # the vessels over the valves are narrower
    above = np.maximum(narrowed, np.maximum(-along - 12.0, along))
    return np.maximum(across, ends), above


def _right_section(
    heart: HeartShape, local: np.ndarray, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance across the axis, and the coordinate along the septum.

    ``t`` is the position between the right ventricle's base (0) and its end (1).
    """
    u, v, w = local
    angle = heart.rv_angle + heart.rv_twist * (1.0 - 2.0 * t)
    p, q = u * np.cos(angle) + v * np.sin(angle), u * np.sin(angle) - v * np.cos(angle)
    radius = _profile(heart, w, heart.wall) * (heart.radius + heart.wall) + 1e-3
    p = p + heart.rv_bend * np.minimum(q * q / radius, 1.7 * radius)
    line = radius * np.cos(heart.rv_half_angle)
    full = radius - line + heart.rv_width * np.sqrt(1.0 - t**1.7)
    half = radius * heart.rv_span * np.sqrt(1.0 - t**5) + 1e-3
    front = 1.0 + heart.rv_outflow * np.exp(-((t / 0.3) ** 2))
    s = q / (half * np.where(q < 0, front, 1.0))
    s = (s - heart.rv_skew) / (1.0 - np.sign(s - heart.rv_skew) * heart.rv_skew)
    a, b = heart.rv_powers
    part = np.abs(s).clip(0, 1)
    inside = (1.0 - part**a) ** b
    height = (p - line - full * (_TIP + (1 - _TIP) * inside)) * (0.4 + 0.6 * inside)
    sides = (height, (np.abs(s) - 1.0) * half, line + _TIP * full * part**4 - p)
    across = np.maximum.reduce(sides)
    outside = np.sqrt(sum(side.clip(0, None) ** 2 for side in sides))
    return np.where(across > 0, outside, across), q


def _paint_fat(
    heart: HeartShape,
    tissue: np.ndarray,
    local: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    gap: np.ndarray | None,
) -> None:
    """Paint the fat on the heart, which fills the grooves between its chambers."""
    u, v, w = local
    side = heart.fat_right * heart.fat + heart.rv_wall
    grown = np.exp(-(left - 0.5 * heart.fat) / 4.0) + np.exp(-(right - side) / 4.0)
    groove = 2.5 * np.exp(-(((w - heart.base) / 9.0) ** 2))
    low = np.clip(v, 0, None) / (heart.radius + heart.wall)  # more on the diaphragm
    if gap is not None:
        # Most of all in the angle between right ventricle, liver and breastbone.
        angle = np.clip(low, 0, 1) * np.clip(0.5 - u / 60.0, 0, 1)
        far = np.minimum(left, right).clip(0, None)
        near_heart = np.exp(-far / (18.0 + 14.0 * angle))
        reach = (2.5 + heart.fat) * (1.0 + 1.5 * angle)
        grown = grown + 1.7 * near_heart * np.exp(-(gap - 0.6 * side) / reach)
    near = grown * np.exp(groove) * (1.0 + 0.5 * low) > 1.0
    end = heart.apex + APEX_WALL * heart.wall + 0.7 * heart.fat * heart.fat_right
    room = np.isin(tissue, [TISSUE_IDS[name] for name in ("lung", "lung_vessel")])
    tissue[near & room & (w >= heart.base - 12.0) & (w < end)] = TISSUE_IDS["fat"]


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
    turn = 0.55 * heart.papillary_radius / heart.radius
    heads = [(angle - turn, 1.0) for angle in heart.papillary_angles]
    heads += [(angle + turn, 0.7) for angle in heart.papillary_angles]
    for angle, part in heads:
        size = part * heart.papillary_radius * (1.0 + 0.2 * roughness)
        place = (
            heart.papillary_place
            * heart.radius
            * np.sqrt((1.0 - position**2).clip(0.1, None))
        )
        du, dv = u - place * np.cos(angle), v - place * np.sin(angle)
        tissue[middle & (du * du + dv * dv < size * size)] = TISSUE_IDS["papillary"]
    rough = roughness > 1.2 + 6.0 * (1.0 - level) + 2.0 * (0.6 - position).clip(0)
    tissue[cavity & rough] = TISSUE_IDS["papillary"]
