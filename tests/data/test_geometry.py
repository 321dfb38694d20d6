"""Grids: crop and pad, resampling, the way back, affines in world coordinates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cmrjax.data.geometry import GridMap, centre_crop_box


def _disc(y, x, inner, outer):
    """Ring of class 2 around a disc of class 1."""
    distance = np.hypot(y, x)
    return np.where(distance < inner, 1, np.where(distance < outer, 2, 0)).astype("u1")


def test_equal_grid_is_exact_padding():
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(2, 4, 6)).astype(np.float32)
    grid = GridMap((4, 6), (1.33, 1.33), (1.33, 1.33), (8, 8))
    out = grid.image_to_model(volume)
    assert grid.valid_box == (2, 6, 1, 7)
    np.testing.assert_array_equal(out[:, 2:6, 1:7], volume)
    out[:, 2:6, 1:7] = -1
    assert (out == -1).all()


def test_equal_grid_is_exact_cropping():
    volume = np.arange(2 * 9 * 7).reshape(2, 9, 7).astype(np.uint8)
    grid = GridMap((9, 7), (1.33, 1.33), (1.33, 1.33), (4, 4))
    out = grid.labels_to_model(volume)
    assert grid.offset == (-3, -2)  # floor of -2.5 and -1.5
    np.testing.assert_array_equal(out, volume[:, 3:7, 2:6])
    assert grid.valid_box == (0, 4, 0, 4)
    assert out.dtype == np.uint8


def test_a_field_that_no_scanner_has_is_a_wrong_pixel_size():
    GridMap((250, 10), (10.0, 1.0), (1.0, 1.0), (8, 8))
    with pytest.raises(ValueError, match=r"10 x 10\.1 mm make .* of 100 x 2525 mm"):
        GridMap((10, 250), (10.0, 10.1), (1.0, 1.0), (8, 8))


def test_rows_and_columns_have_their_own_spacing():
    grid = GridMap((10, 10), (2.0, 1.0), (1.0, 1.0), (32, 32))
    assert grid.resampled_shape == (20, 10)
    assert grid.valid_box == (6, 26, 11, 21)


def test_half_resolution_takes_the_mean_of_neighbours():
    volume = np.arange(8, dtype=np.float32)[None, :, None] * np.ones((1, 1, 8))
    grid = GridMap((8, 8), (1.0, 1.0), (2.0, 2.0), (4, 4))
    out = grid.image_to_model(volume)
    np.testing.assert_allclose(out[0, :, 0], [0.5, 2.5, 4.5, 6.5])


@settings(deadline=None)
@given(
    native=st.tuples(st.integers(3, 40), st.integers(3, 40)),
    spacing=st.tuples(st.floats(0.5, 3.0), st.floats(0.5, 3.0)),
    size=st.tuples(st.integers(2, 48), st.integers(2, 48)),
)
def test_world_coordinates_agree_and_centres_coincide(native, spacing, size):
    """The model's affine puts each model pixel where its native index lies."""
    grid = GridMap(native, spacing, (1.33, 1.33), size)
    rng = np.random.default_rng(0)
    native_affine = np.eye(4)
    native_affine[:3] = rng.normal(size=(3, 4))
    affine = grid.model_affine(native_affine)
    row, column, z = size[0] - 1, 0, 5
    y, x = grid.native_coordinates(0)[row], grid.native_coordinates(1)[column]
    np.testing.assert_allclose(
        affine @ [column, row, z, 1], native_affine @ [x, y, z, 1], atol=1e-9
    )
    for axis in (0, 1):
        back = grid.model_coordinates(axis)
        index = np.arange(size[axis])
        again = np.interp(grid.native_coordinates(axis), np.arange(native[axis]), back)
        inside = (grid.native_coordinates(axis) >= 0) & (
            grid.native_coordinates(axis) <= native[axis] - 1
        )
        np.testing.assert_allclose(again[inside], index[inside], atol=1e-9)
        middle = grid.offset[axis] + (grid.resampled_shape[axis] - 1) / 2
        where = np.interp(middle, index, grid.native_coordinates(axis))
        if 0 <= middle <= size[axis] - 1:
            assert where == pytest.approx((native[axis] - 1) / 2, abs=1e-9)


def test_voxel_size_of_the_new_affine():
    grid = GridMap((20, 30), (1.1, 1.2), (1.33, 1.5), (16, 16))
    affine = grid.model_affine(np.diag([1.2, 1.1, 9.0, 1.0]))
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), [1.5, 1.33, 9])


def test_a_linear_image_in_world_coordinates_survives_resampling():
    """A ramp over the world is the same ramp on the model's grid."""
    grid = GridMap((40, 36), (1.1, 1.25), (1.33, 1.33), (24, 24))
    affine = np.array(
        [[0.0, 1.1, 0.2, 3], [-1.25, 0, 0, 7], [0, 0, 8, -2], [0, 0, 0, 1]]
    )

    def ramp(matrix, shape):
        r, c = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
        points = np.stack([c, r, np.zeros_like(r), np.ones_like(r)], -1) @ matrix.T
        return (points[..., :3] @ [0.3, -0.2, 0.1])[None].astype(np.float32)

    out = grid.image_to_model(ramp(affine, (40, 36)))
    expected = ramp(grid.model_affine(affine), (24, 24))
    np.testing.assert_allclose(out, expected, atol=1e-4)


def test_labels_round_trip():
    """To the model's grid and back: what changes lies next to another class."""
    labels = _disc(np.arange(60)[:, None] - 30, np.arange(50) - 24, 9, 15)[None]
    beside = ndimage.maximum_filter(labels[0], 3) != ndimage.minimum_filter(
        labels[0], 3
    )
    for spacing in ((1.05, 1.05), (1.33, 1.33), (1.48, 1.6)):
        grid = GridMap((60, 50), spacing, (1.33, 1.33), (64, 72))
        changed = grid.labels_to_native(grid.labels_to_model(labels)) != labels
        assert changed.shape == labels.shape
        assert not changed[0][~beside].any()
        assert changed.mean() < 0.02
        if spacing == (1.33, 1.33):
            assert not changed.any()


@pytest.mark.parametrize("spacing", [1.05, 1.25, 1.48])
def test_labels_are_nearer_to_the_truth_than_by_nearest_neighbour(spacing):
    """Discs whose true labels on the model's grid are known, off-centre."""
    errors = {"ours": 0, "nearest": 0}
    rng = np.random.default_rng(0)
    for _ in range(20):
        cy, cx = rng.uniform(38, 42, 2)
        inner, outer = rng.uniform(18, 22) / spacing, rng.uniform(26, 30) / spacing
        native = _disc(np.arange(80)[:, None] - cy, np.arange(80) - cx, inner, outer)
        grid = GridMap((80, 80), (spacing, spacing), (1.33, 1.33), (56, 56))
        y, x = grid.native_coordinates(0), grid.native_coordinates(1)
        truth = _disc(y[:, None] - cy, x - cx, inner, outer)
        nearest = native[np.round(y).astype(int)[:, None], np.round(x).astype(int)]
        errors["ours"] += (grid.labels_to_model(native[None])[0] != truth).sum()
        errors["nearest"] += (nearest != truth).sum()
    assert errors["ours"] < 0.9 * errors["nearest"]


def test_image_round_trip_and_fill():
    y, x = np.meshgrid(np.linspace(-1, 1, 60), np.linspace(-1, 1, 50), indexing="ij")
    volume = (np.sin(3 * y) * np.cos(2 * x))[None].astype(np.float32)
    grid = GridMap((60, 50), (1.2, 1.2), (1.33, 1.33), (64, 64))
    back = grid.image_to_native(grid.image_to_model(volume), fill=-1)
    assert grid.native_coverage().all()
    np.testing.assert_allclose(back[:, 2:-2, 2:-2], volume[:, 2:-2, 2:-2], atol=6e-3)
    np.testing.assert_allclose(back, volume, atol=0.06)  # the rim is clamped

    cropped = GridMap((60, 50), (1.2, 1.2), (1.33, 1.33), (32, 32))
    back = cropped.image_to_native(cropped.image_to_model(volume), fill=-5)
    covered = cropped.native_coverage()
    assert (back[0][~covered] == -5).all()
    assert (back[0][covered] > -2).all()
    rows = np.flatnonzero(covered.any(1))
    assert len(rows) == pytest.approx(32 * 1.33 / 1.2, abs=1)
    assert abs((rows[0] + rows[-1]) / 2 - 29.5) <= 0.5
    assert not cropped.labels_to_native(np.ones((1, 32, 32), np.uint8))[
        0, ~covered
    ].any()


def test_odd_sizes_down_to_one_pixel():
    grid = GridMap((1, 1), (1.0, 1.0), (1.33, 1.33), (3, 3))
    out = grid.image_to_model(np.full((1, 1, 1), 0.5, np.float32))
    assert out[0, 1, 1] == 0.5
    assert grid.valid_box == (1, 2, 1, 2)


def test_errors():
    grid = GridMap((4, 6), (1.0, 1.0), (1.0, 1.0), (8, 8))
    with pytest.raises(ValueError, match=r"expected \[d, 4, 6\] on the native grid, g"):
        grid.image_to_model(np.zeros((1, 6, 4), np.float32))
    with pytest.raises(ValueError, match=r"expected \[d, 8, 8\] on the model grid"):
        grid.labels_to_native(np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"spacing must be two positive numbers"):
        GridMap((4, 6), (1.0, 0.0), (1.0, 1.0), (8, 8))


def test_centre_crop_box():
    assert centre_crop_box((256, 256), (128, 192)) == (64, 192, 32, 224)
    with pytest.raises(ValueError, match=r"a crop of 300x10 does not fit into 256x256"):
        centre_crop_box((256, 256), (300, 10))
