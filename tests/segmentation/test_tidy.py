"""Tidied labels: what is given away, to whom, and what stays."""

import numpy as np
import pytest

from cmrjax.labels import MULTI_TISSUE
from cmrjax.segmentation.tidy import ENCLOSED_SHARE, SMALLEST_AREA, tidy_tissues

ID = {name: MULTI_TISSUE.id_of(name) for name in MULTI_TISSUE.class_names}
SIDE = 40
SIGNAL = {"lung": -0.9, "abdomen": -0.5, "LV": 1.0}


def body(background="abdomen"):
    """[1, SIDE, SIDE] labels of one class, with lung in the upper third."""
    labels = np.full((1, SIDE, SIDE), ID[background], np.uint8)
    labels[:, : SIDE // 3] = ID["lung"]
    return labels


def signals(labels, noise=0.01):
    """A volume with the classes' usual signals."""
    levels = np.array([SIGNAL.get(n, 0.0) for n in MULTI_TISSUE.class_names])
    rng = np.random.default_rng(0)
    return levels[labels] + noise * rng.normal(size=labels.shape)


def certain(labels, **second):
    """Probabilities that agree with the labels; then the named classes."""
    likely = 0.9 * np.eye(MULTI_TISSUE.num_classes)[labels]
    for name, value in second.items():
        likely[..., ID[name]] += value
    return likely


def tidy(labels, *, volume=None, spacing=(2.0, 2.0), **second):
    volume = signals(labels) if volume is None else volume
    return tidy_tissues(
        labels, certain(labels, **second), volume, MULTI_TISSUE, spacing=spacing
    )


@pytest.mark.parametrize("name", sorted(SMALLEST_AREA))
def test_a_piece_stays_from_its_smallest_area_on(name):
    """At 2 mm a pixel is 4 mm^2; the pieces are strips of one row in fat or muscle."""
    around = "skeletal_muscle" if name == "fat" else "fat"
    fewest = int(np.ceil(SMALLEST_AREA[name] / 4))
    for pixels, stays in ((fewest, True), (fewest - 1, False)):
        labels = np.full((1, 100, 100), ID[around], np.uint8)
        labels[0, 50, 3 : 3 + pixels] = ID[name]
        found = tidy(labels)
        expected = labels if stays else np.full_like(labels, ID[around])
        np.testing.assert_array_equal(found, expected)


def test_area_counts_in_millimetres():
    labels = np.full((1, SIDE, SIDE), ID["fat"], np.uint8)
    labels[0, 10:14, 10:14] = ID["other_blood"]  # 64 mm^2 at 2 mm, 100 at 2.5 mm
    assert not (tidy(labels) == ID["other_blood"]).any()
    np.testing.assert_array_equal(tidy(labels, spacing=(2.5, 2.5)), labels)


def test_a_speck_becomes_the_likeliest_class_at_its_rim():
    labels = np.full((1, SIDE, SIDE), ID["fat"], np.uint8)
    labels[:, 20:] = ID["abdomen"]
    labels[0, 19, 20] = ID["other_blood"]
    touching = dict(fat=0.01, abdomen=0.02)
    far = dict(skeletal_muscle=0.5, LV=0.4)  # likelier, but not there
    assert tidy(labels, **touching, **far)[0, 19, 20] == ID["abdomen"]
    assert tidy(labels, fat=0.02, abdomen=0.01, **far)[0, 19, 20] == ID["fat"]


def test_a_class_that_barely_touches_is_no_neighbour():
    """One pixel of the rim is likelier; that of the largest neighbour takes it."""
    labels = body()
    labels[0, 20:32, 10:26] = ID["lung"]
    labels[0, 19, 12] = ID["fat"]
    labels[0, 18, 12:20] = ID["fat"]  # large enough to stay
    assert (tidy(labels, fat=0.05)[0, 20:32, 10:26] == ID["abdomen"]).all()


def test_heart_neither_changes_nor_grows():
    labels = np.full((1, SIDE, SIDE), ID["LV"], np.uint8)
    labels[0, 5, 5] = ID["fat"]  # a speck that touches heart alone
    labels[0, 20:] = ID["lung"]
    labels[0, 30, 30] = ID["MYO"]  # a speck of heart
    np.testing.assert_array_equal(tidy(labels), labels)
    labels[0, 19, 7] = ID["fat"]  # between heart and lung
    assert tidy(labels, LV=0.5)[0, 19, 7] == ID["lung"]


def test_lung_in_the_abdomen_is_abdomen():
    labels = body()
    labels[0, 20:32, 10:26] = ID["lung"]  # 768 mm^2, far from small, and as dark
    expected = body()
    np.testing.assert_array_equal(tidy(labels), expected)


@pytest.mark.parametrize("shift", [0, 1])
def test_enclosed_begins_at_its_share(shift):
    """A square of 10 x 10 pixels in muscle, 24 or 23 of 40 neighbours are abdomen."""
    labels = np.full((1, SIDE, SIDE), ID["skeletal_muscle"], np.uint8)
    labels[0, :8] = ID["lung"]
    labels[0, 15:20, 5:25] = ID["abdomen"]
    labels[0, 20:30, 5:10] = ID["abdomen"]
    labels[0, 20 : 24 - shift, 20:25] = ID["abdomen"]
    labels[0, 20:30, 10:20] = ID["lung"]
    assert ENCLOSED_SHARE * 40 == 24
    expected = "lung" if shift else "abdomen"
    found = tidy(labels, abdomen=0.01)
    assert (found[0, 20:30, 10:20] == ID[expected]).all()


def test_what_lies_beyond_the_image_is_no_abdomen():
    labels = body()
    labels[0, 20:36, :5] = ID["lung"]  # 26 sides of 42 in the abdomen, 16 beyond
    assert (tidy(labels)[0, 20:36, :5] == ID["abdomen"]).all()  # 62 %
    labels[0, 18:20, :4] = ID["fat"]
    np.testing.assert_array_equal(tidy(labels), labels)  # 52 %, without the edge 85 %


@pytest.mark.parametrize(("signal", "stays"), [(-0.8, True), (-0.65, False)])
def test_lung_as_bright_as_the_abdomen_is_none(signal, stays):
    """The limit is at 40 % of the way from -0.9 to -0.5."""
    labels = body("fat")
    labels[0, 32:] = ID["abdomen"]
    labels[0, 20:30, 5:30] = ID["lung"]
    volume = signals(labels)
    volume[0, 20:30, 5:30] = signal
    found = tidy(labels, volume=volume)
    assert (found[0, 20:30, 5:30] == ID["lung" if stays else "fat"]).all()
    np.testing.assert_array_equal(found[0, :20], labels[0, :20])


def test_brightness_within_the_noise_of_lung_says_nothing():
    labels = body("fat")
    labels[0, 32:] = ID["abdomen"]
    labels[0, 20:30, 5:30] = ID["lung"]
    volume = signals(labels, noise=0.3)
    volume[0, 20:30, 5:30] = -0.65
    np.testing.assert_array_equal(tidy(labels, volume=volume), labels)


def test_the_largest_lung_of_a_slice_stays_however_bright():
    labels = np.repeat(body("fat"), 2, axis=0)
    labels[:, 32:] = ID["abdomen"]
    volume = signals(labels)
    volume[1, : SIDE // 3] = -0.5
    np.testing.assert_array_equal(tidy(labels, volume=volume), labels)


def test_noise_of_labels_keeps_its_classes_and_the_argument_is_not_changed():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 9, (2, SIDE, SIDE)).astype(np.uint8)
    before = labels.copy()
    found = tidy(labels)
    np.testing.assert_array_equal(labels, before)
    assert found.dtype == labels.dtype
    heart = np.isin(labels, MULTI_TISSUE.heart_ids)
    np.testing.assert_array_equal(found[heart], labels[heart])
    assert not np.isin(found[~heart], MULTI_TISSUE.heart_ids).any()


def test_a_phase_of_one_class_stays_as_it_is():
    for name in ("background", "lung", "abdomen", "LV"):
        labels = np.full((1, 4, 4), ID[name], np.uint8)  # smaller than any limit
        np.testing.assert_array_equal(tidy(labels), labels)
