"""Reads one's own data: NIfTI files that a CSV table names.

The table has a row for each phase of each subject, with the columns image, label,
subject, phase, vendor and centre:

    image,label,subject,phase,vendor,centre
    p01/ed.nii.gz,p01/ed_gt.nii.gz,p01,ED,Siemens,Leeds
    p01/es.nii.gz,p01/es_gt.nii.gz,p01,ES,Siemens,Leeds

A further column, frame, is needed where files hold several time frames; it counts from
0 and holds for image and label. An empty label means that there is none. Paths start
from the folder of the table, or from --source.
"""

import contextlib
import re
from pathlib import Path

from cmrjax.data.records import FilePair, SubjectRecord, Subjects, read_rows
from cmrjax.files import shorten

COLUMNS = ("image", "label", "subject", "phase", "vendor", "centre")
_OPTIONAL = ("frame",)
_PHASE = re.compile(r"[A-Za-z0-9_-]{1,32}")
_CODE = re.compile(r"[^/\\\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,128}")
_Row = dict[str, str]


def find_subjects(
    source: str | Path | None, *, table: str | Path | None = None
) -> Subjects:
    """Reads the table and looks for the files.

    Args:
        source: Folder from which the paths start; None: that of the table.
        table: The CSV table.

    Raises:
        ValueError: If the folder or the table is missing, the table lacks a column, or
            no row can be used.
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
            f" {', '.join(COLUMNS)} and, for files of several frames, frame"
        )
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise ValueError(
            f"{table}: has two columns {shorten(', '.join(repeated))}; keep one"
        )
    unknown = [name for name in header if name not in (*COLUMNS, *_OPTIONAL) and name]
    notices = [f"{table}: {shorten(', '.join(unknown))} is not read"] if unknown else []
    rows: dict[str, list[tuple[int, _Row]]] = {}
    problems: list[str] = []
    for line, cells in body:
        row = dict.fromkeys((*COLUMNS, *_OPTIONAL), "")
        row |= dict(zip(header, cells, strict=False))
        if not _CODE.fullmatch(row["subject"]):
            problems.append(
                f"{table}, line {line}: subject is {shorten(repr(row['subject']))};"
                " give a code without slashes"
            )
            continue
        rows.setdefault(row["subject"], []).append((line, row))
    records = []
    for code, own in sorted(rows.items()):
        try:
            records.append(_record(code, own, table, root))
        except ValueError as error:
            problems.append(str(error))
    if not records:
        first = f", the first: {problems[0]}" if problems else ""
        raise ValueError(
            f"{table}: no row can be used ({len(problems)} problems{first}); expected a"
            " row for each phase of each subject"
        )
    return Subjects(
        tuple(records), tuple(notices), tuple(problems), {"table": table.absolute()}
    )


def _record(
    code: str, rows: list[tuple[int, _Row]], table: Path, root: Path
) -> SubjectRecord:
    """Makes a record, or raises the line that says why not."""
    first_line, first = rows[0]
    pairs: dict[tuple[Path, Path | None], list[tuple[str, int]]] = {}
    seen: dict[str, int] = {}
    for line, row in rows:
        where = f"{table}, line {line}: {code}"
        for column in ("vendor", "centre"):
            if not row[column]:
                raise ValueError(f"{where} has no {column}; fill it in")
            if row[column] != first[column]:
                raise ValueError(
                    f"{where} has {column} {shorten(repr(row[column]))}, line"
                    f" {first_line} says {shorten(repr(first[column]))}; a subject has"
                    " one"
                )
        phase = row["phase"]
        if not _PHASE.fullmatch(phase):
            raise ValueError(
                f"{where} has phase {shorten(repr(phase))}, expected a short name, as"
                " ED or ES"
            )
        phase = phase.upper() if phase.lower() in ("ed", "es") else phase
        if phase in seen:
            raise ValueError(
                f"{where} has phase {phase} in line {seen[phase]} too; keep one"
            )
        seen[phase] = line
        image = _file(row["image"], "image", where, root)
        label = _file(row["label"], "label", where, root) if row["label"] else None
        frame = _frame(row["frame"], where)
        pairs.setdefault((image, label), []).append((phase, frame))
    return SubjectRecord(
        subject=code,
        vendor=first["vendor"],
        centre=first["centre"],
        pairs=tuple(FilePair(*files, tuple(p)) for files, p in pairs.items()),
    )


def _file(text: str, column: str, where: str, root: Path) -> Path:
    if not text:
        raise ValueError(f"{where} has no {column}; name its file")
    path = root / text
    with contextlib.suppress(OSError):  # as of a name that is too long
        if path.is_file():
            return path
    raise ValueError(
        f"{where}: {column} {shorten(text)}: no such file; correct it (relative"
        f" to {root})"
    )


def _frame(text: str, where: str) -> int:
    if not re.fullmatch(r"\d{0,6}", text):
        raise ValueError(
            f"{where} has frame {shorten(repr(text))}, expected the index of a frame"
            " (0, 1, ...)"
        )
    return int(text or 0)
