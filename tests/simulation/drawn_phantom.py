"""A small made-up torso with a heart of known size, as tissues and as XCAT files."""

import pathlib

import numpy as np

from cmrjax.simulation.tissues import TISSUE_IDS

SPACING = (5.0, 2.0, 2.0)
SHAPE = (14, 104, 110)
CENTRE = (100.0, 116.0)  # (y, x) of the long axis, mm
BASE, APEX = 5.0, 55.0  # first section of the left ventricle, tip of the muscle, mm
WALL = 9.0
ORGANS = {
    "bldplLV": ("lv_blood", 5),
    "myoLV": ("myocardium", 1),
    "bldplRV": ("rv_blood", 6),
    "bldplLA": ("vessel", 7),
    "bldplRA": ("venous_vessel", 8),
    "body": ("fat", 9),
    "muscle": ("muscle", 10),
    "liver": ("liver", 13),
    "l_lung": ("lung", 16),
    "st_wall": ("stomach_wall", 20),
}


def drawn_tissue(cavity: float = 20.0, lung: float = 0.0) -> np.ndarray:
    """Draws the torso: slices from base to apex, RV left of LV, abdomen below.

    Args:
        cavity: Radius of the left ventricle at the base, mm.
        lung: How much further down the lung reaches, mm.

    Returns:
        [d, h, w] uint8 tissue ids.
    """
    z, y, x = np.indices(SHAPE).astype(float) * np.reshape(SPACING, (3, 1, 1, 1))
    y, x = y - CENTRE[0], x - CENTRE[1]
    tissue = np.zeros(SHAPE, np.uint8)

    def paint(name: str, where: np.ndarray) -> None:
        tissue[where] = TISSUE_IDS[name]

    body = (y / 92) ** 2 + (x / 98) ** 2
    paint("fat", body < 1)
    paint("muscle", body < 0.8)
    paint("fat", body < 0.6)
    paint("lung", (body < 0.6) & (y < 20 + lung) & (x > -20))
    paint("liver", (body < 0.6) & (y > 42) & (x < 10))
    paint("stomach_wall", np.hypot(y - 48, x - 30) < 16)
    rest = (1 - (z - BASE) / (APEX - BASE)).clip(0) ** 0.5
    outer = (cavity + WALL) * rest
    radius = np.hypot(y, x)
    right = np.hypot(y, x + outer + 6) < 24 * rest
    paint("rv_blood", right & (z >= BASE))
    paint("venous_vessel", right & (z < BASE))
    paint("myocardium", (radius < outer) & (z >= BASE))
    paint("lv_blood", (radius < (outer - WALL).clip(0)) & (z >= BASE))
    paint("vessel", (radius < cavity) & (z < BASE))
    return tissue


def write_xcat(folder: pathlib.Path, volumes: dict[int, np.ndarray]) -> pathlib.Path:
    """Writes tissues by frame as XCAT would, seen from the other side.

    Args:
        folder: Where; made.
        volumes: Tissues of each frame.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True)
    table = np.zeros(256, np.float32)
    for name, organ_id in ORGANS.values():
        table[TISSUE_IDS[name]] = organ_id
    lines = [f"{organ}_act = {i}" for organ, (_, i) in ORGANS.items()]
    lines += ["array_size = 110", "startslice = 1", f"endslice = {SHAPE[0]}"]
    lines += ["pixel_width = 0.2", "slice_width = 0.5", "mode = 0"]
    (folder / "scan.par").write_text("\n".join(lines))
    square = np.zeros((SHAPE[0], 110, 110), np.uint8)
    for frame, tissue in volumes.items():
        square[:, : SHAPE[1], : SHAPE[2]] = tissue
        table[square].swapaxes(1, 2).astype("<f4").tofile(
            folder / f"scan_act_{frame}.bin"
        )
    return folder
