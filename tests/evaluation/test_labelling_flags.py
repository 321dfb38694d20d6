"""Each criterion by itself, and the order of the flagged."""

import pytest

from cmrjax.evaluation.labelling_flags import (
    by_gravity,
    find_flags,
    flag_summary,
    mid_heart_dice,
)
from cmrjax.labels import MULTI_TISSUE
from tests.evaluation.labelling_rows import NAN, make_row


def _flags(rows):
    return find_flags(rows, MULTI_TISSUE)


def test_nothing_wrong():
    assert _flags([make_row(index=k) for k in range(5)]) == {"P0": []}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"counts": (4, 10, 10)}], "heart Dice 0.40 at mid-ventricle"),
        (
            [{"pieces": 2}, {"pieces": 3, "level": "basal"}, {}],
            "LV in several large pieces in 2 of 3 slices",
        ),
        (
            [{"counts": (0, 0, 3)}, {"counts": (9, 9, 9)}],
            "no LV in 1 of 2 mid-ventricular slices",
        ),
        ([{"enclosed": 0.5}, {"enclosed": 0.9}], "MYO encloses 70% of LV"),
        ([{"fractions": {"lung": 0.0}}], "no lung at all"),
        ([{"fractions": {"skeletal_muscle": 0.0}}], "no skeletal muscle at all"),
    ],
)
def test_each_reason(rows, expected):
    made = [make_row(index=k, **options) for k, options in enumerate(rows)]
    (reason,) = _flags(made)["P0"]
    assert expected in reason


@pytest.mark.parametrize(
    "rows",
    [
        [{"pieces": 2}, {}],  # one slice may be cut oddly
        [{"counts": (4, 10, 10), "level": "apical"}, {}],  # the apex is hard
        [{"fractions": {"lung": 0.0}}, {}],  # lung in another slice
        [{"fractions": {"other_blood": 0.0}}],  # need not be there
        [{"pieces": 2, "kept": 0, "level": ""}] * 3 + [{}],  # dropped slices
    ],
)
def test_what_is_no_reason(rows):
    made = [make_row(index=k, **options) for k, options in enumerate(rows)]
    assert _flags(made) == {"P0": []}


def _group(fat, *, count=6, name="fat", **options):
    rows = [make_row(f"P{k}", **options) for k in range(count)]
    return [*rows, make_row("X", fractions={name: fat}, **options)]


def test_a_share_far_from_the_groups_median():
    flags = _flags(_group(0.3))
    assert flags["X"] == ["fat is 30.0% of the pixels, median of A1 10.0%"]
    assert not any(flags[f"P{k}"] for k in range(6))
    assert _flags(_group(0.11)) == {code: [] for code in flags}  # alike enough
    assert _flags(_group(0.3, count=3))["X"] == []  # too few to tell
    others = [make_row(f"Q{k}", group="B2") for k in range(6)]
    alone = [make_row("X", fractions={"fat": 0.9})]
    assert _flags(others + alone)["X"] == []  # its own group is what counts


def test_the_experts_heart_is_not_the_networks_fault():
    assert _flags(_group(0.4, name="LV"))["X"] == []
    flags = _flags(_group(0.4, name="LV", counts=(NAN, 10, NAN)))
    assert flags["X"] == ["LV is 40.0% of the pixels, median of A1 10.0%"]


def test_without_an_expert_the_form_is_judged_still():
    rows = [make_row(counts=(NAN, 10, NAN), enclosed=0.1)]
    assert _flags(rows)["P0"] == ["MYO encloses 10% of LV at mid-ventricle"]


def test_order_and_summary():
    flags = {"A": [], "B": ["x"], "C": ["x"], "D": ["x"], "E": []}
    dice = {"A": 0.1, "B": 0.9, "C": 0.2, "D": NAN}
    order = by_gravity(flags, dice)
    assert order == ["C", "B", "D", "A", "E"]
    assert flag_summary(flags, order)[0] == {"subject": "C", "reasons": ["x"]}
    assert len(flag_summary(flags, order)) == 3


def test_mid_heart_dice_takes_pixels_together():
    rows = [
        make_row(counts=(90, 90, 90)),
        make_row(phase="ES", counts=(0, 10, 10)),
        make_row(index=1, level="basal", counts=(0, 50, 50)),
    ]
    assert mid_heart_dice(rows) == pytest.approx(0.9)
