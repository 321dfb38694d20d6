"""The organs under the diaphragm."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cmrjax.simulation.abdomen import paint_abdomen
from cmrjax.simulation.tissues import TISSUE_IDS
from cmrjax.simulation.torso import paint_torso
from tests.simulation.torso_slices import SPACING, axial, straight

_UNSHIFTED: dict[str, Any] = {
    f"{organ}_shift": (0.0, 0.0, 0.0)
    for organ in ("liver", "lobe", "kidney", "spleen", "stomach")
}


def test_gas_lies_on_top_of_the_stomach_of_who_lies_on_the_back():
    torso = straight(stomach_gas=0.4, bowel_edge=9.0, **_UNSHIFTED)
    plane = axial(torso.left_dome - 40.0)
    full = paint_torso(torso, plane)[0][0]
    gas, food = (np.nonzero(full == TISSUE_IDS[n])[0] for n in ("gas", "stomach"))
    assert gas.max() < food.min()
    empty = paint_torso(replace(torso, stomach_gas=0.0), plane)[0]
    assert not (empty == TISSUE_IDS["gas"]).any()


def test_left_lobe_reaches_as_far_as_it_is_told():
    torso, reached = straight(**_UNSHIFTED), []
    plane = axial(torso.left_dome - 22.0)
    for lobe in (-15.0, 75.0):
        tissue = paint_torso(replace(torso, left_lobe=lobe), plane)[0][0]
        reached.append(np.nonzero(tissue == TISSUE_IDS["liver"])[1].max())
    assert 5 < reached[1] - reached[0] <= 90 * torso.scale / SPACING + 2


def test_only_what_is_below_is_painted():
    torso, plane = straight(), axial(-90.0)
    points = plane.points()
    tissue = np.full(points.shape[1:], TISSUE_IDS["fat"], np.uint8)
    below = points[0] > 0
    paint_abdomen(torso, points, plane, tissue, below)
    assert (tissue[~below] == TISSUE_IDS["fat"]).all()
    assert len(np.unique(tissue[below])) > 3


def test_thicker_stomach_wall_leaves_less_content():
    torso = straight(stomach_gas=0.0, **_UNSHIFTED)
    plane = axial(torso.left_dome - 40.0)
    thin, thick = (
        paint_torso(replace(torso, stomach_wall=wall), plane)[0]
        == TISSUE_IDS["stomach"]
        for wall in (3.0, 12.0)
    )
    assert 0 < thick.sum() < thin.sum()


def test_an_organ_moves_by_its_own_shift_and_no_other_does():
    plain = straight(bowel_edge=9.0, **_UNSHIFTED)
    plane = axial(plain.left_dome - 50.0)
    moved = {"spleen_shift": (-24.0, 0.0, 0.0)}
    before, after = (
        paint_torso(replace(plain, **changes), plane)[0][0] for changes in ({}, moved)
    )
    ends = [np.nonzero(t == TISSUE_IDS["spleen"])[1].min() for t in (before, after)]
    assert ends[0] - ends[1] == pytest.approx(24.0 / 4.0, abs=1.0)
    larger = paint_torso(replace(plain, spleen_size=1.3 * plain.spleen_size), plane)[0]
    spleen, liver = TISSUE_IDS["spleen"], TISSUE_IDS["liver"]
    assert (larger == spleen).sum() > 1.2 * (before == spleen).sum() > 0
    np.testing.assert_array_equal(before == liver, after == liver)
    np.testing.assert_array_equal(before == liver, larger[0] == liver)
