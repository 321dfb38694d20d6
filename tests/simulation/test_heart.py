"""Volumes and thickening of the heart's shape."""

import numpy as np
import pytest

from cmrjax.simulation.heart import sample_heart


@pytest.mark.parametrize("seed", range(12))
def test_volume_ejection_fraction_and_muscle_are_as_asked(seed):
    rng = np.random.default_rng(seed)
    edv_ml, fraction = rng.uniform(80, 250), rng.uniform(0.3, 0.7)
    ed, es = sample_heart(rng, edv_ml=edv_ml, ejection_fraction=fraction)
    assert ed.lv_volume_ml() == pytest.approx(edv_ml)
    assert es.lv_volume_ml() == pytest.approx(edv_ml * (1 - fraction))
    assert es.wall_volume_ml() == pytest.approx(ed.wall_volume_ml(), rel=1e-6)
    assert 1.1 < es.wall / ed.wall < 2.5
    assert 0 < es.base < 20
    assert es.length < ed.length
    assert es.rv_width < ed.rv_width


def test_volume_is_that_of_a_numerical_integral():
    ed, _ = sample_heart(np.random.default_rng(3), edv_ml=140.0, ejection_fraction=0.55)
    w = np.linspace(0, ed.length, 20001)
    radius = ed.radius**2 * (1 - ((w - 0.25 * ed.length) / (0.75 * ed.length)) ** 2)
    integral = np.trapezoid(np.pi * radius.clip(0), w) / 1000
    assert ed.lv_volume_ml() == pytest.approx(integral, rel=1e-5)
