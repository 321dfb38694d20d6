"""Shape of the torso: what is drawn for it, and its skin, wall and diaphragm.

Patient coordinates are millimetres (left, posterior, superior), with the origin on the
body's axis at the height of the base of the heart.
"""

from dataclasses import dataclass

import numpy as np

Shift = tuple[float, float, float]


@dataclass(frozen=True)
class TorsoParameters:
    """Shape of one torso; lengths in mm.

    Attributes:
        half_width: Half of the body's width.
        half_depth: Half of the body's depth.
        squareness: Exponent of the superellipse (2 is an ellipse).
        taper: How much narrower the chest is 100 mm higher up, relative.
        slope: How much flatter the front is 100 mm higher up, relative.
        fat: Mean thickness of the fat under the skin.
        wall: Mean thickness of muscle and ribs.
        pectoral: Additional thickness of the chest muscle.
        streaks: Amount of fat between the muscles, 0 to 1.
        breast: Height of the breasts.
        breast_place: Distance of the breasts from the middle, and their height.
        gland: Part of the breasts that is gland, 0 to 1.
        right_dome: Height of the right dome of the diaphragm (superior).
        left_dome: Height of the left dome.
        rib_distance: Distance of neighbouring ribs.
        rib_phase: Position of the ribs, 0 to 1.
        mediastinum: Half of the width of the tissue between the lungs at the back.
        front_line: The same at the front, where the lungs nearly meet.
        stomach_radii: Half axes of the stomach.
        stomach_wall: Thickness of its wall, folds included.
        stomach_gas: Part of the stomach that is gas, 0 to 0.6.
        left_lobe: How far the liver reaches to the left.
        bowel_edge: Level of a sum of waves above which there is bowel.
        liver_shift: Shift of the liver; as the next four (left, posterior, superior).
        lobe_shift: Of its left lobe.
        kidney_shift: Of both kidneys.
        spleen_shift: Of the spleen.
        stomach_shift: Of the stomach.
        liver_size: Relative size of the liver.
        lobe_size: Of its left lobe.
        kidney_size: Of the kidneys.
        spleen_size: Of the spleen.
        bowel_phases: Phases of the waves that make bowel loops, rad.
        vein_phases: Phases of the waves that make liver veins, rad.
        aorta: Radius of the descending aorta.
        arm_gap: Distance of the arms from the body; negative: out of view.
        waves: [n, 3] rad/mm, wave vectors of the irregular bending.
        wave_phases: [n] rad.
        wave_amplitudes: [n, 3] amplitudes of the bending.
    """

    half_width: float
    half_depth: float
    squareness: float
    taper: float
    slope: float
    fat: float
    wall: float
    pectoral: float
    streaks: float
    breast: float
    breast_place: tuple[float, float]
    gland: float
    right_dome: float
    left_dome: float
    rib_distance: float
    rib_phase: float
    mediastinum: float
    front_line: float
    stomach_radii: tuple[float, float, float]
    stomach_wall: float
    stomach_gas: float
    left_lobe: float
    bowel_edge: float
    liver_shift: Shift
    lobe_shift: Shift
    kidney_shift: Shift
    spleen_shift: Shift
    stomach_shift: Shift
    liver_size: float
    lobe_size: float
    kidney_size: float
    spleen_size: float
    bowel_phases: tuple[float, float, float]
    vein_phases: tuple[float, float]
    aorta: float
    arm_gap: float
    waves: np.ndarray
    wave_phases: np.ndarray
    wave_amplitudes: np.ndarray

    @property
    def scale(self) -> float:
        """Size of the organs: the chest's inner width over that of the mean."""
        return (self.half_width - 0.75 * self.fat - 1.1 * self.wall) / 127.0

    @property
    def half_axes(self) -> tuple[float, float]:
        """Half of the body's width and depth, mm."""
        return self.half_width, self.half_depth


def sample_torso(rng: np.random.Generator) -> TorsoParameters:
    """Draw a torso: lean to obese, breathed in to breathed out."""
    fat = float(np.clip(rng.lognormal(np.log(10), 0.62), 3, 40))
    wall = float(rng.uniform(15, 24))
    half_width = float(rng.uniform(111, 147)) + 0.75 * fat + 1.1 * wall
    half_depth = float(rng.uniform(69, 90)) + 1.2 * fat + 0.8 * wall
    left_dome = float(-40 + rng.normal(0, 10))
    waves = 9
    direction = rng.standard_normal((waves, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = np.geomspace(45, 160, waves)
    return TorsoParameters(
        half_width=half_width,
        half_depth=half_depth,
        squareness=float(rng.uniform(2.2, 3.0)),
        taper=float(rng.uniform(0.02, 0.23)),
        slope=float(rng.uniform(0.0, 0.35)),
        fat=fat,
        wall=wall,
        pectoral=float(rng.uniform(0, 18)),
        streaks=float(rng.uniform(0, 1)),
        breast=float(rng.uniform(8, 55) if rng.uniform() < 0.4 else 0.0),
        breast_place=(float(rng.uniform(65, 105)), float(rng.uniform(-45, 25))),
        gland=float(rng.beta(1, 2)),
        left_dome=left_dome,
        right_dome=left_dome + float(rng.normal(9, 9)),
        rib_distance=float(rng.uniform(25, 32)),
        rib_phase=float(rng.uniform()),
        mediastinum=float(rng.uniform(10, 20)),
        front_line=float(rng.uniform(1.0, 7.0)),
        **_sample_abdomen(rng),
        aorta=float(rng.uniform(9.5, 14.5)),
        arm_gap=float(rng.uniform(2, 30) if rng.uniform() < 0.6 else -1.0),
        waves=direction * (2 * np.pi / length)[:, None],
        wave_phases=rng.uniform(0, 2 * np.pi, waves),
        wave_amplitudes=rng.normal(0, 0.018, (waves, 3)) * length[:, None],
    )


def _sample_abdomen(rng: np.random.Generator) -> dict:
    """Draw the organs under the diaphragm, by field of `TorsoParameters`."""
    shifted = ("liver", "lobe", "kidney", "spleen", "stomach")
    stomach = rng.uniform(0.75, 1.2) * rng.uniform((30, 32, 34), (46, 50, 56))
    return {
        "stomach_radii": tuple(stomach.tolist()),
        "stomach_wall": float(rng.uniform(2.5, 13.0)),
        "stomach_gas": float(rng.uniform(0, 0.6) if rng.uniform() < 0.5 else 0.0),
        "left_lobe": float(rng.uniform(-35, 65)),
        "bowel_edge": float(rng.uniform(0.1, 1.6)),
        **{f"{organ}_shift": tuple(rng.normal(0, 9, 3).tolist()) for organ in shifted},
        **{
            f"{organ}_size": float(np.clip(rng.normal(0.97, 0.1), 0.75, 1.2))
            for organ in shifted[:4]
        },
        "bowel_phases": tuple(rng.uniform(0, 2 * np.pi, 3).tolist()),
        "vein_phases": tuple(rng.uniform(0, 2 * np.pi, 2).tolist()),
    }


def wall_layers(
    torso: TorsoParameters, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how deep positions lie in the layers of the body wall.

    Args:
        torso: The torso.
        points: [3, ...] mm, patient positions.

    Returns:
        Depth under the skin, depth under the skin fat, and depth inside the inner
        side of the wall (positive in the chest and abdomen), each [...] mm.
    """
    x, y, z = points
    radius = np.sqrt(x * x + y * y)
    edge = radius / superellipse(torso, points)
    front = np.clip(-y / torso.half_depth, 0, 1)
    side = np.clip(np.abs(x) / torso.half_width, 0, 1)
    bump = torso.breast * np.exp(
        -(((np.abs(x) - torso.breast_place[0]) / 48.0) ** 2)
        - ((z - torso.breast_place[1]) / 55.0) ** 2
    )
    bump = bump * np.clip(3.0 * front - 0.6, 0, 1)
    wave = 1.0 + 0.25 * np.sin(x / 37.0 + z / 53.0 + torso.rib_phase * 9.0)
    fat = torso.fat * (1.25 - 0.5 * side) * wave + bump
    chest = torso.pectoral * front * np.clip((z + 40.0) / 60.0, 0, 1)
    chest = chest * np.clip((np.abs(x) - 12.0) / 25.0, 0, 1)
    wall = torso.wall * (0.8 + 0.45 * side * (1 - 0.4 * front)) + chest
    skin = edge + bump - radius
    return skin, skin - fat, skin - fat - wall


def superellipse(torso: TorsoParameters, points: np.ndarray) -> np.ndarray:
    """Return the skin's level: 1 on it, homogeneous of degree 1 at every height.

    The chest is narrower at its top, and its front falls back.

    Args:
        torso: The torso.
        points: [3, ...] mm, patient positions.

    Returns:
        [...], 0 on the body's axis.
    """
    x, y, z = points
    n, high = torso.squareness, np.clip(z, -60, 110) / 100.0
    width = torso.half_width * (1.0 - torso.taper * high)
    depth = torso.half_depth * (1.0 - torso.slope * high * (y < 0))
    level = np.abs(x / width) ** n + np.abs(y / depth) ** n
    return (level + 1e-9) ** (1.0 / n)


def diaphragm_height(torso: TorsoParameters, points: np.ndarray) -> np.ndarray:
    """Return the height above the diaphragm: two domes, lower at the back.

    Args:
        torso: The torso.
        points: [3, ...] mm, patient positions.

    Returns:
        [...] mm, negative below it.
    """
    x, y, z = points
    low = 18.0 * np.clip((y - 30.0) / 60.0, 0, 1)
    domes = []
    # The right dome reaches to the front, where the liver lies under the heart.
    for cx, cy, wide, top in (
        (-52.0, -26.0, 112.0, torso.right_dome),
        (72.0, 4.0, 96.0, torso.left_dome),
    ):
        scaled = ((x - cx) / wide) ** 2 + ((y - cy) / 96.0) ** 2
        domes.append(z - (top - 42.0 * scaled**1.5 - low))
    first, second = domes  # a smooth minimum: the middle is a saddle, not a cleft
    near = np.clip(1.0 - np.abs(first - second) / 24.0, 0, None)
    return np.minimum(first, second) - 6.0 * near * near
