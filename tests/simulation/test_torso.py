"""The torso without a heart: where its tissues lie."""

from dataclasses import replace

import numpy as np
import pytest

from cmrjax.simulation.shapes import SlicePlane
from cmrjax.simulation.tissues import TISSUE_IDS
from cmrjax.simulation.torso import (
    TorsoParameters,
    inner_wall_scale,
    paint_torso,
    sample_torso,
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
    """A torso that is not bent, without breasts."""
    torso = sample_torso(np.random.default_rng(seed))
    none = np.zeros_like(torso.wave_amplitudes)
    return replace(torso, **({"wave_amplitudes": none, "breast": 0.0} | changes))


def _share(tissue: np.ndarray, name: str) -> float:
    return float((tissue == TISSUE_IDS[name]).mean())


def test_draws_are_reproducible_and_within_their_bounds():
    first, again = (sample_torso(np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first.waves, again.waves)
    assert first.half_axes == again.half_axes
    for seed in range(30):
        torso = sample_torso(np.random.default_rng(seed))
        width, depth = torso.half_axes
        assert 140 <= width <= 185
        assert 0.62 <= depth / width <= 0.74
        assert 3 <= torso.fat <= 32
        assert torso.breast >= 0
        assert 0 <= torso.stomach_gas <= 0.6
        lengths = 2 * np.pi / np.linalg.norm(torso.waves, axis=1)
        np.testing.assert_allclose(lengths, np.geomspace(45, 160, 9))


def test_body_has_the_area_of_an_ellipse_and_the_outside_is_air():
    torso = _straight(squareness=2.0)
    tissue = paint_torso(torso, _axial(20.0))
    assert tissue.shape == (1, SIZE, SIZE)
    assert tissue.dtype == np.uint8
    area = (tissue != TISSUE_IDS["air"]).sum() * SPACING**2
    expected = np.pi * torso.half_width * torso.half_depth
    assert area == pytest.approx(expected, rel=0.01)
    edges = np.concatenate([tissue[0, 0], tissue[0, -1], tissue[0, :, 0]])
    assert (edges == TISSUE_IDS["air"]).all()


def test_skin_to_lung_is_fat_then_wall_then_lung():
    torso = _straight(fat=12.0, wall=20.0)
    row = paint_torso(torso, _axial(20.0))[0, SIZE // 2]
    names = [name for i in row for name, j in TISSUE_IDS.items() if j == i]
    order = list(dict.fromkeys(names[: SIZE // 2]))
    assert order[:2] == ["air", "fat"]
    assert order.index("fat") < order.index("muscle") < order.index("lung")


def test_lungs_are_above_the_diaphragm_and_the_abdomen_below():
    torso = _straight()
    chest, belly = (paint_torso(torso, _axial(z)) for z in (30.0, -110.0))
    assert _share(chest, "lung") > 0.1
    assert _share(chest, "liver") == 0
    assert _share(belly, "lung") < 0.1 * _share(chest, "lung")
    assert _share(belly, "liver") > 0.05
    liver = np.nonzero(belly[0] == TISSUE_IDS["liver"])[1]
    spleen = np.nonzero(belly[0] == TISSUE_IDS["spleen"])[1]
    assert liver.mean() < SIZE / 2  # the liver is on the right, at small columns
    assert not len(spleen) or spleen.mean() > SIZE / 2


def test_spine_and_aorta_are_at_the_back_in_every_slice():
    for height in (-100.0, 0.0, 60.0):
        tissue = paint_torso(_straight(), _axial(height))[0]
        for name in ("bone", "vessel"):
            rows, columns = np.nonzero(tissue == TISSUE_IDS[name])
            middle = np.abs(columns - SIZE / 2) < 12
            assert (middle & (rows > SIZE / 2)).any(), (name, height)


def test_gas_lies_on_top_of_the_stomach_of_who_lies_on_the_back():
    torso = _straight(stomach_gas=0.4, organ_shift=np.zeros((6, 3)))
    plane = _axial(torso.left_dome - 40.0)
    full = paint_torso(torso, plane)[0]
    gas, food = (np.nonzero(full == TISSUE_IDS[n])[0] for n in ("gas", "stomach"))
    assert gas.max() < food.min()
    empty = paint_torso(replace(torso, stomach_gas=0.0), plane)
    assert _share(empty, "gas") == 0


def test_scale_of_the_inner_wall():
    torso = _straight(squareness=2.0, fat=10.0, wall=20.0)
    inner = torso.half_width - 30.0
    for part in (0.5, 1.0, 1.1):
        point = np.array([part * inner, 0.0, 5.0])
        assert inner_wall_scale(torso, point) == pytest.approx(part, rel=1e-4)
    back = np.array([0.0, torso.half_depth - 30.0, 0.0])
    assert inner_wall_scale(torso, back) == pytest.approx(1.0, rel=1e-4)
