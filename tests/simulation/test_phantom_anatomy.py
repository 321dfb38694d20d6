"""Subjects drawn from a phantom, and their tissues."""

import json

import numpy as np
import pytest

from cmrjax.simulation.morphing import MorphedPoints
from cmrjax.simulation.phantom import prepare_phantom
from cmrjax.simulation.phantom_anatomy import (
    HEART_AXES,
    HEART_PLACE,
    sample_phantom_anatomy,
)
from cmrjax.simulation.phantom_paint import look_up, paint_phantom
from cmrjax.simulation.tissues import TISSUE_IDS, tissue_to_class
from tests.simulation.drawn_phantom import SPACING, drawn_tissue

_SEEDS = range(12)


@pytest.fixture(scope="module")
def pair():
    phantom = prepare_phantom(drawn_tissue(), SPACING)
    return phantom, phantom


def _sample(pair, seed, size=64, spacing=4.0):
    rng = np.random.default_rng(seed)
    return sample_phantom_anatomy(rng, pair, image_size=size, spacing=spacing)


@pytest.fixture(scope="module")
def drawn(pair):
    return [_sample(pair, seed) for seed in _SEEDS]


def test_hearts_vary_widely_and_plausibly(drawn):
    volumes = np.array([a.lv_volumes_ml() for a in drawn])
    fraction = 1 - volumes[:, 1] / volumes[:, 0]
    assert ((volumes[:, 0] > 60) & (volumes[:, 0] < 285)).all()
    assert np.ptp(volumes[:, 0]) > 60
    assert ((fraction >= 0.24) & (fraction <= 0.75)).all()
    assert np.ptp(fraction) > 0.15
    walls = np.array([a.walls_mm() for a in drawn])
    assert (walls[:, 1] > walls[:, 0]).all()  # the muscle thickens
    assert np.ptp(walls[:, 0]) > 2


def test_axes_are_those_of_a_short_axis_view(drawn):
    np.testing.assert_allclose(HEART_AXES @ HEART_AXES.T, np.eye(3), atol=1e-12)
    for anatomy in drawn:
        axes = anatomy.geometry.axes
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        assert abs(axes[2] @ HEART_AXES[2]) > 0.98
    normals = [a.geometry.axes[2] @ HEART_AXES[2] > 0 for a in drawn]
    assert 0 < sum(normals) < len(normals)  # either order of the slices
    sizes = {a.geometry.slice_distance for a in drawn}
    assert sizes <= {6.0, 7.0, 8.0, 9.0, 10.0}


@pytest.mark.parametrize("slice_distance", [4.0, None])
def test_stack_reaches_the_tip_of_any_heart(pair, slice_distance):
    for seed in _SEEDS:
        anatomy = sample_phantom_anatomy(
            np.random.default_rng(seed),
            pair,
            image_size=64,
            spacing=4.0,
            slice_distance=slice_distance,
        )
        geometry, heart = anatomy.geometry, pair[0].heart
        size = (heart.apex - heart.base) * anatomy.targets[0].length * anatomy.scale[0]
        middle = 4.0 * 32 * (geometry.axes[0] + geometry.axes[1])
        ends = np.array((0, geometry.num_slices - 1)) * geometry.slice_distance
        places = geometry.origin + middle + ends[:, None] * geometry.axes[2]
        normal = geometry.axes[2] * np.sign(geometry.axes[2] @ HEART_AXES[2])
        first, last = sorted((places - HEART_PLACE) @ normal)
        assert first < -size / 2
        assert last >= size / 2 - 1e-6


def test_draws_do_not_depend_on_the_sampling(pair, drawn):
    other = _sample(pair, 3, size=96, spacing=2.0)
    assert other.targets == drawn[3].targets
    assert other.scale == drawn[3].scale
    np.testing.assert_array_equal(other.geometry.axes, drawn[3].geometry.axes)


def test_parameters_are_plain_numbers(drawn):
    values = drawn[0].parameters()
    text = json.dumps(values, default=lambda v: v.tolist())
    assert "skin_fat" in json.loads(text)


def test_painted_heart_has_the_drawn_size_and_place(pair, drawn):
    lv, myo, rv = (1, 2, 3)
    for anatomy in drawn[:4]:
        tissue = paint_phantom(
            anatomy, (pair[0], pair[1]), np.random.default_rng(0), oversampling=2
        )
        geometry = anatomy.geometry
        assert tissue.shape == (2, geometry.num_slices, 3, 128, 128)
        labels = tissue_to_class()[tissue]
        voxel = geometry.slice_distance / 3 * (geometry.spacing / 2) ** 2 / 1000
        for phase, wanted in enumerate(anatomy.lv_volumes_ml()):
            volume = (labels[phase] == lv).sum() * voxel
            assert volume == pytest.approx(wanted, rel=0.3)
        cavity = np.argwhere(labels[0, :, 1] == lv).mean(0)[1:] - 64
        assert np.abs(cavity).max() * geometry.spacing / 2 < 60
        right = np.argwhere(labels[0, :, 1] == rv).mean(0)[1:] - 64
        assert right[1] < cavity[1]  # RV is left of LV
        for slice_labels in labels[0, :, 1]:
            _enclosed(slice_labels, lv, (lv, myo))


def _enclosed(labels, inner, allowed):
    """No pixel of the cavity touches the chest."""
    mask = labels == inner
    near = np.zeros_like(mask)
    for axis in (0, 1):
        for step in (-1, 1):
            near |= np.roll(mask, step, axis)
    outside = labels[near & ~np.isin(labels, allowed)]
    assert len(outside) <= 0.03 * max(mask.sum(), 1)


def test_same_seed_gives_the_same_tissues(pair):
    painted = [
        paint_phantom(_sample(pair, 5), pair, np.random.default_rng(2))
        for _ in range(2)
    ]
    np.testing.assert_array_equal(painted[0], painted[1])


def _along(pair, x, z=20.0):
    """Points on a row through the phantom's middle."""
    heart = pair[0].heart
    y = np.full_like(x, heart.centre[5, 0])
    points = np.stack([np.full_like(x, z), y, x])
    radius = np.abs(x - heart.centre[5, 1])
    return MorphedPoints(points, radius, np.full((3, len(x)), 1.0, np.float32))


def test_skin_fat_is_added_outside_and_taken_off_inside(pair):
    x = np.arange(0, 100, 0.5, dtype=np.float32)  # one side of the body
    air = TISSUE_IDS["air"]
    widths = [
        (look_up(pair[0], _along(pair, x), skin_fat=fat, lean=0.0) != air).sum() / 2
        for fat in (-4.0, 0.0, 6.0)
    ]
    assert widths[1] - widths[0] == pytest.approx(4, abs=1.5)
    assert widths[2] - widths[1] == pytest.approx(6, abs=1.5)


def test_organs_grow_into_the_fat_of_lean_subjects(pair):
    shape = pair[0].tissue.shape
    z, y, x = np.indices(shape).reshape(3, -1).astype(np.float32)
    points = np.stack([z * 1.25, y, x])
    far = np.full(len(x), 500.0, np.float32)
    moved = MorphedPoints(points, far, np.ones((3, len(x)), np.float32))
    liver, fat = TISSUE_IDS["liver"], TISSUE_IDS["fat"]
    before, after = (
        look_up(pair[0], moved, skin_fat=0.0, lean=lean) for lean in (0.0, 8.0)
    )
    assert (after == liver).sum() > 1.02 * (before == liver).sum()
    assert (after == fat).sum() < (before == fat).sum()
    heart = np.isin(before, [TISSUE_IDS["myocardium"], TISSUE_IDS["rv_blood"]])
    np.testing.assert_array_equal(after[heart], before[heart])


def test_ventricles_end_where_the_phantom_does():
    cut = prepare_phantom(drawn_tissue()[2:9], SPACING)  # no atrium, no tip
    pair = (cut, cut)
    x = cut.heart.centre[5, 1] + np.arange(-20, 20, 1, dtype=np.float32)
    ventricle = [TISSUE_IDS[n] for n in ("lv_blood", "myocardium", "rv_blood")]
    for z, expected in ((2.0, True), (-4.0, False), (29.0, True), (40.0, False)):
        found = look_up(cut, _along(pair, x, z=z), skin_fat=0.0, lean=0.0)
        assert np.isin(found, ventricle).any() == expected, z
    vessels = [TISSUE_IDS[name] for name in ("vessel", "venous_vessel")]
    assert not np.isin(found, vessels).any()
    above = look_up(cut, _along(pair, x - 40, z=-4.0), skin_fat=0.0, lean=0.0)
    assert (above == vessels[1]).any()  # over the right ventricle: the right atrium
