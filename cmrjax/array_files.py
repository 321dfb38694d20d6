"""Arrays in files: .npy, .npz and zip members, read with nothing taken on trust."""

import lzma
import math
import os
import struct
import sys
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from cmrjax.files import naming, shorten

ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    KeyError,
    OSError,
    OverflowError,
    RuntimeError,  # encrypted; NotImplementedError: packed in an unknown way
    UnicodeDecodeError,  # a name
)
"""What zipfile raises for damaged files, besides other kinds of ValueError."""

LARGEST_WEIGHTS = 3 << 29  # bytes unpacked: 1.5 GiB; VGG19 has 0.55, SPADE 0.4
_MOST_ARRAYS = 10_000  # of one npz file; networks have hundreds
LARGEST_PACKING = 1032  # bytes that deflate makes of one, at most


def check_unpacked_size(path: str | Path, member: zipfile.ZipInfo) -> None:
    """Refuses a member of a zip file that cannot be as large as it says.

    Raises:
        ValueError: If it says more bytes than the file can hold; names it.
        OSError: If there is no such file.
    """
    possible = LARGEST_PACKING * os.path.getsize(path)
    if member.file_size > possible:
        raise ValueError(
            f"{path}: {shorten(member.filename)} is said to have {member.file_size}"
            " bytes, which this file cannot hold; fetch it again"
        )


def read_npy(path: str | Path, *, mmap: bool = False) -> np.ndarray:
    """Reads an array of numbers from a .npy file; never unpickles objects.

    Args:
        path: The file.
        mmap: Whether the array stays on disk, read only.

    Raises:
        ValueError: If the file cannot be read, or is no such file; the text says why
            and leaves it to the caller to name the file.
    """
    try:
        with warnings.catch_warnings(), open(path, "rb") as file:
            warnings.simplefilter("ignore")  # on headers of other versions
            if not mmap:
                _check_npy(file, os.path.getsize(path))
            array = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            raise ValueError("it holds no array of numbers")
    except Exception as error:  # NumPy raises many kinds for damaged files
        raise ValueError(shorten(error) or type(error).__name__) from error
    return array


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Reads every array of an .npz file; never unpickles objects.

    Raises:
        ValueError: If the file is damaged, of another kind, holds Python objects or
            less than it says, or more than ``LARGEST_WEIGHTS``; the caller names it.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        with open(path, "rb") as file:
            if file.read(6) == b"\x93NUMPY":
                raise ValueError("it holds a single array, as .npy files do")
        with warnings.catch_warnings(), zipfile.ZipFile(path) as archive:
            warnings.simplefilter("ignore")  # on headers of other versions
            members = archive.infolist()
            check_total(sum(m.file_size for m in members), len(members))
            for member in members:
                check_unpacked_size(path, member)
                with archive.open(member) as file:
                    _check_npy(file, member.file_size)
                with archive.open(member) as file:
                    array = np.lib.format.read_array(file, allow_pickle=False)
                _check_characters(array)
                arrays[member.filename.removesuffix(".npy")] = array
    except Exception as error:  # NumPy raises many kinds for damaged files
        reason = shorten(error) or type(error).__name__
        raise ValueError(
            f"not a readable npz file ({reason}); fetch it again"
        ) from error
    return arrays


def check_total(size: int, count: int) -> None:
    """Refuses weights that would fill the memory, before anything is unpacked.

    Args:
        size: Bytes that it says it has when unpacked.
        count: Arrays that it has.

    Raises:
        ValueError: If there is more than any network of ours has.
    """
    if size > LARGEST_WEIGHTS or count > _MOST_ARRAYS:
        raise ValueError(
            f"it says {count} arrays of {size / 2**30:.2f} GiB together, at most"
            f" {_MOST_ARRAYS} of {LARGEST_WEIGHTS / 2**30:g} GiB are read"
        )


def _check_characters(array: np.ndarray) -> None:
    """Refuses text with numbers that are no characters, which breaks Python's texts."""
    if array.dtype.kind == "U" and array.nbytes:
        order = array.dtype.byteorder.replace("|", "=")
        codes = np.frombuffer(array.tobytes(), f"{order}u4")
        if codes.max() > sys.maxunicode:
            raise ValueError("it holds text with numbers that are no characters")


def _check_npy(file: IO[bytes], size: int) -> None:
    """Compares an array's size by its header with what there is to read."""
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"unknown version {version} of the .npy format")
    shape, _, dtype = read_header(file)
    stated = math.prod(shape) * dtype.itemsize
    if min(shape, default=1) < 0 or stated > size - file.tell():
        raise ValueError(
            f"it says {' x '.join(map(str, shape)) or 'one'} values of type {dtype},"
            f" {stated} bytes, and has {size - file.tell()}"
        )


def write_npz(path: str | Path, **arrays: np.ndarray) -> None:
    """Writes an uncompressed npz file under a temporary name, then renames it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        with naming(path):
            np.savez(temporary, **arrays)  # pyright: ignore[reportArgumentType]
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
