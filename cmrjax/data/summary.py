"""What a preparation gave, and the lines that say so at its end."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Summary:
    """What was prepared.

    Attributes:
        out: The folder that was written.
        class_names: Names of the classes.
        class_pixels: [k] int64, unpadded pixels of each class.
        slices: The manifest's entries of the slices.
        volumes: The manifest's entries of the volumes.
        unlabelled: Subjects skipped because they have no labels.
        problems: One line for each thing that could not be used.
    """

    out: Path
    class_names: tuple[str, ...]
    class_pixels: np.ndarray
    slices: list[dict[str, Any]] = field(default_factory=list)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def describe(summary: Summary) -> str:
    """Returns the closing lines: counts by group and split, class shares, skipped."""
    rows: dict[tuple[str, str], list[set]] = {}
    for entry in summary.slices:
        key = (f"{entry['vendor']}{entry['centre']}", entry["split"])
        row = rows.setdefault(key, [set(), set(), set()])
        row[0].add(entry["subject"])
        row[1].add(entry["volume"])
        row[2].add((entry["volume"], entry["slice"]))
    width = max([8, *(len(group) + 2 for group, _ in rows)])
    lines = [f"{'group':{width}}{'split':13}{'subjects':>9}{'volumes':>9}{'slices':>9}"]
    for (group, split), row in sorted(rows.items()):
        cells = "".join(f"{len(members):9}" for members in row)
        lines.append(f"{group:{width}}{split:13}{cells}")
    subjects = {entry["subject"] for entry in summary.slices}
    counts = (len(subjects), len(summary.volumes), len(summary.slices))
    cells = "".join(f"{count:9}" for count in counts)
    lines.append(f"{'all':{width + 13}}{cells}")
    shares = 100 * summary.class_pixels / max(1, summary.class_pixels.sum())
    lines.append(
        "classes, % of unpadded pixels: "
        + ", ".join(
            f"{name} {share:.2f}"
            for name, share in zip(summary.class_names, shares, strict=True)
        )
    )
    nominal = {v["subject"] for v in summary.volumes if v["nominal_spacing"]}
    if nominal:
        lines.append(
            f"nominal spacing: {len(nominal)} of {len(subjects)} subjects; their mm"
            " are not true"
        )
    if summary.unlabelled:
        lines.append(f"skipped, no labels: {len(summary.unlabelled)} subjects")
    lines.append(f"problems: {len(summary.problems)}")
    lines.append(f"written: {summary.out}")
    return "\n".join(lines)
