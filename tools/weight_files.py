"""Weights of other frameworks as NumPy arrays; nothing in a file is executed."""

import io
import mmap
import pickletools
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cmrjax.array_files import (
    LARGEST_PACKING,
    check_total,
    check_unpacked_size,
    read_npz,
)
from cmrjax.files import shorten

Arrays = dict[str, np.ndarray]

_STATE_GLOBALS = (
    "collections OrderedDict",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
)
_MOST_LEVELS = 20  # of HDF5 groups; Keras's files have three
_MOST_NODES = 20_000  # groups and arrays of an HDF5 file; Keras's have hundreds


def read_arrays(source: Path) -> Arrays:
    """Reads every array of a file by its name in the file; never unpickles objects.

    Raises:
      ValueError: an unknown suffix, a missing package, or a damaged file.
    """
    reader = _READERS.get(source.suffix.lower())
    if reader is None:
        raise ValueError(
            f"unknown kind of file {source.suffix!r}; expected {', '.join(_READERS)}"
        )
    arrays = reader(source)
    for name, array in arrays.items():
        if array.dtype.kind not in "biufU":
            raise ValueError(f"{shorten(name)} holds {array.dtype}, expected numbers")
    return arrays


def _read_safetensors(source: Path) -> Arrays:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ValueError(
            "reading .safetensors needs safetensors: pip install safetensors"
        ) from error
    try:
        return safetensors.numpy.load_file(source)
    except Exception as error:  # KeyError for types that NumPy lacks, and more
        reason = shorten(error)
        raise ValueError(
            f"not a readable safetensors file ({reason}); fetch it again"
        ) from error


def _read_torch(source: Path) -> Arrays:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            "reading .pth needs PyTorch: pip install torch. The same weights as "
            ".safetensors, or Keras's .h5, do without"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on what a hostile file would call
            _check_pickles(source)
            state = torch.load(source, map_location="cpu", weights_only=True)
        return {_name(name): _to_numpy(name, tensor) for name, tensor in state.items()}
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = shorten(error, 300)
        raise ValueError(
            f"not a readable state dictionary ({reason}); fetch it again"
        ) from error


def _check_pickles(source: Path) -> None:
    """Refuses pickles that would call or ask for more than a state dictionary needs.

    PyTorch's own reader of weights calls bytearray, say, with any number.

    Raises:
      ValueError: there is such a thing; other kinds where the file is damaged.
    """
    size = source.stat().st_size
    if not zipfile.is_zipfile(source):  # as PyTorch before 1.6 writes
        # Mapped, since pickletools asks a file for as many bytes as it says.
        with (
            open(source, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream,
        ):
            # Magic number, version, system, state, names of the storages.
            for largest in (None, None, None, size, None):
                _check_pickle(stream, largest)
        return
    with zipfile.ZipFile(source) as archive:
        members = archive.infolist()
        names = [m for m in members if m.filename.rpartition("/")[2] == "data.pkl"]
        if len(names) != 1:
            raise ValueError(f"it has {len(names)} files data.pkl, expected one")
        check_unpacked_size(source, names[0])
        _check_pickle(io.BytesIO(archive.read(names[0])), size)


def _check_pickle(stream: Any, largest: int | None) -> None:
    """Looks through one pickle; no number in a state is above the size of its file.

    `stream` has read, readline and tell, as a file and a memory map have.
    """
    for operation, argument, _ in pickletools.genops(stream):
        if operation.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            is_storage = module.startswith("torch") and name.endswith("Storage")
            if not is_storage and argument not in _STATE_GLOBALS:
                raise ValueError(f"it calls {argument}, which no state dictionary does")
        elif operation.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
            raise ValueError(f"it has {operation.name}, as no state dictionary has")
        elif largest is not None and type(argument) is int and argument > largest:
            raise ValueError(f"it says {argument}, and has {largest} bytes")


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise ValueError(f"it has an entry {shorten(repr(name))}, expected names")
    return name


def _to_numpy(name: str, tensor: Any) -> np.ndarray:
    """Converts a tensor, unless it says more values than the file holds."""
    stated = tensor.numel() * tensor.element_size()
    if stated > tensor.untyped_storage().nbytes():
        raise ValueError(f"{name} repeats values that are stored once")
    if tensor.is_complex():
        raise ValueError(f"{name} holds complex numbers")
    return tensor.detach().float().numpy()


def _read_hdf5(source: Path) -> Arrays:
    try:
        import h5py
    except ImportError as error:
        raise ValueError("reading .h5 needs h5py: pip install h5py") from error
    try:
        with h5py.File(source, "r") as file:
            found = _hdf5_datasets(file, LARGEST_PACKING * source.stat().st_size)
            arrays = {name: np.asarray(node) for name, node in found.items()}
    except Exception as error:  # h5py raises many kinds for a damaged file
        reason = shorten(error)
        raise ValueError(
            f"not a readable HDF5 file ({reason}); fetch it again"
        ) from error
    return arrays


def _hdf5_datasets(file: Any, possible: int) -> dict[str, Any]:
    """Finds the arrays of numbers of an HDF5 file, and reads none of them.

    Groups are gone through here, level by level: h5py's own walk takes a minute for
    3000 groups in one another.

    Args:
      file: the open file.
      possible: bytes that it may hold, however packed.

    Raises:
      ValueError: it has too many groups, too deep ones, or says too much.
    """
    import h5py

    found: dict[str, Any] = {}
    level: list[tuple[str, Any]] = [("", file)]
    nodes = 0
    for _ in range(_MOST_LEVELS):
        below: list[tuple[str, Any]] = []
        for prefix, group in level:
            nodes += len(group)
            if nodes > _MOST_NODES:
                raise ValueError(f"it has more than {_MOST_NODES} groups and arrays")
            for key in group:
                name = f"{prefix}{_name(key)}"  # bytes, where it is not UTF-8
                if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                    continue  # as h5py's walk does: another file, or a circle
                node = group[key]
                if isinstance(node, h5py.Group):
                    below.append((f"{name}/", node))
                elif isinstance(node, h5py.Dataset) and node.dtype.kind in "biuf":
                    if node.nbytes > possible or node.external or node.is_virtual:
                        raise ValueError(f"{name} says more values than the file holds")
                    found[name] = node
        if not below:
            check_total(sum(node.nbytes for node in found.values()), len(found))
            return found
        level = below
    raise ValueError(f"its groups lie more than {_MOST_LEVELS} deep in one another")


_READERS: dict[str, Callable[[Path], Arrays]] = {
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".npz": read_npz,
}
