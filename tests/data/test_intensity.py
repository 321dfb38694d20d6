"""Intensity transforms: values, range, errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrjax.data import intensity
from cmrjax.data.intensity import ClipTransform, PercentileTransform


def test_percentiles_become_the_ends():
    volume = np.arange(101, dtype=np.int16).reshape(1, 1, 101)
    out = PercentileTransform().apply(volume)
    assert out.dtype == np.float32
    expected = np.clip((np.arange(101) - 1) / 98 * 2 - 1, -1, 1)
    np.testing.assert_allclose(out[0, 0], expected, atol=1e-6)
    assert PercentileTransform().limits(volume) == (1.0, 99.0)


def test_percentiles_are_those_of_the_volume_not_of_a_slice():
    volume = np.stack([np.full((10, 10), v, float) for v in range(11)])
    out = PercentileTransform(0, 100).apply(volume)
    np.testing.assert_allclose(out[:, 0, 0], np.linspace(-1, 1, 11), atol=1e-6)


def test_clip4000():
    volume = np.array([[[-5.0, 0.0, 1000.0, 4000.0, 9000.0]]])
    out = ClipTransform().apply(volume)
    np.testing.assert_allclose(out[0, 0], [-1, -1, -0.5, 1, 1], atol=1e-6)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1e4), st.floats(-100, 100))
def test_range_and_order_and_invariance(seed, scale, shift):
    volume = np.random.default_rng(seed).normal(size=(2, 5, 6))
    out = PercentileTransform().apply(volume)
    assert out.min() == -1
    assert out.max() == 1
    order = np.argsort(volume, axis=None)
    assert (np.diff(out.ravel()[order]) >= 0).all()
    moved = PercentileTransform().apply(volume * scale + shift)
    np.testing.assert_allclose(moved, out, atol=1e-4)


@pytest.mark.parametrize("transform", [PercentileTransform(), ClipTransform()])
def test_unusable_volumes(transform):
    with pytest.raises(ValueError, match=r"volume is empty, shape \(0, 2, 2\)"):
        transform.apply(np.zeros((0, 2, 2)))
    with pytest.raises(ValueError, match=r"1 of 4 values are NaN or infinite"):
        transform.apply(np.array([[[0.0, np.nan], [1.0, 2.0]]]))
    with pytest.raises(ValueError, match=r"both 0: the image|all intensities are 0"):
        transform.apply(np.zeros((1, 2, 2)))


@pytest.mark.parametrize(
    "transform", [PercentileTransform(), PercentileTransform(2, 98), ClipTransform()]
)
def test_json_round_trip_and_hash(transform):
    again = intensity.transform_from_dict(transform.to_dict())
    assert again == transform
    assert hash(again) == hash(transform)


def test_names():
    for name in intensity.TRANSFORM_NAMES:
        assert intensity.get_transform(name).name == name
    with pytest.raises(ValueError, match=r"no intensity transform 'x'; there are perc"):
        intensity.get_transform("x")
    with pytest.raises(ValueError, match=r"unknown intensity transform None"):
        intensity.transform_from_dict({})
    with pytest.raises(ValueError, match=r"0 <= low < high <= 100, got low=5"):
        PercentileTransform(5, 5)
    with pytest.raises(ValueError, match=r"low < high"):
        ClipTransform(3, 3)
