"""The rules by which the network's and the expert's labels become one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmrjax.data.geometry import GridMap
from cmrjax.labels import MULTI_TISSUE
from cmrjax.segmentation.expert import (
    background_outside,
    full_grid,
    likeliest,
    probabilities_to_native,
    with_expert_heart,
)


def _ranked(*order):
    """Probabilities of one pixel, [1, 1, 1, 9]: the ids in falling order, then 0."""
    values = np.zeros(9, np.float32)
    values[list(order)] = np.linspace(0.5, 0.1, len(order))
    return values.reshape(1, 1, 1, 9)


@pytest.mark.parametrize(
    ("order", "expert", "expected"),
    [
        ((1, 8, 4), 1, 1),  # both say LV
        ((1, 8, 4), 2, 2),  # heart in both: the expert's class
        ((4, 1, 8), 3, 3),  # heart by the expert only
        ((1, 8, 4), 0, 8),  # heart by the network only: the next likely class
        ((1, 2, 3, 7, 4), 0, 7),  # all heart classes are passed over
        ((2, 0, 6), 0, 0),  # the next likely may be background
        ((6, 2, 0), 0, 6),  # heart in neither
    ],
)
def test_who_decides_a_pixel(order, expert, expected):
    heart = np.full((1, 1, 1), expert, np.uint8)
    result = with_expert_heart(_ranked(*order), heart, MULTI_TISSUE)
    assert result.dtype == np.uint8
    assert result.item() == expected


@given(st.integers(0, 2**32 - 1))
def test_the_heart_is_the_experts_and_only_theirs(seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(9), (2, 5, 4)).astype(np.float32)
    expert = rng.integers(0, 9, (2, 5, 4)).astype(np.uint8)
    result = with_expert_heart(probabilities, expert, MULTI_TISSUE)
    heart = MULTI_TISSUE.heart_ids
    np.testing.assert_array_equal(np.isin(result, heart), np.isin(expert, heart))
    in_heart = np.isin(expert, heart)
    np.testing.assert_array_equal(result[in_heart], expert[in_heart])
    own = likeliest(probabilities)
    same = ~in_heart & ~np.isin(own, heart)
    np.testing.assert_array_equal(result[same], own[same])


def test_likeliest_leaves_its_argument_alone():
    probabilities = _ranked(1, 5)
    before = probabilities.copy()
    assert likeliest(probabilities, without=(1,)).item() == 5
    np.testing.assert_array_equal(probabilities, before)


def test_background_outside():
    labels = np.ones((2, 4, 5), np.uint8)
    background_outside(labels, (1, 3, 0, 4))
    assert labels[:, 1:3, :4].all()
    assert labels.sum() == 2 * 2 * 4


@pytest.mark.parametrize("size", [(20, 31), (21, 64), (64, 30), (40, 51)])
@pytest.mark.parametrize("spacing", [1.0, 1.37])
def test_the_full_grid_has_the_same_pixels_and_crops_nothing(size, spacing):
    grid = GridMap((40, 51), (1.0, 1.2), (spacing, 1.1), size)
    full, window = full_grid(grid)
    assert full.native_coverage().all()
    for axis in (0, 1):
        np.testing.assert_allclose(
            full.native_coordinates(axis)[window[axis]], grid.native_coordinates(axis)
        )


def test_probabilities_to_native_is_exact_on_equal_grids_and_sums_to_one():
    rng = np.random.default_rng(0)
    values = rng.dirichlet(np.ones(3), (2, 10, 12)).astype(np.float32)
    same = GridMap((6, 12), (1.0, 1.0), (1.0, 1.0), (10, 12))
    result = probabilities_to_native(values, same)
    np.testing.assert_array_equal(result, values[:, 2:8])
    finer = GridMap((13, 17), (0.7, 0.7), (1.0, 1.0), (10, 12))
    result = probabilities_to_native(values, finer)
    assert result.shape == (2, 13, 17, 3)
    np.testing.assert_allclose(result.sum(-1), 1.0, atol=1e-5)
