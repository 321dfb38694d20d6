"""Painted solids and bent points."""

import numpy as np

from cmrjax.simulation.shapes import Capsule, Ellipsoid, SlicePlane, bend


def _plane(z=0.0):
    return SlicePlane(
        origin=np.array([-40.0, -40.0, z]),
        column_axis=np.array([1.0, 0, 0]),
        row_axis=np.array([0, 1.0, 0]),
        normal=np.array([0, 0, 1.0]),
        shape=(80, 80),
        spacing=1.0,
        offsets=(-2.0, 0.0, 2.0),
    )


def test_points_lie_where_the_axes_say():
    points = _plane(5.0).points()
    assert points.shape == (3, 3, 80, 80)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points[:, 2, 10, 30], (-10, -30, 7))


def test_ellipsoid_has_the_area_of_an_ellipse_and_its_wall():
    plane = _plane()
    tissue = np.zeros((3, 80, 80), np.uint8)
    solid = Ellipsoid(1, (0.3, 0.2, 0.0), (20.0, 10.0, 15.0), 3.0, 2)
    solid.paint(tissue, plane.points(), plane)
    area = np.pi * 20 * 10
    np.testing.assert_allclose((tissue[1] == 1).sum(), area, rtol=0.02)
    ring = np.pi * 23 * 13 - area
    np.testing.assert_allclose((tissue[1] == 2).sum(), ring, rtol=0.05)
    assert (tissue[0] == 1).sum() < (tissue[1] == 1).sum()


def test_ellipsoid_beyond_the_slice_paints_nothing():
    plane = _plane(60.0)
    tissue = np.zeros((3, 80, 80), np.uint8)
    Ellipsoid(1, (0, 0, 0), (20, 10, 15)).paint(tissue, plane.points(), plane)
    assert not tissue.any()


def test_capsule_is_a_disc_across_and_respects_where():
    plane = _plane()
    tissue = np.zeros((3, 80, 80), np.uint8)
    where = np.ones(tissue.shape, bool)
    where[:, :40] = False
    tube = Capsule(3, (0.2, 0.3, -50.0), (0.2, 0.3, 50.0), 12.0)
    tube.paint(tissue, plane.points(), plane)
    np.testing.assert_allclose((tissue[1] == 3).sum(), np.pi * 144, rtol=0.02)
    tissue[:] = 0
    tube.paint(tissue, plane.points(), plane, where=where)
    assert not tissue[:, :40].any()
    assert tissue[:, 40:].any()


def test_bend_adds_the_sine_waves():
    rng = np.random.default_rng(0)
    points = _plane(3.0).points()
    waves, phases = rng.normal(0, 0.05, (2, 3)), rng.uniform(0, 6, 2)
    amplitudes = rng.normal(0, 4, (2, 3))
    expected = points.astype(np.float64)
    for wave, phase, amplitude in zip(waves, phases, amplitudes, strict=True):
        sine = np.sin(np.einsum("c,cshw->shw", wave, points) + phase)
        expected += amplitude[:, None, None, None] * sine
    np.testing.assert_allclose(
        bend(points, waves, phases, amplitudes), expected, atol=1e-3
    )
