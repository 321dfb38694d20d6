"""Tests of label colours, panels and PNG files."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from cmrjax.evaluation import figures
from cmrjax.labels import CAVITY, MULTI_TISSUE, LabelSchema

# Machado et al. 2009, severity 1.0, for linear RGB.
COLOUR_VISION = {
    "normal": np.eye(3),
    "protanope": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranope": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}


def cielab(colours, vision):
    """CIE L*a*b* (D65) of [k, 3] sRGB colours as somebody with that vision sees."""
    rgb = colours / 255.0
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ vision.T, 0, 1)
    to_xyz = np.array(
        [
            [0.4124, 0.3576, 0.1805],
            [0.2126, 0.7152, 0.0722],
            [0.0193, 0.1192, 0.9505],
        ]
    )
    xyz = linear @ to_xyz.T / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_colours_can_be_told_apart(vision):
    lab = cielab(figures.label_colours(MULTI_TISSUE), COLOUR_VISION[vision])
    for first, second in itertools.combinations(range(9), 2):
        distance = np.linalg.norm(lab[first] - lab[second])
        names = MULTI_TISSUE.class_names[first], MULTI_TISSUE.class_names[second]
        assert distance > 30, (names, distance)


def test_heart_has_the_same_colours_in_both_schemas():
    cavity, multi = map(figures.label_colours, (CAVITY, MULTI_TISSUE))
    assert cavity.shape == (4, 3)
    assert multi.shape == (9, 3)
    assert cavity.dtype == np.uint8
    np.testing.assert_array_equal(cavity, multi[:4])
    assert cavity[0].tolist() == [0, 0, 0]


def test_colour_follows_the_name_not_the_id():
    swapped = LabelSchema("swapped", ("background", "RV", "MYO", "LV"))
    np.testing.assert_array_equal(
        figures.label_colours(swapped), figures.label_colours(CAVITY)[[0, 3, 2, 1]]
    )


def test_unknown_class_takes_a_spare_colour():
    schema = LabelSchema("more", ("background", "LV", "scar", "vessel"))
    colours = figures.label_colours(schema)
    assert len({tuple(colour) for colour in colours.tolist()}) == 4


def test_colourise():
    labels = np.array([[[0, 1], [2, 3]]], np.uint8)
    result = figures.colourise(labels, CAVITY)
    assert result.shape == (1, 2, 2, 3)
    np.testing.assert_array_equal(result.reshape(4, 3), figures.label_colours(CAVITY))


def test_colourise_refuses_unknown_ids():
    with pytest.raises(ValueError, match="ids 0 to 4; schema 'cavity' allows 0 to 3"):
        figures.colourise(np.array([[0, 4]]), CAVITY)
    with pytest.raises(ValueError, match="must be integer, got float64"):
        figures.colourise(np.zeros((2, 2)), CAVITY)


def test_grey_values():
    image = np.array([-2.0, -1.0, 0.0, 1.0, 7.0, np.nan, np.inf]).reshape(1, 7, 1)
    result = figures.grey_to_rgb(image)
    assert result.dtype == np.uint8
    assert result[0, :5, 0].tolist() == [0, 0, 128, 255, 255]
    assert (result[0, :5] == result[0, :5, :1]).all()
    assert result[0, 5:].tolist() == [[255, 0, 255]] * 2


def test_panel_layout():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (3, 8, 6)).astype(np.uint8)
    real, fake = rng.uniform(-1, 1, (2, 3, 8, 6, 1)).astype(np.float32)
    picture = figures.panel(labels, real, fake, schema=CAVITY)
    assert picture.shape == (3 * 8 + 2 * 2, 3 * 6 + 2 * 2, 3)
    assert picture.dtype == np.uint8
    for row, column in itertools.product(range(3), range(3)):
        tile = picture[row * 10 : row * 10 + 8, column * 8 : column * 8 + 6]
        expected = [
            figures.colourise(labels[row], CAVITY),
            figures.grey_to_rgb(real[row]),
            figures.grey_to_rgb(fake[row]),
        ][column]
        np.testing.assert_array_equal(tile, expected)
    assert (picture[8:10] == figures.SEPARATOR_COLOUR).all()
    assert (picture[:, 6:8] == figures.SEPARATOR_COLOUR).all()


def test_panel_scale_and_captions():
    labels = np.zeros((2, 32, 40), np.uint8)
    image = np.zeros((2, 32, 40, 1), np.float32)
    plain = figures.panel(labels, image, schema=CAVITY, scale=2)
    assert plain.shape == (2 * 64 + 2, 2 * 80 + 2, 3)
    captioned = figures.panel(
        labels,
        image,
        schema=CAVITY,
        scale=2,
        captions=("label", "a very long text" * 9),
    )
    strip = captioned[: -plain.shape[0]]
    np.testing.assert_array_equal(captioned[-plain.shape[0] :], plain)
    assert strip[:, :80].max() > 128
    assert strip[:, 82:].max() > 128
    assert (strip[:, 80:82] == 0).all()  # the long text stays in its column


def test_panel_refuses_what_does_not_fit():
    labels = np.zeros((2, 8, 6), np.uint8)
    image = np.zeros((2, 8, 6, 1), np.float32)
    with pytest.raises(
        ValueError, match=r"image 1 must be .*\(2, 8, 6, 1\).*\(2, 8, 6\)"
    ):
        figures.panel(labels, image, image[..., 0], schema=CAVITY)
    with pytest.raises(ValueError, match=r"one per column \(2: .* got 3"):
        figures.panel(labels, image, schema=CAVITY, captions="abc")
    with pytest.raises(ValueError, match=r"label_map must be \[b, h, w\].*\(8, 6\)"):
        figures.panel(labels[0], schema=CAVITY)
    with pytest.raises(ValueError, match=r"not empty; \(0, 8, 6\)"):
        figures.panel(labels[:0], schema=CAVITY)


def test_png_round_trip(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    path = tmp_path / "picture.png"
    figures.write_png(path, np.zeros_like(rgb))
    figures.write_png(path, rgb)
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), rgb)
    assert path.read_bytes() == figures.png_bytes(rgb)
    assert [entry.name for entry in tmp_path.iterdir()] == ["picture.png"]


def test_png_of_a_view():
    rgb = np.zeros((8, 6, 3), np.uint8)[::2, ::-1]
    with Image.open(io.BytesIO(figures.png_bytes(rgb))) as image:
        assert image.size == (6, 4)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (1, 4, 4, 3)])
def test_png_refuses_other_shapes(shape):
    with pytest.raises(
        ValueError, match=r"rgb must be \[h, w, 3\] uint8, got \(.*uint8"
    ):
        figures.png_bytes(np.zeros(shape, np.uint8))


def test_png_refuses_floats():
    with pytest.raises(ValueError, match=r"uint8, got .* float64"):
        figures.png_bytes(np.zeros((4, 4, 3)))


def test_tiled_joins_pictures_of_any_kind():
    red, blue = (np.full((8, 9, 3), c, np.uint8) for c in ((255, 0, 0), (0, 0, 255)))
    picture = figures.tiled([[red, blue, red], [blue, red, red]])
    assert picture.shape == (2 * 8 + 2, 3 * 9 + 2 * 2, 3)
    np.testing.assert_array_equal(picture[10:, :9], blue)
    np.testing.assert_array_equal(picture[:8, 11:20], blue)
    np.testing.assert_array_equal(picture[10:, 22:], red)
    captioned = figures.tiled([[red], [blue]], captions=["a"])
    np.testing.assert_array_equal(captioned[-18:], figures.tiled([[red], [blue]]))
