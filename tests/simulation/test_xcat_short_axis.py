"""Short-axis label volumes: orientation, papillary muscles, resampling."""

import numpy as np
import pytest

from cmrjax.labels import MULTI_TISSUE
from cmrjax.simulation.tissues import tissue_to_class
from cmrjax.simulation.xcat_short_axis import (
    fill_papillary,
    resample_short_axis,
    short_axis_pose,
)
from tests.simulation.drawn_phantom import drawn_tissue


def _disc(shape, centre, radius, spacing=1.0) -> np.ndarray:
    rows, columns = np.indices(shape)
    distance = np.hypot(rows - centre[0], columns - centre[1])
    return np.where(distance * spacing < radius, 1, 6).astype(np.uint8)[None]


def test_resampling_keeps_sizes_in_mm_and_centres_on_the_heart():
    labels = _disc((90, 100), (45.0, 52.0), 20.0, spacing=2.0)
    result = resample_short_axis(
        labels, (5.0, 2.0, 2.0), target_spacing=1.0, image_size=64
    )
    assert result.shape == (1, 64, 64)
    assert result.dtype == np.uint8
    assert set(np.unique(result)) == {1, 6}
    area = 4.0 * (labels == 1).sum()  # mm^2, near pi 20^2
    assert (result == 1).sum() == pytest.approx(area, rel=0.02)
    _, rows, columns = np.nonzero(result == 1)
    np.testing.assert_allclose([rows.mean(), columns.mean()], 31.5, atol=0.01)


def test_equal_grid_is_an_exact_cut():
    labels = np.random.default_rng(0).integers(0, 9, (2, 12, 15), np.uint8)
    result = resample_short_axis(
        labels, (8.0, 1.33, 1.33), image_size=6, centre=(5.5, 7.5)
    )
    np.testing.assert_array_equal(result, labels[:, 3:9, 5:11])


@pytest.mark.parametrize(
    ("centre", "cut"), [((0, 14), np.s_[0:6, 9:15]), ((99, -9), np.s_[6:12, 0:6])]
)
def test_square_stays_inside_the_field_of_view(centre, cut):
    labels = np.random.default_rng(1).integers(1, 9, (1, 12, 15), np.uint8)
    result = resample_short_axis(labels, (8.0, 1.33, 1.33), image_size=6, centre=centre)
    np.testing.assert_array_equal(result[0], labels[0][cut])


def test_background_surrounds_a_small_field_of_view():
    labels = np.full((1, 4, 10), 2, np.uint8)
    result = resample_short_axis(labels, (8.0, 2.0, 2.0), image_size=8)[0]
    assert resample_short_axis(labels, (8.0, 2.0, 2.0), image_size=8).dtype == np.uint8
    covered = np.abs(np.arange(8) - 3.5) * 1.33 <= 4.0
    np.testing.assert_array_equal(result == 2, np.tile(covered[:, None], (1, 8)))
    assert set(np.unique(result)) == {0, 2}


def test_resampling_says_what_it_needs():
    labels = np.full((1, 8, 8), MULTI_TISSUE.id_of("fat"), np.uint8)
    with pytest.raises(ValueError, match="no LV, MYO or RV to centre on"):
        resample_short_axis(labels, (5.0, 2.0, 2.0))
    with pytest.raises(ValueError, match="positive spacings and image_size"):
        resample_short_axis(labels, (5.0, 2.0, 2.0), image_size=0)
    with pytest.raises(ValueError, match=r"got shape \(8, 8\)"):
        resample_short_axis(labels[0], (5.0, 2.0, 2.0))


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("other_side", [False, True])
def test_any_pose_is_turned_back(quarters, other_side):
    labels = tissue_to_class()[drawn_tissue()]
    posed = labels[::-1, :, ::-1] if other_side else labels  # a turn in space
    posed = np.rot90(posed, quarters, (1, 2))
    pose = short_axis_pose(posed)
    assert pose.mirrored == other_side
    turned = pose.turn(posed)[:: -1 if pose.mirrored else 1]
    np.testing.assert_array_equal(turned, labels)


def test_orientation_needs_what_it_goes_by():
    labels = np.ones((1, 8, 8), np.uint8)
    with pytest.raises(ValueError, match="the labels hold no RV to go by"):
        short_axis_pose(labels)


def test_papillary_muscles_become_cavity_and_the_wall_stays():
    rows, columns = np.indices((60, 60)) - 30
    radius = np.hypot(rows, columns)
    labels = np.where(radius < 24, 2, 6).astype(np.uint8)
    labels[radius < 15] = 1
    labels[np.hypot(rows - 12, columns) < 5] = 2  # grows out of the wall
    labels[np.hypot(rows + 6, columns - 3) < 3] = 2  # stands free
    filled = fill_papillary(labels[None])[0]
    np.testing.assert_array_equal(filled[radius < 13], 1)
    np.testing.assert_array_equal(filled[radius >= 15], labels[radius >= 15])
