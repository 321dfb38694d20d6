"""Relaxation times and densities drawn for a subject."""

import numpy as np
import pytest

from cmrjax.simulation.bssfp import bssfp_signal
from cmrjax.simulation.relaxation import (
    at_field_strength,
    sample_tissue_values,
    with_contrast_agent,
)
from cmrjax.simulation.tissues import TISSUE_IDS, TISSUES


def _signals(values):
    return dict(zip(TISSUE_IDS, bssfp_signal(*values.T), strict=True))


def test_contrast_is_that_of_cine_in_every_draw():
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = sample_tissue_values(rng)
        assert values.shape == (len(TISSUES), 3)
        signal = _signals(values)
        assert signal["lv_blood"] > 1.3 * signal["myocardium"]
        assert signal["lv_blood"] >= signal["rv_blood"] * 0.99
        assert signal["vessel"] >= signal["venous_vessel"] * 0.99
        # No cue at the valve: right atrium and right ventricle hold the same blood.
        assert signal["venous_vessel"] == pytest.approx(signal["rv_blood"], rel=1e-9)
        assert signal["fat"] > 1.05 * signal["muscle"]
        assert signal["lv_blood"] > signal["liver"] > 1.5 * signal["lung"]
        assert signal["air"] == 0
        assert signal["papillary"] == pytest.approx(signal["myocardium"], rel=1e-9)


def test_draws_reach_from_the_first_published_set_towards_the_second():
    rng = np.random.default_rng(1)
    index = TISSUE_IDS["lv_blood"]
    t2 = np.array([sample_tissue_values(rng)[index, 1] for _ in range(300)])
    assert np.median(t2) > 185
    assert t2.min() < 130  # the second set has 100 ms, the first 249 ms
    assert 85 < t2.min() < t2.max() < 249 * 1.13


def test_three_tesla_changes_times_as_measured_by_stanisz():
    values = np.array([(t.t1, t.t2, t.density) for t in TISSUES])
    high = at_field_strength(values, 3.0)
    for name, ratio in (
        ("lv_blood", (1932 / 1441, 275 / 290)),
        ("myocardium", (1471 / 1030, 1.0)),
        ("liver", (812 / 576, 42 / 46)),
    ):
        index = TISSUE_IDS[name]
        np.testing.assert_allclose(high[index, :2] / values[index, :2], ratio)
    np.testing.assert_array_equal(high[:, 2], values[:, 2])
    np.testing.assert_allclose(at_field_strength(values, 1.5), values)
    assert _signals(high)["myocardium"] < _signals(values)["myocardium"]
    with pytest.raises(ValueError, match="field_strength must be from 1 to 3"):
        at_field_strength(values, 7.0)


def test_gadolinium_adds_to_the_rates_by_partition():
    values = np.array([(t.t1, t.t2, t.density) for t in TISSUES])
    after = with_contrast_agent(values, 1.0)
    blood, muscle = TISSUE_IDS["lv_blood"], TISSUE_IDS["myocardium"]
    assert 1 / after[blood, 0] - 1 / values[blood, 0] == pytest.approx(4.5e-3)
    assert 1 / after[muscle, 1] - 1 / values[muscle, 1] == pytest.approx(0.42 * 5.5e-3)
    np.testing.assert_allclose(with_contrast_agent(values, 0.0), values)
    fat = TISSUE_IDS["fat"]
    np.testing.assert_allclose(after[fat], values[fat])
