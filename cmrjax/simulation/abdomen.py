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
    ids, shift = TISSUE_IDS, torso.organ_shift
    scale, top = torso.scale, torso.left_dome
    _paint_bowel(torso, points, tissue, below)

    def organ(name, index, centre, radii, wall=0.0, wall_name="fat"):
        place = scale * np.asarray(centre[:2]) + shift[index][:2]
        where = (*place.tolist(), float(centre[2] + shift[index][2]))
        size = tuple(float(scale * torso.organ_size[index] * r) for r in radii)
        solid = Ellipsoid(ids[name], where, size, wall, ids[wall_name])
        solid.paint(tissue, points, plane, where=below, margin=_BENT)
        return where, size

    organ("kidney", 1, (62, 58, top - 100), (27, 24, 52), 5.0)
    organ("kidney", 1, (-60, 60, top - 105), (27, 24, 52), 5.0)
    organ("spleen", 2, (96, 46, top - 42), (34, 42, 50), 3.0)
    _paint_stomach(torso, points, plane, tissue, below)
    lobe = torso.left_lobe
    organ("liver", 0, (-62, -5, torso.right_dome - 72), (110, 98, 92), 2.0)
    organ("liver", 4, (lobe - 55, -42, top - 22), (75, 52, 38))
    _paint_liver_vessels(points, tissue, shift)


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
    x0, y0 = scale * np.array((56.0, -8.0)) + torso.organ_shift[3][:2]
    centre = (float(x0), float(y0), float(torso.left_dome + torso.organ_shift[3][2]))
    size = tuple(float(r) for r in torso.stomach_radii)
    centre = (*centre[:2], centre[2] - size[2] - 2.0)
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
    a, b, c = torso.organ_shift[5]
    loops = np.sin(x / 8.0 + a) + np.sin(y / 9.0 + b) + np.sin(z / 9.0 + c)
    loops = loops + 0.7 * np.sin((x + y - z) / 17.0 + a - c)
    here = below & (y < 45)
    edge = torso.bowel_edge
    tissue[here & (loops > edge)] = TISSUE_IDS["stomach_wall"]
    tissue[here & (loops > edge + 0.3)] = TISSUE_IDS["bowel"]
    gas = np.sin(x / 31.0 + c) + np.sin(z / 27.0 + a) > 1.1
    tissue[here & (loops > edge + 0.5) & gas] = TISSUE_IDS["gas"]


def _paint_liver_vessels(
    points: np.ndarray, tissue: np.ndarray, shift: np.ndarray
) -> None:
    """Paint branching veins into the liver: thin tubes where two waves cross zero."""
    x, y, z = points
    first = np.sin((x + 0.4 * y) / 11.0 + shift[4, 0]) + 0.5 * np.sin(z / 17.0)
    second = np.sin((z - 0.3 * y) / 12.0 + shift[4, 1]) + 0.5 * np.sin(y / 19.0)
    size = 0.03 + 0.03 * np.sin(x / 41.0 + y / 29.0)
    tubes = (first**2 + second**2 < size) & (tissue == TISSUE_IDS["liver"])
    tissue[tubes] = TISSUE_IDS["liver_vessel"]
