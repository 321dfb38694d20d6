"""The body wall: skin fat, breasts, muscle sheets, ribs, sternum and arms."""

import numpy as np

from cmrjax.simulation.shapes import Capsule, SlicePlane
from cmrjax.simulation.tissues import TISSUE_IDS
from cmrjax.simulation.torso_shape import TorsoParameters, wall_layers

_RIB = 6.0  # half of a rib's height, mm


def paint_wall(
    torso: TorsoParameters, points: np.ndarray, plane: SlicePlane, tissue: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Paint the body wall and the arms, in place.

    Args:
        torso: The torso.
        points: [3, s, h, w] float32 mm, bent positions.
        plane: The slice they belong to.
        tissue: [s, h, w] uint8 tissue ids, changed.

    Returns:
        Depth under the skin fat and inside the inner side of the wall, [s, h, w] mm.
    """
    ids = TISSUE_IDS
    x, y, z = points
    _paint_arms(torso, points, plane, tissue)
    skin, under, inner = wall_layers(torso, points)
    tissue[skin > 0] = ids["fat"]
    gland = np.sin(x / 5.0 + z / 9.0) + np.sin(y / 4.0 - z / 8.0)
    gland = 0.4 * (gland + np.sin(x / 11.0 + y / 6.0) + np.sin(z / 13.0 - x / 17.0))
    glandular = torso.gland * np.clip(skin / 12.0 - 1.0, 0, 1)
    gland_here = (gland > 1.0 - glandular) & (under < -6.0) & (y < 0)
    tissue[gland_here & (skin > 8.0)] = ids["gland"]
    tissue[under > 0] = ids["muscle"]
    # Sheets of muscle with fat between them, then the layer of the ribs.
    sheet = 0.5 * (under + inner)  # -0.5 wall at the outside, +0.5 wall at the inside
    wide = 1.1 + 1.5 * torso.streaks * np.sin(x / 23.0 + z / 31.0 + 6 * torso.rib_phase)
    tissue[(np.abs(sheet + 1.0) < wide) & (under > 2.0)] = ids["wall_fat"]
    along = (z + 0.55 * y) / torso.rib_distance + torso.rib_phase
    along = (along - np.floor(along) - 0.5) * torso.rib_distance
    ribs = inner > -12.0
    loose = torso.streaks * 5.0 - np.abs(np.abs(along) - 9.5)
    tissue[ribs & (loose > 0) & (inner < -3.0)] = ids["wall_fat"]
    rib = (along / _RIB) ** 2 + ((inner + 6.0) / 4.6) ** 2
    bar = ((np.abs(x) / 17.0) ** 4 + ((inner + 7.5) / 6.5) ** 2) + 9.0 * (y > 0)
    bar = bar + 9.0 * (z < -75.0)
    solid = np.minimum(rib, bar)
    tissue[(solid < 1) & (inner < 0)] = ids["bone"]
    tissue[(solid < 0.5) & (inner < 0)] = ids["marrow"]
    tissue[inner > 0] = ids["fat"]
    return under, inner


def _paint_arms(
    torso: TorsoParameters, points: np.ndarray, plane: SlicePlane, tissue: np.ndarray
) -> None:
    """Paint the upper arms beside the body, unless they lie out of view."""
    if torso.arm_gap < 0:
        return
    thick = 0.25 * torso.half_width
    for sign in (-1.0, 1.0):
        x = sign * (torso.half_width + torso.arm_gap + thick)
        ends = ((x, 15.0, 190.0), (x * 1.02, 25.0, -260.0))
        for name, radius in (
            ("fat", thick),
            ("muscle", thick - 0.55 * torso.fat - 2.0),
            ("bone", 11.0),
            ("marrow", 6.5),
        ):
            Capsule(TISSUE_IDS[name], *ends, radius).paint(tissue, points, plane)
