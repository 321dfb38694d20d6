"""Reads the directory of the ACDC challenge.

Accepted is the official download (database/training/patient001, database/testing/
patient101) or a flat folder of patients. Each holds Info.cfg, which tells the frames of
ED and ES (counted from 1), and for both patientNNN_frameMM.nii.gz and
patientNNN_frameMM_gt.nii.gz. Source: Bernard et al. 2018, IEEE TMI 37(11).
"""

import re
from pathlib import Path

from cmrjax.data.nifti import SUFFIXES
from cmrjax.data.records import PHASES, FilePair, SubjectRecord, Subjects
from cmrjax.data.subject_folders import MAX_UNREADABLE, existing, only_folder, walk
from cmrjax.files import shorten

VENDOR = "ACDC"
"""In place of a vendor's letter: the data come from one hospital, and M&Ms' letters
would mix them with its centres. The group of all subjects is "ACDC"."""

INFO_FILE = "Info.cfg"
FIRST_TEST_PATIENT = 101
"""Patients 101 to 150 are the official test set."""

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
    problems: list[str] = []
    folders = _patient_folders(source, problems)
    if not folders:
        raise ValueError(
            f"--source={source}: holds no patient folder; expected patient001/"
            f"{INFO_FILE}, flat or under training and testing. Is the archive unpacked?"
            + "".join(f"; {line}" for line in problems[:MAX_UNREADABLE])
        )
    records, refused = [], []
    for code, found in sorted(folders.items()):
        record, lines = _record(code, found, source)
        (refused if lines else records).append(record)
        problems += lines
    return Subjects(tuple(records), (), tuple(problems), {}, tuple(refused))


def _patient_folders(source: Path, problems: list[str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for folder, subfolders, _ in walk(source, problems):
        if _NAME.fullmatch(folder.name):
            found.setdefault(folder.name, []).append(folder)
            subfolders.clear()
    return found


def _record(
    code: str, folders: list[Path], source: Path
) -> tuple[SubjectRecord, list[str]]:
    """Makes a record, and says all that is wrong with it."""
    problems: list[str] = []
    folder = only_folder(code, folders, problems)
    frames = _read_info(folder / INFO_FILE, problems)
    record = SubjectRecord(
        subject=code,
        vendor=VENDOR,
        centre="",
        pairs=tuple(
            _pair(folder, code, phase, frame, problems)
            for phase, frame in frames.items()
        ),
        subset=folder.parent.relative_to(source).as_posix().removeprefix("."),
        official_subset=_official_subset(folder.relative_to(source), code),
    )
    return record, problems


def _read_info(path: Path, problems: list[str]) -> dict[str, int]:
    """Frames of ED and ES, counted from 1, as far as Info.cfg tells them."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        problems.append(
            f"{path}: cannot be read ({error.strerror}); it tells the frames of ED and"
            " ES, fetch it again"
        )
        return {}
    entries: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        entries[name.strip()] = value.strip()
    frames = {}
    for phase in PHASES:
        value = entries.get(phase, "")
        if re.fullmatch(r"[1-9]\d{0,3}", value):
            frames[phase] = int(value)
        else:
            problems.append(
                f"{path}: {phase} is {shorten(repr(value))}, expected the number of a"
                " frame (1, 2, ...); fetch it again"
            )
    if len(frames) == 2 and frames["ED"] == frames["ES"]:
        problems.append(
            f"{path}: ED and ES are both frame {frames['ED']}; correct one of them"
        )
        del frames["ES"]
    return frames


def _pair(
    folder: Path, code: str, phase: str, frame: int, problems: list[str]
) -> FilePair:
    stem = f"{code}_frame{frame:02d}"
    image, label = (existing(folder, stem + mark) for mark in ("", "_gt"))
    if image is None:
        problems.append(
            f"{folder}: {stem}.nii.gz ({phase} by {INFO_FILE}) is missing; fetch it"
            " again"
        )
        image = folder / (stem + SUFFIXES[0])
    return FilePair(image, label, ((phase, 0),))


def _official_subset(folder: Path, code: str) -> str:
    """Training or testing, by the patient's number and the folders in the source.

    The official test patients are known by their number wherever they lie; those above
    the source are not looked at, for they may be called anything.
    """
    if int(code.removeprefix("patient")) >= FIRST_TEST_PATIENT:
        return "testing"
    parts = {part.lower() for part in folder.parts[:-1]}
    return "testing" if "testing" in parts else "training"
