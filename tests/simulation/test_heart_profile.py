"""Radii of a heart that was drawn with known ones."""

import numpy as np
import pytest

from cmrjax.simulation.heart_profile import ANGLES, measure_heart
from cmrjax.simulation.tissues import TISSUE_IDS
from tests.simulation.drawn_phantom import (
    APEX,
    BASE,
    CENTRE,
    SPACING,
    WALL,
    drawn_tissue,
)


@pytest.fixture(scope="module")
def heart():
    return measure_heart(drawn_tissue(), SPACING)


def test_radii_are_the_drawn_ones(heart):
    for row in (3, 5):  # 15 and 25 mm
        outer = (20 + WALL) * (1 - (row * 5.0 - BASE) / (APEX - BASE)) ** 0.5
        np.testing.assert_allclose(heart.epi[row], outer, atol=1.6)
        np.testing.assert_allclose(heart.endo[row], outer - WALL, atol=1.6)
    np.testing.assert_allclose(heart.centre[2:8], [CENTRE] * 6, atol=0.8)


def test_right_heart_lies_on_its_side_only(heart):
    half = ANGLES // 2  # 180 degrees: along falling columns
    assert heart.right[3, half] > 10
    assert heart.right[3, 0] < 0.5


def test_extent_and_volume(heart):
    assert heart.base == BASE
    assert heart.apex == pytest.approx(APEX, abs=5)
    voxels = (drawn_tissue() == TISSUE_IDS["rv_blood"]).sum()
    assert heart.rv_ml == pytest.approx(voxels * 0.02)


def test_borders_go_on_above_the_base(heart):
    np.testing.assert_allclose(heart.epi[0], heart.epi[1], rtol=0.05)
    np.testing.assert_allclose(heart.centre[0], heart.centre[1], atol=1e-3)


def test_without_a_cavity_it_says_so():
    with pytest.raises(ValueError, match=r"shows no left ventricle \(lv_blood\)"):
        measure_heart(np.zeros((4, 8, 8), np.uint8), SPACING)
