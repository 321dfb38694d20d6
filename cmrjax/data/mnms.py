"""Reads the directory of the M&Ms challenge (and of simulated subjects, written so).

Accepted are the official nested download (Training/Labeled, Training/Unlabeled,
Validation, Testing), also one folder deeper, and a flat folder of subject folders.
Each subject is a folder ``<code>`` with ``<code>_sa.nii.gz`` (x, y, slice, time) and
``<code>_sa_gt.nii.gz``. A CSV table tells vendor, centre and the frames of ED and ES.
"""

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cmrjax.data.records import PHASES, SubjectRecord

COLUMNS = ("External code", "Vendor", "Centre", "ED", "ES")
_MAX_DEPTH = 4
_SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Subjects:
    """What a source folder holds.

    Attributes:
        records: Usable subjects, sorted by code.
        notices: Lines about what is normal but worth knowing.
        problems: One line per subject that cannot be used: file, value, fix.
        table_path: The CSV that was read.
    """

    records: tuple[SubjectRecord, ...]
    notices: tuple[str, ...]
    problems: tuple[str, ...]
    table_path: Path


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
    return Subjects(tuple(records), tuple(notices), tuple(problems), table_path)


def is_unlabelled(record: SubjectRecord) -> bool:
    """Whether the subject lies in the folder of subjects without labels."""
    parts = Path(record.subset).parts
    return any(part.lower() in ("unlabeled", "unlabelled") for part in parts)


def _subject_folders(source: Path) -> dict[str, list[Path]]:
    """Folders by code: those that hold a file ``<folder name>_sa.nii[.gz]``."""
    found: dict[str, list[Path]] = {}
    for folder, subfolders, files in os.walk(source, followlinks=True):
        path = Path(folder)
        depth = len(path.relative_to(source).parts)
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        if depth >= _MAX_DEPTH:
            subfolders.clear()
        names = {f"{path.name}_sa{ending}" for ending in _SUFFIXES}
        names |= {f"{path.name}_sa_gt{ending}" for ending in _SUFFIXES}
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
    return SubjectRecord(
        subject=code,
        vendor=row["Vendor"],
        centre=_centre(row["Centre"]),
        image_path=image,
        label_path=_existing(folder, f"{code}_sa_gt"),
        phases=tuple((p, _frame(row[p], p, code, table_path)) for p in PHASES),
        subset=folder.parent.relative_to(source).as_posix().removeprefix("."),
    )


def _existing(folder: Path, stem: str) -> Path | None:
    paths = (folder / (stem + ending) for ending in _SUFFIXES)
    return next((path for path in paths if path.exists()), None)


def _frame(text: str, phase: str, code: str, table_path: Path) -> int:
    try:
        frame = float(text)
    except ValueError:
        frame = -1.0
    if frame < 0 or not frame.is_integer():
        raise ValueError(
            f"{table_path}: {code} has {phase} = {text!r}, expected the index of a"
            " frame (0, 1, ...); fill it in or leave the subject out"
        )
    return int(frame)


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
    for paths in levels:
        usable = [p for p in paths if not _missing_columns(p)]
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
    )


def _missing_columns(path: Path) -> list[str]:
    try:
        header = _rows(path)[0]
    except (OSError, UnicodeDecodeError, csv.Error, IndexError):
        return list(COLUMNS)
    return [column for column in COLUMNS if column not in header]


def _rows(path: Path) -> list[list[str]]:
    text = path.read_text(encoding="utf-8-sig")
    first = text.partition("\n")[0]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    return [[cell.strip() for cell in row] for row in reader if any(row)]


def _read_table(path: Path) -> dict[str, dict[str, str]]:
    """Rows by code."""
    if not path.is_file():
        raise ValueError(f"--table={path}: no such file")
    missing = _missing_columns(path)
    if missing:
        raise ValueError(f"{path}: the table has no column {', '.join(missing)}")
    header, *body = _rows(path)
    table: dict[str, dict[str, str]] = {}
    for cells in body:
        row = dict.fromkeys(header, "") | dict(zip(header, cells, strict=False))
        code = row["External code"]
        if code in table and any(table[code][c] != row[c] for c in COLUMNS):
            raise ValueError(f"{path}: {code} has two different rows; keep one")
        table[code] = row
    return table
