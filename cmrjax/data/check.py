"""Looks through a whole data set and says everything that is wrong, before any work.

Each subject is read and prepared as it will be, but nothing is written. Then the
subjects are compared with each other: an image under two codes, in training and in test
at once, labels of two images or a voxel size unlike all others show only so.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cmrjax.data.preconvert import Plan
from cmrjax.data.records import SubjectRecord
from cmrjax.data.subject import PreparedSubject, Recipe, prepare_subject
from cmrjax.files import shorten
from cmrjax.labels import HEART_CLASSES

UNUSUAL_FACTOR = 2.0
"""A voxel size that differs from the median by more is worth a line."""


@dataclass
class CheckReport:
    """What was found.

    Attributes:
        problems: Lines about what cannot be used, or must not be.
        notices: Lines about what can be used but is worth knowing.
        subjects: Number of subjects that were looked at.
        volumes: Number of volumes that can be used.
        slices: Number of slices that can be used.
        spacings: [n, 3] mm (z, y, x) of the usable volumes.
        shapes: [n, 3] native voxels (z, y, x) of the usable volumes.
        groups: Subjects by group and split.
        class_pixels: Unpadded pixels by class name.
        enclosed: For LV and RV, how much of the rim around them is MYO, a share for
            each volume that has all three.
    """

    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    subjects: int = 0
    volumes: int = 0
    slices: int = 0
    spacings: list[tuple[float, ...]] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    groups: dict[tuple[str, str], int] = field(default_factory=dict)
    class_pixels: dict[str, int] = field(default_factory=dict)
    enclosed: list[tuple[float, float]] = field(default_factory=list)

    def describe(self) -> str:
        """Returns the closing lines."""
        lines = [
            f"looked at {self.subjects} subjects: {self.volumes} volumes and"
            f" {self.slices} slices can be used"
        ]
        width = max([8, *(len(group) + 2 for group, _ in self.groups)])
        for (group, split), count in sorted(self.groups.items()):
            lines.append(f"  {group:{width}}{split:13}{count:6} subjects")
        if self.spacings:
            for name, values, unit in (
                ("voxel size", self.spacings, "mm"),
                ("native size", self.shapes, "voxels"),
            ):
                low, high = np.min(values, axis=0)[::-1], np.max(values, axis=0)[::-1]
                span = " x ".join(
                    f"{a:g}" if a == b else f"{a:g}-{b:g}"
                    for a, b in zip(low, high, strict=True)
                )
                lines.append(f"{name} (x, y, z): {span} {unit}")
        total = max(1, sum(self.class_pixels.values()))
        shares = (f"{n} {100 * p / total:.2f}" for n, p in self.class_pixels.items())
        lines.append(f"classes, % of unpadded pixels: {', '.join(shares)}")
        lines += [f"notice: {line}" for line in self.notices]
        lines += [f"problem: {line}" for line in self.problems]
        lines.append(
            f"{len(self.problems)} problems, {len(self.notices)} notices; nothing was"
            " written"
        )
        return "\n".join(lines)


def check_dataset(
    plan: Plan,
    recipe: Recipe,
    *,
    progress: Callable[[Iterable], Iterable] = iter,
) -> CheckReport:
    """Reads everything that a plan names and compares it.

    Args:
        plan: What would be prepared.
        recipe: How.
        progress: Wraps the sequence of subjects, for example with a progress bar.

    Returns:
        The report; without problems the preparation will use every subject.
    """
    report = CheckReport(list(plan.problems), list(plan.notices))
    names = recipe.schema.class_names
    report.class_pixels = dict.fromkeys(names, 0)
    images: dict[str, list[tuple[str, str]]] = {}
    labels: dict[str, list[tuple[str, str, str]]] = {}
    refused = {id(record) for record in plan.refused}
    for record in progress((*plan.records, *plan.refused)):
        expected = record.subject in plan.labelled
        result = prepare_subject(record, recipe, labels_expected=expected)
        report.subjects += 1
        report.notices += result.notices
        if id(record) in refused:
            report.problems += _of_files_that_are_there(record, result.problems)
            continue
        report.problems += result.problems
        _count(report, plan, record, result, names)
        for volume in result.volumes:
            facts = volume.description
            owner = (record.subject, facts["phase"])
            images.setdefault(volume.voxels, []).append(owner)
            labels.setdefault(volume.label_voxels, []).append((*owner, volume.voxels))
    _compare_images(report, images, plan)
    _compare_labels(report, labels)
    _compare_spacings(report)
    _compare_groups(report, plan)
    return report


def _of_files_that_are_there(
    record: SubjectRecord, problems: Iterable[str]
) -> list[str]:
    """The problems, but those of missing files, which the plan has said already."""
    paths = [
        path for pair in record.pairs for path in (pair.image_path, pair.label_path)
    ]
    missing = tuple(f"{path}: " for path in paths if path and not _is_file(path))
    return [line for line in problems if not line.startswith(missing)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # as of a name that is too long
        return False


def _count(
    report: CheckReport,
    plan: Plan,
    record: SubjectRecord,
    result: PreparedSubject,
    names: tuple[str, ...],
) -> None:
    if result.unlabelled:
        report.notices.append(f"{record.subject}: has no labels and is left out")
    if result.volumes:
        key = (record.group, plan.splits[record.subject])
        report.groups[key] = report.groups.get(key, 0) + 1
    for volume in result.volumes:
        report.volumes += 1
        report.slices += len(volume.slices)
        facts = volume.description
        report.spacings.append(tuple(facts["native_spacing"]))
        report.shapes.append(tuple(facts["native_shape"]))
        r0, r1, c0, c1 = volume.valid_box
        counts = np.bincount(
            volume.labels[:, r0:r1, c0:c1].ravel(), minlength=len(names)
        )
        for name, count in zip(names, counts, strict=True):
            report.class_pixels[name] += int(count)
        where = f"{record.pair_of(facts['phase']).label_path}: {facts['phase']}"
        _look_at_slices(report, volume.slices, where)
        if set(HEART_CLASSES) <= set(names):
            left, myocardium, right = (names.index(name) for name in HEART_CLASSES)
            rims = [
                _share_of_rim(volume.labels, inner, myocardium)
                for inner in (left, right)
            ]
            if np.isfinite(rims).all():
                report.enclosed.append((rims[0], rims[1]))


def _look_at_slices(report: CheckReport, slices: tuple[int, ...], where: str) -> None:
    """Heart that stops and begins again is a slice that was forgotten."""
    gaps = sorted(set(range(slices[0], slices[-1] + 1)) - set(slices))
    if gaps:
        report.notices.append(
            f"{where}: slices {', '.join(map(str, gaps))} show no heart between slices"
            " that do; was it forgotten?"
        )


def _share_of_rim(labels: np.ndarray, inner: int, outer: int) -> float:
    """How much of the pixels just around one class are of another, NaN without any."""
    inside = labels == inner
    rim = np.zeros_like(inside)
    for axis in (1, 2):
        for step in (1, -1):
            rim |= np.roll(inside, step, axis)
    rim &= ~inside
    return float(np.mean(labels[rim] == outer)) if rim.any() else float("nan")


def _compare_images(
    report: CheckReport, images: dict[str, list[tuple[str, str]]], plan: Plan
) -> None:
    for owners in images.values():
        if len(owners) < 2:
            continue
        text = ", ".join(f"{subject} {phase}" for subject, phase in owners)
        splits = {plan.splits[subject] for subject, _ in owners}
        report.problems.append(
            f"{text}: the same image"
            + (
                f", in {' and '.join(sorted(splits))}; keep one, a test on what was"
                " trained on is none"
                if len(splits) > 1
                else "; keep one"
            )
        )


def _compare_labels(
    report: CheckReport, labels: dict[str, list[tuple[str, str, str]]]
) -> None:
    """Different images with the same labels: a file was named or copied twice.

    Of one subject it is a problem, for a heart is not the same in two phases. Of two
    subjects it is a notice: they may be simulated, with one anatomy.
    """
    for owners in labels.values():
        if len({voxels for _, _, voxels in owners}) < 2:
            continue
        text = shorten(", ".join(f"{subject} {phase}" for subject, phase, _ in owners))
        line = f"{text}: the same labels, of different images; "
        if len({subject for subject, _, _ in owners}) < len(owners):
            report.problems.append(f"{line}give each image its own")
        else:
            report.notices.append(f"{line}was a label file copied?")


def _compare_spacings(report: CheckReport) -> None:
    if len(report.spacings) < 3:
        return
    spacings = np.asarray(report.spacings)
    ratio = spacings / np.median(spacings, axis=0)
    unusual = ((ratio > UNUSUAL_FACTOR) | (ratio < 1 / UNUSUAL_FACTOR)).any(axis=1)
    if unusual.any():
        found = {" x ".join(f"{v:g}" for v in s[::-1]) for s in spacings[unusual]}
        report.notices.append(
            f"{int(unusual.sum())} of {len(spacings)} volumes have a voxel size unlike"
            f" the others, {', '.join(sorted(found))} mm (median"
            f" {' x '.join(f'{v:g}' for v in np.median(spacings, axis=0)[::-1])}); is"
            " the unit mm?"
        )


def _compare_groups(report: CheckReport, plan: Plan) -> None:
    if not any(split == "train" for _, split in report.groups):
        report.notices.append(
            "no subject is for training; name them in a split file (--split)"
        )
    absent = [name for name, pixels in report.class_pixels.items() if not pixels]
    if absent and report.volumes:
        line = (
            f"no label file shows {', '.join(absent)}; do the ids mean what"
            " --dataset and --schema say?"
        )
        heart = set(HEART_CLASSES) & set(absent)
        (report.problems if heart else report.notices).append(line)
    if report.enclosed:
        left, right = np.mean(report.enclosed, axis=0)
        if right > left:
            report.problems.append(
                f"the myocardium surrounds what is read as RV ({right:.0%} of its rim;"
                f" of LV's {left:.0%}): the ids of LV and RV look swapped. M&Ms has 1"
                " LV, 3 RV and ACDC 1 RV, 3 LV; say what yours mean (--dataset,"
                " --schema)"
            )
