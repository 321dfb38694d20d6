"""Which subject is for training, testing, development or evaluation.

The split is by subject and committed, so that every stage and every machine agrees.
A1 and B2 are for training (80 %) and testing (20 %); B3 is never trained on: a fifth
is for development, the rest for the figures that are reported.
"""

import csv
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from cmrjax.data.records import SubjectRecord

SPLITS = ("train", "test", "development", "evaluation")
_HELD_OUT_SUBSETS = ("validation", "testing")  # folders of the official download


def read_split(path: str | Path) -> dict[str, str]:
    """Reads a split file: CSV with the columns "External code" and "split".

    Returns:
        Split by subject.

    Raises:
        ValueError: If the file or a column is missing, a split is unknown, or a
            subject stands in two splits; names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"--split={path}: no such file")
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    reader = csv.DictReader(lines, skipinitialspace=True)
    if not {"External code", "split"} <= set(reader.fieldnames or ()):
        raise ValueError(
            f"{path}: expected the columns 'External code' and 'split', got"
            f" {', '.join(reader.fieldnames or ()) or 'none'}"
        )
    splits: dict[str, str] = {}
    for row in reader:
        code, split = row["External code"].strip(), (row["split"] or "").strip()
        if split not in SPLITS:
            raise ValueError(
                f"{path}, line {reader.line_num}: {code} has split {split!r}, expected"
                f" one of {', '.join(SPLITS)}"
            )
        if splits.setdefault(code, split) != split:
            raise ValueError(
                f"{path}, line {reader.line_num}: {code} is in {splits[code]} and in"
                f" {split}; a subject has one split"
            )
    return splits


def find_split(dataset: str, source: str | Path) -> Path | None:
    """Returns the split file to use when none is named.

    That is ``split.csv`` in the source, else the committed one of the data set, else
    None (every subject is then assigned by its code).
    """
    beside = Path(source) / "split.csv"
    if beside.is_file():
        return beside
    committed = resources.files("cmrjax.data") / "splits" / f"{dataset}.csv"
    return Path(str(committed)) if committed.is_file() else None


def assign_split(record: SubjectRecord) -> str:
    """Assigns a subject that the split file does not name, by a hash of its code.

    Subjects of the official Validation and Testing folders are never trained on.

    Returns:
        For B3 "development" (a fifth) or "evaluation", else "test" (a fifth) or
        "train".
    """
    digest = hashlib.sha256(record.subject.encode("utf-8")).digest()
    first_fifth = int.from_bytes(digest[:8], "big") < 2**64 // 5
    if record.group == "B3":
        return "development" if first_fifth else "evaluation"
    folders = {part.lower() for part in Path(record.subset).parts}
    held_out = not folders.isdisjoint(_HELD_OUT_SUBSETS)
    return "test" if first_fifth or held_out else "train"


def resolve_splits(
    records: Sequence[SubjectRecord], table: dict[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Gives every subject its split.

    Args:
        records: The subjects.
        table: What ``read_split`` returned; may be empty.

    Returns:
        Split by subject, and the codes that had to be assigned.
    """
    assigned = [r.subject for r in records if r.subject not in table]
    splits = {r.subject: table.get(r.subject) or assign_split(r) for r in records}
    return splits, assigned
