"""Texture of tissues and flow of blood."""

import numpy as np
import pytest

from cmrjax.simulation.signal_variation import blood_flow, smooth_noise, tissue_texture
from cmrjax.simulation.tissues import TISSUE_IDS, TISSUES


def _filled(name):
    return np.full((3, 96, 96), TISSUE_IDS[name], np.uint8)


def test_texture_has_the_tissues_deviation():
    for name in ("liver", "muscle"):
        gain = tissue_texture(_filled(name), np.random.default_rng(0), 1.33)
        texture = TISSUES[TISSUE_IDS[name]].texture
        assert gain.mean() == pytest.approx(1.0, abs=0.03)
        assert gain.std() == pytest.approx(texture, rel=0.25)
    flat = tissue_texture(_filled("liver"), np.random.default_rng(0), 1.0, strength=0)
    assert (flat == 1).all()
    air = tissue_texture(_filled("air"), np.random.default_rng(0), 1.33)
    assert (air == 1).all()


def test_flow_changes_blood_only_and_streaks_are_dark():
    rng = np.random.default_rng
    tissue = _filled("lv_blood")
    tissue[:, :48] = TISSUE_IDS["myocardium"]
    still = blood_flow(tissue, rng(0), 1.33, inflow=0.0, dephasing=0.0)
    assert (still == 1).all()
    gain = blood_flow(tissue, rng(0), 1.33, inflow=0.0, dephasing=0.9)
    assert (gain[:, :48] == 1).all()
    assert gain.max() <= 1
    assert gain[:, 48:].min() < 0.5
    assert 0.02 < (gain[:, 48:] < 0.8).mean() < 0.5
    bright = blood_flow(tissue, rng(0), 1.33, inflow=0.1, dephasing=0.0)
    assert bright[:, 48:].std() == pytest.approx(0.1, rel=0.5)


@pytest.mark.parametrize("name", ["vessel", "venous_vessel"])
def test_streaks_are_denser_near_the_great_vessels(name):
    tissue = _filled("lv_blood")
    tissue[:, :, :20] = TISSUE_IDS[name]
    near, far = [], []
    for seed in range(8):
        gain = blood_flow(
            tissue, np.random.default_rng(seed), 1.33, inflow=0.0, dephasing=0.8
        )
        near.append(gain[:, :, 20:26].mean())
        far.append(gain[:, :, 60:].mean())
    assert np.mean(near) < np.mean(far) - 0.02


@pytest.mark.parametrize("sigma", [0.8, 3.0, 9.0])
def test_smooth_noise_has_unit_variance_and_its_scale(sigma):
    noise = smooth_noise(np.random.default_rng(0), (8, 101, 90), sigma)
    assert noise.shape == (8, 101, 90)
    assert noise.std() == pytest.approx(1.0, rel=0.2)
    # A Gaussian filter leaves the correlation exp(-d^2 / (4 sigma^2)).
    lag = max(1, round(sigma))
    got = (noise[:, lag:] * noise[:, :-lag]).mean() / noise.var()
    assert got == pytest.approx(np.exp(-(lag**2) / (4 * sigma**2)), abs=0.15)
