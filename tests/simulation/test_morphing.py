"""Hearts of other sizes: volumes as wanted, nothing folds, far things stay."""

import numpy as np
import pytest

from cmrjax.simulation.heart_profile import measure_heart
from cmrjax.simulation.morphing import (
    HeartTargets,
    fade,
    fit_heart,
    morph_points,
    sample_relief,
    wall_volume_ml,
)
from cmrjax.simulation.tissues import TISSUE_IDS
from tests.simulation.drawn_phantom import CENTRE, SPACING, drawn_tissue

STEP = 1.5


@pytest.fixture(scope="module")
def heart():
    return measure_heart(drawn_tissue(), SPACING)


def _flat(heart):
    return np.ones((3, *heart.endo.shape), np.float32)


def _grid():
    """Points every 1.5 mm, around the heart and as deep as the phantom."""
    z, y, x = np.mgrid[-20:66:STEP, -75:75:STEP, -75:75:STEP].astype(np.float32)
    return np.stack([z, y + CENTRE[0], x + CENTRE[1]])


def _look_up(tissue, source):
    index = [
        np.rint(p / s).astype(int).clip(0, n - 1)
        for p, s, n in zip(source, SPACING, tissue.shape, strict=True)
    ]
    return tissue[tuple(index)]


@pytest.mark.parametrize(
    ("lv_ml", "wall", "rv_ml", "length"),
    [(60, 6, 50, 1.0), (15, 12, 20, 0.8), (120, 9, 110, 1.25)],
)
def test_volumes_and_wall_are_the_wanted_ones(heart, lv_ml, wall, rv_ml, length):
    targets = HeartTargets(lv_ml, wall, rv_ml, length, 0.0)
    morph = fit_heart(heart, targets, _flat(heart))
    moved = morph_points(morph, _grid())
    found = _look_up(drawn_tissue(), moved.source)
    voxel = STEP**3 / 1000
    for name, expected in (("lv_blood", lv_ml), ("rv_blood", rv_ml)):
        volume = (found == TISSUE_IDS[name]).sum() * voxel
        assert volume == pytest.approx(expected, rel=0.16), name
    muscle = (found == TISSUE_IDS["myocardium"]).sum() * voxel
    assert muscle == pytest.approx(wall_volume_ml(morph), rel=0.16)
    endo, epi, _ = morph.wanted[:, 2:6]
    assert (epi - endo).mean() == pytest.approx(wall, rel=0.1)


def test_the_measured_heart_is_left_as_it_is(heart):
    volume = 2 * np.pi / 72 * heart.step / 2000 * (heart.endo[heart.sections] ** 2)
    thick = (heart.epi - heart.endo)[heart.sections]
    wall = thick[heart.endo[heart.sections] > 3].mean()
    targets = HeartTargets(volume.sum(), wall, heart.rv_ml, 1.0, 0.0)
    points = _grid()
    moved = morph_points(fit_heart(heart, targets, _flat(heart)), points)
    np.testing.assert_allclose(moved.source, points, atol=0.5)


def test_nothing_folds_and_the_cavity_stays_within_the_muscle(heart):
    rng = np.random.default_rng(0)
    relief = sample_relief(rng, heart, (0.06, 0.12, 0.1))
    morph = fit_heart(heart, HeartTargets(120, 7, 130, 1.2, 0.2), relief)
    radius = np.arange(1.0, 140.0, dtype=np.float32)
    for angle in np.linspace(0, 2 * np.pi, 9):
        ray = np.stack(
            [
                np.full_like(radius, 20.0),
                CENTRE[0] + radius * np.sin(angle),
                CENTRE[1] + radius * np.cos(angle),
            ]
        ).astype(np.float32)
        source = morph_points(morph, ray).source
        away = np.hypot(source[1] - CENTRE[0], source[2] - CENTRE[1])
        assert (np.diff(away) > 0).all()
        found = _look_up(drawn_tissue(), source)
        inside = np.flatnonzero(found == TISSUE_IDS["lv_blood"])
        after = found[inside[-1] + 1]
        assert after == TISSUE_IDS["myocardium"]


def test_far_points_do_not_move(heart):
    morph = fit_heart(heart, HeartTargets(120, 7, 130, 1.2, 0.3), _flat(heart))
    points = np.array([[20.0, 40.0], [300.0, 100.0], [116.0, -80.0]], np.float32)
    np.testing.assert_allclose(morph_points(morph, points).source, points, atol=1e-3)


def test_turn_carries_the_right_heart_along(heart):
    morph = fit_heart(heart, HeartTargets(40, 9, 40, 1.0, 0.5), _flat(heart))
    found = _look_up(drawn_tissue(), morph_points(morph, _grid()).source)
    _, y, x = np.nonzero(found == TISSUE_IDS["rv_blood"])
    plain = fit_heart(heart, HeartTargets(40, 9, 40, 1.0, 0.0), _flat(heart))
    before = _look_up(drawn_tissue(), morph_points(plain, _grid()).source)
    _, y0, x0 = np.nonzero(before == TISSUE_IDS["rv_blood"])
    middle = 75 / STEP
    turned = np.arctan2(y.mean() - middle, x.mean() - middle) - np.arctan2(
        y0.mean() - middle, x0.mean() - middle
    )
    assert (turned + np.pi) % (2 * np.pi) - np.pi == pytest.approx(0.5, abs=0.06)


def test_fade_is_smooth_and_bounded():
    t = np.linspace(-1, 2, 301)
    value = fade(t)
    assert value[0] == 1
    assert value[-1] == 0
    assert (np.diff(value) <= 0).all()
    assert np.abs(np.diff(value)).max() < 0.0151
