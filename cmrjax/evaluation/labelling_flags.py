"""Subjects whose labels look wrong, each with the reasons."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cmrjax.evaluation.labelling_summary import SCOPES, Row, mean, subject_dice
from cmrjax.labels import LabelSchema

MIN_HEART_DICE = 0.5
MIN_ENCLOSED = 0.8
MAX_DEVIATIONS = 3.0
MAD_TO_SD = 1.4826  # of a normal distribution
MIN_DEVIATION = 0.005  # of the valid pixels: a group that is all alike flags nobody
MIN_GROUP = 5  # subjects that a median and its deviation need
SPLIT_LV_SLICES = 2  # one slice may cut a papillary muscle or the outflow tract
EXPECTED = ("lung", "skeletal_muscle", "fat", "abdomen")

CRITERIA = (
    "the Dice of the whole heart in mid-ventricular slices is below"
    f" {MIN_HEART_DICE:g}; the network's LV has several large pieces in"
    f" {SPLIT_LV_SLICES} or more slices, is missing in a mid-ventricular slice, or less"
    f" than {MIN_ENCLOSED:.0%} of its rim is MYO there; a class takes a share of the"
    f" pixels that is more than {MAX_DEVIATIONS:g} robust standard deviations"
    f" ({MAD_TO_SD} times the median absolute deviation) from its group's median"
    f" (with an expert, not the heart classes; groups of {MIN_GROUP} or more); no"
    f" {', '.join(name.replace('_', ' ') for name in EXPECTED)} at all"
)


def find_flags(rows: Sequence[Row], schema: LabelSchema) -> dict[str, list[str]]:
    """Finds the subjects that look wrong, see ``CRITERIA``.

    Args:
        rows: All slices, see ``labelling_summary``.
        schema: Schema of the labels.

    Returns:
        Reasons by subject, for all subjects; an empty list where nothing looks wrong.
    """
    subjects: dict[str, list[Row]] = {}
    for row in rows:
        subjects.setdefault(row["subject"], []).append(row)
    reasons = {
        code: [
            *_heart_reasons(own),
            *_shape_reasons(own),
            *_absent_reasons(own, schema),
        ]
        for code, own in subjects.items()
    }
    groups: dict[str, list[str]] = {}
    for code, own in subjects.items():
        groups.setdefault(own[0]["group"], []).append(code)
    for group, codes in groups.items():
        shares = {code: _shares(subjects[code], schema) for code in codes}
        for code, found in _outliers(shares, group).items():
            reasons[code] += found
    return reasons


def by_gravity(
    flags: Mapping[str, Sequence[str]], dice: Mapping[str, float]
) -> list[str]:
    """Orders subjects: flagged ones first, of these the smallest Dice first.

    Args:
        flags: Reasons by subject.
        dice: Dice of the heart by subject, NaN where there is none.
    """

    def gravity(code: str) -> tuple:
        value = dice.get(code, math.nan)
        known = 1.0 if math.isnan(value) else value
        return not flags[code], known, -len(flags[code]), code

    return sorted(flags, key=gravity)


def mid_heart_dice(rows: Sequence[Row]) -> float:
    """Dice of a subject's whole heart in mid-ventricular slices, ED and ES together."""
    return subject_dice([r for r in rows if SCOPES["mid"](r)], "heart")["volume"]


def _heart_reasons(rows: Sequence[Row]) -> list[str]:
    value = mid_heart_dice(rows)
    return (
        [f"heart Dice {value:.2f} at mid-ventricle"] if value < MIN_HEART_DICE else []
    )


def _shape_reasons(rows: Sequence[Row]) -> list[str]:
    """What is wrong with the form of the network's own heart."""
    found = []
    kept = [row for row in rows if row["kept"]]
    mid = [row for row in kept if row["level"] == "mid"]
    split = sum(row["large_components_LV"] > 1 for row in kept)
    if split >= SPLIT_LV_SLICES:
        found.append(f"LV in several large pieces in {split} of {len(kept)} slices")
    missing = sum(row["network_pixels_LV"] == 0 for row in mid)
    if missing:
        found.append(f"no LV in {missing} of {len(mid)} mid-ventricular slices")
    enclosed = mean(row["lv_enclosed"] for row in mid)
    if enclosed < MIN_ENCLOSED:
        found.append(f"MYO encloses {enclosed:.0%} of LV at mid-ventricle")
    return found


def _absent_reasons(rows: Sequence[Row], schema: LabelSchema) -> list[str]:
    names = [name for name in EXPECTED if name in schema.class_names]
    return [
        f"no {name.replace('_', ' ')} at all"
        for name in names
        if not any(row["kept"] and row[f"fraction_{name}"] > 0 for row in rows)
    ]


def _shares(rows: Sequence[Row], schema: LabelSchema) -> dict[str, float]:
    """Mean share of each class that the network decided alone, over kept slices."""
    with_expert = any(row["expert_pixels_heart"] >= 0 for row in rows)
    heart = {schema.class_names[i] for i in schema.heart_ids} if with_expert else set()
    return {
        name: mean(row[f"fraction_{name}"] for row in rows)
        for name in schema.class_names
        if name not in heart
    }


def _outliers(
    shares: Mapping[str, Mapping[str, float]], group: str
) -> dict[str, list[str]]:
    """Reasons of the subjects of one group whose shares are far from its median."""
    found: dict[str, list[str]] = {code: [] for code in shares}
    if len(shares) < MIN_GROUP:
        return found
    for name in next(iter(shares.values())):
        values = np.array([share[name] for share in shares.values()])
        centre = float(np.median(values))
        spread = MAD_TO_SD * float(np.median(np.abs(values - centre)))
        limit = MAX_DEVIATIONS * max(spread, MIN_DEVIATION)
        for code, value in zip(shares, values.tolist(), strict=True):
            if abs(value - centre) > limit:
                found[code].append(
                    f"{name.replace('_', ' ')} is {value:.1%} of the pixels, median of"
                    f" {group} {centre:.1%}"
                )
    return found


def flag_summary(
    flags: Mapping[str, Sequence[str]], order: Sequence[str]
) -> list[dict[str, Any]]:
    """Returns the flagged subjects with their reasons, in order, JSON types."""
    return [
        {"subject": code, "reasons": list(flags[code])} for code in order if flags[code]
    ]
