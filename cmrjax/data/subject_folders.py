"""Folders of subjects in a downloaded data set: one for each code."""

import os
from collections.abc import Iterator
from pathlib import Path

from cmrjax.data.nifti import SUFFIXES

MAX_DEPTH = 4
"""Subjects lie at most so many folders below the source."""


def walk(source: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Goes through a source folder and the folders below, but hidden ones.

    Yields:
        A folder (not ``source`` itself), its subfolders, which may be cleared so as not
        to go there, and the names of its files. Links are followed.
    """
    for name, subfolders, files in os.walk(source, followlinks=True):
        folder = Path(name)
        depth = len(folder.relative_to(source).parts)
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
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
