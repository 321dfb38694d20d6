"""The torso without a heart: where its tissues lie."""

from dataclasses import replace

import numpy as np
import pytest

from cmrjax.simulation.shapes import SlicePlane
from cmrjax.simulation.tissues import TISSUE_IDS
from cmrjax.simulation.torso import paint_torso
from cmrjax.simulation.torso_shape import (
    TorsoParameters,
    diaphragm_height,
    sample_torso,
    wall_layers,
)

SPACING = 4.0
SIZE = 120  # 480 mm, wider than any torso


def _axial(height: float) -> SlicePlane:
    """An axial slice at a height, mm: columns go left, rows to the back."""
    half = SPACING * (SIZE - 1) / 2
    return SlicePlane(
        origin=np.array([-half, -half, height]),
        column_axis=np.array([1.0, 0, 0]),
        row_axis=np.array([0, 1.0, 0]),
        normal=np.array([0, 0, 1.0]),
        shape=(SIZE, SIZE),
        spacing=SPACING,
        offsets=(0.0,),
    )


def _straight(seed: int = 0, **changes) -> TorsoParameters:
    """A torso that is not bent, without breasts and arms, the same at any height."""
    torso = sample_torso(np.random.default_rng(seed))
    plain = {
        "wave_amplitudes": np.zeros_like(torso.wave_amplitudes),
        "breast": 0.0,
        "arm_gap": -1.0,
        "taper": 0.0,
        "slope": 0.0,
    }
    return replace(torso, **(plain | changes))


def _share(tissue: np.ndarray, name: str) -> float:
    return float((tissue == TISSUE_IDS[name]).mean())


def test_body_has_the_area_of_an_ellipse_and_the_outside_is_air():
    torso = _straight(squareness=2.0)
    tissue = paint_torso(torso, _axial(20.0))[0]
    assert tissue.shape == (1, SIZE, SIZE)
    assert tissue.dtype == np.uint8
    area = (tissue != TISSUE_IDS["air"]).sum() * SPACING**2
    expected = np.pi * torso.half_width * torso.half_depth
    assert area == pytest.approx(expected, rel=0.01)
    edges = np.concatenate([tissue[0, 0], tissue[0, -1], tissue[0, :, 0]])
    assert (edges == TISSUE_IDS["air"]).all()


def test_skin_to_lung_is_fat_then_wall_then_lung():
    torso = _straight(fat=12.0, wall=20.0)
    row = paint_torso(torso, _axial(20.0))[0][0, SIZE // 2]
    names = [name for i in row for name, j in TISSUE_IDS.items() if j == i]
    order = list(dict.fromkeys(names[: SIZE // 2]))
    assert order[:2] == ["air", "fat"]
    assert order.index("fat") < order.index("muscle") < order.index("lung")


def test_lungs_are_above_the_diaphragm_and_the_abdomen_below():
    torso = _straight()
    chest, belly = (paint_torso(torso, _axial(z))[0] for z in (30.0, -110.0))
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
        tissue = paint_torso(_straight(), _axial(height))[0][0]
        for name in ("bone", "vessel"):
            rows, columns = np.nonzero(tissue == TISSUE_IDS[name])
            middle = np.abs(columns - SIZE / 2) < 12
            assert (middle & (rows > SIZE / 2)).any(), (name, height)


def test_gap_is_the_distance_from_the_wall_or_the_diaphragm():
    torso = _straight()
    plane = _axial(20.0)
    _, gap = paint_torso(torso, plane)
    points = plane.points()
    expected = np.minimum(
        wall_layers(torso, points)[2], diaphragm_height(torso, points)
    )
    np.testing.assert_allclose(gap, expected, atol=1e-2)
    assert diaphragm_height(torso, np.array([72.0, 4.0, torso.left_dome])) < 1e-6
