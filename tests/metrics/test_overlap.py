"""Dice: values by hand, symmetry, empty regions, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmrjax.metrics.overlap import dice, dice_of_counts


def test_values_by_hand():
    first = np.array([[1, 1, 0], [1, 1, 0]], bool)
    second = np.array([[0, 1, 1], [0, 1, 1]], bool)
    assert dice(first, second) == 0.5  # 2 of 4 and 4 pixels
    assert dice(first, first) == 1.0
    assert dice(first, ~first) == 0.0


def test_empty_regions():
    some, none = np.ones((2, 2), bool), np.zeros((2, 2), bool)
    assert dice(some, none) == dice(none, some) == 0.0
    assert math.isnan(dice(none, none))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_symmetric_bounded_and_the_harmonic_mean(pairs):
    """Dice is the harmonic mean of precision and sensitivity."""
    first, second = np.array(pairs, bool).T
    value = dice(first, second)
    both = int((first & second).sum())
    if both:
        precision, sensitivity = both / first.sum(), both / second.sum()
        expected = 2 * precision * sensitivity / (precision + sensitivity)
        assert value == pytest.approx(expected)
        assert 0 < value <= 1
        assert dice(second, first) == value
    else:
        assert value == 0 or not (first | second).any()


def test_what_is_no_mask_is_refused():
    with pytest.raises(ValueError, match=r"dice\(a == 2, b == 2\)"):
        dice(np.ones((2, 2), int), np.ones((2, 2), int))
    with pytest.raises(ValueError, match=r"bool \[2, 2\] and bool \[2, 3\]"):
        dice(np.ones((2, 2), bool), np.ones((2, 3), bool))
    with pytest.raises(ValueError, match="of 3 and 1 pixels cannot share 2 pixels"):
        dice_of_counts(2, 3, 1)
