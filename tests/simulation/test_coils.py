"""Sensitivity of the coil array."""

import numpy as np
import pytest

from cmrjax.simulation.coils import array_sensitivity
from tests.simulation.torso_slices import axial

_BODY = (160.0, 105.0)


def _sensitivity(**changes):
    settings = {"weights": (1.0, 0.0, 0.0), "loop_radius": 50.0, "uniform": 0.0}
    return array_sensitivity([axial(size=60)], body=_BODY, **settings | changes)[0]


def test_is_one_at_the_centre_and_falls_away_from_the_coils():
    front, back = _sensitivity(), _sensitivity(weights=(0.0, 1.0, 0.0))
    assert front.shape == (60, 60)
    assert front.dtype == np.float32
    assert front[30, 30] == pytest.approx(1.0, abs=0.03)
    column = front[10:55, 30]
    assert (np.diff(column) < 0).all()
    assert column[0] > 2
    assert back[50, 30] > 1.5 > 0.7 > back[10, 30]
    left = _sensitivity(weights=(0.0, 0.0, 1.0))
    assert left[30, 55] > 1.5 * left[30, 5]


def test_far_from_the_loops_it_falls_with_the_third_power():
    # One loop's field is (1 + r^2/R^2)^(-3/2); for small loops the ratio of two points
    # nears the third power of the distances' inverse ratio. The two side loops lie at
    # equal distances from the axis x, at (172, 0, +-45).
    left = _sensitivity(weights=(0.0, 0.0, 1.0), loop_radius=1.0)
    near, far = (np.hypot(172 - x, 45.0) for x in (40.0, -80.0))
    expected = (far / near) ** 3
    assert left[30, 40] / left[30, 10] == pytest.approx(expected, rel=0.01)


def test_uniform_part_flattens_and_planes_may_be_sampled_finely():
    assert np.ptp(_sensitivity(uniform=1.0)) < 1e-6
    assert np.ptp(_sensitivity(uniform=0.5)) < 0.6 * np.ptp(_sensitivity())
    fine = array_sensitivity(
        [axial(size=119, spacing=2.0)],
        body=_BODY,
        weights=(1.0, 0.5, 0.5),
        loop_radius=50.0,
        uniform=0.0,
    )[0]
    coarse = _sensitivity(weights=(1.0, 0.5, 0.5))
    scale = coarse[30, 30] / fine[59, 59]
    np.testing.assert_allclose(
        fine[11:109:2, 11:109:2] * scale, coarse[6:55, 6:55], rtol=0.1
    )
