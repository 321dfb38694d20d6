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
    PHASES,
    FilePair,
    SubjectRecord,
    Subjects,
    frame_index,
    read_rows,
)
from cmrjax.files import shorten

COLUMNS = ("External code", "Vendor", "Centre", "ED", "ES")
_MAX_DEPTH = 4
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
    folders = _subject_folders(source)
    if not folders:
        raise ValueError(
            f"--source={source}: holds no subject folder; expected"
            " <code>/<code>_sa.nii.gz, flat or under Training/Labeled and so on."
            " Is the archive unpacked?"
        )
    table_path = _find_table(source) if table is None else Path(table)
    rows = _read_table(table_path)
    records, problems = [], []
    for code, found in sorted(folders.items()):
        try:
            records.append(_record(code, found, rows, table_path, source))
        except ValueError as error:
            problems.append(str(error))
    absent = len(rows.keys() - folders.keys())
    notices = (
        [f"{absent} subjects of {table_path.name} have no folder"] if absent else []
    )
    inputs = {"table": table_path}
    return Subjects(tuple(records), tuple(notices), tuple(problems), inputs)


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


def _subject_folders(source: Path) -> dict[str, list[Path]]:
    """Folders by code: those that hold a file ``<folder name>_sa.nii[.gz]``."""
    found: dict[str, list[Path]] = {}
    for folder, subfolders, files in os.walk(source, followlinks=True):
        path = Path(folder)
        depth = len(path.relative_to(source).parts)
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        if depth >= _MAX_DEPTH:
            subfolders.clear()
        names = {f"{path.name}_sa{ending}" for ending in SUFFIXES}
        names |= {f"{path.name}_sa_gt{ending}" for ending in SUFFIXES}
        if depth > 0 and names & set(files):
            found.setdefault(path.name, []).append(path)
    return found


def _record(
    code: str,
    folders: list[Path],
    rows: Mapping[str, dict[str, str]],
    table_path: Path,
    source: Path,
) -> SubjectRecord:
    """Makes a record, or raises the line that says why not."""
    if len(folders) > 1:
        places = ", ".join(str(folder) for folder in folders)
        raise ValueError(
            f"{code}: found in {len(folders)} folders ({places}); keep one"
        )
    folder = folders[0]
    image = _existing(folder, f"{code}_sa")
    if image is None:
        raise ValueError(f"{folder}: {code}_sa.nii.gz is missing; fetch it again")
    if code not in rows:
        raise ValueError(
            f"{folder}: {code} is not in {table_path}; add a row for it or leave the"
            " subject out"
        )
    row = rows[code]
    for column in ("Vendor", "Centre"):
        if not row[column]:
            raise ValueError(f"{table_path}: {code} has no {column}; fill it in")
    # An empty cell: the subject has no such phase (but it needs one of them).
    phases = tuple(
        (p, _frame(row[p], p, code, table_path))
        for p in PHASES
        if row[p] or not any(row[q] for q in PHASES)
    )
    return SubjectRecord(
        subject=code,
        vendor=row["Vendor"],
        centre=_centre(row["Centre"]),
        pairs=(FilePair(image, _existing(folder, f"{code}_sa_gt"), phases),),
        subset=folder.parent.relative_to(source).as_posix().removeprefix("."),
        official_subset=_subset_of_links(folder, source),
    )


def _subset_of_links(folder: Path, source: Path) -> str:
    """The official subset by any of the paths to a folder; "training" comes last."""
    links = source.resolve() / folder.relative_to(source)
    paths = (Path(os.path.abspath(folder)), links, folder.resolve())
    found = {official_subset(path) for path in paths} - {""}
    return min(found, key=lambda name: (name == "training", name), default="")


def _existing(folder: Path, stem: str) -> Path | None:
    paths = (folder / (stem + ending) for ending in SUFFIXES)
    return next((path for path in paths if path.exists()), None)


def _frame(text: str, phase: str, code: str, table_path: Path) -> int:
    frame = frame_index(text)
    if frame is None:
        raise ValueError(
            f"{table_path}: {code} has {phase} = {shorten(repr(text))}, expected the"
            " index of a frame (0, 1, ...); fill it in or leave the subject out"
        )
    return frame


def _centre(text: str) -> str:
    try:
        return f"{float(text):g}"
    except ValueError:
        return text


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
        code = row["External code"]
        if code in table and any(table[code][c] != row[c] for c in COLUMNS):
            raise ValueError(
                f"{path}: {shorten(code)} has two different rows; keep one"
            )
        table[code] = row
    return table
