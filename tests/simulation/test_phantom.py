"""Phantoms made ready: orientation, smooth refinement, skin, gaps."""

import numpy as np
import pytest

from cmrjax.simulation.phantom import (
    SKIN_UNIT,
    apex_first,
    prepare_phantom,
    refine,
    upsample,
)
from cmrjax.simulation.tissues import TISSUE_IDS, tissue_to_class
from tests.simulation.drawn_phantom import CENTRE, SPACING, drawn_tissue


@pytest.fixture(scope="module")
def phantom():
    return prepare_phantom(drawn_tissue(), SPACING)


@pytest.mark.parametrize(
    "turn",
    [
        lambda t: t.swapaxes(1, 2),
        lambda t: t[::-1],
        lambda t: np.rot90(t, 1, (1, 2)),
        lambda t: t[:, ::-1, ::-1],
    ],
    ids=["other side", "apex first", "quarter", "half"],
)
def test_any_orientation_gives_the_same_phantom(phantom, turn):
    other = prepare_phantom(np.ascontiguousarray(turn(drawn_tissue())), SPACING)
    assert other.spacing == phantom.spacing == (1.25, 1.0, 1.0)
    same = other.tissue == phantom.tissue
    assert same.mean() > 0.999  # ties at borders may fall either way


def test_refined_borders_are_smooth_and_keep_their_place(phantom):
    _, y, x = np.indices(phantom.tissue.shape)
    radius = np.hypot(y - CENTRE[0], x - CENTRE[1])[8]  # 10 mm: slice 2 as drawn
    rest = (1 - (10.0 - 5.0) / 50.0) ** 0.5
    cavity = np.isin(
        phantom.tissue[8], [TISSUE_IDS["lv_blood"], TISSUE_IDS["papillary"]]
    )
    assert np.pi * (29 * rest - 9) ** 2 == pytest.approx(cavity.sum(), rel=0.06)
    border = radius[cavity].max(), radius[~cavity].min()
    assert border[0] - border[1] < 2.5  # the drawn steps are 2 mm and more


def test_refining_interpolates_shapes_between_slices():
    rows = np.hypot(*(np.indices((41, 41)) - 20.0))
    tissue = np.stack([rows < 6, rows < 14]).astype(np.uint8)
    fine = refine(tissue, (8.0, 1.0, 1.0), (4, 1, 1))
    assert fine.shape == (5, 41, 41)
    radius = np.sqrt(fine.sum(axis=(1, 2)) / np.pi)
    np.testing.assert_allclose(radius, [6, 8, 10, 12, 14], atol=0.35)


def test_upsampling_is_linear():
    values = np.array([0.0, 4.0, 2.0], np.float32)[:, None, None]
    np.testing.assert_allclose(
        upsample(values, (4, 1, 1)).ravel(), [0, 1, 2, 3, 4, 3.5, 3, 2.5, 2]
    )


def test_skin_is_negative_inside_and_counts_millimetres(phantom):
    row = round(CENTRE[0])
    skin = phantom.skin[20, row].astype(float) * SKIN_UNIT
    air = phantom.tissue[20, row] == TISSUE_IDS["air"]
    assert (skin[air] > -1.1).all()
    assert (skin[~air] < 1.1).all()
    edge = np.flatnonzero(~air)[0]
    assert skin[edge + 10] == pytest.approx(-10, abs=1.5)


def test_stomach_gets_content_within_its_wall(phantom):
    names = {t.item() for t in np.unique(phantom.tissue)}
    assert {TISSUE_IDS["stomach"], TISSUE_IDS["stomach_wall"]} <= names


def test_gap_tells_how_far_the_next_organ_is(phantom):
    near = phantom.gap < 4 / SKIN_UNIT
    fat = phantom.tissue == TISSUE_IDS["fat"]
    beside = np.unique(phantom.beside[near & fat])
    assert TISSUE_IDS["liver"] in beside
    heart = [TISSUE_IDS[n] for n in ("myocardium", "rv_blood", "air", "fat")]
    assert not np.isin(beside, heart).any()


def test_apex_is_where_the_cavity_is_smaller():
    labels = tissue_to_class()[drawn_tissue()]
    assert not apex_first(labels)
    assert apex_first(labels[::-1])
    assert not apex_first(labels[1:])


def test_without_a_heart_it_says_so():
    tissue = drawn_tissue()
    tissue[tissue == TISSUE_IDS["rv_blood"]] = TISSUE_IDS["fat"]
    with pytest.raises(ValueError, match="the labels hold no RV to go by"):
        prepare_phantom(tissue, SPACING)
