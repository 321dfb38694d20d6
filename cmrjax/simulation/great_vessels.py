"""Painting of atria and great vessels into image slices.

Heart coordinates are those of `cmrjax.simulation.heart`.
"""

from dataclasses import replace

import numpy as np

from cmrjax.simulation.heart import HeartShape
from cmrjax.simulation.shapes import Capsule, Ellipsoid, SlicePlane
from cmrjax.simulation.tissues import TISSUE_IDS

_WALL = 1.5  # thickness of the vessels' walls, mm


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
    wall, fat = TISSUE_IDS["vessel_wall"], TISSUE_IDS["fat"]
    veins, chambers = _vessels(heart, base, axes, scale)
    room = np.isin(tissue, (TISSUE_IDS["lung"], TISSUE_IDS["lung_vessel"]))
    for shape in chambers:
        cushion = replace(shape, tissue=fat, wall=3.0 + heart.fat, wall_tissue=fat)
        cushion.paint(tissue, points, plane, margin=8.0, where=room)
    for shape in veins + chambers:
        solid = replace(shape, wall=_WALL, wall_tissue=wall)
        solid.paint(tissue, points, plane, margin=8.0)


def _vessels(
    heart: HeartShape, base: np.ndarray, axes: np.ndarray, scale: float
) -> tuple[list[Capsule | Ellipsoid], list[Capsule | Ellipsoid]]:
    """Return the veins, and the atria and arteries, in the order of painting."""
    # Blood on its way to the lung has less oxygen, see `relaxation`.
    blood, venous = TISSUE_IDS["vessel"], TISSUE_IDS["venous_vessel"]

    def at(u, v, w, patient=(0.0, 0.0, 0.0)):
        local = np.array((u, v, heart.base + scale * w))
        place = base + local @ axes + np.asarray(patient) * scale
        return tuple(float(value) for value in place)

    def beside(turn, distance, w, patient=(0.0, 0.0, 0.0)):
        angle, reach = heart.rv_angle + turn, outer + scale * distance
        return at(reach * np.cos(angle), reach * np.sin(angle), w, patient)

    s, outer = scale, heart.radius + heart.wall
    plane_w = heart.rv_base / s
    atrium, inflow = at(4 * s, 6 * s, -24), beside(-0.35, 8, plane_w - 26)
    # Both arteries leave along the heart's axis, then turn to the head.
    root, root_end = beside(0.55, -9, 2), beside(0.6, -11, -26)
    artery, artery_end = beside(1.05, 7, plane_w), beside(1.1, 3, plane_w - 24)
    trunk = beside(1.1, 3, plane_w - 24, (5, 18, 26))
    arch = beside(0.6, -11, -26, (-12, -8, 80))
    veins: list[Capsule | Ellipsoid] = [
        Capsule(venous, inflow, beside(-0.35, 8, -28, (0, 14, -150)), 10.5 * s),
        Capsule(venous, beside(-0.3, 4, -36), beside(-0.3, 4, -36, (0, 4, 120)), 9 * s),
        Capsule(blood, atrium, at(4 * s, 6 * s, -23, (56, 24, 10)), 6.0 * s),
        Capsule(blood, atrium, at(4 * s, 6 * s, -23, (48, 30, -20)), 5.5 * s),
        Capsule(blood, atrium, at(4 * s, 6 * s, -23, (-80, 20, 12)), 6.5 * s),
    ]
    chambers: list[Capsule | Ellipsoid] = [
        Ellipsoid(venous, inflow, (24 * s, 27 * s, 31 * s)),
        Ellipsoid(blood, atrium, (31 * s, 25 * s, 28 * s)),
        Capsule(venous, artery, artery_end, 12.5 * s),
        Capsule(venous, artery_end, trunk, 12 * s),
        Capsule(venous, trunk, beside(1.1, 3, plane_w - 24, (30, 45, 40)), 10 * s),
        Capsule(blood, root, root_end, 14.5 * s),
        Capsule(blood, root_end, arch, 14 * s),
    ]
    return veins, chambers
