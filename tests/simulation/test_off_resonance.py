"""The field map: shim and susceptibility."""

import numpy as np
import pytest

from cmrjax.simulation.off_resonance import _dipole, frequency_map
from cmrjax.simulation.shapes import SlicePlane
from cmrjax.simulation.tissues import TISSUE_IDS


def _planes(count, size=64, spacing=4.0, distance=8.0, normal=(0.0, 1.0, 0.0)):
    """Coronal slices by default: rows run down the patient, along the main field."""
    return [
        SlicePlane(
            origin=np.array([0.0, index * distance, 0.0]),
            column_axis=np.array([1.0, 0.0, 0.0]),
            row_axis=np.array([0.0, 0.0, -1.0]),
            normal=np.asarray(normal),
            shape=(size, size),
            spacing=spacing,
            offsets=(0.0,),
        )
        for index in range(count)
    ]


def _map(tissue, planes, **changes):
    settings = {"field_strength": 1.5, "shim": np.zeros(6), "susceptibility": 1.0}
    return frequency_map(tissue, planes, **settings | changes)


def test_shim_is_a_polynomial_over_the_image():
    tissue = np.full((2, 1, 31, 31), TISSUE_IDS["muscle"], np.uint8)
    shim = np.array([10.0, 3.0, -2.0, 5.0, 7.0, -4.0])
    got = _map(tissue, _planes(2, 31), shim=shim, susceptibility=0.0)
    assert got.shape == (2, 31, 31)
    assert got.dtype == np.float32
    assert got[0, 15, 15] == pytest.approx(10.0)
    assert got[1, 0, 30] == pytest.approx(10 + 3 + 2 + 5 - 7 - 4)  # x = 1, y = -1


def _chest():
    """Heart between lungs above liver, in 6 slices."""
    tissue = np.full((6, 1, 64, 64), TISSUE_IDS["muscle"], np.uint8)
    tissue[..., 10:36, 6:58] = TISSUE_IDS["lung"]
    tissue[:, :, 18:36, 24:44] = TISSUE_IDS["myocardium"]
    tissue[:, :, 22:32, 28:40] = TISSUE_IDS["lv_blood"]
    tissue[:, :, 36:, :] = TISSUE_IDS["liver"]
    return tissue


def test_field_is_of_the_measured_size_in_the_heart_and_grows_with_tesla():
    # Reeder et al., Magn Reson Med 39:988, 1998: 70 Hz (+-15) peak to peak in the
    # shimmed heart at 1.5 T.
    tissue = _chest()
    low = _map(tissue, _planes(6))
    heart = tissue[:, 0] == TISSUE_IDS["lv_blood"]
    assert 10 < np.ptp(np.percentile(low[heart], (2, 98))) < 110
    np.testing.assert_allclose(
        _map(tissue, _planes(6), field_strength=3.0), 2 * low, rtol=1e-5, atol=1e-4
    )
    assert np.abs(low).max() < 1.3 * 1.5 * 42.6


def test_field_is_strongest_at_the_border_of_air():
    tissue = np.full((6, 1, 64, 64), TISSUE_IDS["liver"], np.uint8)
    tissue[2:4, :, 28:36, 28:36] = TISSUE_IDS["gas"]
    steep = np.abs(np.gradient(_map(tissue, _planes(6))[3], axis=0))
    assert steep[24:40, 26:38].max() > 5 * steep[50:60].max()


def test_dipole_is_that_of_the_main_field():
    plane = _planes(1)[0]
    kernel = _dipole((8, 16, 16), (8.0, 4.0, 4.0), plane)
    assert kernel[0, 0, 0] == 0
    assert kernel[0, 3, 0] == pytest.approx(1 / 3 - 1)  # along the field: rows
    assert kernel[0, 0, 3] == pytest.approx(1 / 3)
    assert kernel[2, 0, 0] == pytest.approx(1 / 3)


def test_one_slice_and_any_size_are_accepted():
    tissue = np.full((1, 3, 50, 37), TISSUE_IDS["lung"], np.uint8)
    tissue[..., 20:, :] = TISSUE_IDS["liver"]
    planes = _planes(1, spacing=1.3)
    got = _map(tissue, planes)
    assert got.shape == (1, 50, 37)
    assert np.isfinite(got).all()
