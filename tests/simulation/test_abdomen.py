"""The organs under the diaphragm."""

from dataclasses import replace

import numpy as np

from cmrjax.simulation.abdomen import paint_abdomen
from cmrjax.simulation.shapes import SlicePlane
from cmrjax.simulation.tissues import TISSUE_IDS
from cmrjax.simulation.torso import paint_torso
from cmrjax.simulation.torso_shape import TorsoParameters, sample_torso

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


def test_gas_lies_on_top_of_the_stomach_of_who_lies_on_the_back():
    torso = _straight(stomach_gas=0.4, organ_shift=np.zeros((6, 3)))
    plane = _axial(torso.left_dome - 40.0)
    full = paint_torso(torso, plane)[0][0]
    gas, food = (np.nonzero(full == TISSUE_IDS[n])[0] for n in ("gas", "stomach"))
    assert gas.max() < food.min()
    empty = paint_torso(replace(torso, stomach_gas=0.0, bowel_edge=9.0), plane)[0]
    assert not (empty == TISSUE_IDS["gas"]).any()


def test_left_lobe_reaches_as_far_as_it_is_told():
    torso, reached = _straight(organ_shift=np.zeros((6, 3))), []
    plane = _axial(torso.left_dome - 22.0)
    for lobe in (-15.0, 75.0):
        tissue = paint_torso(replace(torso, left_lobe=lobe), plane)[0][0]
        reached.append(np.nonzero(tissue == TISSUE_IDS["liver"])[1].max())
    assert 5 < reached[1] - reached[0] <= 90 * torso.scale / SPACING + 2


def test_only_what_is_below_is_painted():
    torso, plane = _straight(), _axial(-90.0)
    points = plane.points()
    tissue = np.full(points.shape[1:], TISSUE_IDS["fat"], np.uint8)
    below = points[0] > 0
    paint_abdomen(torso, points, plane, tissue, below)
    assert (tissue[~below] == TISSUE_IDS["fat"]).all()
    assert len(np.unique(tissue[below])) > 3


def test_thicker_stomach_wall_leaves_less_content():
    torso = _straight(organ_shift=np.zeros((6, 3)), stomach_gas=0.0)
    plane = _axial(torso.left_dome - 40.0)
    thin, thick = (
        paint_torso(replace(torso, stomach_wall=wall), plane)[0]
        == TISSUE_IDS["stomach"]
        for wall in (3.0, 12.0)
    )
    assert 0 < thick.sum() < thin.sum()
