"""What is known of each subject of a data set, and the CSV tables that tell it."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PHASES = ("ED", "ES")
LONGEST_NAME = 200
_LAST_FRAME = 10**6  # no cine is longer


@dataclass(frozen=True)
class FilePair:
    """An image file and its labels.

    Attributes:
        image_path: NIfTI file with the images.
        label_path: NIfTI file with the labels, or None if there is none.
        phases: Pairs of phase (as "ED") and frame index in both files; None where no
            table tells it, so that the files must have one frame.
        places: Where a table names each phase ("cases.csv, line 2"), parallel to
            ``phases``; empty where none does.
        spacing: Voxel size (z, y, x) in mm to use in place of the headers', None to
            use these; z is None where the header's is to stay.
        one_frame_labels: Whether labels of one frame may go with an image of several:
            they belong to the frame of the phase.
    """

    image_path: Path
    label_path: Path | None
    phases: tuple[tuple[str, int | None], ...]
    places: tuple[str, ...] = ()
    spacing: tuple[float | None, float, float] | None = None
    one_frame_labels: bool = False

    def place_of(self, phase: str) -> str:
        """Returns where a table names a phase, or ""."""
        names = (name for name, _ in self.phases)
        return dict(zip(names, self.places, strict=False)).get(phase, "")


@dataclass(frozen=True)
class SubjectRecord:
    """One subject of a data set: who, and which files.

    Attributes:
        subject: Code of the subject, unique in the data set.
        vendor: Letter of the scanner's vendor, for example ``"A"``.
        centre: Number of the centre as text, for example ``"1"``.
        pairs: The files: one pair that holds all phases, as in M&Ms, or one for each
            phase, as in ACDC.
        subset: Folder of the subject's folder inside the source ("" if flat), for
            example ``"Training/Labeled"``.
        official_subset: Which part of the official download the subject belongs to,
            by its folders (in M&Ms also those above the source) or its number (in
            ACDC): "training", "unlabelled", "validation", "testing", or "" if these do
            not tell.
    """

    subject: str
    vendor: str
    centre: str
    pairs: tuple[FilePair, ...]
    subset: str = ""
    official_subset: str = ""

    @property
    def phases(self) -> tuple[str, ...]:
        """Names of all phases, in the order of the pairs."""
        return tuple(phase for pair in self.pairs for phase, _ in pair.phases)

    def pair_of(self, phase: str) -> FilePair:
        """Returns the files that hold a phase."""
        return next(pair for pair in self.pairs if phase in dict(pair.phases))

    @property
    def group(self) -> str:
        """Vendor and centre in one, for example ``"A1"``."""
        return f"{self.vendor}{self.centre}"


@dataclass(frozen=True)
class Subjects:
    """What a data set holds.

    Attributes:
        records: Usable subjects, sorted by code.
        notices: Lines about what is normal but worth knowing.
        problems: Lines about subjects that cannot be used: file, value, fix.
        inputs: Files that tell about the subjects, by name, as the table.
        refused: Subjects that ``problems`` are about, as far as their files are known
            (named, not always there): a check looks at these too.
    """

    records: tuple[SubjectRecord, ...]
    notices: tuple[str, ...]
    problems: tuple[str, ...]
    inputs: dict[str, Path]
    refused: tuple[SubjectRecord, ...] = ()


@contextmanager
def noted(problems: list[str]) -> Iterator[None]:
    """Adds the ValueError that ends a block to ``problems``; the rest goes on."""
    try:
        yield
    except ValueError as error:
        problems.append(str(error))


def is_name(value: Any) -> bool:
    """Whether a value can name a subject, a phase, a vendor or a centre.

    That is text that can be printed, of at most ``LONGEST_NAME`` characters: what a
    manifest may hold, so what a table must.
    """
    is_text = isinstance(value, str) and len(value) <= LONGEST_NAME
    return is_text and value.isprintable()


def plain_spaces(text: str) -> str:
    """Returns a cell with one plain space for white space of any kind.

    A no-break space that came with a copied cell looks the same and would make a
    vendor of its own.
    """
    return " ".join(text.split())


def frame_index(text: str) -> int | None:
    """Returns the index of a frame that a cell tells, None if it tells none.

    Args:
        text: As "3", or "3.0" as spreadsheets and pandas write it.
    """
    try:
        frame = float(text)
    except ValueError:
        return None
    return int(frame) if 0 <= frame <= _LAST_FRAME and frame.is_integer() else None


def read_rows(path: str | Path) -> list[tuple[int, list[str]]]:
    """Reads a CSV table in UTF-8 (with or without byte-order mark) or Latin-1.

    Cells are separated by commas, semicolons or tabs, whichever gives the first row
    the most cells. Lines end in LF, CR LF or CR ("CSV (Macintosh)" of Excel).

    Returns:
        Number of the line in the file and the stripped cells, of each row that is not
        empty; the first one is the header.

    Raises:
        ValueError: If the file cannot be read or is not such a table; names it.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    begin = text.strip(",;\t\r\n ")
    if not begin or "\0" in text:
        what = (
            "holds no text" if not begin else "is not a text file in UTF-8 or Latin-1"
        )
        raise ValueError(f"{path}: {what}; save the table as CSV in UTF-8")
    try:
        delimiter = max(",;\t", key=lambda d: _count_cells(begin, d))
        reader = _csv_reader(text, delimiter)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise ValueError(
            f"{path}: is not a CSV table ({error}); save it as CSV in UTF-8"
        ) from error
    filled = [(line, row) for line, row in rows if any(row)]
    if not filled:
        raise ValueError(f"{path}: holds no text; save the table as CSV in UTF-8")
    return filled


def _csv_reader(text: str, delimiter: str) -> Any:
    """Rows of a text; lines keep their ends, which may also stand in quoted cells."""
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)


def _count_cells(text: str, delimiter: str) -> int:
    """How many cells the first row has, 0 if it cannot be read so."""
    try:
        return len(next(_csv_reader(text, delimiter)))
    except csv.Error:
        return 0
