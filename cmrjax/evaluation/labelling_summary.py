"""Figures of a labelling of real images: Dice by group, split, phase and class.

The rows are those of ``cmrjax.segmentation.agreement.slice_rows`` with the subject's
``subject``, ``group``, ``split`` and ``phase``.
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmrjax.files import nan_to_none, write_json, write_text
from cmrjax.metrics.overlap import dice_of_counts
from cmrjax.segmentation.agreement import REGIONS

Row = Mapping[str, Any]

SCOPES: dict[str, Callable[[Row], bool]] = {
    "mid": lambda row: bool(row["kept"]) and row["level"] == "mid",
    "all": lambda row: bool(row["kept"]),
    "stack": lambda row: True,
}
HELD_OUT = "held_out"
SPLIT_MEMBERS = {HELD_OUT: ("test", "evaluation")}
MEASURES = ("slices", "volume")
PROTOCOL = (
    "Dice of the network's own heart against the expert's, on the prepared grid and on "
    "pixels that are not padding. Scopes: mid, the slices in the middle third of those "
    "in which the expert marks LV myocardium; all, every slice in which the expert "
    "marks heart; stack, every slice of the file. slices: mean over the slices of a "
    "phase; a slice without the class in both is not counted, one with it in one only "
    "counts 0. volume: Dice of the slices' pixels taken together. Then the mean over "
    "subjects (phase both: over the subjects' mean of ED and ES), with standard "
    "deviation (n - 1). heart is LV, MYO and RV as one region; split held_out is test "
    "and evaluation."
)


def subject_dice(rows: Sequence[Row], region: str) -> dict[str, float]:
    """Dice of one subject and phase in a choice of slices.

    Args:
        rows: The slices.
        region: One of ``REGIONS``.

    Returns:
        By name of the measure, see ``PROTOCOL``; NaN where nothing can be compared.
    """
    counts = [
        [row[f"{kind}_pixels_{region}"] for row in rows]
        for kind in ("shared", "network", "expert")
    ]
    sums = [sum(values) for values in counts]
    volume = math.nan if any(map(math.isnan, sums)) else dice_of_counts(*sums)
    return {"slices": mean(row[f"dice_{region}"] for row in rows), "volume": volume}


def dice_table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Mean Dice over subjects of each group, split, phase, scope and region.

    Args:
        rows: All slices.

    Returns:
        Dicts with ``group`` (and "all"), ``split`` (and "held_out"), ``phase`` (ED, ES,
        both), ``scope``, ``region``, ``subjects`` and for both measures
        ``dice_MEASURE`` and ``sd_MEASURE`` (NaN where undefined). Empty without an
        expert.
    """
    figures = _by_subject(rows)
    table = []
    for group in [*sorted({key[1] for key in figures}), "all"]:
        members = {k: v for k, v in figures.items() if group in (k[1], "all")}
        present = {key[2] for key in members}
        for split in [*sorted(present), HELD_OUT]:
            wanted = SPLIT_MEMBERS.get(split, (split,))
            chosen = [v for k, v in members.items() if k[2] in wanted]
            if chosen:
                table += [
                    {"group": group, "split": split, **entry}
                    for entry in _means(chosen)
                ]
    return table


def find_dice(
    table: Iterable[Mapping[str, Any]], **wanted: str
) -> list[Mapping[str, Any]]:
    """Returns the entries of ``dice_table`` with the wanted values."""
    return [e for e in table if all(e[k] == v for k, v in wanted.items())]


def write_rows(path: str | Path, rows: Sequence[Row]) -> None:
    """Writes the slices as CSV; an undefined value is an empty cell.

    Args:
        path: The file.
        rows: The slices, at least one, with the same keys.
    """
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _cell(v) for k, v in row.items()} for row in rows)
    write_text(path, stream.getvalue())


def write_summary(path: str | Path, content: Mapping[str, Any]) -> None:
    """Writes the summary as JSON; an undefined figure is null."""
    write_json(path, nan_to_none({"protocol": PROTOCOL, **content}))


def mean(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def _by_subject(rows: Sequence[Row]) -> dict[tuple[str, str, str], dict]:
    """(subject, group, split) -> (phase, scope, region, measure) -> Dice."""
    volumes: dict[tuple[str, str, str], dict[str, list[Row]]] = {}
    for row in rows:
        if math.isnan(row["expert_pixels_heart"]):
            continue
        key = (row["subject"], row["group"], row["split"])
        volumes.setdefault(key, {}).setdefault(row["phase"], []).append(row)
    figures: dict[tuple[str, str, str], dict] = {}
    for key, phases in volumes.items():
        found = figures.setdefault(key, {})
        for scope, belongs in SCOPES.items():
            for region in REGIONS:
                for phase, members in phases.items():
                    chosen = [row for row in members if belongs(row)]
                    for measure, value in subject_dice(chosen, region).items():
                        found[phase, scope, region, measure] = value
                for measure in MEASURES:
                    found["both", scope, region, measure] = mean(
                        found[phase, scope, region, measure] for phase in phases
                    )
    return figures


def _means(subjects: Sequence[dict]) -> list[dict[str, Any]]:
    """Mean and standard deviation over subjects, for each phase, scope, region."""
    entries = []
    for phase in ("ED", "ES", "both"):
        for scope in SCOPES:
            for region in REGIONS:
                entry: dict[str, Any] = {
                    "phase": phase,
                    "scope": scope,
                    "region": region,
                }
                for measure in MEASURES:
                    key = (phase, scope, region, measure)
                    values = [s[key] for s in subjects if key in s]
                    values = [v for v in values if not math.isnan(v)]
                    entry.setdefault("subjects", len(values))
                    entry[f"dice_{measure}"] = mean(values)
                    entry[f"sd_{measure}"] = _deviation(values)
                entries.append(entry)
    return entries


def _deviation(values: Sequence[float]) -> float:
    if len(values) < 2:
        return math.nan
    centre = mean(values)
    return math.sqrt(sum((v - centre) ** 2 for v in values) / (len(values) - 1))


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else round(value, 6)
