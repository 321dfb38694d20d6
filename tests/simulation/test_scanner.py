"""Settings drawn for the virtual scanner."""

import dataclasses

import numpy as np
import pytest

from cmrjax.simulation.relaxation import sample_tissue_values
from cmrjax.simulation.scanner import sample_acquisition
from cmrjax.simulation.vendor_style import STYLES


@pytest.mark.parametrize("style", [None, *STYLES])
def test_settings_stay_in_the_range_of_clinical_cine(style):
    rng = np.random.default_rng(4)
    for _ in range(30):
        scanner = sample_acquisition(rng, sample_tissue_values(rng), style=style)
        assert style is None or scanner.style == style
        limits = STYLES[scanner.style]
        assert 40 <= scanner.flip_angle <= 60
        assert 2.5 < scanner.repetition_time <= 4
        assert scanner.field_strength in (1.5, 3.0)
        assert limits.blood_level[0] <= scanner.blood_level <= limits.blood_level[1]
        assert scanner.readout.noise * scanner.snr == pytest.approx(scanner.blood_level)


def test_resolution_is_coarser_along_phase_encoding():
    style = dataclasses.replace(STYLES["A"], phase_resolution=(1.3, 1.3))
    rng = np.random.default_rng(0)
    axes = set()
    for _ in range(20):
        values = sample_tissue_values(rng)
        readout = sample_acquisition(rng, values, style=style).readout
        axis = readout.phase_axis
        ratio = readout.resolution[axis] / readout.resolution[1 - axis]
        assert ratio == pytest.approx(1.3)
        axes.add(axis)
    assert axes == {0, 1}


def test_fat_is_below_water_or_not_shifted():
    rng = np.random.default_rng(0)
    values = sample_tissue_values(rng)
    shifts = {sample_acquisition(rng, values).fat_shift for _ in range(40)}
    assert shifts == {0.0, -3.4}
