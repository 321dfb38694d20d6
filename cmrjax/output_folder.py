"""Which folders may be written to, and which may be replaced.

A folder is replaced only if it holds nothing but what the command itself writes, so
that a wrong path costs an error and no data.
"""

import os
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path

_OF_THE_SYSTEM = (".DS_Store", "Thumbs.db")  # file browsers leave them anywhere

Ours = Callable[[Path], bool]
"""Tells whether a folder is one that the command made, and nothing else."""


def holds_only(marker: str, *names: str) -> Ours:
    """Returns the test of a folder for a file and for names that may stand beside it.

    Args:
        marker: A file that such a folder has in any case.
        names: What else it may hold; `*` stands for any characters.
    """

    def ours(folder: Path) -> bool:
        found = [p.name for p in folder.iterdir() if p.name not in _OF_THE_SYSTEM]
        allowed = (marker, *names)
        return (folder / marker).is_file() and all(
            any(fnmatchcase(name, pattern) for pattern in allowed) for name in found
        )

    return ours


def is_empty(folder: Path) -> bool:
    """Returns whether a folder holds nothing, but for what file browsers leave."""
    return all(path.name in _OF_THE_SYSTEM for path in folder.iterdir())


def check_place(out: str | Path, *, inside: bool = False, option: str = "") -> None:
    """Refuses a path below which nothing can be made.

    Args:
        out: A file or folder that is to be written; need not be there.
        inside: Whether a folder that is there is written into. Otherwise it is
            replaced, for which the folder around it must be writable.
        option: What named it, as "--out=".

    Raises:
        NotADirectoryError: If a part of the path is a file.
        PermissionError: If the folder that it would be made in cannot be written to.
    """
    place = Path(os.path.realpath(out))
    if not (inside and place.is_dir()):
        place = place.parent
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise NotADirectoryError(
            f"{option}{out}: {place} is a file, so nothing can be made in it; give"
            " another path"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(
            f"{option}{out}: {place} may not be written to; give another path, or make"
            " it writable"
        )


def check_file_place(out: str | Path, *, option: str = "") -> None:
    """Refuses a path where no file can be written; one that is there is replaced.

    Args:
        out: The file to write.
        option: What named it, as "--out=".

    Raises:
        IsADirectoryError: If it is a folder.
        OSError: If it cannot be made there, see ``check_place``.
    """
    check_place(out, option=option)
    if Path(out).is_dir():
        raise IsADirectoryError(f"{option}{out}: is a folder; give the path of a file")


def check_free(
    out: str | Path,
    *,
    overwrite: bool = False,
    ours: Ours | None = None,
    option: str = "",
) -> None:
    """Refuses a folder to make whose place is taken by something to be kept.

    Args:
        out: The folder to make; need not be there.
        overwrite: Whether one that is there may be replaced.
        ours: Which ones may; None: any folder. An empty one always may.
        option: What named it, as "--out=".

    Raises:
        FileExistsError: If it is a file, exists and is not to be replaced, or is a
            folder that holds something else.
        OSError: If it cannot be made there, see ``check_place``.
    """
    check_place(out, option=option)
    path = Path(os.path.realpath(out))
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise FileExistsError(f"{option}{out}: is a file; give another folder")
    replaceable = ours is None or is_empty(path) or ours(path)
    if not overwrite:
        hint = "replace it with --overwrite (overwrite=True), or " * replaceable
        raise FileExistsError(
            f"{option}{out} exists already; {hint}give another folder"
        )
    if not replaceable:
        raise FileExistsError(
            f"{option}{out} holds something else than what is written here, so it is"
            " not overwritten; give another folder, or remove it"
        )


def check_fillable(out: str | Path, ours: Ours, *, option: str = "") -> None:
    """Refuses a folder for results that holds something else.

    Args:
        out: The folder; may be absent, empty, or hold earlier results.
        ours: Whether a folder holds such results, and nothing else.
        option: What named it, as "--out=".

    Raises:
        OSError: If it cannot be used; the text says why.
    """
    check_free(out, overwrite=True, ours=ours, option=option)


def check_apart(
    out: Path, sources: Iterable[Path], *, inside: bool = False, option: str = "out"
) -> None:
    """Refuses an output folder that files to be read lie in, or that lies among them.

    Args:
        out: The output folder; need not be there.
        sources: Files and folders that are read.
        inside: Whether it may lie in one of them all the same.
        option: What named the folder, for the error.

    Raises:
        ValueError: If ``out`` is one of them, holds one or lies in one.
    """
    place = out.resolve()
    for source in sources:
        other = source.resolve()
        within = place.is_relative_to(other) and not (inside and place != other)
        if within or other.is_relative_to(place):
            raise ValueError(
                f"{out} and {source} overlap, so what is read could be overwritten:"
                f" choose another folder with {option}, beside it"
            )
