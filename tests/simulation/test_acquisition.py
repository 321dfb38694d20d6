"""Contrast, partial volume, k-space and noise of the virtual scanner."""

import dataclasses

import numpy as np
import pytest

from cmrjax.simulation.acquisition import acquire, sample_acquisition
from cmrjax.simulation.anatomy import sample_anatomy
from cmrjax.simulation.bssfp import bssfp_signal
from cmrjax.simulation.tissues import TISSUE_IDS, TISSUES, sample_tissue_values

_BODY = (160.0, 105.0)
_FAR = 1e6  # a coil that sees everywhere alike


def _scanner(**changes):
    rng = np.random.default_rng(0)
    values = sample_tissue_values(rng)
    plain = {
        "blood_level": 1000.0,
        "snr": 1e6,
        "resolution": (1.0, 1.0),
        "coil_reach": _FAR,
        "off_resonance": np.zeros(6),
        "flow": 0.0,
    }
    return dataclasses.replace(sample_acquisition(rng, values), **plain | changes)


def _planes(size, oversampling=1, spacing=1.5):
    geometry = sample_anatomy(
        np.random.default_rng(0), image_size=size, spacing=spacing
    ).geometry
    return list(geometry.planes(sub_slices=3, oversampling=oversampling))[:2]


def _filled(name, size=48):
    return np.full((2, 3, size, size), TISSUE_IDS[name], np.uint8)


def _acquire(tissue, scanner, *, oversampling=1, seed=1):
    planes = _planes(tissue.shape[-1] // oversampling, oversampling)
    rng = np.random.default_rng(seed)
    return acquire(
        tissue, planes, scanner, rng, body=_BODY, oversampling=oversampling
    ).astype(float)


def test_level_follows_the_signal_equation():
    scanner = _scanner()
    signal = bssfp_signal(
        *scanner.tissue_values.T,
        repetition_time=scanner.repetition_time,
        echo_time=scanner.repetition_time / 2,
        flip_angle=scanner.flip_angle,
    )
    blood = signal[TISSUE_IDS["lv_blood"]]
    for name in ("lv_blood", "myocardium", "fat", "liver"):
        image = _acquire(_filled(name), scanner)
        expected = 1000 * signal[TISSUE_IDS[name]] / blood
        assert image.mean() == pytest.approx(expected, rel=0.03)
        texture = TISSUES[TISSUE_IDS[name]].texture
        assert image.std() / image.mean() == pytest.approx(texture, rel=0.45)


def test_partial_volume_mixes_the_sub_slices():
    scanner = _scanner()
    mixed = _filled("air")
    mixed[:, 0] = TISSUE_IDS["fat"]
    whole = _acquire(_filled("fat"), scanner).mean()
    assert _acquire(mixed, scanner).mean() == pytest.approx(whole / 3, rel=0.05)


def test_noise_is_rician_with_the_set_snr():
    scanner = _scanner(snr=20.0)
    air = _acquire(_filled("air", 96), scanner)
    sigma = 1000 / 20
    assert air.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.05)
    squares = (air**2).mean()
    assert squares == pytest.approx(2 * sigma**2, rel=0.05)


def test_cut_k_space_blurs_and_rings():
    tissue = _filled("air", 64)
    tissue[..., 20:44] = TISSUE_IDS["lv_blood"]
    sharp = _acquire(tissue, _scanner(taper=0.0))
    cut = _acquire(tissue, _scanner(resolution=(3.0, 3.0), taper=0.0))
    assert sharp[..., :18].max() < 5
    assert cut[..., :18].max() > 20


def test_oversampled_tissue_keeps_pixel_positions():
    tissue = _filled("air", 96)
    tissue[:, :, 40:60, 24:30] = TISSUE_IDS["lv_blood"]
    image = _acquire(tissue, _scanner(taper=0.6), oversampling=2)
    assert image.shape == (2, 48, 48)
    y, x = np.indices((48, 48))
    weight = image[0] / image[0].sum()
    centre = (float((y * weight).sum()), float((x * weight).sum()))
    assert centre == pytest.approx((49.5 / 2, 26.5 / 2), abs=0.35)


def test_coils_are_brighter_near_the_front_and_banding_darkens():
    near = _scanner(coil_reach=90.0, uniform=0.0, coil_weights=(1.0, 0.0, 0.0))
    rows = _acquire(_filled("fat", 96), near).mean((0, 2))
    assert rows[:30].mean() > 1.2 * rows[-30:].mean()
    band = np.array((np.pi, 0.0, 0.0, 0.0, 0.0, 0.0))
    dark = _acquire(_filled("myocardium"), _scanner(off_resonance=band)).mean()
    assert dark < 0.2 * _acquire(_filled("myocardium"), _scanner()).mean()


def test_settings_stay_in_the_range_of_clinical_cine():
    rng = np.random.default_rng(4)
    for _ in range(50):
        scanner = sample_acquisition(rng, sample_tissue_values(rng))
        assert 40 <= scanner.flip_angle <= 60
        assert 2.5 < scanner.repetition_time < 3.5
        assert 130 <= scanner.blood_level <= 1700
