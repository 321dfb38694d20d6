"""Resolution, ringing, ghosts and noise of the sampled image."""

import dataclasses

import numpy as np
import pytest

from cmrjax.simulation.kspace import fold_over, measure
from tests.simulation.plain_readout import PLAIN_READOUT


def _measure(signal, *, seed=0, spacing=1.0, oversampling=1, **changes):
    readout = dataclasses.replace(PLAIN_READOUT, **changes)
    return measure(
        np.asarray(signal, np.complex64),
        readout,
        np.random.default_rng(seed),
        spacing=spacing,
        oversampling=oversampling,
    )


def _box(size=64):
    signal = np.zeros((1, size, size))
    signal[:, 24:40, 24:40] = 100.0
    return signal


def test_without_cut_and_noise_the_magnitude_comes_back():
    signal = _box()
    np.testing.assert_allclose(_measure(-signal), signal, atol=1e-3)


@pytest.mark.parametrize("snr", [5.0, 20.0, 100.0])
@pytest.mark.parametrize(
    "changes",
    [{}, {"resolution": (1.8, 1.4), "taper": 0.5, "sharpening": -0.6, "motion": 1.0}],
)
def test_snr_of_a_uniform_region_is_the_one_that_was_set(snr, changes):
    signal = np.full((6, 96, 96), 1000.0)
    image = _measure(signal, noise=1000 / snr, **changes)
    # Rice: the mean is A + s^2 / 2A and the variance s^2 - s^4 / 2A^2 for A >> s.
    assert image.std() == pytest.approx(1000 / snr, rel=0.04)
    assert image.mean() == pytest.approx(1000 + 1000 / (2 * snr**2), rel=0.01)
    assert image.mean() / image.std() == pytest.approx(snr, rel=0.05)


@pytest.mark.parametrize("channels", [1, 4])
def test_noise_of_air_is_rayleigh_and_lifted_by_more_channels(channels):
    air = _measure(np.zeros((4, 96, 96)), noise=7.0, channels=channels)
    assert (air**2).mean() == pytest.approx(2 * channels * 49, rel=0.03)
    if channels == 1:
        assert air.mean() == pytest.approx(7 * np.sqrt(np.pi / 2), rel=0.02)


def test_hard_cut_rings_by_nine_percent_and_a_soft_edge_does_not():
    signal = np.zeros((1, 256, 256))
    signal[:, 64:192] = 100.0
    ringing = _measure(signal, resolution=(4.0, 1.0))[0, :, 100]
    assert ringing.max() == pytest.approx(109, abs=1.5)  # Gibbs
    soft = _measure(signal, resolution=(4.0, 1.0), taper=1.0)[0, :, 100]
    assert soft.max() < 101.5
    assert np.diff(ringing).max() < 50  # and the edge is spread over pixels


def test_motion_and_sharpening_change_edges():
    edge = [
        np.diff(_measure(_box(), taper=0.3, motion=m, sharpening=s)[0, 32]).max()
        for m, s in ((1.5, 0.0), (0.0, -0.8), (0.0, 0.0), (0.0, 0.5))
    ]
    assert edge == sorted(edge)
    assert edge[0] < 0.5 * edge[2]
    gauss = _measure(_box(), motion=2.0)[0, 32]
    assert np.diff(gauss).max() == pytest.approx(
        100 / (2 * np.sqrt(2 * np.pi)), rel=0.05
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_ghosts_lie_along_the_phase_axis_with_their_height(axis):
    signal = np.zeros((1, 64, 64))
    signal[:, 28:36, 28:36] = 100.0
    ghosted = _measure(signal, ghost=0.1, ghost_shift=0.25, phase_axis=axis)
    ghost = np.abs(ghosted - signal)
    expected = np.zeros_like(ghost)
    for shift in (16, -16):
        expected += 10.0 / 100.0 * np.roll(signal, shift, axis=axis + 1)
    np.testing.assert_allclose(ghost, expected, atol=0.5)


def test_oversampled_signals_keep_pixel_positions():
    fine = np.zeros((1, 96, 96))
    fine[:, 40:60, 24:30] = 100.0
    image = _measure(fine, oversampling=2, taper=0.6)[0]
    assert image.shape == (48, 48)
    y, x = np.indices(image.shape)
    weight = image / image.sum()
    centre = (float((y * weight).sum()), float((x * weight).sum()))
    assert centre == pytest.approx((49.5 / 2, 26.5 / 2), abs=0.35)


def test_fold_over_adds_the_other_border_and_leaves_the_middle():
    signal = np.arange(10.0)[None, :, None] * np.ones((1, 1, 4))
    folded = fold_over(signal, 0.2, 0)
    expected = [0 + 9, 1 + 8, 2, 3, 4, 5, 6, 7, 8 + 1, 9 + 0]
    np.testing.assert_array_equal(folded[0, :, 2], expected)
    np.testing.assert_array_equal(fold_over(signal, 0.0, 1), signal)
    turned = fold_over(signal.swapaxes(1, 2), 0.2, 1)
    np.testing.assert_array_equal(turned[0, 1], expected)
