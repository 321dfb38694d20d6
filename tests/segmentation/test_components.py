"""Pieces of a mask and what encloses it, by hand."""

import math

import numpy as np
import pytest

from cmrjax.segmentation.components import (
    component_sizes,
    count_large,
    enclosed_share,
)


def test_diagonal_neighbours_are_one_piece():
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = mask[1, 1] = mask[2, 2] = True
    mask[5:7, 5:8] = True
    assert component_sizes(mask).tolist() == [6, 3]
    assert component_sizes(np.zeros((3, 3), bool)).tolist() == []


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([], 0), ([5], 0), ([200], 1), ([200, 19], 1), ([200, 20], 2), ([60, 9], 1)],
)
def test_large_pieces(sizes, expected):
    assert count_large(np.array(sizes, int)) == expected


def test_enclosed_share():
    inner = np.zeros((7, 7), bool)
    inner[3, 3] = True
    ring = np.zeros((7, 7), bool)
    ring[2:5, 2:5] = True
    ring[3, 3] = False
    assert enclosed_share(inner, ring) == 1.0
    ring[2, 3] = False  # one of the four sides
    assert enclosed_share(inner, ring) == 0.75
    assert math.isnan(enclosed_share(np.zeros((3, 3), bool), ring[:3, :3]))


def test_the_border_of_the_image_is_no_gap():
    inner = np.zeros((4, 4), bool)
    inner[:2, :2] = True
    shell = np.zeros((4, 4), bool)
    shell[2, :3] = shell[:3, 2] = True
    assert enclosed_share(inner, shell) == 1.0
