"""The affine and the sample points of the slices."""

import numpy as np

from cmrjax.simulation.anatomy import sample_anatomy


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
