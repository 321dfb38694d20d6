"""One process at a time in a folder: two that write the same run destroy each other.

The lock is the kernel's (flock), so that it ends with the process, however that ends.
"""

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from cmrjax.output_folder import check_place

try:
    import fcntl
except ImportError:  # not POSIX: no lock
    fcntl = None

LOCK_FILE = ".lock"


class FolderInUseError(ValueError):
    """Another process works in the folder."""


@contextlib.contextmanager
def hold_folder(folder: str | Path, *, option: str = "") -> Iterator[None]:
    """Keeps other processes out of a folder while the block runs.

    Where the system or the file system has no such locks, nobody is kept out.

    Args:
        folder: Made if need be; removed again if nothing was put into it.
        option: What named it, as "--workdir=".

    Raises:
        FolderInUseError: If another process holds it; names it where that is known.
        OSError: If the folder cannot be made; says what to do.
    """
    folder = Path(folder)
    check_place(folder, inside=True, option=option)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{option}{folder} is a file; give another folder")
    made = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_FILE
    handle = _lock(path, f"{option}{folder}")
    try:
        yield
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)
            os.close(handle)
        with contextlib.suppress(OSError):  # not empty: it stays
            for empty in made:
                empty.rmdir()


def _lock(path: Path, name: str) -> int | None:
    """Returns the open file that holds the lock; None where there are no locks."""
    if fcntl is None:
        return None
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(handle)
            os.close(handle)
            raise FolderInUseError(
                f"{name} is in use by another process{holder}; wait for it or end it,"
                " or give another folder"
            ) from None
        except OSError:  # a file system without locks
            os.close(handle)
            path.unlink(missing_ok=True)  # nobody can hold it
            return None
        if _is_at(handle, path):
            break
        os.close(handle)  # its last holder removed it meanwhile
    whose = {"pid": os.getpid(), "host": platform.node()}
    os.ftruncate(handle, 0)
    os.write(handle, json.dumps(whose).encode("utf-8"))
    return handle


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file still has its name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(handle: int) -> str:
    """Who wrote the lock file, as " (process 17 on node3)"; empty if not known."""
    try:
        whose = json.loads(os.read(handle, 1000))
        return f" (process {int(whose['pid'])} on {ascii(whose['host'])[1:-1][:80]})"
    except (ValueError, KeyError, TypeError, OSError):
        return ""
