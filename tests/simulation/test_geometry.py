"""The affine and the sample points of the slices."""

import numpy as np
import pytest

from cmrjax.simulation.anatomy import sample_anatomy
from cmrjax.simulation.geometry import count_slices, heart_axes_at
from cmrjax.simulation.heart import APEX_WALL


def test_affine_maps_voxels_to_their_sample_points():
    geometry = sample_anatomy(
        np.random.default_rng(2), image_size=48, spacing=2.5, slice_distance=9.0
    ).geometry
    np.testing.assert_allclose(geometry.axes @ geometry.axes.T, np.eye(3), atol=1e-9)
    planes = list(geometry.planes(sub_slices=3, oversampling=2))
    assert len(planes) == geometry.num_slices
    x, y, z = 7, 20, 4
    point = planes[z].points()[:, 1, 2 * y, 2 * x]
    world = geometry.affine() @ (x, y, z, 1.0)
    np.testing.assert_allclose(world[:3], point * (-1, -1, 1), atol=1e-3)
    steps = np.linalg.norm(geometry.affine()[:3, :3], axis=0)
    np.testing.assert_allclose(steps, (2.5, 2.5, 9.0))


def test_rows_run_down_the_body_and_both_slice_orders_occur():
    orders = set()
    for seed in range(12):
        anatomy = sample_anatomy(
            np.random.default_rng(seed), image_size=32, spacing=4.0
        )
        axes = anatomy.geometry.axes
        assert axes[1][2] < 0  # rows to the feet
        assert axes[0][0] > 0  # columns to the patient's left
        orders.add(bool(axes[2] @ anatomy.heart_axes[2] > 0))
    assert orders == {True, False}


@pytest.mark.parametrize("slice_distance", [4.0, 10.0, None])
def test_stack_reaches_from_above_the_base_to_the_tip_of_any_heart(slice_distance):
    for seed in range(60):
        anatomy = sample_anatomy(
            np.random.default_rng(seed),
            image_size=32,
            spacing=4.0,
            slice_distance=slice_distance,
        )
        geometry, heart = anatomy.geometry, anatomy.hearts[0]
        middle = 4.0 * 16 * (geometry.axes[0] + geometry.axes[1])
        ends = np.array((0, geometry.num_slices - 1)) * geometry.slice_distance
        places = geometry.origin + middle + ends[:, None] * geometry.axes[2]
        normal = geometry.axes[2] * np.sign(geometry.axes[2] @ anatomy.heart_axes[2])
        first, last = sorted((places - anatomy.heart_base) @ normal)
        assert first < 0
        assert last >= heart.apex
        thickness = APEX_WALL * heart.wall
        assert last >= heart.length + thickness - 1e-6


def test_a_count_of_slices_is_the_usual_one_unless_it_would_cut_the_tip():
    usual = (7, 14)
    assert count_slices(-10.0, 95.0, tip=85.0, distance=10.0, usual=usual) == 11
    assert count_slices(-10.0, 30.0, tip=20.0, distance=10.0, usual=usual) == 7
    # Slices at -8, 0, ..., 120 mm: the seventeenth is the first beyond 119 mm.
    assert count_slices(-8.0, 119.0, tip=119.0, distance=8.0, usual=usual) == 17
    assert count_slices(0.0, 8.0, tip=16.0, distance=4.0, usual=(2, 3)) == 5


def test_a_heart_points_to_the_left_to_the_front_and_down():
    u, v, w = heart_axes_at(np.deg2rad(45.0), np.deg2rad(30.0))
    half = np.sqrt(3 / 8)  # cos 30 degrees * sin 45 degrees
    np.testing.assert_allclose(w, (half, -half, -0.5))
    assert u[2] == 0
    assert v[2] < 0
    axes = np.stack([u, v, w])
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
