"""One virtual subject."""

import json

import numpy as np
import pytest

from cmrjax.labels import MULTI_TISSUE
from cmrjax.simulation.phantom_source import open_source
from cmrjax.simulation.subject import simulate_subject, voxel_labels
from tests.simulation.drawn_phantom import drawn_tissue, write_xcat


@pytest.fixture(scope="module")
def subject():
    return simulate_subject((0, 3), image_size=96, spacing=2.66)


def test_arrays_and_spacing(subject):
    depth = subject.images.shape[1]
    assert subject.images.shape == subject.labels.shape == (2, depth, 96, 96)
    assert subject.images.dtype == np.int16
    assert subject.labels.dtype == np.uint8
    MULTI_TISSUE.validate(subject.labels)
    np.testing.assert_allclose(subject.spacing[1:], 2.66)
    steps = np.linalg.norm(subject.affine[:3, :3], axis=0)
    np.testing.assert_allclose(steps[::-1], subject.spacing)
    assert 100 < subject.images.max() < 20000


def test_classes_look_as_in_cine(subject):
    mean = [
        subject.images[subject.labels == index].mean()
        for index in range(MULTI_TISSUE.num_classes)
    ]
    value = dict(zip(MULTI_TISSUE.class_names, mean, strict=True))
    assert value["LV"] > 1.8 * value["MYO"] > 1.8 * value["lung"]
    assert value["RV"] > 1.8 * value["MYO"]
    assert value["fat"] > value["skeletal_muscle"]
    assert value["background"] < 0.3 * value["MYO"]


def test_metadata_is_json_and_consistent(subject):
    metadata = json.loads(json.dumps(subject.metadata))
    volume = metadata["lv_volume_ml"]
    assert metadata["ejection_fraction"] == pytest.approx(
        1 - volume["ES"] / volume["ED"]
    )
    assert metadata["label_volume_ml"]["LV_ED"] == pytest.approx(volume["ED"], rel=0.2)
    assert metadata["wall_thickness_mm"]["ES"] > metadata["wall_thickness_mm"]["ED"]


def test_deterministic_by_seed(subject):
    again = simulate_subject((0, 3), image_size=96, spacing=2.66)
    np.testing.assert_array_equal(again.images, subject.images)
    np.testing.assert_array_equal(again.labels, subject.labels)
    assert again.metadata == subject.metadata
    other = simulate_subject((0, 4), image_size=96, spacing=2.66)
    assert other.metadata["lv_volume_ml"] != subject.metadata["lv_volume_ml"]


def test_a_phantom_makes_a_subject(tmp_path):
    source = open_source(write_xcat(tmp_path / "xcat", {4: drawn_tissue()}))
    made = [
        simulate_subject((0, 1), image_size=64, spacing=4.0, source=source)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(made[0].images, made[1].images)
    np.testing.assert_array_equal(made[0].labels, made[1].labels)
    MULTI_TISSUE.validate(made[0].labels)
    for name in ("LV", "MYO", "RV", "lung", "abdomen", "fat"):
        assert (made[0].labels == MULTI_TISSUE.id_of(name)).any()
    metadata = json.loads(json.dumps(made[0].metadata))
    assert metadata["anatomy"]["frames"] == [4, 4]
    assert not metadata["anatomy"]["phantom_beats"]
    volume = metadata["lv_volume_ml"]
    assert 0.2 < metadata["ejection_fraction"] < 0.8
    assert metadata["label_volume_ml"]["LV_ED"] == pytest.approx(volume["ED"], rel=0.35)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"image_size": 8}, "image_size must be 16 to 1024 pixels, got 8"),
        ({"spacing": 0.0}, "spacing must be 0.5 to 6 mm"),
        ({"slice_distance": 1.0}, "slice_distance must be 4 to 20 mm"),
    ],
)
def test_bad_sampling_is_refused(values, text):
    with pytest.raises(ValueError, match=text):
        simulate_subject(0, **values)


def test_a_voxel_has_the_class_with_the_largest_share_of_it():
    classes = np.full((3, 8, 8), 4, np.uint8)
    classes[:, :4] = 7  # rows 0 to 3 in all sub-slices
    classes[1, 6, 6] = 2  # one sample in the middle sub-slice: too little
    classes[:2, 5, 1:4] = 3  # two of three sub-slices, a line of one sample
    labels = voxel_labels(classes, fine=1)
    assert labels.dtype == np.uint8
    assert (labels[:3] == 7).all()
    assert (labels[7] == 4).all()
    assert labels[6, 6] == 4
    assert labels[5, 2] == 3
    half = voxel_labels(classes.repeat(2, 1).repeat(2, 2), fine=2)
    assert half.shape == (8, 8)
    assert (half[:3] == 7).all()
    assert (half[7] == 4).all()


def test_labels_of_one_class_stay():
    same = voxel_labels(np.full((3, 4, 6), 5, np.uint8), fine=1)
    np.testing.assert_array_equal(same, np.full((4, 6), 5))
