"""Properties of the painted anatomy that every subject must have."""

import functools

import numpy as np
import pytest
from scipy import ndimage

from cmrjax.labels import MULTI_TISSUE
from cmrjax.simulation.anatomy import paint_anatomy, sample_anatomy
from cmrjax.simulation.tissues import tissue_to_class

_LV, _MYO, _RV = (MULTI_TISSUE.id_of(name) for name in ("LV", "MYO", "RV"))


@functools.cache
def _subject(seed, spacing=2.0, image_size=128):
    """Anatomy and labels [2, d, h, w], slices from base to apex."""
    anatomy = sample_anatomy(
        np.random.default_rng(seed), image_size=image_size, spacing=spacing
    )
    tissue = paint_anatomy(anatomy, np.random.default_rng(1), sub_slices=1)
    labels = tissue_to_class()[tissue[:, :, 0]]
    if anatomy.geometry.axes[2] @ anatomy.heart_axes[2] < 0:
        labels = labels[:, ::-1]
    return anatomy, labels


def _pieces(mask):
    """Number of 8-connected pieces of a 2D mask."""
    numbered = np.empty(mask.shape, np.int32)
    return ndimage.label(mask, np.ones((3, 3)), output=numbered)


@pytest.mark.parametrize("seed", range(8))
def test_left_cavity_is_enclosed_by_muscle(seed):
    _, labels = _subject(seed)
    for phase in labels:
        with_lv = np.flatnonzero((phase == _LV).any((1, 2)))
        for index in with_lv[1:]:  # the first may lie half above the valve plane
            cavity = phase[index] == _LV
            rim = ndimage.binary_dilation(cavity, np.ones((3, 3))) & ~cavity
            assert set(np.unique(phase[index][rim])) == {_MYO}


@pytest.mark.parametrize("seed", range(8))
def test_right_ventricle_touches_the_septum_in_one_piece(seed):
    _, labels = _subject(seed)
    for phase in labels:
        with_rv = np.flatnonzero((phase == _RV).sum((1, 2)) > 20)
        assert len(with_rv) >= 3
        for index in with_rv[1:]:
            right = phase[index] == _RV
            assert _pieces(right) == 1
            assert (ndimage.binary_dilation(right) & (phase[index] == _MYO)).any()


@pytest.mark.parametrize("seed", range(8))
def test_labels_hold_the_volumes_of_the_shape(seed):
    anatomy, labels = _subject(seed)
    voxel = anatomy.geometry.spacing**2 * anatomy.geometry.slice_distance / 1000
    counted = [(phase == _LV).sum() * voxel for phase in labels]
    shape = [heart.lv_volume_ml() for heart in anatomy.hearts]
    np.testing.assert_allclose(counted, shape, rtol=0.16, atol=4)
    assert 80 <= shape[0] <= 250
    assert 0.3 <= 1 - shape[1] / shape[0] <= 0.7
    mass = [(phase == _MYO).sum() * voxel for phase in labels]
    np.testing.assert_allclose(mass[1], mass[0], rtol=0.15)


@pytest.mark.parametrize("seed", range(8))
def test_every_class_occurs_and_the_stack_covers_the_heart(seed):
    anatomy, labels = _subject(seed)
    assert set(np.unique(labels)) == set(range(MULTI_TISSUE.num_classes))
    assert anatomy.geometry.num_slices >= 7
    assert 8 <= anatomy.geometry.slice_distance <= 10
    assert not (labels[:, 0] == _LV).any()
    area = (labels[0] == _LV).sum((1, 2))
    assert area.argmax() < 0.6 * len(area)
    heart = (labels[0] == _LV) | (labels[0] == _MYO)
    middle = np.argwhere(heart)[:, 1:].mean(0) * anatomy.geometry.spacing
    assert np.abs(middle - 128).max() < 60


def test_only_the_heart_moves():
    _, labels = _subject(3)
    moved = np.argwhere(labels[0] != labels[1])[:, 1:]
    assert len(moved)
    assert (
        np.ptp(moved, axis=0).max() * 2.0 < 230
    )  # mm, fat and vessels around it included


def test_same_seed_same_subject_at_any_resolution():
    coarse, coarse_labels = _subject(5, spacing=4.0, image_size=64)
    fine, fine_labels = _subject(5)
    np.testing.assert_array_equal(coarse.geometry.origin, fine.geometry.origin)
    same = coarse_labels == fine_labels[:, :, ::2, ::2]
    assert same.mean() > 0.99  # trabeculae and lung vessels are other noise


def test_subjects_differ():
    sizes = [_subject(seed)[0].torso.half_width for seed in range(8)]
    assert np.std(sizes) > 5
    turns = [_subject(seed)[0].geometry.axes[0] for seed in range(8)]
    assert np.std(turns, axis=0).max() > 0.1
