"""The closing lines of a preparation."""

from pathlib import Path

import numpy as np

from cmrjax.data.summary import Summary, describe


def _entry(subject, volume, slice_index, split="train"):
    return {
        "subject": subject,
        "volume": volume,
        "slice": slice_index,
        "vendor": "A",
        "centre": "1",
        "split": split,
    }


def test_counts_and_shares():
    summary = Summary(
        out=Path("o"),
        class_names=("background", "LV"),
        class_pixels=np.array([30, 10]),
        slices=[
            _entry("P0", 0, 1),
            _entry("P0", 0, 2),
            _entry("P0", 1, 1),
            _entry("P1", 2, 1, "test"),
        ],
        volumes=[
            {"subject": s, "nominal_spacing": s == "P1"} for s in ("P0", "P0", "P1")
        ],
        problems=["x"],
    )
    lines = describe(summary).splitlines()
    assert lines[1].split() == ["A1", "test", "1", "1", "1"]
    assert lines[2].split() == ["A1", "train", "1", "2", "3"]
    assert lines[3].split() == ["all", "2", "3", "4"]
    assert lines[4].endswith("background 75.00, LV 25.00")
    assert lines[5].startswith("nominal spacing: 1 of 2 subjects")
    assert lines[6:] == ["problems: 1", "written: o"]
