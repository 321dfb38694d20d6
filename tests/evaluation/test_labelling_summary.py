"""Means of Dice over slices and subjects, by hand; files."""

import csv
import math

import pytest

from cmrjax.evaluation.labelling_summary import (
    dice_table,
    find_dice,
    subject_dice,
    write_rows,
    write_summary,
)
from cmrjax.files import read_json
from tests.evaluation.labelling_rows import NAN, make_row


def _one(table, **wanted):
    defaults = {"group": "all", "phase": "ED", "scope": "all", "region": "LV"}
    (entry,) = find_dice(table, **(defaults | wanted))
    return entry


def test_slices_and_volume_differ_as_they_should():
    """A slice of 10 pixels counts as much as one of 100, not so in the volume."""
    rows = [make_row(counts=(100, 100, 100)), make_row(index=1, counts=(0, 10, 10))]
    result = subject_dice(rows, "LV")
    assert result["slices"] == 0.5
    assert result["volume"] == pytest.approx(200 / 220)


def test_empty_in_both_is_not_counted_and_in_one_is_zero():
    rows = [
        make_row(counts=(10, 10, 10)),
        make_row(index=1, counts=(0, 0, 0)),
        make_row(index=2, counts=(0, 0, 10)),
    ]
    assert subject_dice(rows, "RV")["slices"] == 0.5
    assert math.isnan(subject_dice(rows[1:2], "RV")["slices"])
    assert math.isnan(subject_dice(rows[1:2], "RV")["volume"])
    assert math.isnan(subject_dice([], "RV")["volume"])


def test_scopes():
    table = dice_table(
        [
            make_row(counts=(10, 10, 10)),
            make_row(index=1, level="basal", counts=(5, 10, 10)),
            make_row(index=2, level="", kept=0, counts=(0, 10, 0)),
        ]
    )
    found = [
        _one(table, scope=s, split="test")["dice_slices"]
        for s in ("mid", "all", "stack")
    ]
    assert found == [1.0, 0.75, 0.5]


def test_mean_and_deviation_over_subjects_not_slices():
    rows = [make_row("P0", counts=(10, 10, 10)), make_row("P1", counts=(0, 10, 10))]
    rows += [make_row("P1", index=k, counts=(0, 10, 10)) for k in range(1, 9)]
    entry = _one(dice_table(rows), split="test")
    assert entry["subjects"] == 2
    assert entry["dice_slices"] == 0.5
    assert entry["sd_slices"] == pytest.approx(math.sqrt(0.5))


def test_both_phases_is_the_mean_within_a_subject_first():
    rows = [
        make_row("P0", phase="ED", counts=(10, 10, 10)),
        make_row("P0", phase="ES", counts=(0, 10, 10)),
        make_row("P1", phase="ED", counts=(10, 10, 10)),
    ]
    table = dice_table(rows)
    assert _one(table, split="test", phase="both")["dice_slices"] == 0.75
    assert _one(table, split="test", phase="ES")["subjects"] == 1


def test_groups_splits_and_held_out():
    rows = [
        make_row("P0", group="A1", split="train", counts=(2, 10, 10)),
        make_row("P1", group="A1", split="test", counts=(4, 10, 10)),
        make_row("P2", group="B3", split="evaluation", counts=(6, 10, 10)),
        make_row("P3", group="B3", split="development", counts=(8, 10, 10)),
    ]
    table = dice_table(rows)
    pairs = {(e["group"], e["split"]): e["subjects"] for e in table}
    assert pairs == {
        ("A1", "train"): 1,
        ("A1", "test"): 1,
        ("A1", "held_out"): 1,
        ("B3", "evaluation"): 1,
        ("B3", "development"): 1,
        ("B3", "held_out"): 1,
        ("all", "train"): 1,
        ("all", "test"): 1,
        ("all", "evaluation"): 1,
        ("all", "development"): 1,
        ("all", "held_out"): 2,
    }
    assert _one(table, split="held_out")["dice_slices"] == pytest.approx(0.5)


def test_no_expert_no_table():
    assert dice_table([make_row(counts=(NAN, 10, NAN))]) == []


def test_files(tmp_path):
    rows = [make_row(), make_row(index=1, counts=(0, 0, 0))]
    write_rows(tmp_path / "rows.csv", rows)
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert first["dice_LV"] == "0.8"
    assert second["dice_LV"] == ""
    assert list(first) == list(rows[0])
    write_summary(tmp_path / "s.json", {"dice": dice_table(rows), "n": (1, NAN)})
    content = read_json(tmp_path / "s.json")
    assert content["n"] == [1, None]
    assert _one(content["dice"], split="test")["dice_slices"] == 0.8
    assert _one(content["dice"], split="test")["sd_slices"] is None
    assert "middle third" in content["protocol"]
