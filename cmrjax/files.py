"""Files that are written whole or not at all, hashes, and provenance."""

import collections
import contextlib
import functools
import hashlib
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cmrjax import __version__
from cmrjax.output_folder import Ours, check_free

_CHUNK = 1 << 20
_STALE_SECONDS = 60.0  # a folder younger than this is never removed as left behind


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file under a temporary name, then renames it to ``path``.

    A reader sees the old file or the new one, never a half of either.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with naming(path), os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)  # else a loss of power leaves the new name and no content
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: str | Path, content: str) -> None:
    """Writes UTF-8 text as ``write_bytes`` does."""
    write_bytes(path, content.encode("utf-8"))


def nan_to_none(value: Any) -> Any:
    """Replaces NaN by None, which JSON has, in nested mappings, lists and tuples."""
    if isinstance(value, Mapping):
        return {name: nan_to_none(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [nan_to_none(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_json(path: str | Path, content: Any) -> None:
    """Writes JSON as ``write_bytes`` does.

    NumPy scalars and arrays, paths and tuples are written as plain JSON; NaN and
    infinity are refused, since other readers of JSON refuse them.

    Raises:
        ValueError: If a number is NaN or infinite.
        TypeError: If an object has no JSON form.
    """
    text = json.dumps(content, indent=1, default=_plain, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: str | Path) -> Any:
    """Reads a JSON file.

    Raises:
        ValueError: If the file is not JSON, which has neither NaN nor infinity; names
            the file.
        OSError: If the file cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = json.loads(
            text,
            object_pairs_hook=_without_repeats,
            parse_constant=_finite,
            parse_float=_finite,
        )
        if "\\ud" in text.lower():  # halves of a pair: text that cannot be printed
            json.dumps(content, ensure_ascii=False).encode("utf-8")
        return content
    except (ValueError, RecursionError) as error:  # also numbers of 5000 digits
        raise ValueError(
            f"{path}: not a JSON file ({shorten(error)}); repair it or fetch it again"
        ) from error


def _finite(text: str) -> float:
    """Reads a number; what is written cannot be infinite, so neither what is read."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{shorten(text, 20)} is not a finite number")
    return number


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes an object; of a key that is there twice one value would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = collections.Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def shorten(text: Any, limit: int = 200) -> str:
    """Returns one line that can be printed, for what a file holds or an error says.

    Args:
        text: Anything that has a text.
        limit: Characters that are kept.
    """
    line = " ".join(str(text)[: 4 * limit].split())
    kept = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return kept if len(kept) <= limit else f"{kept[:limit]}..."


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Adds the path to an OSError that names no file, as of a disk that is full."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def atomic_directory(
    path: str | Path, *, overwrite: bool = False, ours: Ours | None = None
) -> Iterator[Path]:
    """Gives a temporary sibling folder that becomes ``path`` when the block ends.

    If the block raises, or is interrupted, the sibling is removed and ``path`` stays
    as it was. Siblings that killed processes of this machine left behind are removed.

    Args:
        path: The folder to make.
        overwrite: Whether an existing folder is replaced (after the block, so that
            it survives a failure).
        ours: Which folders may be replaced, see ``output_folder.holds_only``; None:
            any. A file never is.

    Yields:
        The temporary folder, on the same file system.

    Raises:
        FileExistsError: If ``path`` exists and may not be replaced; also if it came
            to exist while the block ran.
    """
    check_free(path, overwrite=overwrite, ours=ours)
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_behind(path)
    prefix = f"{_partial_prefix(path)}{os.getpid()}-"
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    try:
        with naming(path):
            yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        check_free(path, overwrite=overwrite, ours=ours)
        if path.exists():
            old = temporary.with_name(temporary.name + ".old")
            os.replace(path, old)
            try:
                os.replace(temporary, path)
            except BaseException:
                os.replace(old, path)
                raise
            shutil.rmtree(old)
        else:
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _partial_prefix(path: Path) -> str:
    """Start of the names of temporary siblings; a process id means one machine only."""
    machine = hashlib.sha256(platform.node().encode("utf-8")).hexdigest()[:8]
    return f".{path.name}.partial-{machine}-"


def _remove_left_behind(path: Path) -> None:
    """Removes temporary siblings of ``path`` whose process is gone for a minute."""
    prefix = _partial_prefix(path)
    with os.scandir(path.parent) as entries:
        found = [Path(entry) for entry in entries if entry.name.startswith(prefix)]
    if not path.exists() and any(p.name.endswith(".old") for p in found):
        return  # killed between the two renames: these are the only copies
    for folder in found:
        match = re.match(r"(\d+)-", folder.name.removeprefix(prefix))
        if match is None or _is_running(int(match[1])):
            continue
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _is_running(pid: int) -> bool:
    """Whether a process exists; True where that cannot be asked safely."""
    if os.name != "posix":
        return True  # os.kill would end the process there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def sha256_file(path: str | Path) -> str:
    """Returns the SHA-256 of a file's bytes, as hexadecimal text."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_json(content: Any) -> str:
    """Returns the SHA-256 of an object's canonical JSON (sorted keys)."""
    text = json.dumps(
        content, sort_keys=True, separators=(",", ":"), default=_plain, allow_nan=False
    )
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@functools.cache
def code_version() -> dict[str, str | None]:
    """Returns the package version and, in a git checkout, the commit.

    Returns:
        ``{"package": ..., "commit": ...}``; the commit ends in ``-dirty`` if tracked
        files were changed, and is None outside of a checkout.
    """
    return {"package": __version__, "commit": _git_commit(Path(__file__).parents[1])}


def provenance(
    *,
    inputs: Mapping[str, str | Path] | None = None,
    config: Any = None,
    command: list[str] | None = None,
) -> dict[str, Any]:
    """Describes how an output came about, as plain JSON types.

    Args:
        inputs: Files that went in, by a short name; they are hashed.
        config: Settings of the run, anything that has a JSON form.
        command: The command line; by default this process's.

    Returns:
        Keys ``code``, ``python``, ``numpy``, ``command``, ``created`` (UTC),
        ``inputs`` (path and sha256 of each) and ``config``.
    """
    hashed = {
        name: {"path": str(path), "sha256": sha256_file(path)}
        for name, path in (inputs or {}).items()
    }
    return {
        "code": code_version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "command": list(sys.argv if command is None else command),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": hashed,
        "config": config,
    }


def _git_commit(root: Path) -> str | None:
    if not (root / ".git").exists():
        return None  # an installed copy inside somebody else's repository
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    command += ["--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form: {value!r}")
