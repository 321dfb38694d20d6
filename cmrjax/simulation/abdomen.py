"""The organs under the diaphragm: liver, stomach, spleen, kidneys, bowel."""

import numpy as np

from cmrjax.simulation.shapes import Ellipsoid, SlicePlane
from cmrjax.simulation.tissues import TISSUE_IDS
from cmrjax.simulation.torso_shape import TorsoParameters

_BENT = 30.0  # how far the bending may move a position, mm


def paint_abdomen(
    torso: TorsoParameters,
    points: np.ndarray,
    plane: SlicePlane,
    tissue: np.ndarray,
    below: np.ndarray,
) -> None:
    """Paint bowel, liver, spleen, kidneys and stomach under the diaphragm, in place.

    Args:
        torso: The torso.
        points: [3, s, h, w] float32 mm, bent positions.
        plane: The slice they belong to.
        tissue: [s, h, w] uint8 tissue ids, changed.
        below: [s, h, w] bool, what may be painted.
    """
    if not below.any():
        return
    ids = TISSUE_IDS
    scale, top = torso.scale, torso.left_dome
    _paint_bowel(torso, points, tissue, below)

    def organ(name, shift, size, centre, radii, wall=0.0):
        x, y, z = scale * centre[0], scale * centre[1], centre[2]
        where = (x + shift[0], y + shift[1], z + shift[2])
        axes = tuple(scale * size * r for r in radii)
        solid = Ellipsoid(ids[name], where, axes, wall, ids["fat"])
        solid.paint(tissue, points, plane, where=below, margin=_BENT)

    kidney = (torso.kidney_shift, torso.kidney_size)
    organ("kidney", *kidney, (62, 58, top - 100), (27, 24, 52), 5.0)
    organ("kidney", *kidney, (-60, 60, top - 105), (27, 24, 52), 5.0)
    spleen = (torso.spleen_shift, torso.spleen_size)
    organ("spleen", *spleen, (96, 46, top - 42), (34, 42, 50), 3.0)
    _paint_stomach(torso, points, plane, tissue, below)
    lobe = torso.left_lobe
    liver, left = (
        (torso.liver_shift, torso.liver_size),
        (torso.lobe_shift, torso.lobe_size),
    )
    organ("liver", *liver, (-62, -5, torso.right_dome - 72), (110, 98, 92), 2.0)
    organ("liver", *left, (lobe - 55, -42, top - 22), (75, 52, 38))
    _paint_liver_vessels(torso, points, tissue)


def _paint_stomach(
    torso: TorsoParameters,
    points: np.ndarray,
    plane: SlicePlane,
    tissue: np.ndarray,
    below: np.ndarray,
) -> None:
    """Paint the stomach: a wall with folds around gas, fluid or food."""
    ids, wall = TISSUE_IDS, torso.stomach_wall
    x, y, z = points
    scale = torso.scale
    shift, size = torso.stomach_shift, torso.stomach_radii
    top = torso.left_dome + shift[2]
    centre = (56.0 * scale + shift[0], -8.0 * scale + shift[1], top - size[2] - 2.0)
    outer = Ellipsoid(ids["stomach_wall"], centre, size, 2.5, ids["fat"])
    outer.paint(tissue, points, plane, where=below, margin=_BENT)
    folds = np.sin(x / 3.5 + z / 6.0) * np.sin(y / 4.5 - z / 5.0) * min(0.5 * wall, 3.0)
    inner = np.sqrt(
        sum(((points[i] - centre[i]) / size[i]) ** 2 for i in range(3))
    ) * min(size)
    content = (inner < min(size) - wall - folds) & (tissue == ids["stomach_wall"])
    tissue[content] = ids["stomach"]
    level = centre[1] - size[1] * (1.0 - 2.0 * torso.stomach_gas)
    tissue[content & (y < level)] = ids["gas"]


def _paint_bowel(
    torso: TorsoParameters,
    points: np.ndarray,
    tissue: np.ndarray,
    below: np.ndarray,
) -> None:
    """Paint loops of bowel with walls, some filled with gas."""
    x, y, z = points
    a, b, c = torso.bowel_phases
    loops = np.sin(x / 8.0 + a) + np.sin(y / 9.0 + b) + np.sin(z / 9.0 + c)
    loops = loops + 0.7 * np.sin((x + y - z) / 17.0 + a - c)
    here = below & (y < 45)
    edge = torso.bowel_edge
    tissue[here & (loops > edge)] = TISSUE_IDS["stomach_wall"]
    tissue[here & (loops > edge + 0.3)] = TISSUE_IDS["bowel"]
    gas = np.sin(x / 31.0 + c) + np.sin(z / 27.0 + a) > 1.1
    tissue[here & (loops > edge + 0.5) & gas] = TISSUE_IDS["gas"]


def _paint_liver_vessels(
    torso: TorsoParameters, points: np.ndarray, tissue: np.ndarray
) -> None:
    """Paint branching veins into the liver: thin tubes where two waves cross zero."""
    x, y, z = points
    a, b = torso.vein_phases
    first = np.sin((x + 0.4 * y) / 11.0 + a) + 0.5 * np.sin(z / 17.0)
    second = np.sin((z - 0.3 * y) / 12.0 + b) + 0.5 * np.sin(y / 19.0)
    size = 0.03 + 0.03 * np.sin(x / 41.0 + y / 29.0)
    tubes = (first**2 + second**2 < size) & (tissue == TISSUE_IDS["liver"])
    tissue[tubes] = TISSUE_IDS["liver_vessel"]
