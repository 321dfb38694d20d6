"""Which subject is for training, testing, development or evaluation.

The split is by subject and committed, so that every stage and every machine agrees.
A1 and B2 are for training (80 %) and testing (20 %); B3 is never trained on: a fifth
is for development, the rest for the figures that are reported. A subject that no split
file names is trained on only if it is certain to be no test subject.
"""

import enum
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from cmrjax.data.records import SubjectRecord, read_rows
from cmrjax.files import shorten

SPLITS = ("train", "test", "development", "evaluation")
_HELD_OUT_SUBSETS = ("unlabelled", "validation", "testing")
_WITH_TEST_SET = ("mnms", "acdc")  # data sets with official test subjects


class _Unlisted(enum.Enum):
    """Why a subject that no split file names is assigned as it is; see ``_NOTICES``."""

    BY_CODE = enum.auto()
    OFFICIAL = enum.auto()
    OWN = enum.auto()
    UNKNOWN = enum.auto()


_NOTICES = {
    _Unlisted.BY_CODE: "{n} subjects are not in {place}; assigned by their code:"
    " {counts}",
    _Unlisted.OFFICIAL: "{n} subjects are not in {place} and lie in Validation, Testing"
    " or Unlabeled: held out ({counts})",
    _Unlisted.OWN: "{n} subjects are not in {place}: held out ({counts}), never trained"
    " on; add them to the file to decide otherwise",
    _Unlisted.UNKNOWN: "{n} unlisted subjects of unknown subset (neither in {place} nor"
    " below Training/Labeled) are held out as test ({counts}), never trained on;"
    " --split=CSV decides otherwise",
}


def read_split(path: str | Path) -> dict[str, str]:
    """Reads a split file: CSV with the columns "External code" and "split".

    Encoding and separator are those of ``records.read_rows``.

    Returns:
        Split by subject.

    Raises:
        ValueError: If the file or a column is missing, a split is unknown, or a
            subject stands in two splits; names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"--split={path}: no such file")
    (_, header), *body = read_rows(path)
    if not {"External code", "split"} <= set(header):
        raise ValueError(
            f"{path}: expected the columns 'External code' and 'split', got"
            f" {shorten(', '.join(header))}"
        )
    splits: dict[str, str] = {}
    for line, cells in body:
        row = dict.fromkeys(header, "") | dict(zip(header, cells, strict=False))
        code, split = row["External code"], row["split"]
        if split not in SPLITS:
            raise ValueError(
                f"{path}, line {line}: {shorten(code)} has split"
                f" {shorten(repr(split))}, expected"
                f" one of {', '.join(SPLITS)}"
            )
        if splits.setdefault(code, split) != split:
            raise ValueError(
                f"{path}, line {line}: {shorten(code)} is in {splits[code]} and in"
                f" {split}; a subject has one split, keep one line"
            )
    return splits


def find_split(dataset: str, source: str | Path) -> Path | None:
    """Returns the split file to use when none is named.

    That is ``split.csv`` in the source, else the committed one of the data set, else
    None (see ``resolve_splits`` for what becomes of the subjects then).
    """
    beside = Path(source) / "split.csv"
    if beside.is_file():
        return beside
    return committed_split(dataset)


def committed_split(dataset: str) -> Path | None:
    """Returns the split file that comes with this package, None if there is none."""
    committed = resources.files("cmrjax.data") / "splits" / f"{dataset}.csv"
    return Path(str(committed)) if committed.is_file() else None


def assign_split(record: SubjectRecord, *, may_train: bool) -> str:
    """Assigns a subject that the split file does not name, by a hash of its code.

    Args:
        record: The subject.
        may_train: Whether the subject is certain to be no test subject.

    Returns:
        For B3 "development" (a fifth) or "evaluation"; else "test", or, where the
        subject may be trained on, "test" (a fifth) or "train".
    """
    digest = hashlib.sha256(record.subject.encode("utf-8")).digest()
    first_fifth = int.from_bytes(digest[:8], "big") < 2**64 // 5
    if record.group == "B3":
        return "development" if first_fifth else "evaluation"
    return "test" if first_fifth or not may_train else "train"


def resolve_splits(
    records: Sequence[SubjectRecord],
    table: Mapping[str, str],
    *,
    dataset: str,
    place: str = "any split file",
    own: bool = False,
) -> tuple[dict[str, str], list[str]]:
    """Gives every subject its split; what no file names is held out when in doubt.

    Subjects that ``table`` does not name are held out ("test", B3 "development" or
    "evaluation") if they lie in an official folder of held-out subjects, if ``own`` is
    set, or if the data set has official test subjects and the subject does not lie
    below Training/Labeled. The others are assigned by their code.

    Args:
        records: The subjects.
        table: What ``read_split`` returned; may be empty.
        dataset: Name of the data set.
        place: Name of the split file, for the notices.
        own: Whether the file is the user's own, which is to name every subject, and
            not the one that comes with this package.

    Returns:
        Split by subject, and notices about the subjects that had to be assigned.
    """
    splits: dict[str, str] = {}
    assigned: dict[_Unlisted, list[str]] = {}
    for record in records:
        split = table.get(record.subject)
        if split is None:
            reason = _reason(record, dataset, own)
            split = assign_split(record, may_train=reason is _Unlisted.BY_CODE)
            assigned.setdefault(reason, []).append(split)
        splits[record.subject] = split
    return splits, [
        _NOTICES[reason].format(n=len(found), place=place, counts=_counts(found))
        for reason, found in assigned.items()
    ]


def _reason(record: SubjectRecord, dataset: str, own: bool) -> _Unlisted:
    """What decides about a subject that no split file names."""
    if record.official_subset in _HELD_OUT_SUBSETS:
        return _Unlisted.OFFICIAL
    if own:
        return _Unlisted.OWN
    if dataset in _WITH_TEST_SET and record.official_subset != "training":
        return _Unlisted.UNKNOWN
    return _Unlisted.BY_CODE


def _counts(splits: Sequence[str]) -> str:
    found = [(splits.count(name), name) for name in SPLITS]
    return ", ".join(f"{count} {name}" for count, name in found if count)
