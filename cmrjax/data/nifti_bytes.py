"""The bytes of a NIfTI file, read and unpacked in bounded memory.

A header is a claim: of a few bytes it can make a terabyte. It is read first, from the
beginning of the file, and no more is read or unpacked than it says.
"""

import hashlib
import math
import os
import zlib
from pathlib import Path
from typing import IO

import nibabel as nib

from cmrjax.files import shorten

SUFFIXES = (".nii.gz", ".nii")
LARGEST_BYTES = 4 * 2**30
"""Files whose voxels, as they are in memory, would take more are refused."""
_HEADER_BYTES = 540  # of NIfTI-2, the longer one
_START_BYTES = 1 << 16  # of a gzip file, in which its header surely is
_LONGEST_NAME = 1000  # characters of a path in an error
_SLACK_BYTES = 1 << 20  # what may follow the voxels


def read_bounded(path: Path) -> tuple[bytes, str]:
    """Reads a whole file, unpacked if its name says gzip.

    Args:
        path: A .nii or .nii.gz file.

    Returns:
        The bytes of the NIfTI file, and the SHA-256 of the file as it is.

    Raises:
        ValueError: If it cannot be read, is damaged, or larger than its header says.
    """
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"{_name(path)}: not a NIfTI name; expected .nii.gz or .nii")
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is a folder or a device")
        with path.open("rb") as file:
            return _read(path, file)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(
            f"{_name(path)}: cannot be read ({reason}); correct the path or its rights"
        ) from error


def _read(path: Path, file: IO[bytes]) -> tuple[bytes, str]:
    packed = path.name.endswith(".gz")
    size = os.fstat(file.fileno()).st_size
    start = file.read(_START_BYTES if packed else _HEADER_BYTES)
    if not start:
        raise ValueError(f"{path}: file is empty (0 bytes); fetch it again")
    try:
        header = _decompress(start, _HEADER_BYTES, whole=False) if packed else start
        limit = _stated_bytes(path, parse_header(path, header)[1]) + _SLACK_BYTES
        if size > limit + limit // 1000:  # gzip may add some
            raise OverflowError
        raw = start + file.read()
        digest = hashlib.sha256(raw).hexdigest()
        return (_decompress(raw, limit, whole=True) if packed else raw), digest
    except (EOFError, zlib.error) as error:
        kind = "truncated" if isinstance(error, EOFError) else "damaged"
        raise ValueError(
            f"{path}: gzip data are {kind} after {size} bytes"
            f" ({one_line(error)}); fetch it again"
        ) from error
    except OverflowError as error:
        raise ValueError(
            f"{path}: holds or unpacks to more than {limit} bytes, which is more than"
            " its header says; fetch it again"
        ) from error


def _name(path: Path) -> str:
    """The path, unless no path is so long or in two lines: a table says anything."""
    name = str(path)
    return name if len(name) <= _LONGEST_NAME and name.isprintable() else shorten(name)


def _decompress(raw: bytes, limit: int, *, whole: bool) -> bytes:
    """Unpacks gzip data in bounded memory.

    Args:
        raw: One or several gzip members.
        limit: Bytes that are unpacked at most.
        whole: Whether all must fit and every check sum is compared; otherwise the
            first ``limit`` bytes are enough.

    Raises:
        EOFError: If the data end too early.
        OverflowError: If ``whole`` and there are more bytes.
        zlib.error: If the data are damaged.
    """
    parts: list[bytes] = []
    left = limit
    while raw and (whole or left > 0):
        member = zlib.decompressobj(wbits=31)
        part = member.decompress(raw, left + 1)
        parts.append(part)
        left -= len(part)
        if whole and left < 0:
            raise OverflowError
        if not member.eof:
            if not whole and left <= 0:
                break
            raise EOFError("compressed data ended before the end was reached")
        raw = member.unused_data.lstrip(b"\0")  # some writers pad with zeros
    return b"".join(parts)


def _stated_bytes(path: Path, header: nib.Nifti1Header) -> int:
    """Bytes of the whole file by its header."""
    shape = [max(int(n), 0) for n in header.get_data_shape()]
    per_voxel = max(int(header["bitpix"]) // 8, 1)
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    # To float64; nibabel takes a slope of 0 or NaN for none.
    is_scaled = math.isfinite(slope) and slope != 0 and (slope, intercept) != (1, 0)
    offset = float(header["vox_offset"])
    count = math.prod(shape)
    in_memory = count * (max(per_voxel, 8) if is_scaled else per_voxel)
    if not 0 <= offset <= LARGEST_BYTES or in_memory > LARGEST_BYTES:
        raise ValueError(
            f"{path}: the header says {' x '.join(map(str, shape))} voxels,"
            f" {in_memory / 2**30:.3g} GiB in memory, from byte {offset:g}; at most"
            f" {LARGEST_BYTES / 2**30:g} GiB are read: crop the file, or repair the"
            " header"
        )
    return int(offset) + count * per_voxel


def parse_header(
    path: Path, content: bytes
) -> tuple[type[nib.Nifti1Image], nib.Nifti1Header]:
    """Finds the NIfTI version; the header stays unchecked, nothing is repaired."""
    for image_class in (nib.Nifti1Image, nib.Nifti2Image):
        header_class = image_class.header_class
        size = header_class.template_dtype.itemsize
        if len(content) < size:
            continue
        stated = {int.from_bytes(content[:4], order) for order in ("little", "big")}
        if size in stated:
            header = header_class(content[:size], check=False)
            if 0 <= int(header["dim"][0]) <= 7:
                return image_class, header
    raise ValueError(
        f"{path}: not a NIfTI file ({len(content)} bytes, no NIfTI header); convert it"
    )


def one_line(error: BaseException) -> str:
    """Returns what an error says in one line, or its kind where it says nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__
