"""Resampling at given positions against SciPy, and smooth random fields."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from cmrjax.training.warp import smooth_noise, warp

H, W = 9, 13


@pytest.fixture(scope="module")
def example() -> Any:
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(H, W)).astype(np.float32),
        rng.integers(1, 9, (H, W)).astype(np.uint8),  # no background
        rng.uniform(size=(H, W)) > 0.3,
    )


def points_of(rows, columns) -> Any:
    return np.stack(np.meshgrid(rows, columns, indexing="ij")).astype(np.float32)


def test_the_grid_itself_changes_nothing(example):
    found = warp(*example, points=points_of(np.arange(H), np.arange(W)))
    for new, old in zip(found, example, strict=True):
        assert new.dtype == old.dtype
        np.testing.assert_array_equal(new, old)


def test_positions_in_between_are_those_of_scipy(example):
    """To well outside, and to a grid of another size."""
    rng = np.random.default_rng(1)
    points = rng.uniform(-3, [[[H + 2]], [[W + 2]]], (2, 17, 6)).astype(np.float32)
    image, labels, valid = jax.jit(warp)(*example, points)
    assert image.shape == labels.shape == valid.shape == (17, 6)
    expected = map_coordinates(example[0], points, order=1, mode="nearest")
    np.testing.assert_allclose(image, expected, atol=1e-5)
    nearest = np.floor(points + 0.5)  # no position lies half way
    options = {"order": 0, "mode": "constant", "cval": 0}
    expected = map_coordinates(example[1], nearest, **options)
    np.testing.assert_array_equal(labels, expected)
    expected = map_coordinates(example[2].astype(np.uint8), nearest, **options)
    np.testing.assert_array_equal(valid, expected > 0)
    outside = (nearest[0] < 0) | (nearest[0] >= H)
    outside |= (nearest[1] < 0) | (nearest[1] >= W)
    assert outside.any()
    np.testing.assert_array_equal(np.asarray(labels) == 0, outside)


def test_rows_are_rows_and_columns_are_columns(example):
    moved, labels, _ = warp(
        *example, points=points_of(np.arange(H) + 2, np.arange(W) - 1)
    )
    np.testing.assert_array_equal(moved[: H - 2, 1:], example[0][2:, :-1])
    np.testing.assert_array_equal(labels[: H - 2, 1:], example[1][2:, :-1])
    assert (np.asarray(labels[H - 2 :]) == 0).all()
    assert (np.asarray(labels[:, 0]) == 0).all()


def test_at_the_edge_the_image_is_continued(example):
    points = points_of([-0.4, H - 0.6], [-0.4, W - 0.6])
    image, labels, _ = warp(*example, points=points)
    corners = np.ix_([0, -1], [0, -1])
    np.testing.assert_allclose(image, example[0][corners], rtol=1e-6)
    np.testing.assert_array_equal(labels, example[1][corners])


def test_smooth_noise_is_smooth_and_of_the_size_it_says():
    draw = jax.jit(lambda key: smooth_noise(key, 200, (25, 41), 5))
    field = np.asarray(draw(jax.random.key(0)))
    assert field.shape == (200, 25, 41)
    assert field.dtype == np.float32
    assert abs(field.mean()) < 0.1
    # Between knots an average of them; never far above their standard deviation.
    assert 0.6 < field.std() < 1.1
    assert np.abs(np.diff(field, axis=1)).mean() < 0.25 * field.std()
    assert np.abs(np.diff(field, axis=2)).mean() < 0.15 * field.std()
    np.testing.assert_array_equal(draw(jax.random.key(0)), field)
    assert not np.allclose(draw(jax.random.key(1)), field)
    # Fields are independent of each other.
    across = np.corrcoef(field[:, 12, 20], field[:, 2, 35])[0, 1]
    assert abs(across) < 0.3
    assert abs(np.mean(field[::2] * field[1::2])) < 0.1


def test_the_sum_of_a_warped_image_has_a_gradient(example):
    image, labels, valid = (jnp.asarray(part) for part in example)
    points = points_of(np.arange(H) * 0.9, np.arange(W) * 0.9)
    found = jax.grad(lambda x: warp(x, labels, valid, points)[0].sum())(image)
    assert float(found.sum()) == pytest.approx(H * W, rel=1e-5)
