"""Painting of the torso around the heart into image slices."""

import numpy as np

from cmrjax.simulation.abdomen import paint_abdomen
from cmrjax.simulation.chest_wall import paint_wall
from cmrjax.simulation.shapes import Capsule, SlicePlane, bend
from cmrjax.simulation.tissues import TISSUE_IDS
from cmrjax.simulation.torso_shape import TorsoParameters, diaphragm_height


def paint_torso(
    torso: TorsoParameters, plane: SlicePlane
) -> tuple[np.ndarray, np.ndarray]:
    """Paint one slice of the torso without its heart.

    Args:
        torso: The torso.
        plane: The slice.

    Returns:
        [s, h, w] uint8 tissue ids, and [s, h, w] float32 mm, how far inside the chest
        a position is from its wall and from the diaphragm (negative: outside).
    """
    points = bend(plane.points(), torso.waves, torso.wave_phases, torso.wave_amplitudes)
    tissue = np.zeros(points.shape[1:], dtype=np.uint8)
    under, inner = paint_wall(torso, points, plane, tissue)
    cavity = inner > 0
    height = diaphragm_height(torso, points)
    x, y = points[0], points[1]
    back = np.clip((y + 10.0) / 40.0, 0, 1)
    between = torso.front_line + (torso.mediastinum - torso.front_line) * back
    # The pleura turns over from the front wall to the mediastinum in a curve.
    between = between + 16.0 * np.exp(-inner.clip(0, None) / 9.0) * (y < 0)
    middle = np.abs(x - 4.0) < between
    tissue[cavity & (height > 0) & ~middle] = TISSUE_IDS["lung"]
    paint_abdomen(torso, points, plane, tissue, cavity & (height < -2.5))
    tissue[cavity & (np.abs(height + 1.2) < 1.3)] = TISSUE_IDS["diaphragm"]
    _paint_spine(torso, points, plane, tissue, under > 0)
    return tissue, np.minimum(inner, height)


def _paint_spine(
    torso: TorsoParameters,
    points: np.ndarray,
    plane: SlicePlane,
    tissue: np.ndarray,
    where: np.ndarray,
) -> None:
    """Paint vertebrae, cord, the muscles beside them, aorta, azygos, oesophagus."""
    back = torso.half_depth - 1.2 * torso.fat - 0.8 * torso.wall
    y, aorta = back - 20.0, torso.aorta
    tubes = [
        ("muscle", (-30, back + 20), 19.0, 0.0, "fat"),
        ("muscle", (30, back + 20), 19.0, 0.0, "fat"),
        ("bone", (0, back + 14), 13.0, 0.0, "bone"),
        ("marrow", (0, y), 17.5, 2.0, "bone"),
        ("spinal_fluid", (0, y + 26), 8.5, 1.5, "fat"),
        ("muscle", (0, y + 26), 4.5, 0.0, "muscle"),
        ("vessel", (24, y - 10 - aorta), aorta, 1.5, "vessel_wall"),
        ("venous_vessel", (-8, y - 23), 3.5, 1.0, "fat"),
        ("muscle", (8, y - 24 - aorta), 6.0, 1.0, "fat"),
    ]
    for name, (x, depth), radius, wall, wall_name in tubes:
        ends = ((x, depth, -320.0), (x, depth, 320.0))
        tube = Capsule(TISSUE_IDS[name], *ends, radius, wall, TISSUE_IDS[wall_name])
        tube.paint(tissue, points, plane, where=where, margin=25.0)
