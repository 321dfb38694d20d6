"""The way of a volume to the network's grid and of its probabilities back.

The network is replaced by functions whose probabilities are linear in the image or in
the position, so that interpolation is exact and each pixel can be computed by hand.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.data.geometry import GridMap
from cmrjax.data.intensity import ZScoreTransform
from cmrjax.labels import LabelSchema
from cmrjax.models.unet import UnetArchitecture
from cmrjax.segmentation import predict
from cmrjax.segmentation.params import SegmenterParams
from cmrjax.segmentation.predict import Segmenter
from cmrjax.training.description import SegmenterDescription

SCHEMA = LabelSchema("three", ("background", "a", "b"))
SHAPE, SPACING = (30, 44), (1.7, 1.1)  # mm; no pixel is square


class PixelNetwork:
    """Probabilities linear in the z-score: 0.5 + 0.15 z, 0.3 - 0.1 z and the rest."""

    seen: tuple = ()  # shapes of the images that it was traced for

    def __init__(self, architecture):
        assert architecture.levels == 3

    def apply(self, variables, image, *, train):
        assert not train
        type(self).seen += (image.shape,)
        z = image[..., 0]
        share = [0.5 + 0.15 * z, 0.3 - 0.1 * z, 0.2 - 0.05 * z]
        return jnp.log(jnp.stack(share, axis=-1)) + variables["shift"]


class PlaceNetwork(PixelNetwork):
    """Probabilities linear in the position: rows for one class, columns for another."""

    def apply(self, variables, image, *, train):
        b, h, w, _ = image.shape
        y = jnp.linspace(0.1, 0.3, h)[None, :, None] + jnp.zeros((b, h, w))
        x = jnp.linspace(0.0, 0.4, w)[None, None, :] + jnp.zeros((b, h, w))
        return jnp.log(jnp.stack([y, x, 1 - y - x], axis=-1))


def segmenter(monkeypatch, network, *, mirrored=True):
    monkeypatch.setattr(predict, "Unet", network)
    description = SegmenterDescription(
        SCHEMA, UnetArchitecture(3, levels=3), 64, 1.25, ZScoreTransform(), mirrored
    )
    return Segmenter(SegmenterParams({"shift": jnp.ones(())}, description, "here"))


def ramp(depth=6):
    """[d, h, w] linear in row, column and slice, each with its own slope."""
    d, r, c = np.meshgrid(
        np.arange(depth), np.arange(SHAPE[0]), np.arange(SHAPE[1]), indexing="ij"
    )
    return (100.0 + 7.0 * r - 3.0 * c + 2.0 * d).astype(np.float32)


GRIDS = [
    GridMap(SHAPE, SPACING, (1.33, 1.33), (64, 72)),  # padded
    GridMap(SHAPE, SPACING, (1.33, 1.33), (20, 24)),  # cropped
    GridMap(SHAPE, SPACING, (2.5, 0.9), (12, 70)),  # cropped in rows, padded in columns
    GridMap(SHAPE, SPACING, SPACING, SHAPE),  # the native grid itself
]


@pytest.mark.parametrize("grid", GRIDS)
def test_each_pixel_gets_the_probabilities_of_its_place(monkeypatch, grid):
    volume = ramp()
    found = segmenter(monkeypatch, PixelNetwork).probabilities(volume, grid)
    assert found.shape == (6, *grid.image_size, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    # By hand: the place in the native grid, the ramp there, its z-score, the share.
    rows, columns = (grid.native_coordinates(axis) for axis in (0, 1))
    value = (
        100.0
        + 7.0 * rows[None, :, None]
        - 3.0 * columns[None, None, :]
        + 2.0 * np.arange(6)[:, None, None]
    )
    z = (value - volume.mean()) / volume.std()
    # Up to two pixels from the edge; beyond, the values of the edge are continued.
    inside = ((rows >= 2) & (rows <= SHAPE[0] - 3))[:, None]
    inside = inside & ((columns >= 2) & (columns <= SHAPE[1] - 3))[None]
    assert inside.sum() > 100
    for k, expected in enumerate([0.5 + 0.15 * z, 0.3 - 0.1 * z, 0.2 - 0.05 * z]):
        np.testing.assert_allclose(
            found[..., k][:, inside], expected[:, inside], atol=2e-5
        )


def test_beyond_the_field_of_view_the_border_is_continued(monkeypatch):
    found = segmenter(monkeypatch, PixelNetwork).probabilities(ramp(), GRIDS[0])
    r0, r1, c0, c1 = GRIDS[0].valid_box
    assert r0 > 3
    assert c0 > 3
    rows = found[:, : r0 - 1]
    np.testing.assert_array_equal(rows, np.broadcast_to(rows[:, :1], rows.shape))
    columns = found[:, :, c1 + 1 :]
    np.testing.assert_array_equal(
        columns, np.broadcast_to(columns[:, :, -1:], columns.shape)
    )
    inner = found[:, r0 + 1 : r1 - 1, c0 + 1 : c1 - 1]
    assert np.abs(np.diff(inner, axis=1)).min() > 0
    # The border is that of the image and not of the padding around it: the lowest
    # corner is the first row's last pixel.
    volume = ramp()
    z = (volume - volume.mean()) / volume.std()
    np.testing.assert_allclose(found[:, 0, -1, 0], 0.5 + 0.15 * z[:, 0, -1], atol=0.02)


def test_the_mean_over_mirrored_ways_has_no_preferred_side(monkeypatch):
    """Each way alone would give a slope along rows and along columns."""
    grid = GridMap(SHAPE, SPACING, SPACING, SHAPE)
    found = segmenter(monkeypatch, PlaceNetwork).probabilities(ramp(), grid)
    for k, expected in enumerate((0.2, 0.2, 0.6)):
        np.testing.assert_allclose(found[..., k], expected, atol=1e-5)


def test_a_network_that_learned_no_mirrored_images_is_shown_none(monkeypatch):
    """The slopes of the one way, on the network's own grid of 48 x 40 pixels."""
    grid = GridMap(SHAPE, SPACING, SPACING, SHAPE)
    own = segmenter(monkeypatch, PlaceNetwork, mirrored=False)
    found = own.probabilities(ramp(2), grid)
    rows = 23.5 + (np.arange(30) - 14.5) * 1.7 / 1.25 - 0.5  # 41 of 48 are seen
    columns = 19.5 + (np.arange(44) - 21.5) * 1.1 / 1.25 - 0.5  # 39 of 40
    y = np.broadcast_to((0.1 + 0.2 * rows / 47)[:, None], SHAPE)
    x = np.broadcast_to(0.4 * columns / 39, SHAPE)
    inside = np.s_[:, 1:-1, 1:-1]
    for k, expected in enumerate((y, x, 1 - y - x)):
        expected = np.broadcast_to(expected, (2, *SHAPE))
        np.testing.assert_allclose(found[inside][..., k], expected[inside], atol=1e-5)


def test_the_network_sees_its_own_spacing_in_sizes_that_it_takes(monkeypatch):
    """One program for all slices, whatever their number and the grid of the result."""
    monkeypatch.setattr(PixelNetwork, "seen", ())
    own = segmenter(monkeypatch, PixelNetwork)
    for depth, grid in ((predict.BATCH_SIZE + 2, GRIDS[0]), (1, GRIDS[1])):
        assert len(own.probabilities(ramp(depth), grid)) == depth
    # 30 rows of 1.7 mm are 41 of 1.25 mm, so 48; 44 columns of 1.1 mm are 39, so 40.
    assert PixelNetwork.seen == ((predict.BATCH_SIZE, 48, 40, 1),) * 4


def test_the_volume_is_normalised_as_a_whole(monkeypatch):
    """Slices keep their relative brightness, and units do not matter."""
    own = segmenter(monkeypatch, PixelNetwork)
    grid, volume = GRIDS[1], ramp(3)
    found = own.probabilities(volume, grid)
    assert (found[2, ..., 0] > found[0, ..., 0]).all()
    scaled = own.probabilities(volume * 13.0 + 500.0, grid)
    np.testing.assert_allclose(scaled, found, atol=1e-4)
    as_stored = own.probabilities(volume.astype(np.int16), grid)
    np.testing.assert_allclose(as_stored, found, atol=1e-4)


def test_unusable_volumes(monkeypatch):
    own = segmenter(monkeypatch, PixelNetwork)
    with pytest.raises(ValueError, match="all intensities are 3: no image"):
        own.probabilities(np.full((2, *SHAPE), 3.0), GRIDS[0])
    with pytest.raises(ValueError, match=r"expected \[d, 30, 44\] on the native grid"):
        own.probabilities(ramp().transpose(0, 2, 1), GRIDS[0])


def test_schema_and_fingerprint_are_those_of_the_network(monkeypatch):
    own = segmenter(monkeypatch, PixelNetwork)
    assert own.schema == SCHEMA
    assert own.fingerprint == segmenter(monkeypatch, PixelNetwork).fingerprint
    assert len(own.fingerprint) == 64
