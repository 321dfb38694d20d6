"""Weights of other frameworks as NumPy arrays; nothing in a file is executed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cmrjax.models.vgg19 import read_npz

Arrays = dict[str, np.ndarray]


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
    return reader(source)


def _read_safetensors(source: Path) -> Arrays:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ValueError(
            "reading .safetensors needs safetensors: pip install safetensors"
        ) from error
    try:
        return safetensors.numpy.load_file(source)
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f"not a readable safetensors file ({error}); fetch it again"
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
        state = torch.load(source, map_location="cpu", weights_only=True)
        return {name: tensor.detach().float().numpy() for name, tensor in state.items()}
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"not a readable state dictionary ({reason}); fetch it again"
        ) from error


def _read_hdf5(source: Path) -> Arrays:
    try:
        import h5py
    except ImportError as error:
        raise ValueError("reading .h5 needs h5py: pip install h5py") from error
    arrays: Arrays = {}

    def collect(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            arrays[name] = np.asarray(node)

    try:
        with h5py.File(source, "r") as file:
            file.visititems(collect)
    except OSError as error:
        raise ValueError(
            f"not a readable HDF5 file ({error}); fetch it again"
        ) from error
    return arrays


_READERS: dict[str, Callable[[Path], Arrays]] = {
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".npz": read_npz,
}
