"""Montages: what stands where."""

import io

import numpy as np
import pytest
from PIL import Image

from cmrjax.data.mnms import find_subjects
from cmrjax.data.subject import Recipe
from cmrjax.evaluation.figures import colourise, grey_to_rgb, label_colours
from cmrjax.evaluation.labelling_pictures import (
    SlicePicture,
    borders,
    level_slices,
    montage,
    montage_files,
    slice_pictures,
)
from cmrjax.labels import MULTI_TISSUE
from cmrjax.segmentation.labelling import LabelledSubject, label_subject
from tests.data.mnms_tree import write_subject, write_table
from tests.segmentation.fake_segmenter import FakeSegmenter


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("in")
    write_subject(folder, "P0")
    write_table(folder / "t.csv", {"P0": ("A", 1, 0, 1)})
    recipe = Recipe(schema=MULTI_TISSUE, image_size=(32, 32))
    (record,) = find_subjects(folder).records
    return label_subject(record, recipe, FakeSegmenter(), expert=True)


def test_pictures_are_the_kept_slices_without_padding(labelled):
    pictures = slice_pictures(labelled)
    assert set(pictures) == {(p, k) for p in ("ED", "ES") for k in (1, 2, 3)}
    picture = pictures["ES", 2]
    assert picture.image.shape == picture.own.shape == (20, 24)
    np.testing.assert_array_equal(
        picture.final, labelled.prepared.volumes[1].labels[1, 6:26, 4:28]
    )
    np.testing.assert_array_equal(picture.own, labelled.phases["ES"].own[2, 6:26, 4:28])
    assert picture.level == "mid"


def test_layout(labelled):
    pictures = slice_pictures(labelled)
    picture = montage(pictures, MULTI_TISSUE)
    caption = 16
    assert picture.shape == (caption + 3 * 20 + 2 * 2, 8 * 24 + 7 * 2, 3)
    shown = pictures["ES", 2]
    row = slice(caption + 22, caption + 42)  # the second of slices 1, 2, 3
    for column, expected in (
        (5, colourise(shown.own, MULTI_TISSUE)),
        (6, colourise(shown.final, MULTI_TISSUE)),
        (7, borders(shown.image, shown.final, MULTI_TISSUE)),
    ):
        tile = picture[row, column * 26 : column * 26 + 24]
        np.testing.assert_array_equal(tile, expected)
    image = picture[row, 4 * 26 : 4 * 26 + 24]
    expected = grey_to_rgb(shown.image[..., None])
    np.testing.assert_array_equal(image[13:], expected[13:])  # text is above


def _plain(level="mid"):
    blank = np.zeros((16, 16))
    return SlicePicture(blank, blank.astype("u1"), blank.astype("u1"), level)


def test_a_slice_that_one_phase_lacks_is_black():
    picture = montage({("ED", 0): _plain(), ("ES", 3): _plain()}, MULTI_TISSUE)
    caption = picture.shape[0] - 34
    assert not picture[caption : caption + 16, 4 * 18 :][:, :16].any()
    assert picture[caption + 18 :, 4 * 18 :][:, :16].any()


def test_level_slices_takes_the_middle_of_each_level():
    levels = ["basal"] * 3 + ["mid"] * 3 + ["apical"] * 3
    pictures = {("ED", k): _plain(level) for k, level in enumerate(levels)}
    assert level_slices(pictures) == [1, 4, 7]


def test_borders_have_the_colours_of_their_classes():
    labels = np.zeros((6, 6), np.uint8)
    labels[2:4, 2:4] = 1
    rgb = borders(np.zeros((6, 6)), labels, MULTI_TISSUE)
    colour = label_colours(MULTI_TISSUE)[1]
    drawn = (rgb == colour).all(axis=-1)
    assert drawn.tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0, 1, 0, 1, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    assert (rgb[~drawn] == 128).all()
    full = np.full((4, 4), 5, np.uint8)  # the border of the image is none of labels
    assert (borders(np.zeros((4, 4)), full, MULTI_TISSUE) == 128).all()


def test_files(labelled):
    files = montage_files(labelled, MULTI_TISSUE)
    assert set(files) == {"montage.png", "excerpt.png"}
    assert Image.open(io.BytesIO(files["montage.png"])).size == (206, 80)
    empty = LabelledSubject(labelled.prepared.__class__())
    assert montage_files(empty, MULTI_TISSUE) == {}
