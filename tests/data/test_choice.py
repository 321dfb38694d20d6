"""Evenly spaced choices."""

import numpy as np

from cmrjax.data.choice import evenly_spaced


def test_evenly_spaced_keeps_both_ends():
    indices = np.arange(10, 110)
    chosen = evenly_spaced(indices, 7)
    assert len(chosen) == 7
    assert (chosen[0], chosen[-1]) == (10, 109)
    assert np.ptp(np.diff(chosen)) <= 1
    np.testing.assert_array_equal(evenly_spaced(indices, 0), indices)
    np.testing.assert_array_equal(evenly_spaced(indices, 500), indices)
