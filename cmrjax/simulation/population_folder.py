"""The folder of a population: subjects and tables as in the M&Ms challenge."""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cmrjax.data.nifti import write_volume
from cmrjax.data.split import read_split
from cmrjax.files import (
    atomic_directory,
    code_version,
    provenance,
    read_json,
    shorten,
    write_json,
    write_text,
)
from cmrjax.labels import MULTI_TISSUE

RECORD_FILE = "simulation.json"
_SPLIT_FILE, _TABLE_FILE = "split.csv", "dataset_information.csv"
_OWN_FILES = (RECORD_FILE, _SPLIT_FILE, _TABLE_FILE)
# 60 % train, 20 % development, 20 % test. By index, a longer population keeps the
# split of the shorter one, and three subjects already hold one of each.
_SPLIT_CYCLE = ("train", "development", "test", "train", "train")


@dataclass(frozen=True)
class TableRow:
    """A subject's row in the tables.

    Attributes:
        code: The subject's code.
        vendor_name: For example ``"Simulated"``.
        vendor: The vendor's letter.
        centre: The centre's number.
        frames: Index of end-diastole and end-systole in the files, as text; empty
            where the subject has no such phase.
    """

    code: str
    vendor_name: str
    vendor: str
    centre: str
    frames: tuple[str, str]


def claim_folder(
    out: Path,
    subjects: int | None,
    settings: dict[str, Any],
    *,
    what: str = "population",
) -> None:
    """Writes into the folder what it is going to hold, unless that is there already.

    The record of the first run stays; a longer population changes its number of
    subjects only. Where no subject was written yet, other settings replace it.

    Args:
        out: The folder; made if need be.
        subjects: Number of subjects; None where it may rise and fall.
        settings: All that the subjects depend on, as plain JSON types.
        what: What the folder holds, for the error.

    Raises:
        ValueError: If the folder holds something else, or was made with other settings
            or for more subjects.
    """
    path = out / RECORD_FILE
    if not path.exists():
        _check_empty(out)
    else:
        there = read_json(path)
        changed = _changes(there, subjects, settings)
        if not changed:
            if there.get("subjects") != subjects:
                write_json(path, {**there, "subjects": subjects})
            return
        if any(found.name not in _OWN_FILES for found in _visible(out)):
            raise ValueError(
                f"{out} holds a {what} with other settings ({'; '.join(changed)}):"
                " choose another folder with out, or delete this one"
            )
    record = {"subjects": subjects, "settings": settings, "schema": MULTI_TISSUE.name}
    write_json(path, {**record, **provenance(config=settings)})


def _check_empty(out: Path) -> None:
    """Refuse a folder with files of others: their names could be the same as ours."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: choose a new or empty folder with out")
    if out.exists() and (found := _visible(out)):
        raise ValueError(
            f"{out} holds {found[0].name} and no {RECORD_FILE}, so it was made by"
            " something else, and files of it could be overwritten: choose a new or"
            " empty folder with out"
        )


def _visible(folder: Path) -> list[Path]:
    """Return what is in a folder, but for hidden names, sorted."""
    return sorted(p for p in folder.iterdir() if not p.name.startswith("."))


def _changes(there: Any, subjects: int | None, settings: dict[str, Any]) -> list[str]:
    """Return what the record of a folder holds that is not asked for."""
    if not isinstance(there, dict):
        return [f"{RECORD_FILE} is not one of ours"]
    old, before = there.get("settings") or {}, there.get("subjects") or 0
    if not isinstance(old, dict) or type(before) is not int:
        return [f"{RECORD_FILE} is damaged"]
    changed = [
        f"{key} {shorten(old.get(key))} there, {shorten(value)} asked"
        for key, value in settings.items()
        if old.get(key) != value
    ]
    if subjects is not None and before > subjects:
        changed.append(f"subjects {before} there, {subjects} asked")
    return changed


def write_subject(
    out: Path,
    code: str,
    images: np.ndarray,
    labels: np.ndarray,
    affine: np.ndarray,
    *,
    description: dict[str, Any],
) -> None:
    """Writes one subject as ``out/code/code_sa.nii.gz``, ``_sa_gt.nii.gz``, ``.json``.

    The folder appears at once and complete.

    Args:
        out: Folder of the population.
        code: The subject's code.
        images: [t, d, h, w], a type that `write_volume` takes; end-diastole first.
        labels: [t, d, h, w] uint8, ids of ``MULTI_TISSUE``.
        affine: [4, 4] float64, from (column, row, slice) indices to mm.
        description: What is known of the subject, kept in its JSON file; its
            ``"settings"`` tell whether it must be made anew.
    """
    with atomic_directory(out / code, overwrite=True) as folder:
        for suffix, array in (("sa", images), ("sa_gt", labels)):
            write_volume(folder / f"{code}_{suffix}.nii.gz", array, affine)
        known = {"code": code, "code_version": code_version()}
        write_json(folder / f"{code}.json", {**known, **description})


def is_complete(out: Path, code: str, settings: dict[str, Any]) -> bool:
    """Returns whether a subject was written, and with these settings."""
    folder = out / code
    names = (f"{code}_sa.nii.gz", f"{code}_sa_gt.nii.gz", f"{code}.json")
    if not all((folder / name).is_file() for name in names):
        return False
    return read_json(folder / f"{code}.json").get("settings") == settings


def split_by_index(codes: Sequence[str]) -> dict[str, str]:
    """Gives subjects that are numbered their splits; a longer list keeps them.

    Returns:
        "train" (60 %), "development" or "test" (20 % each) by code.
    """
    return {
        code: _SPLIT_CYCLE[index % len(_SPLIT_CYCLE)]
        for index, code in enumerate(codes)
    }


def split_by_code(out: Path, codes: Iterable[str]) -> dict[str, str]:
    """Gives subjects the splits that the folder's split.csv says, others a new one.

    A new subject's split follows from a hash of its code, so that subjects that come
    or go never move another one.

    Args:
        out: Folder of the population.
        codes: The subjects.

    Returns:
        "train", "development" or "test" by code, about 60, 20 and 20 %; subjects of
        split.csv that are not among ``codes`` stay in it.

    Raises:
        ValueError: If there is a split.csv that cannot be used.
    """
    path = out / _SPLIT_FILE
    splits = read_split(path) if path.exists() else {}
    for code in codes:
        digest = hashlib.sha256(code.encode("utf-8")).digest()
        index = int.from_bytes(digest[:8], "big") % len(_SPLIT_CYCLE)
        splits.setdefault(code, _SPLIT_CYCLE[index])
    return dict(sorted(splits.items()))


def write_tables(
    out: Path, rows: Sequence[TableRow], splits: Mapping[str, str]
) -> None:
    """Writes dataset_information.csv and split.csv.

    Args:
        out: Folder of the population.
        rows: One per subject.
        splits: Split by code; subjects without a row are written too.
    """
    table = [("External code", "VendorName", "Vendor", "Centre", "ED", "ES")]
    for row in rows:
        names = (row.code, row.vendor_name, row.vendor, row.centre)
        table.append((*names, *row.frames))
    places = {row.code: (row.vendor, row.centre) for row in rows}
    split = [("External code", "Vendor", "Centre", "split")]
    for code, part in splits.items():
        split.append((code, *places.get(code, ("", "")), part))
    _write_csv(out / _TABLE_FILE, table)
    _write_csv(out / _SPLIT_FILE, split)


def _write_csv(path: Path, rows: Sequence[tuple[str, ...]]) -> None:
    """Write a table; cells with separators are quoted."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())
