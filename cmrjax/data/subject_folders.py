"""Folders of subjects in a downloaded data set: one for each code."""

import os
from collections.abc import Iterator
from pathlib import Path

from cmrjax.data.nifti import SUFFIXES

_MACOS = "__MACOSX"
"""Folder that zip files of macOS have beside their content: the same names, no data."""

MAX_DEPTH = 4
"""Subjects lie at most so many folders below the source."""

MAX_UNREADABLE = 3
"""So many folders that cannot be read are named where nothing was found at all."""


def walk(
    source: Path, problems: list[str]
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Goes through a source folder and those below, but hidden ones and macOS's own.

    Args:
        source: The folder.
        problems: Takes a line for each folder that cannot be read.

    Yields:
        A folder (not ``source`` itself), its subfolders, which may be cleared so as not
        to go there, and the names of its files. Links are followed.
    """

    def note(error: OSError) -> None:
        problems.append(
            f"{error.filename}: cannot be read ({error.strerror}), so what is in it is"
            " left out; correct its permissions or take it away"
        )

    for name, subfolders, files in os.walk(source, followlinks=True, onerror=note):
        folder = Path(name)
        depth = len(folder.relative_to(source).parts)
        subfolders[:] = sorted(
            s for s in subfolders if not s.startswith(".") and s != _MACOS
        )
        if depth >= MAX_DEPTH:
            subfolders.clear()
        if depth:
            yield folder, subfolders, files


def only_folder(code: str, folders: list[Path], problems: list[str]) -> Path:
    """Returns the folder of a subject; several are a problem, and the first counts."""
    if len(folders) > 1:
        places = ", ".join(str(folder) for folder in folders)
        problems.append(f"{code}: found in {len(folders)} folders ({places}); keep one")
    return folders[0]


def existing(folder: Path, stem: str) -> Path | None:
    """Returns the NIfTI file of that name, packed or not; None if there is none."""
    paths = (folder / (stem + suffix) for suffix in SUFFIXES)
    return next((path for path in paths if path.exists()), None)
