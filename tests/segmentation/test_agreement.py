"""Levels of slices and the rows of the table, from small label maps."""

import math

import numpy as np
import pytest

from cmrjax.labels import MULTI_TISSUE
from cmrjax.segmentation.agreement import slice_levels, slice_rows


def _stack(areas, *, myo=None, size=12):
    """A stack whose slice i has areas[i] pixels of LV and, if myo[i], one of MYO."""
    labels = np.zeros((len(areas), size, size), np.uint8)
    myo = [a > 0 for a in areas] if myo is None else myo
    for i, (area, has_myo) in enumerate(zip(areas, myo, strict=True)):
        labels[i].ravel()[:area] = 1
        labels[i, -1, -1] = 2 * has_myo
    return labels


@pytest.mark.parametrize(
    ("areas", "expected"),
    [
        ([9, 8, 7, 6, 5, 4, 3, 2, 1], "bbbmmmaaa"),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], "aaammmbbb"),
        ([0, 0, 2, 3, 4, 0], "--amb-"),
        ([9, 8, 7, 6, 5, 4, 3, 2, 1, 1], "bbbmmmmaaa"),
        ([9, 8, 7, 6, 5, 4, 3, 2], "bbbmmaaa"),
        ([5], "m"),
        ([5, 9], "ab"),
        ([4, 4, 4], "bma"),  # no direction: the first is called the base
        ([0, 0], "--"),
    ],
)
def test_levels_by_thirds(areas, expected):
    names = {"b": "basal", "m": "mid", "a": "apical", "-": ""}
    levels = slice_levels(_stack(areas), MULTI_TISSUE)
    assert levels == [names[letter] for letter in expected]


def test_heart_without_myocardium_belongs_to_its_end():
    labels = _stack([30, 20, 10, 5, 3], myo=[False, True, True, True, False])
    levels = slice_levels(labels, MULTI_TISSUE)
    assert levels == ["basal", "basal", "mid", "apical", "apical"]
    assert slice_levels(_stack([9, 9], myo=[False, False]), MULTI_TISSUE) == ["", ""]


def _example():
    """Expert: LV 4 pixels in MYO 12; network: the same one column to the right."""
    expert = np.zeros((2, 10, 10), np.uint8)
    expert[0, 2:6, 2:6] = 2
    expert[0, 3:5, 3:5] = 1
    own = np.roll(expert, 1, axis=2)
    own[0, 0, :] = 4
    own[1, 5, 5] = 3
    labels = np.where(expert > 0, expert, 6).astype(np.uint8)
    labels[1] = 0  # dropped
    return own, labels, expert


def test_rows_by_hand():
    own, labels, expert = _example()
    box = (0, 10, 0, 8)
    first, second = slice_rows(own, labels, expert, schema=MULTI_TISSUE, valid_box=box)
    assert (first["slice"], first["level"], first["kept"]) == (0, "mid", 1)
    assert first["valid_pixels"] == 80
    assert first["fraction_LV"] == 4 / 80
    assert first["fraction_fat"] == 64 / 80
    assert first["dice_LV"] == 0.5  # 2 of 4 and 4 pixels
    assert first["dice_MYO"] == pytest.approx(2 * 6 / 24)
    assert first["dice_heart"] == 12 / 16
    assert math.isnan(first["dice_RV"])
    counts = [first[f"{k}_pixels_MYO"] for k in ("network", "expert", "shared")]
    assert counts == [12, 12, 6]
    # 4 + 4 pixels in one heart only; within both, LV against MYO 4 times
    assert first["disagreement_pixels"] == 12
    assert (first["components_LV"], first["components_RV"]) == (1, 0)
    assert first["lv_enclosed"] == 1.0
    assert (second["level"], second["kept"]) == ("", 0)
    assert second["dice_RV"] == 0.0
    assert second["disagreement_pixels"] == 1
    assert math.isnan(second["fraction_fat"])
    assert first.keys() == second.keys()


def test_padding_does_not_count():
    own, labels, expert = _example()
    (row, _) = slice_rows(
        own, labels, expert, schema=MULTI_TISSUE, valid_box=(0, 10, 4, 10)
    )
    assert row["expert_pixels_LV"] == 2
    assert row["network_pixels_LV"] == 4
    assert row["dice_LV"] == pytest.approx(4 / 6)


def test_without_an_expert_levels_are_the_networks_and_dice_is_undefined():
    own, _, _ = _example()
    row, dropped = slice_rows(
        own, own * (own < 3), None, schema=MULTI_TISSUE, valid_box=(0, 10, 0, 10)
    )
    assert row["level"] == "mid"
    assert row["kept"] == 1
    assert dropped["kept"] == 0
    assert row["network_pixels_LV"] == 4
    for name in ("dice_LV", "expert_pixels_LV", "shared_pixels_LV"):
        assert math.isnan(row[name])
    assert math.isnan(row["disagreement_pixels"])
