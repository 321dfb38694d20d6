"""Turns a source folder into prepared arrays with a manifest.

First everything that can be refused is refused (``plan_preparation``), then the
subjects are prepared one by one into a temporary folder that is renamed at the end
(``run_preparation``). Memory holds one subject at a time.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cmrjax.data.datasets import get_dataset
from cmrjax.data.growing_array import GrowingArray
from cmrjax.data.manifest import ARRAYS, FORMAT, MANIFEST_FILE, VERSION, faults
from cmrjax.data.prepared_place import check_prepared_out, is_prepared
from cmrjax.data.records import SubjectRecord
from cmrjax.data.split import (
    committed_split,
    find_split,
    read_split,
    resolve_splits,
)
from cmrjax.data.subject import (
    PreparedSubject,
    PreparedVolume,
    Recipe,
    prepare_subject,
)
from cmrjax.data.summary import Summary
from cmrjax.files import (
    atomic_directory,
    provenance,
    read_json,
    sha256_file,
    shorten,
    write_json,
)
from cmrjax.output_folder import check_apart


@dataclass(frozen=True)
class Plan:
    """What is to be prepared; everything in it was checked.

    Attributes:
        dataset: Name in ``datasets.DATASETS``.
        source: Folder with the subjects.
        out: Folder to make; None: nothing is to be written.
        overwrite: Whether ``out`` may be replaced.
        records: The usable subjects.
        splits: Split by subject.
        labelled: Subjects that are to have labels: those that the split file names and
            those below Training/Labeled.
        notices: Lines that were worth saying.
        problems: Lines about subjects that cannot be used.
        inputs: Table and split file, by name.
        refused: Subjects that are not to be prepared, see ``records.Subjects``.
    """

    dataset: str
    source: Path
    out: Path | None
    overwrite: bool
    records: tuple[SubjectRecord, ...]
    splits: dict[str, str]
    labelled: frozenset[str]
    notices: tuple[str, ...]
    problems: tuple[str, ...]
    inputs: dict[str, Path]
    refused: tuple[SubjectRecord, ...] = ()


class Prepare(Protocol):
    """Prepares one subject; see ``subject.prepare_subject``."""

    def __call__(
        self, record: SubjectRecord, recipe: Recipe, *, labels_expected: bool
    ) -> PreparedSubject:
        """Returns the volumes, and a line for each thing that could not be used."""
        ...


class NothingPreparedError(ValueError):
    """No subject could be used; nothing was written."""


class NotOpenableError(ValueError):
    """What was prepared could not be opened again; nothing was written."""


def plan_preparation(
    dataset: str,
    source: str | Path,
    out: str | Path | None,
    *,
    table: str | Path | None = None,
    split: str | Path | None = None,
    overwrite: bool = False,
) -> Plan:
    """Finds the subjects and their splits and checks that ``out`` may be written.

    Args:
        dataset: Name in ``datasets.DATASETS``.
        source: Folder with the subjects (see ``datasets.DATASETS``).
        out: Folder to make; None: nothing is to be written, as in a check.
        table: CSV of the subjects; by default it is searched.
        split: CSV of the split; by default ``source/split.csv`` or the committed one.
            Subjects that it does not name are held out unless they are certain to be
            no test subjects, see ``split.resolve_splits``.
        overwrite: Whether an existing prepared folder may be replaced.

    Raises:
        ValueError: If the source, the table, the split or ``out`` is not usable.
    """
    kind = get_dataset(dataset)
    source, out = Path(source), None if out is None else Path(out)
    subjects = kind.find(source, table=table)
    records, mixed, group_problems = _distinct_groups(subjects.records)
    split_path = find_split(dataset, source) if split is None else Path(split)
    inputs = dict(subjects.inputs)
    if split_path is not None:
        inputs["split"] = split_path
    if out is not None:
        check_apart(out, [source], inside=kind.own, option="--out")
        check_apart(out, [*inputs.values(), *_files(subjects.records)], option="--out")
        check_prepared_out(out, overwrite)
    splits, labelled, notices = _assign(dataset, records, split_path)
    return Plan(
        dataset=dataset,
        source=source,
        out=out,
        overwrite=overwrite,
        records=records,
        splits=splits,
        labelled=labelled,
        notices=(*subjects.notices, *notices),
        problems=(*subjects.problems, *group_problems),
        inputs=inputs,
        refused=(*subjects.refused, *mixed),
    )


def run_preparation(
    plan: Plan,
    recipe: Recipe,
    *,
    prepare: Prepare = prepare_subject,
    complete: Callable[[Path, Summary], None] | None = None,
    settings: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Summary:
    """Prepares all subjects of a plan.

    Args:
        plan: What to prepare.
        recipe: How.
        prepare: Prepares one subject; by default with the labels of its files.
        complete: Puts more files into the new folder before it gets its name.
        settings: What else decides the result, for the manifest's provenance.
        say: Takes each notice and problem as it comes up.
        progress: Wraps the sequence of subjects, for example with a progress bar.

    Returns:
        What was prepared; ``problems`` is empty if everything went well.

    Raises:
        ValueError: If the plan names no folder.
        NothingPreparedError: If no slice could be prepared; nothing is written.
        NotOpenableError: If the folder would be one that cannot be opened; nothing is
            written.
        OSError: If the output cannot be written.
    """
    if plan.out is None:
        raise ValueError("the plan names no folder to make; give plan_preparation one")
    names = recipe.schema.class_names
    summary = Summary(plan.out, names, np.zeros(len(names), np.int64))
    summary.problems += plan.problems
    unknown = sorted(recipe.nominal_except - {r.subject for r in plan.records})
    if unknown:
        say(f"--nominal-spacing-except: no such subject: {', '.join(unknown)}")
    for line in (*plan.notices, *(f"problem: {p}" for p in plan.problems)):
        say(line)
    replaced: Any = {"overwrite": plan.overwrite, "ours": is_prepared}
    with atomic_directory(plan.out, **replaced) as folder:
        with ExitStack() as stack:
            writers = {
                name: stack.enter_context(
                    GrowingArray(folder / f"{name}.npy", dtype, recipe.image_size)
                )
                for name, dtype in ARRAYS.items()
            }
            for record in progress(plan.records):
                expected = record.subject in plan.labelled
                result = prepare(record, recipe, labels_expected=expected)
                _add_subject(plan, record, result, writers, summary, say)
        if not summary.slices:
            raise NothingPreparedError(
                f"{plan.source}: no usable slice in {len(plan.records)} subjects"
                f" ({len(summary.unlabelled)} without labels,"
                f" {len(summary.problems)} problems); nothing was written"
            )
        manifest = _manifest(plan, recipe, summary, folder, settings or {})
        write_json(folder / MANIFEST_FILE, manifest)
        _check_written(folder, plan.out)
        if complete is not None:
            complete(folder, summary)
    return summary


def _check_written(folder: Path, out: Path) -> None:
    """Refuses a manifest that its readers would, before the folder has its name."""
    if found := faults(read_json(folder / MANIFEST_FILE)):
        raise NotOpenableError(
            f"{out}: could not be opened again, {', '.join(found)} has a value that a"
            " manifest cannot hold; correct it in the table; nothing was written"
        )


def _distinct_groups(
    records: Sequence[SubjectRecord],
) -> tuple[tuple[SubjectRecord, ...], tuple[SubjectRecord, ...], list[str]]:
    """Sets subjects aside whose group has the name of another one, with a line each."""
    origins: dict[str, dict[tuple[str, str], list[str]]] = {}
    for record in records:
        members = origins.setdefault(record.group, {})
        members.setdefault((record.vendor, record.centre), []).append(record.subject)
    problems = []
    for group, members in origins.items():
        if len(members) > 1:
            named = " and ".join(
                f"vendor {vendor!r} centre {centre!r} ({len(codes)} subjects, the first"
                f" {codes[0]})"
                for (vendor, centre), codes in members.items()
            )
            problems.append(
                f"{shorten(named, 500)} would both be group {shorten(group)}; give one"
                " of them another vendor or centre in the table"
            )
    kept = tuple(r for r in records if len(origins[r.group]) == 1)
    mixed = tuple(r for r in records if len(origins[r.group]) > 1)
    return kept, mixed, problems


def _files(records: Iterable[SubjectRecord]) -> Iterable[Path]:
    """What the subjects are read from."""
    for pair in (pair for record in records for pair in record.pairs):
        yield pair.image_path
        if pair.label_path is not None:
            yield pair.label_path


def _assign(
    dataset: str, records: Sequence[SubjectRecord], split_path: Path | None
) -> tuple[dict[str, str], frozenset[str], list[str]]:
    """Splits, subjects that are to have labels, and notices; see ``Plan``."""
    table = {} if split_path is None else read_split(split_path)
    committed = committed_split(dataset)
    own = split_path is not None and not (committed and committed.samefile(split_path))
    splits, notices = resolve_splits(
        records,
        table,
        dataset=dataset,
        place=split_path.name if split_path else "any split file",
        own=own,
    )
    labelled = frozenset(
        record.subject
        for record in records
        if record.official_subset == "training" or record.subject in table
    )
    return splits, labelled, notices


def _add_subject(
    plan: Plan,
    record: SubjectRecord,
    result: PreparedSubject,
    writers: dict[str, GrowingArray],
    summary: Summary,
    say: Callable[[str], None],
) -> None:
    """Appends what a subject gave."""
    for line in (*result.notices, *(f"problem: {p}" for p in result.problems)):
        say(line)
    summary.problems += result.problems
    if result.unlabelled:
        summary.unlabelled.append(record.subject)
    for volume in result.volumes:
        writers["images"].append(volume.images)
        writers["labels"].append(volume.labels)
        r0, r1, c0, c1 = volume.valid_box
        valid = volume.labels[:, r0:r1, c0:c1]
        summary.class_pixels += np.bincount(
            valid.ravel(), minlength=len(summary.class_pixels)
        )
        summary.slices += _slice_entries(plan, record, volume, len(summary.volumes))
        summary.volumes.append(_volume_entry(plan, record, volume))


def _slice_entries(
    plan: Plan, record: SubjectRecord, volume: PreparedVolume, index: int
) -> list[dict[str, Any]]:
    shared = {
        "volume": index,
        "subject": record.subject,
        "phase": volume.description["phase"],
        "vendor": record.vendor,
        "centre": record.centre,
        "split": plan.splits[record.subject],
        "valid_box": list(volume.valid_box),
    }
    return [{**shared, "slice": k} for k in volume.slices]


def _volume_entry(
    plan: Plan, record: SubjectRecord, volume: PreparedVolume
) -> dict[str, Any]:
    """The volume's facts, with paths relative to the source folder."""
    pair = record.pair_of(volume.description["phase"])

    def relative(path: Path) -> str:
        inside = path.is_relative_to(plan.source)
        return (path.relative_to(plan.source) if inside else path).as_posix()

    return {
        **volume.description,
        "image_file": relative(pair.image_path),
        "label_file": pair.label_path and relative(pair.label_path),
        "num_slices": len(volume.slices),
    }


def _manifest(
    plan: Plan,
    recipe: Recipe,
    summary: Summary,
    folder: Path,
    more_settings: Mapping[str, Any],
) -> dict[str, Any]:
    count = len(summary.slices)
    arrays = {
        name: {
            "file": f"{name}.npy",
            "dtype": dtype,
            "shape": [count, *recipe.image_size],
            "sha256": sha256_file(folder / f"{name}.npy"),
        }
        for name, dtype in ARRAYS.items()
    }
    settings = asdict(recipe) | {
        "schema": recipe.schema.to_dict(),
        "transform": recipe.transform.to_dict(),
        "nominal_except": sorted(recipe.nominal_except),
        **more_settings,
    }
    return {
        "format": FORMAT,
        "version": VERSION,
        "dataset": plan.dataset,
        "source": str(plan.source),
        "schema": recipe.schema.to_dict(),
        "transform": recipe.transform.to_dict(),
        "image_size": list(recipe.image_size),
        "spacing": list(recipe.spacing),
        "nominal_spacing": any(v["nominal_spacing"] for v in summary.volumes),
        "arrays": arrays,
        "class_pixels": summary.class_pixels.tolist(),
        "unlabelled": summary.unlabelled,
        "problems": summary.problems,
        "provenance": provenance(inputs=plan.inputs, config=settings),
        "volumes": summary.volumes,
        "slices": summary.slices,
    }
