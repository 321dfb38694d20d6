"""Reads the directory of the M&Ms challenge (and of simulated subjects, written so).

Accepted are the official nested download (Training/Labeled, Training/Unlabeled,
Validation, Testing), also one folder deeper, and a flat folder of subject folders.
Each subject is a folder ``<code>`` with ``<code>_sa.nii.gz`` (x, y, slice, time) and
``<code>_sa_gt.nii.gz``. A CSV table tells vendor, centre and the frames of ED and ES.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from cmrjax.data.nifti import SUFFIXES
from cmrjax.data.records import (
    LONGEST_NAME,
    PHASES,
    FilePair,
    SubjectRecord,
    Subjects,
    frame_index,
    is_name,
    noted,
    plain_spaces,
    read_rows,
)
from cmrjax.data.subject_folders import MAX_UNREADABLE, existing, only_folder, walk
from cmrjax.files import shorten

COLUMNS = ("External code", "Vendor", "Centre", "ED", "ES")
_GROUP_COLUMNS = ("Vendor", "Centre")
_FIRST_INEXACT = 2**53  # from here on two whole numbers can be one float
_MAX_REFUSED = 5  # lines about files that are no table, in the error
_OFFICIAL_NAMES = {
    "unlabeled": "unlabelled",
    "unlabelled": "unlabelled",
    "validation": "validation",
    "testing": "testing",
}


def find_subjects(source: str | Path, *, table: str | Path | None = None) -> Subjects:
    """Finds the subjects of a source folder.

    Args:
        source: Folder with the subject folders, up to four levels below.
        table: The CSV; by default it is searched in ``source``, one level below it
            and one level above.

    Raises:
        ValueError: If the folder or the table is missing or ambiguous, the table
            lacks a column, or no subject folder is found.
    """
    source = Path(source)
    if not source.is_dir():
        raise ValueError(f"--source={source}: no such folder")
    problems: list[str] = []
    folders = _subject_folders(source, problems)
    if not folders:
        raise ValueError(
            f"--source={source}: holds no subject folder; expected"
            " <code>/<code>_sa.nii.gz, flat or under Training/Labeled and so on."
            " Is the archive unpacked?"
            + "".join(f"; {line}" for line in problems[:MAX_UNREADABLE])
        )
    table_path = _find_table(source) if table is None else Path(table)
    rows = _read_table(table_path)
    records, refused = [], []
    for code, found in sorted(folders.items()):
        record, lines = _record(code, found, rows, table_path, source)
        (refused if lines else records).append(record)
        problems += lines
    absent = len(rows.keys() - folders.keys())
    notices = (
        [f"{absent} subjects of {table_path.name} have no folder"] if absent else []
    )
    return Subjects(
        tuple(records),
        tuple(notices),
        tuple(problems),
        {"table": table_path},
        tuple(refused),
    )


def official_subset(folder: str | Path) -> str:
    """Tells from a path which part of the official download a folder belongs to.

    The deepest folder with an official name decides; "Labeled" counts below
    "Training" only.

    Returns:
        "training", "unlabelled", "validation", "testing", or "" if unknown.
    """
    parts = [part.lower() for part in Path(folder).parts]
    for index, part in reversed(list(enumerate(parts))):
        if part in ("labeled", "labelled"):
            return "training" if "training" in parts[:index] else ""
        if part in _OFFICIAL_NAMES:
            return _OFFICIAL_NAMES[part]
    return ""


def _subject_folders(source: Path, problems: list[str]) -> dict[str, list[Path]]:
    """Folders by code: those that hold a file ``<folder name>_sa.nii[.gz]``."""
    found: dict[str, list[Path]] = {}
    for folder, _, files in walk(source, problems):
        names = {
            f"{folder.name}_sa{mark}{suffix}"
            for mark in ("", "_gt")
            for suffix in SUFFIXES
        }
        if names & set(files):
            found.setdefault(folder.name, []).append(folder)
    return found


def _record(
    code: str,
    folders: list[Path],
    rows: Mapping[str, dict[str, str]],
    table_path: Path,
    source: Path,
) -> tuple[SubjectRecord, list[str]]:
    """Makes a record, and says all that is wrong with it."""
    problems: list[str] = []
    folder = only_folder(code, folders, problems)
    image = existing(folder, f"{code}_sa")
    if image is None:
        problems.append(f"{folder}: {code}_sa.nii.gz is missing; fetch it again")
        image = folder / f"{code}_sa{SUFFIXES[0]}"
    row = rows.get(code)
    if row is None:
        problems.append(
            f"{folder}: {code} is not in {table_path}; add a row for it or leave the"
            " subject out"
        )
        row = dict.fromkeys(COLUMNS, "")
    else:
        problems += _name_problems(code, row, table_path)
    phases: list[tuple[str, int]] = []
    for phase in PHASES if code in rows else ():
        # An empty cell: the subject has no such phase (but it needs one of them).
        if row[phase] or not any(row[p] for p in PHASES):
            with noted(problems):
                phases.append((phase, _frame(row[phase], phase, code, table_path)))
    label = existing(folder, f"{code}_sa_gt")
    record = SubjectRecord(
        subject=code,
        vendor=row["Vendor"],
        centre=_centre(row["Centre"]),
        pairs=(FilePair(image, label, tuple(phases)),),
        subset=folder.parent.relative_to(source).as_posix().removeprefix("."),
        official_subset=_subset_of_links(folder, source),
    )
    return record, problems


def _name_problems(code: str, row: dict[str, str], table_path: Path) -> list[str]:
    """Says which names of a row cannot stand in a manifest."""
    problems = [
        f"{table_path}: {code} has no {column}; fill it in"
        for column in _GROUP_COLUMNS
        if not row[column]
    ]
    return problems + [
        f"{table_path}: {shorten(code)} has {column} {shorten(repr(row[column]))}; give"
        f" a name of at most {LONGEST_NAME} characters that can all be printed"
        for column in ("External code", *_GROUP_COLUMNS)
        if not is_name(row[column])
    ]


def _subset_of_links(folder: Path, source: Path) -> str:
    """The official subset by any of the paths to a folder; "training" comes last."""
    links = source.resolve() / folder.relative_to(source)
    paths = (Path(os.path.abspath(folder)), links, folder.resolve())
    found = {official_subset(path) for path in paths} - {""}
    return min(found, key=lambda name: (name == "training", name), default="")


def _frame(text: str, phase: str, code: str, table_path: Path) -> int:
    frame = frame_index(text)
    if frame is None:
        raise ValueError(
            f"{table_path}: {code} has {phase} = {shorten(repr(text))}, expected the"
            " index of a frame (0, 1, ...); fill it in or leave the subject out"
        )
    return frame


def _centre(text: str) -> str:
    """The name of a centre: "2" also where a spreadsheet or pandas wrote "2.0"."""
    try:
        value = float(text)
    except ValueError:
        return text
    exact = abs(value) < _FIRST_INEXACT and value.is_integer()
    return str(int(value)) if exact else text


def _find_table(source: Path) -> Path:
    """Looks in the folder, then one level below, then one level above."""
    levels = (
        sorted(source.glob("*.csv")),
        sorted(source.glob("*/*.csv")),
        sorted(source.resolve().parent.glob("*.csv")),
    )
    refused: list[str] = []
    for paths in levels:
        usable = [p for p in paths if _is_table(p, refused)]
        if len({p.read_bytes() for p in usable}) > 1:
            raise ValueError(
                f"several tables fit ({', '.join(map(str, usable))}); say which one"
                " with --table=FILE"
            )
        if usable:
            return usable[0]
    raise ValueError(
        f"no table found in {source}, one level below or above: expected a CSV with"
        f" the columns {', '.join(COLUMNS)}; name it with --table=FILE"
        + "".join(f"; {line}" for line in refused[:_MAX_REFUSED])
    )


def _is_table(path: Path, refused: list[str]) -> bool:
    """Whether a file is a table of subjects; if not, says why in ``refused``."""
    try:
        _table_rows(path)
    except ValueError as error:
        refused.append(str(error))
        return False
    return True


def _table_rows(path: Path) -> list[list[str]]:
    """Rows of the table, header first, or ValueError if it lacks a column."""
    rows = [cells for _, cells in read_rows(path)]
    missing = [column for column in COLUMNS if column not in rows[0]]
    if missing:
        raise ValueError(f"{path}: the table has no column {', '.join(missing)}")
    return rows


def _read_table(path: Path) -> dict[str, dict[str, str]]:
    """Rows by code."""
    if not path.is_file():
        raise ValueError(f"--table={path}: no such file")
    header, *body = _table_rows(path)
    table: dict[str, dict[str, str]] = {}
    for cells in body:
        row = dict.fromkeys(header, "") | dict(zip(header, cells, strict=False))
        row |= {column: plain_spaces(row[column]) for column in _GROUP_COLUMNS}
        code = row["External code"]
        if code in table and any(table[code][c] != row[c] for c in COLUMNS):
            raise ValueError(
                f"{path}: {shorten(code)} has two different rows; keep one"
            )
        table[code] = row
    return table
