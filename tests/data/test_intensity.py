"""Intensity transforms: values, range, errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrjax.data import intensity
from cmrjax.data.intensity import ClipTransform, PercentileTransform, ZScoreTransform


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


def test_z_scores():
    """Of the numbers 0 to 8: mean 4, variance 20 / 3."""
    volume = np.arange(9, dtype=np.int16).reshape(1, 3, 3)
    out = ZScoreTransform().apply(volume)
    assert out.dtype == np.float32
    deviation = np.sqrt(20 / 3)
    np.testing.assert_allclose(
        out, (np.arange(9).reshape(1, 3, 3) - 4) / deviation, atol=1e-6
    )
    low, high = ZScoreTransform().limits(volume)
    np.testing.assert_allclose([low, high], [4 - deviation, 4 + deviation])


def test_z_scores_are_those_of_the_volume_and_are_not_clipped():
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(4, 20, 20)) + np.arange(4)[:, None, None]
    volume[0, 0, 0] = 500.0
    out = ZScoreTransform().apply(volume).astype(np.float64)
    assert abs(out.mean()) < 1e-6
    assert abs(out.std() - 1) < 1e-6
    assert out.max() > 30
    means = out.mean(axis=(1, 2))
    assert (np.diff(means[1:]) > 0).all()  # slices keep their relative brightness
    moved = ZScoreTransform().apply(volume * 37.0 - 1000.0)
    np.testing.assert_allclose(moved, out, atol=1e-4)


def test_z_scores_of_large_integers_do_not_overflow():
    volume = np.array([[[30000, -30000], [30000, -30000]]], np.int16)
    np.testing.assert_allclose(
        ZScoreTransform().apply(volume), [[[1, -1], [1, -1]]], rtol=1e-6
    )


@pytest.mark.parametrize("value", [0.1, 1e-3, 1 / 3, 12345.678])
def test_a_constant_volume_has_no_z_scores_whatever_its_rounding(value):
    """The mean of many equal numbers is not always that number."""
    with pytest.raises(ValueError, match=f"all intensities are {value:g}: no image"):
        ZScoreTransform().apply(np.full((3, 7, 11), value))


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


@pytest.mark.parametrize(
    "transform", [PercentileTransform(), ClipTransform(), ZScoreTransform()]
)
def test_unusable_volumes(transform):
    with pytest.raises(ValueError, match=r"volume is empty, shape \(0, 2, 2\)"):
        transform.apply(np.zeros((0, 2, 2)))
    with pytest.raises(ValueError, match=r"1 of 4 values are NaN or infinite"):
        transform.apply(np.array([[[0.0, np.nan], [1.0, 2.0]]]))
    with pytest.raises(ValueError, match=r"both 0: the image|all intensities are 0"):
        transform.apply(np.zeros((1, 2, 2)))


@pytest.mark.parametrize(
    "transform",
    [
        PercentileTransform(),
        PercentileTransform(2, 98),
        ClipTransform(),
        ZScoreTransform(),
    ],
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
    assert set(intensity.TRANSFORM_NAMES) == {"percentile", "clip4000", "zscore"}
    with pytest.raises(ValueError, match=r"intensity transform None; .* clip, zscore"):
        intensity.transform_from_dict({})
    with pytest.raises(ValueError, match=r"0 <= low < high <= 100, got low=5"):
        PercentileTransform(5, 5)
    with pytest.raises(ValueError, match=r"low < high"):
        ClipTransform(3, 3)
