"""The torso around the heart: body wall, lungs, diaphragm, abdomen, spine, aorta.

Patient coordinates are millimetres (left, posterior, superior), with the origin on the
body's axis at the height of the base of the heart.
"""

from dataclasses import dataclass

import numpy as np

from cmrjax.simulation.shapes import Capsule, Ellipsoid, SlicePlane, bend
from cmrjax.simulation.tissues import TISSUE_IDS


@dataclass(frozen=True)
class TorsoParameters:
    """Shape of one torso; lengths in mm.

    Attributes:
        half_width: Half of the body's width.
        half_depth: Half of the body's depth.
        squareness: Exponent of the superellipse (2 is an ellipse).
        fat: Mean thickness of the fat under the skin.
        wall: Mean thickness of muscle and ribs.
        breast: Height of the breasts.
        right_dome: Height of the right dome of the diaphragm (superior).
        left_dome: Height of the left dome.
        rib_distance: Distance of neighbouring ribs.
        rib_phase: Position of the ribs, 0 to 1.
        mediastinum: Half of the width of the tissue between the lungs.
        stomach_gas: Part of the stomach that is gas, 0 to 0.6.
        organ_shift: [k, 3] shifts of the abdominal organs.
        waves: [n, 3] rad/mm, wave vectors of the irregular bending.
        wave_phases: [n] rad.
        wave_amplitudes: [n, 3] amplitudes of the bending.
    """

    half_width: float
    half_depth: float
    squareness: float
    fat: float
    wall: float
    breast: float
    right_dome: float
    left_dome: float
    rib_distance: float
    rib_phase: float
    mediastinum: float
    stomach_gas: float
    organ_shift: np.ndarray
    waves: np.ndarray
    wave_phases: np.ndarray
    wave_amplitudes: np.ndarray

    @property
    def half_axes(self) -> tuple[float, float]:
        """Half of the body's width and depth, mm."""
        return self.half_width, self.half_depth


def sample_torso(rng: np.random.Generator) -> TorsoParameters:
    """Draw a torso: lean to obese, breathed in to breathed out.

    Args:
        rng: Source of randomness.

    Returns:
        The parameters.
    """
    half_width = float(rng.uniform(140, 185))
    breath = rng.normal(0, 8)
    waves = 9
    direction = rng.standard_normal((waves, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = np.geomspace(45, 160, waves)
    return TorsoParameters(
        half_width=half_width,
        half_depth=float(half_width * rng.uniform(0.62, 0.74)),
        squareness=float(rng.uniform(2.1, 2.7)),
        fat=float(np.clip(rng.lognormal(np.log(11), 0.5), 3, 32)),
        wall=float(rng.uniform(17, 26)),
        breast=float(max(0.0, rng.normal(8, 16))),
        right_dome=float(-22 + breath + rng.normal(0, 6)),
        left_dome=float(-40 + breath + rng.normal(0, 7)),
        rib_distance=float(rng.uniform(25, 32)),
        rib_phase=float(rng.uniform()),
        mediastinum=float(rng.uniform(10, 20)),
        stomach_gas=float(rng.uniform(0, 0.6) if rng.uniform() < 0.6 else 0.0),
        organ_shift=rng.normal(0, 9, (6, 3)),
        waves=direction * (2 * np.pi / length)[:, None],
        wave_phases=rng.uniform(0, 2 * np.pi, waves),
        wave_amplitudes=rng.normal(0, 0.016, (waves, 3)) * length[:, None],
    )


def inner_wall_scale(torso: TorsoParameters, point: np.ndarray) -> float:
    """Return how far out a point lies, 1 at the inner side of the chest wall.

    Args:
        torso: The torso.
        point: [3] float64 mm, patient position.

    Returns:
        Radius of the point over the radius of the inner wall in its direction.
    """
    radius = float(np.hypot(point[0], point[1]))
    s = _superellipse(torso, point[0], point[1])
    return radius / max(radius / s - torso.fat - torso.wall, 1.0)


def paint_torso(torso: TorsoParameters, plane: SlicePlane) -> np.ndarray:
    """Paint one slice of the torso without its heart.

    Args:
        torso: The torso.
        plane: The slice.

    Returns:
        [s, h, w] uint8 tissue ids.
    """
    points = bend(plane.points(), torso.waves, torso.wave_phases, torso.wave_amplitudes)
    tissue = np.zeros(points.shape[1:], dtype=np.uint8)
    cavity = _paint_wall(torso, points, tissue)
    height = _diaphragm(torso, points)
    chest = cavity & (height > 0)
    middle = np.abs(points[0] - 8.0) < torso.mediastinum + 0.2 * points[1].clip(-70, 0)
    tissue[chest & ~middle] = TISSUE_IDS["lung"]
    _paint_abdomen(torso, points, plane, tissue, cavity & (height < -2.5))
    tissue[cavity & (np.abs(height + 1.0) < 1.6)] = TISSUE_IDS["muscle"]
    _paint_spine(torso, points, plane, tissue)
    return tissue


def _superellipse(torso: TorsoParameters, x, y):
    """Return the superellipse's level: 1 on the skin, homogeneous of degree 1."""
    n = torso.squareness
    level = np.abs(x / torso.half_width) ** n + np.abs(y / torso.half_depth) ** n
    return (level + 1e-9) ** (1.0 / n)


def _paint_wall(
    torso: TorsoParameters, points: np.ndarray, tissue: np.ndarray
) -> np.ndarray:
    """Paint fat, muscle, ribs and sternum; return the cavity inside as bool."""
    x, y, z = points
    radius = np.sqrt(x * x + y * y)
    edge = radius / _superellipse(torso, x, y)
    front = np.clip(-y / torso.half_depth, 0, 1)
    side = np.abs(x) / torso.half_width
    bump = torso.breast * np.exp(
        -(((np.abs(x) - 80.0) / 42.0) ** 2) - ((z + 15.0) / 55.0) ** 2
    )
    bump *= np.clip(3.0 * front - 0.6, 0, 1)
    fat = torso.fat * (1.25 - 0.6 * side) + bump
    wall = torso.wall * (0.75 + 0.5 * side * (1 - 0.4 * front))
    depth = edge + bump - radius
    tissue[depth > 0] = TISSUE_IDS["fat"]
    inside = depth - fat
    tissue[inside > 0] = TISSUE_IDS["muscle"]
    layer = inside / wall
    streak = 0.09 * np.sin(x / 23.0 + z / 31.0 + 2 * np.pi * torso.rib_phase)
    tissue[np.abs(layer - 0.42) < streak] = TISSUE_IDS["fat"]
    along = (z + 0.55 * y) / torso.rib_distance + torso.rib_phase
    along = (along - np.floor(along) - 0.5) * torso.rib_distance
    rib = (along / 6.5) ** 2 + ((inside - 0.74 * wall) / (0.25 * wall)) ** 2
    sternum = (np.abs(x) < 17) & (y < 0) & (np.abs(layer - 0.7) < 0.24)
    tissue[(rib < 1) | sternum] = TISSUE_IDS["bone"]
    cavity = layer > 1
    tissue[cavity] = TISSUE_IDS["fat"]
    return cavity


def _diaphragm(torso: TorsoParameters, points: np.ndarray) -> np.ndarray:
    """Return the height above the diaphragm, mm: two domes, lower at the back."""
    x, y, z = points
    height = None
    for centre, top in ((-72.0, torso.right_dome), (72.0, torso.left_dome)):
        scaled = ((x - centre) / 88.0) ** 2 + ((y + 12.0) / 88.0) ** 2
        dome = z - (top - 45.0 * scaled - 20.0 * np.clip(y / 90.0, 0, 1))
        height = dome if height is None else np.minimum(height, dome)
    assert height is not None
    return height


def _paint_abdomen(
    torso: TorsoParameters,
    points: np.ndarray,
    plane: SlicePlane,
    tissue: np.ndarray,
    below: np.ndarray,
) -> None:
    """Paint bowel, liver, spleen, kidney and stomach under the diaphragm."""
    ids, shift = TISSUE_IDS, torso.organ_shift
    scale, top = torso.half_width / 160.0, torso.left_dome
    x, y, z = points

    def organ(name, index, centre, radii, wall=0.0, wall_name="fat"):
        place = scale * np.asarray(centre) + shift[index]
        where = tuple(place.tolist())
        size = tuple(float(scale * r) for r in radii)
        solid = Ellipsoid(ids[name], where, size, wall, ids[wall_name])
        solid.paint(tissue, points, plane, where=below, margin=25.0)
        return where, size

    loops = np.sin(x / 9.0 + shift[5, 0]) + np.sin(y / 11.0 + shift[5, 1])
    loops += np.sin(z / 10.0 + shift[5, 2])
    tissue[below & (loops > 0.2) & (y < 40)] = ids["bowel"]
    organ("liver", 0, (-62, -5, torso.right_dome - 75), (125, 95, 92), 2.5)
    organ("liver", 0, (-5, -45, torso.right_dome - 55), (72, 45, 48))
    _paint_liver_vessels(points, tissue, shift)
    organ("kidney", 1, (62, 58, top - 100), (27, 24, 52), 5.0)
    organ("kidney", 1, (-60, 60, top - 105), (27, 24, 52), 5.0)
    organ("spleen", 2, (98, 48, top - 45), (30, 44, 52), 3.0)
    where, size = organ("stomach", 3, (58, -18, top - 40), (44, 48, 52), 4.0)
    wall = Ellipsoid(
        ids["stomach"], where, tuple(r - 3.5 for r in size), 3.5, ids["stomach_wall"]
    )
    wall.paint(tissue, points, plane, where=below, margin=25.0)
    level = where[1] - size[1] * (1.0 - 2.0 * torso.stomach_gas)
    tissue[(tissue == ids["stomach"]) & (y < level)] = ids["gas"]


def _paint_liver_vessels(
    points: np.ndarray, tissue: np.ndarray, shift: np.ndarray
) -> None:
    """Paint branching veins into the liver: thin tubes where two waves cross zero."""
    x, y, z = points
    first = np.sin((x + 0.4 * y) / 11.0 + shift[4, 0]) + 0.5 * np.sin(z / 17.0)
    second = np.sin((z - 0.3 * y) / 12.0 + shift[4, 1]) + 0.5 * np.sin(y / 19.0)
    tubes = (first**2 + second**2 < 0.045) & (tissue == TISSUE_IDS["liver"])
    tissue[tubes] = TISSUE_IDS["liver_vessel"]


def _paint_spine(
    torso: TorsoParameters, points: np.ndarray, plane: SlicePlane, tissue: np.ndarray
) -> None:
    """Paint vertebrae, the muscles beside them, the descending aorta and azygos."""
    ids = TISSUE_IDS
    back = torso.half_depth - torso.fat - torso.wall
    y = back - 18.0
    tubes = [
        ("muscle", (-34, back - 2), 23.0, 0.0, "muscle"),
        ("muscle", (34, back - 2), 23.0, 0.0, "muscle"),
        ("bone", (0, y), 19.0, 3.0, "muscle"),
        ("vessel", (20, y - 24), 10.5, 1.5, "muscle"),
        ("vessel", (-8, y - 24), 4.0, 1.0, "fat"),
        ("muscle", (10, y - 32), 6.0, 1.0, "fat"),
    ]
    for name, (x, depth), radius, wall, wall_name in tubes:
        ends = ((x, depth, -260.0), (x, depth, 260.0))
        tube = Capsule(ids[name], *ends, radius, wall, ids[wall_name])
        tube.paint(tissue, points, plane, margin=25.0)
