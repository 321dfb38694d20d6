"""Separable interpolation against scipy and by properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cmrjax.data import resample


def test_linear_agrees_with_scipy():
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(3, 9, 7)).astype(np.float32)
    rows, columns = rng.uniform(-1, 9, 11), rng.uniform(-1, 7, 12)
    out = resample.interpolate(volume, rows, columns)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"))
    for plane, expected in zip(out, volume, strict=True):
        reference = ndimage.map_coordinates(
            expected.astype(float), grid, order=1, mode="nearest"
        )
        np.testing.assert_allclose(plane, reference, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_whole_coordinates_are_exact(size):
    volume = np.random.default_rng(1).normal(size=(2, size, size)).astype(np.float32)
    index = np.arange(size, dtype=float)
    np.testing.assert_array_equal(resample.interpolate(volume, index, index), volume)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_labels_invent_no_id_and_follow_the_largest_share(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 2, 3, 8], size=(1, 6, 5)).astype(np.uint8)
    rows, columns = rng.uniform(0, 5, 4), rng.uniform(0, 4, 4)
    out = resample.interpolate_labels(labels, rows, columns)
    assert out.dtype == np.uint8
    assert set(np.unique(out)) <= set(np.unique(labels))
    shares = np.stack(
        [
            resample.interpolate((labels == k).astype(np.float32), rows, columns)
            for k in range(9)
        ]
    )
    chosen = np.take_along_axis(shares, out[None].astype(int), 0)[0]
    assert (chosen >= shares.max(0) - 2e-4).all()


def test_ties_go_to_the_nearest_pixel_not_to_the_lowest_id():
    labels = np.array([[[1, 0, 1]]], np.uint8)
    out = resample.interpolate_labels(labels, np.zeros(1), np.array([0.5, 1.5]))
    np.testing.assert_array_equal(out, [[[0, 1]]])  # half rounds up to the next pixel
