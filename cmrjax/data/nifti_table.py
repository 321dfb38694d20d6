"""Reads one's own data: NIfTI files that a CSV table names.

The table has a row for each phase of each subject, with the columns image, label,
subject, phase, vendor and centre:

    image,label,subject,phase,vendor,centre
    p01/ed.nii.gz,p01/ed_gt.nii.gz,p01,ED,Siemens,Leeds
    p01/es.nii.gz,p01/es_gt.nii.gz,p01,ES,Siemens,Leeds

Two further columns are for files that need them:

- frame: of the image, from 0, where it holds several time frames. The label file has
  the same frames, or one: then that belongs to the frame of its row.
- spacing: voxel size in mm where the header has lost it, used in place of the header's
  for image and label: ``1.25`` in plane, or ``1.25x1.25x8``, slices last.

Vendor and centre are free text of up to 200 characters; white space of any kind in them
counts as one plain space. Paths start from the folder of the table, or from --source.
An empty label says that the image has none: only ``label_real --expert=none`` can use
such a row.
"""

import contextlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cmrjax.data.records import (
    LONGEST_NAME,
    FilePair,
    SubjectRecord,
    Subjects,
    frame_index,
    is_name,
    plain_spaces,
    read_rows,
)
from cmrjax.files import shorten

COLUMNS = ("image", "label", "subject", "phase", "vendor", "centre")
OPTIONAL = ("frame", "spacing")
LARGEST_VOXEL = 100.0
"""Larger voxel sizes, mm, are no voxel sizes."""
_PHASE = re.compile(r"[A-Za-z0-9_-]{1,32}")
_CODE = re.compile(r"(?!\.)[^/\\]{1,128}")
_Spacing = tuple[float | None, float, float]


@dataclass(frozen=True)
class _Row:
    """A row of the table; ``where`` begins each line about it."""

    place: str
    where: str
    cells: dict[str, str]


@dataclass
class _Found:
    """What is known of a subject so far.

    Attributes:
        problems: Lines about its rows.
        places: Where each phase stands.
        spacings: Voxel size of each image, and where it stands.
        pairs: The phases of each pair of files: name, frame, place.
    """

    problems: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    spacings: dict[Path, tuple[_Spacing | None, str]] = field(default_factory=dict)
    pairs: dict[
        tuple[Path, Path | None, _Spacing | None], list[tuple[str, int | None, str]]
    ] = field(default_factory=dict)


def find_subjects(
    source: str | Path | None, *, table: str | Path | None = None
) -> Subjects:
    """Reads the table and looks for the files.

    Args:
        source: Folder from which the paths start; None: that of the table.
        table: The CSV table.

    Raises:
        ValueError: If the folder or the table is missing, the table lacks a column, or
            it has no row.
    """
    if table is None:
        raise ValueError(
            f"--table is missing: a CSV with the columns {', '.join(COLUMNS)}"
        )
    table = Path(table)
    if not table.is_file():
        raise ValueError(f"--table={table}: no such file")
    root = table.parent if source is None else Path(source)
    if not root.is_dir():
        raise ValueError(f"--source={root}: no such folder")
    (_, header), *body = read_rows(table)
    header = [name.lower() for name in header]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise ValueError(
            f"{table}: has no column {', '.join(missing)}; expected"
            f" {', '.join(COLUMNS)} and, where needed, {' and '.join(OPTIONAL)}"
        )
    if repeated := sorted(n for n, count in Counter(header).items() if count > 1):
        raise ValueError(
            f"{table}: has two columns {shorten(', '.join(repeated))}; keep one"
        )
    unknown = [name for name in header if name not in (*COLUMNS, *OPTIONAL) and name]
    notices = [f"{table}: {shorten(', '.join(unknown))} is not read"] if unknown else []
    if not body:
        raise ValueError(
            f"{table}: holds no row; expected a row for each phase of each subject"
        )
    return _subjects(header, body, table, root, tuple(notices))


def _subjects(
    header: list[str],
    body: list[tuple[int, list[str]]],
    table: Path,
    root: Path,
    notices: tuple[str, ...],
) -> Subjects:
    """Puts the rows of each subject together."""
    rows: dict[str, list[_Row]] = {}
    problems: list[str] = []
    spoilt: set[str] = set()
    for line, cells in body:
        place = f"{table}, line {line}"
        row = dict.fromkeys((*COLUMNS, *OPTIONAL), "")
        row |= dict(zip(header, cells, strict=False))
        row |= {column: plain_spaces(row[column]) for column in ("vendor", "centre")}
        code = row["subject"]
        if any(cells[len(header) :]):
            problems.append(
                f"{place}: has {len(cells)} cells, expected {len(header)} as in the"
                ' first line; put a cell that holds a separator into quotes ("a,b")'
            )
            spoilt.add(code)
        elif not (_CODE.fullmatch(code) and is_name(code)):
            problems.append(
                f"{place}: subject is {shorten(repr(code))}; give a code without"
                " slashes and without what cannot be printed (as no-break spaces and"
                " line breaks), of at most 128 characters, not beginning with a dot"
            )
        else:
            rows.setdefault(code, []).append(_Row(place, f"{place}: {code}", row))
    found: list[SubjectRecord] = []
    for code, own in sorted(rows.items()):
        record, lines = _record(code, own, root)
        found.append(record)
        problems += lines
        if lines:
            spoilt.add(code)
    spoilt |= _refuse_shared_labels(found, problems)
    refused = [record for record in found if record.subject in spoilt]
    return Subjects(
        tuple(record for record in found if record.subject not in spoilt),
        notices,
        tuple(problems),
        {"table": table.absolute()},
        tuple(refused),
    )


def _record(code: str, rows: list[_Row], root: Path) -> tuple[SubjectRecord, list[str]]:
    """Makes a record, and says all that is wrong with its rows."""
    found = _Found()
    one: dict[str, str] = {}
    for column in ("vendor", "centre"):
        values = [(row.cells[column], row) for row in rows if row.cells[column]]
        one[column] = values[0][0] if values else ""
        for row in rows:
            text = row.cells[column]
            if not text:
                found.problems.append(f"{row.where} has no {column}; fill it in")
            elif not is_name(text):
                found.problems.append(
                    f"{row.where} has {column} {shorten(repr(text))}; give a name of at"
                    f" most {LONGEST_NAME} characters that can all be printed"
                )
            elif text != one[column]:
                found.problems.append(
                    f"{row.where} has {column} {shorten(repr(text))},"
                    f" {_line(values[0][1].place)} says {shorten(repr(one[column]))}; a"
                    " subject has one, correct it"
                )
    for row in rows:
        _add_row(row, root, found)
    pairs = tuple(
        FilePair(
            image,
            label,
            tuple((phase, frame) for phase, frame, _ in phases),
            places=tuple(place for _, _, place in phases),
            spacing=spacing,
            one_frame_labels=True,
        )
        for (image, label, spacing), phases in found.pairs.items()
    )
    return SubjectRecord(code, one["vendor"], one["centre"], pairs), found.problems


def _refuse_shared_labels(
    records: Sequence[SubjectRecord], problems: list[str]
) -> set[str]:
    """Says which label file images of two subjects have, and returns these subjects.

    Those of one subject are told apart when they are read, since one file may hold the
    labels of several frames.
    """
    users: dict[str, list[tuple[str, str, FilePair]]] = {}
    for record in records:
        for pair in record.pairs:
            if pair.label_path is None or not os.path.isfile(pair.label_path):
                continue
            if os.path.isfile(pair.image_path):
                image = os.path.realpath(pair.image_path)
                user = (record.subject, image, pair)
                users.setdefault(os.path.realpath(pair.label_path), []).append(user)
    refused: set[str] = set()
    for (first, image, pair), *others in users.values():
        for code, other_image, other in others:
            if code != first and other_image != image:
                refused |= {code, first}
                problems.append(
                    f"{other.places[0]}: {code} has the label file"
                    f" {shorten(other.label_path)}, which {first} has in"
                    f" {_line(pair.places[0])} for another image; give each image its"
                    " own label file"
                )
    return refused


def _add_row(row: _Row, root: Path, found: _Found) -> None:
    """Adds the files of a row, and all that is wrong with it."""
    phase = row.cells["phase"]
    if not _PHASE.fullmatch(phase):
        found.problems.append(
            f"{row.where} has phase {shorten(repr(phase))}, expected a short name, as"
            " ED or ES"
        )
        phase = _line(row.place)
    phase = phase.upper() if phase.lower() in ("ed", "es") else phase
    if phase in found.places:
        found.problems.append(
            f"{row.where} has phase {phase} in {_line(found.places[phase])} too; keep"
            " one"
        )
        phase = _line(row.place)
    found.places[phase] = row.place
    image = _file(row, "image", root, found.problems)
    label = None
    if row.cells["label"]:
        label = _file(row, "label", root, found.problems)
    faults: list[str] = []
    frame = _frame(row, faults)
    spacing = _spacing(row, faults)
    other, place = found.spacings.setdefault(image, (spacing, row.place))
    if spacing != other and not faults:
        faults.append(
            f"{row.where} has spacing {shorten(repr(row.cells['spacing']))}, unlike"
            f" {_line(place)} of the same image; correct one of them"
        )
    found.problems += faults
    if not faults:
        phases = found.pairs.setdefault((image, label, spacing), [])
        phases.append((phase, frame, row.place))


def _line(place: str) -> str:
    """Returns the line alone, "line 3", of "cases.csv, line 3"."""
    return place.rpartition(", ")[2]


def _file(row: _Row, column: str, root: Path, problems: list[str]) -> Path:
    """The file of a cell, whether it is there or not."""
    text = row.cells[column]
    path = root / (text or f"no {column}")
    with contextlib.suppress(OSError):  # as of a name that is too long
        if text and path.is_file():
            return path
    slashes = " with / in place of \\" if "\\" in text else ""
    problems.append(
        f"{row.where}: {column} {shorten(text)}: no such file; correct it{slashes}"
        f" (relative to {root})"
        if text
        else f"{row.where} has no {column}; name its file"
    )
    return path


def _frame(row: _Row, problems: list[str]) -> int | None:
    """The frame of a row, None if it tells none."""
    text = row.cells["frame"]
    frame = frame_index(text)
    if text and frame is None:
        problems.append(
            f"{row.where} has frame {shorten(repr(text))}, expected the index of a"
            " frame (0, 1, ...)"
        )
    return frame


def _spacing(row: _Row, problems: list[str]) -> _Spacing | None:
    """Voxel size (z, y, x) of a row in mm, None if it tells none."""
    text = row.cells["spacing"]
    if not text:
        return None
    try:
        sizes = [float(part) for part in text.lower().split("x")]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 3) or not all(0 < v <= LARGEST_VOXEL for v in sizes):
        problems.append(
            f"{row.where} has spacing {shorten(repr(text))}, expected mm: 1.25 in"
            " plane, or 1.25x1.25x8 with the slices last"
        )
        return None
    if len(sizes) == 1:
        return None, sizes[0], sizes[0]
    x, y, z = sizes
    return z, y, x
