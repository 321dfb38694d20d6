"""The shape of the torso: its draws and the layers of its wall."""

import numpy as np
import pytest

from cmrjax.simulation.torso_shape import (
    diaphragm_height,
    sample_torso,
    wall_layers,
)
from tests.simulation.torso_slices import straight


def test_draws_are_reproducible_and_within_their_bounds():
    first, again = (sample_torso(np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first.waves, again.waves)
    assert first.half_axes == again.half_axes
    for seed in range(30):
        torso = sample_torso(np.random.default_rng(seed))
        width, depth = torso.half_axes
        assert 120 <= width <= 200
        assert 0.5 <= depth / width <= 0.95
        assert 3 <= torso.fat <= 40
        assert torso.breast >= 0
        assert 0 <= torso.stomach_gas <= 0.6
        lengths = 2 * np.pi / np.linalg.norm(torso.waves, axis=1)
        np.testing.assert_allclose(lengths, np.geomspace(45, 160, 9))


def test_depths_in_the_wall_begin_at_the_skin_and_differ_by_its_layers():
    torso = straight(squareness=2.0, pectoral=0.0)
    for point in ((torso.half_width, 0.0, 5.0), (0.0, torso.half_depth, 5.0)):
        outside = np.array(point)
        skin, under, inner = wall_layers(torso, outside)
        assert skin == pytest.approx(0.0, abs=1e-3)
        assert -2.0 * torso.fat < under < -0.5 * torso.fat
        assert -1.4 * torso.wall < inner - under < -0.7 * torso.wall
        deeper = wall_layers(torso, outside * (1 - 10 / np.linalg.norm(outside[:2])))
        assert deeper[0] == pytest.approx(10.0, abs=0.1)


def test_chest_is_narrower_and_flatter_higher_up():
    torso = straight(taper=0.2, slope=0.3)
    for point in ((torso.half_width, 0.0), (0.0, -torso.half_depth)):
        low, high = (wall_layers(torso, np.array([*point, z]))[0] for z in (0.0, 90.0))
        assert low == pytest.approx(0.0, abs=1e-3)
        assert high < -10.0


def test_diaphragm_has_two_domes_and_is_lower_at_the_back():
    torso = straight(right_dome=10.0, left_dome=0.0)

    def height_of(x, y):
        return -diaphragm_height(torso, np.array([x, y, 0.0]))

    assert height_of(72.0, 4.0) == pytest.approx(0.0, abs=1.0)
    assert height_of(-52.0, -26.0) == pytest.approx(10.0, abs=1.0)
    assert height_of(-52.0, 85.0) < height_of(-52.0, -60.0) - 15.0
    line = np.array([height_of(x, 0.0) for x in np.arange(-90.0, 91.0)])
    assert np.abs(np.diff(line)).max() < 1.5  # no step between the domes
