"""The virtual scanner: contrast, partial volume, coils, bands, noise, settings."""

import dataclasses

import numpy as np
import pytest

from cmrjax.simulation.acquisition import acquire
from cmrjax.simulation.bssfp import bssfp_signal
from cmrjax.simulation.relaxation import sample_tissue_values
from cmrjax.simulation.scanner import sample_acquisition
from cmrjax.simulation.tissues import TISSUE_IDS
from tests.simulation.plain_readout import PLAIN_READOUT
from tests.simulation.torso_slices import axial


def _scanner(readout=None, **changes):
    """A scanner without artefacts: what is asked for is changed."""
    rng = np.random.default_rng(0)
    values = sample_tissue_values(rng)
    plain = {
        "tissue_values": values,
        "field_strength": 1.5,
        "blood_level": 1000.0,
        "uniform": 1.0,
        "corrected": 0.0,
        "background_cut": 0.0,
        "readout": dataclasses.replace(PLAIN_READOUT, **readout or {}),
        "shim": np.zeros(6),
        "susceptibility": 0.0,
        "fat_shift": 0.0,
        "texture": 0.0,
        "inflow": 0.0,
        "dephasing": 0.0,
        "wrap": 0.0,
        "slice_variation": 0.0,
    }
    return dataclasses.replace(sample_acquisition(rng, values), **plain | changes)


def _planes(count, size, spacing=1.5):
    """Axial planes about the body's axis; rows run to the back."""
    offsets = (-3.0, 0.0, 3.0)
    return [
        axial(9.0 * index, size=size, spacing=spacing, offsets=offsets)
        for index in range(count)
    ]


def _filled(name, size=48):
    return np.full((2, 3, size, size), TISSUE_IDS[name], np.uint8)


def _acquire(tissue, scanner, *, oversampling=1, seed=1, spacing=1.5):
    planes = _planes(len(tissue), tissue.shape[-1], spacing / oversampling)
    image = acquire(
        tissue,
        planes,
        scanner,
        np.random.default_rng(seed),
        body=(160.0, 105.0),
        oversampling=oversampling,
    )
    assert image.dtype == np.int16
    return image.astype(float)


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
        assert image.mean() == pytest.approx(expected, rel=0.01)


def test_partial_volume_mixes_the_sub_slices():
    mixed = _filled("air")
    mixed[:, 0] = TISSUE_IDS["fat"]
    scanner = _scanner()
    whole = _acquire(_filled("fat"), scanner).mean()
    assert _acquire(mixed, scanner).mean() == pytest.approx(whole / 3, rel=0.01)


@pytest.mark.parametrize("snr", [10.0, 40.0])
def test_measured_snr_of_blood_is_the_set_one(snr):
    scanner = _scanner(snr=snr, readout={"noise": 1000 / snr, "taper": 0.4})
    image = _acquire(_filled("lv_blood", 96), scanner)
    assert image.mean() / image.std() == pytest.approx(snr, rel=0.05)
    air = _acquire(_filled("air", 96), scanner)
    assert (air**2).mean() == pytest.approx(2 * (1000 / snr) ** 2, rel=0.05)


def test_fat_beside_water_has_a_dark_line_where_it_is_shifted():
    tissue = _filled("liver", 64)
    tissue[..., 32:] = TISSUE_IDS["fat"]
    blur = {"motion": 1.0}
    line = _acquire(tissue, _scanner(readout=blur, fat_shift=-3.4))[0, 32, 20:44]
    plain = _acquire(tissue, _scanner(readout=blur))[0, 32, 20:44]
    assert line.min() < 0.5 * line[0]
    assert plain.min() > 0.9 * plain[0]
    assert 9 <= int(np.argmin(line)) <= 13


def test_fat_precesses_more_slowly_than_water():
    """Fat has the lower frequency, so water above resonance brings it into a band.

    At 1.5 T and TR 3 ms fat turns 234 degrees less in each TR. With water 54 degrees
    (50 Hz) above resonance fat turns by -180 and is dark; below it fat is bright.
    """
    settings = {"repetition_time": 3.0, "field_strength": 1.5}
    drawn = (
        sample_acquisition(rng, sample_tissue_values(rng))
        for rng in map(np.random.default_rng, range(12))
    )
    shift = next(scanner.fat_shift for scanner in drawn if scanner.fat_shift)
    shifts = (-50.0, 0.0, 50.0)
    below, at, above = (
        _acquire(
            _filled("fat"),
            _scanner(fat_shift=shift, shim=np.array((f, 0, 0, 0, 0, 0.0)), **settings),
        ).mean()
        for f in shifts
    )
    assert above < 0.25 * at
    assert below > at


def test_coils_shade_and_correction_takes_it_back():
    near = {"loop_radius": 60.0, "uniform": 0.0, "coil_weights": (1.0, 0.0, 0.0)}
    tissue = _filled("lv_blood", 96)
    rows = _acquire(tissue, _scanner(**near)).mean((0, 2))
    assert rows[:30].mean() > 1.3 * rows[-30:].mean()
    assert rows.mean() == pytest.approx(1000, rel=0.02)
    flat = _acquire(tissue, _scanner(**near, corrected=1.0))
    assert flat.std() < 0.01 * flat.mean()


def test_bands_lie_where_water_turns_by_pi():
    scanner = _scanner(repetition_time=3.2)
    hertz = 1000 / (2 * 3.2)
    ramp = np.array((0.0, 2 * hertz, 0.0, 0.0, 0.0, 0.0))
    image = _acquire(
        _filled("myocardium", 81), dataclasses.replace(scanner, shim=ramp)
    )[0].mean(0)
    assert sorted(np.argsort(image)[:2]) == [20, 60]  # x = -1/2 and 1/2
    assert image[20] < 0.15 * image[40]


def test_air_beside_the_heart_darkens_more_at_three_tesla():
    tissue = np.full((4, 3, 96, 96), TISSUE_IDS["myocardium"], np.uint8)
    tissue[..., :34, 30:66] = TISSUE_IDS["gas"]
    lost = []
    for field in (1.5, 3.0):
        on, off = (
            _acquire(
                tissue,
                _scanner(field_strength=field, susceptibility=s, repetition_time=3.5),
            )
            for s in (0.0, 1.1)
        )
        muscle = tissue[:, 1] == TISSUE_IDS["myocardium"]
        lost.append(float((off < 0.6 * on)[muscle].mean()))
    assert lost[1] > 2 * lost[0]
    assert lost[1] > 0.002


def test_flow_ghosts_wrap_and_cut_change_what_they_should():
    tissue = _filled("air", 64)
    tissue[..., 40:60, 20:44] = TISSUE_IDS["lv_blood"]
    plain = _acquire(tissue, _scanner())
    assert plain[:, :10].max() < 5
    wrapped = _acquire(tissue, _scanner(wrap=0.25))
    assert wrapped[:, 8:14, 25:40].mean() == pytest.approx(1000, rel=0.05)
    ghosted = _acquire(tissue, _scanner(readout={"ghost": 0.1}))
    assert ghosted[:, 10:26, 25:40].mean() > 20
    streaky = _acquire(tissue, _scanner(dephasing=0.9, inflow=0.1))
    assert streaky.std() > plain.std() * 0.5
    assert streaky[:, 41:59, 21:43].std() > 3 * plain[:, 41:59, 21:43].std()
    noisy = {"noise": 20.0}
    cut = _acquire(tissue, _scanner(readout=noisy, background_cut=0.15))
    assert (cut[:, :30] == 0).mean() > 0.99


def test_slices_differ_by_their_gain():
    tissue = np.concatenate([_filled("lv_blood")] * 5)
    means = _acquire(tissue, _scanner(slice_variation=0.1)).mean((1, 2))
    assert 0.03 * 1000 < means.std() < 0.2 * 1000


def test_oversampled_tissue_keeps_pixel_positions():
    tissue = _filled("air", 96)
    tissue[:, :, 40:60, 24:30] = TISSUE_IDS["lv_blood"]
    image = _acquire(tissue, _scanner(readout={"taper": 0.6}), oversampling=2)
    assert image.shape == (2, 48, 48)
    y, x = np.indices((48, 48))
    weight = image[0] / image[0].sum()
    centre = (float((y * weight).sum()), float((x * weight).sum()))
    assert centre == pytest.approx((49.5 / 2, 26.5 / 2), abs=0.35)


def test_same_generator_gives_the_same_scanner_and_image():
    tissue = _filled("lv_blood")
    first, second = (
        sample_acquisition(
            np.random.default_rng(3), sample_tissue_values(np.random.default_rng(2))
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(_acquire(tissue, first), _acquire(tissue, second))
