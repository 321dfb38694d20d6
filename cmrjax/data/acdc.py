"""Reads the directory of the ACDC challenge.

Accepted is the official download (database/training/patient001, database/testing/
patient101) or a flat folder of patients. Each holds Info.cfg, which tells the frames of
ED and ES (counted from 1), and for both patientNNN_frameMM.nii.gz and
patientNNN_frameMM_gt.nii.gz. Source: Bernard et al. 2018, IEEE TMI 37(11).
"""

import os
import re
from pathlib import Path

from cmrjax.data.nifti import SUFFIXES
from cmrjax.data.records import PHASES, FilePair, SubjectRecord, Subjects
from cmrjax.files import shorten

VENDOR = "ACDC"
"""In place of a vendor's letter: the data come from one hospital, and M&Ms' letters
would mix them with its centres. The group of all subjects is "ACDC"."""

INFO_FILE = "Info.cfg"
FIRST_TEST_PATIENT = 101
_MAX_DEPTH = 4
_NAME = re.compile(r"patient(\d{3})")


def find_subjects(source: str | Path, *, table: str | Path | None = None) -> Subjects:
    """Finds the patients of a source folder.

    Args:
        source: Folder with the patients' folders, up to four levels below.
        table: Must be None; ACDC has an Info.cfg in each folder.

    Raises:
        ValueError: If the folder is missing, holds no patient, or a table is given.
    """
    source = Path(source)
    if table is not None:
        raise ValueError(
            f"--table={table}: ACDC has no table; each patient has its {INFO_FILE}"
        )
    if not source.is_dir():
        raise ValueError(f"--source={source}: no such folder")
    folders = _patient_folders(source)
    if not folders:
        raise ValueError(
            f"--source={source}: holds no patient folder; expected patient001/"
            f"{INFO_FILE}, flat or under training and testing. Is the archive unpacked?"
        )
    records, problems = [], []
    for code, found in sorted(folders.items()):
        try:
            records.append(_record(code, found, source))
        except ValueError as error:
            problems.append(str(error))
    return Subjects(tuple(records), (), tuple(problems), {})


def _patient_folders(source: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for folder, subfolders, _ in os.walk(source, followlinks=True):
        path = Path(folder)
        depth = len(path.relative_to(source).parts)
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        if depth and _NAME.fullmatch(path.name):
            found.setdefault(path.name, []).append(path)
            subfolders.clear()
        elif depth >= _MAX_DEPTH:
            subfolders.clear()
    return found


def _record(code: str, folders: list[Path], source: Path) -> SubjectRecord:
    """Makes a record, or raises the line that says why not."""
    if len(folders) > 1:
        places = ", ".join(str(folder) for folder in folders)
        raise ValueError(
            f"{code}: found in {len(folders)} folders ({places}); keep one"
        )
    folder = folders[0]
    frames = _read_info(folder / INFO_FILE)
    return SubjectRecord(
        subject=code,
        vendor=VENDOR,
        centre="",
        pairs=tuple(_pair(folder, code, phase, frames[phase]) for phase in PHASES),
        subset=folder.parent.relative_to(source).as_posix().removeprefix("."),
        official_subset=_official_subset(folder, code),
    )


def _read_info(path: Path) -> dict[str, int]:
    """Frames of ED and ES, counted from 1, as Info.cfg has them."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); it tells the frames of ED and"
            " ES, fetch it again"
        ) from error
    entries: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        entries[name.strip()] = value.strip()
    frames = {}
    for phase in PHASES:
        value = entries.get(phase, "")
        if not re.fullmatch(r"[1-9]\d{0,3}", value):
            raise ValueError(
                f"{path}: {phase} is {shorten(repr(value))}, expected the number of a"
                " frame (1, 2, ...); fetch it again"
            )
        frames[phase] = int(value)
    if frames["ED"] == frames["ES"]:
        raise ValueError(
            f"{path}: ED and ES are both frame {frames['ED']}; correct one of them"
        )
    return frames


def _pair(folder: Path, code: str, phase: str, frame: int) -> FilePair:
    stem = f"{code}_frame{frame:02d}"
    image, label = (_existing(folder, stem + mark) for mark in ("", "_gt"))
    if image is None:
        raise ValueError(
            f"{folder}: {stem}.nii.gz ({phase} by {INFO_FILE}) is missing; fetch it"
            " again"
        )
    return FilePair(image, label, ((phase, 0),))


def _existing(folder: Path, stem: str) -> Path | None:
    paths = (folder / (stem + suffix) for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def _official_subset(folder: Path, code: str) -> str:
    """Training or testing, by the folders above, or else by the patient's number."""
    for part in reversed(folder.resolve().parts[:-1]):
        if part.lower() in ("training", "testing"):
            return part.lower()
    number = int(code.removeprefix("patient"))
    return "testing" if number >= FIRST_TEST_PATIENT else "training"
