"""Smooth random displacement."""

import numpy as np

from cmrjax.simulation.deformation import sample_elastic_field


def _grid():
    z, y, x = np.mgrid[-40:40:8.0, -120:120:8.0, -120:120:8.0].astype(np.float32)
    return np.stack([z, y, x])


def test_size_follows_the_amplitude_of_each_axis():
    field = sample_elastic_field(np.random.default_rng(0), (1.0, 6.0, 3.0))
    moved = field(_grid())
    assert moved.shape == (3, 10, 30, 30)
    assert moved.dtype == np.float32
    spread = moved.std(axis=(1, 2, 3))
    np.testing.assert_allclose(spread, [1, 6, 3], rtol=0.4)
    assert np.abs(moved[1]).max() <= 15.0


def test_the_strongest_field_does_not_fold():
    for seed in range(5):
        field = sample_elastic_field(np.random.default_rng(seed), (3.0, 8.0, 8.0))
        moved = _grid() + field(_grid())
        for axis in range(3):
            assert (np.diff(moved[axis], axis=axis) > 0).all()


def test_same_generator_gives_the_same_field():
    fields = [
        sample_elastic_field(np.random.default_rng(7), (1.0, 2.0, 2.0))
        for _ in range(2)
    ]
    np.testing.assert_array_equal(fields[0].values, fields[1].values)


def test_values_go_on_beyond_the_grid():
    field = sample_elastic_field(np.random.default_rng(0), (1.0, 2.0, 2.0))
    edge = np.array([[0.0], [0.0], [240.0]], np.float32)
    np.testing.assert_allclose(field(edge), field(edge * 3), atol=1e-5)
