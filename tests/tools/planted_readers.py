"""Readers with a fault each, which the fuzzing must find."""

import ctypes
import warnings
from pathlib import Path

from tools.fuzz_worker import Files, Reader, Use

_SEED = b'{"a": [1, 2, 3]}'


def _content(folder: Path) -> bytes:
    path = folder / "file.json"
    return path.read_bytes() if path.is_file() else b""


def _right(folder: Path) -> None:
    if _content(folder) != _SEED:
        raise ValueError(f"{folder / 'file.json'}: not the file; fetch it again")


def _planted(fault: Use) -> Use:
    """A reader that takes the valid file and does wrong with all others."""

    def use(folder: Path) -> list[str] | None:
        return None if _content(folder) == _SEED else fault(folder)

    return use


def _raise(folder: Path) -> None:
    raise KeyError("a")


def _hang(folder: Path) -> None:
    while True:
        pass


def _allocate(folder: Path) -> None:
    try:
        bytearray(1 << 40)
    except MemoryError as error:  # named, but it asked for too much all the same
        raise ValueError(f"{folder}: too large; crop it") from error


def _name_nothing(folder: Path) -> None:
    raise ValueError("something is wrong")


def _say_much(folder: Path) -> list[str]:
    return [f"{folder}: one line\nand another"]


def _warn(folder: Path) -> None:
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)


def _print(folder: Path) -> None:
    print("Traceback (most recent call last):")


def _write(folder: Path) -> None:
    (folder.parent / "outside").write_bytes(b"")


def _die(folder: Path) -> None:
    ctypes.string_at(0)


def _reader(name: str, use: Use) -> Reader:
    def make(folder: Path) -> list[Files]:
        return [{"file.json": _SEED}]

    return Reader(name, make, (use,))


READERS = (
    _reader("right", _right),
    *(
        _reader(name, _planted(fault))
        for name, fault in {
            "exception": _raise,
            "hang": _hang,
            "memory": _allocate,
            "message": _name_nothing,
            "lines": _say_much,
            "prints": _warn,
            "traceback": _print,
            "writes": _write,
            "died": _die,
        }.items()
    ),
)
