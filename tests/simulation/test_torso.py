"""The torso without a heart: where its tissues lie."""

import numpy as np
import pytest

from cmrjax.simulation.tissues import TISSUE_IDS
from cmrjax.simulation.torso import paint_torso
from tests.simulation.torso_slices import SIZE, SPACING, axial, straight


def _share(tissue: np.ndarray, name: str) -> float:
    return float((tissue == TISSUE_IDS[name]).mean())


def test_body_has_the_area_of_an_ellipse_and_the_outside_is_air():
    torso = straight(squareness=2.0)
    tissue = paint_torso(torso, axial(20.0))[0]
    assert tissue.shape == (1, SIZE, SIZE)
    assert tissue.dtype == np.uint8
    area = (tissue != TISSUE_IDS["air"]).sum() * SPACING**2
    expected = np.pi * torso.half_width * torso.half_depth
    assert area == pytest.approx(expected, rel=0.01)
    edges = np.concatenate([tissue[0, 0], tissue[0, -1], tissue[0, :, 0]])
    assert (edges == TISSUE_IDS["air"]).all()


def test_skin_to_lung_is_fat_then_wall_then_lung():
    torso = straight(fat=12.0, wall=20.0)
    row = paint_torso(torso, axial(20.0))[0][0, SIZE // 2]
    names = [name for i in row for name, j in TISSUE_IDS.items() if j == i]
    order = list(dict.fromkeys(names[: SIZE // 2]))
    assert order[:2] == ["air", "fat"]
    assert order.index("fat") < order.index("muscle") < order.index("lung")


def test_lungs_are_above_the_diaphragm_and_the_abdomen_below():
    torso = straight()
    chest, belly = (paint_torso(torso, axial(z))[0] for z in (30.0, -110.0))
    assert _share(chest, "lung") > 0.07
    assert _share(chest, "liver") == 0
    assert _share(belly, "lung") < 0.1 * _share(chest, "lung")
    assert _share(belly, "liver") > 0.05
    liver = np.nonzero(belly[0] == TISSUE_IDS["liver"])[1]
    spleen = np.nonzero(belly[0] == TISSUE_IDS["spleen"])[1]
    assert liver.mean() < SIZE / 2  # the liver is on the right, at small columns
    assert not len(spleen) or spleen.mean() > SIZE / 2


def test_spine_and_aorta_are_at_the_back_in_every_slice():
    for height in (-100.0, 0.0, 60.0):
        tissue = paint_torso(straight(), axial(height))[0][0]
        for name in ("bone", "vessel"):
            rows, columns = np.nonzero(tissue == TISSUE_IDS[name])
            middle = np.abs(columns - SIZE / 2) < 12
            assert (middle & (rows > SIZE / 2)).any(), (name, height)


def test_gap_is_the_height_over_the_domes_in_the_middle_of_the_chest():
    torso = straight(right_dome=-70.0, left_dome=-40.0)
    column = SIZE // 2 + round(72 / SPACING)  # where the left dome is highest
    row = SIZE // 2 + round(4 / SPACING)
    for height in (-8.0, 5.0, 12.0):
        gap = paint_torso(torso, axial(-40.0 + height))[1][0]
        assert gap[row, column] == pytest.approx(height, abs=0.5)


def test_gap_is_the_depth_in_the_chest_far_above_the_domes():
    torso = straight(right_dome=-200.0, left_dome=-200.0)
    tissue, gap = paint_torso(torso, axial(20.0))
    row, gap = tissue[0, SIZE // 2 + 1], gap[0, SIZE // 2 + 1]
    inside = np.flatnonzero(gap > 0)
    assert (np.diff(inside) == 1).all()
    walls = ("muscle", "bone", "marrow", "wall_fat")
    for edge, step in ((inside[0], 1), (inside[-1], -1)):
        depth = gap[edge : edge + 6 * step : step]
        assert depth[0] < SPACING
        np.testing.assert_allclose(np.diff(depth), SPACING, rtol=0.3)
        assert row[edge - step] in [TISSUE_IDS[name] for name in walls]
