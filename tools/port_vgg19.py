"""Converts ImageNet VGG19 weights to the npz file that cmrjax reads.

    python -m tools.port_vgg19 SOURCE OUT.npz

SOURCE is torchvision's checkpoint (.safetensors, or .pth, which needs torch) or that of
Keras/Caffe (.h5, which needs h5py, or .npz). The input convention follows from the
names inside. Blocks that are not in the source drop out of the loss; the summary names
them.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmrjax.array_files import write_npz
from cmrjax.files import sha256_file, shorten
from cmrjax.models.vgg19 import FEATURES, FORMAT, LAYER_WIDTHS, usable_layers
from cmrjax.output_folder import check_file_place
from experiments.command_line import run_command
from tools.weight_files import Arrays, read_arrays

# torchvision: position of each convolution in vgg19.features (SPEC 12).
TORCHVISION_INDEX: dict[int, str] = dict(
    zip((0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28), LAYER_WIDTHS, strict=True)
)
_TORCHVISION_NAME = re.compile(r"(?:^|\.)features\.(\d+)\.(weight|bias)$")
_KERAS_NAME = re.compile(r"(?:^|/)block(\d)_conv(\d)[/._].*$")


def port(source: Path, out: Path) -> str:
    """Converts one file.

    Args:
      source: weights as downloaded.
      out: npz file to write; replaced as a whole, or not at all.

    Returns:
      A summary for people.

    Raises:
      FileNotFoundError: there is no such source.
      ValueError: the source is unreadable or not VGG19; the message names the file.
    """
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file")
    if out.suffix != ".npz":
        raise ValueError(f"{out}: the output must be named .npz")
    check_file_place(out)
    try:
        arrays, convention = canonical(read_arrays(source))
        layers = usable_layers(arrays)
    except ValueError as error:
        raise ValueError(f"{source}: {shorten(error, 400)}") from error
    digest = sha256_file(source)
    kept = {
        f"{layer}.{part}": np.asarray(arrays[f"{layer}.{part}"], np.float32)
        for layer in layers
        for part in ("kernel", "bias")
    }
    write_npz(
        out,
        **kept,
        format=np.asarray(FORMAT),
        convention=np.asarray(convention),
        source_name=np.asarray(source.name),
        source_sha256=np.asarray(digest),
        layers=np.asarray(layers),
    )
    return _summary(source, out, layers, convention, digest)


def canonical(arrays: Arrays) -> tuple[Arrays, str]:
    """Renames the arrays of either source and finds the input convention.

    Args:
      arrays: by the source's names; torchvision's kernels are OIHW, Keras's HWIO.

    Returns:
      `{layer}.kernel` [3, 3, c_in, c_out] and `{layer}.bias` [c_out]; and
      "torchvision" or "caffe". Classifier and other arrays are left out.

    Raises:
      ValueError: names of neither source, or of both, or one array twice.
    """
    torchvision, keras = _from_torchvision(arrays), _from_keras(arrays)
    if bool(torchvision) == bool(keras):
        found = ", ".join(sorted(arrays)[:4]) or "nothing"
        raise ValueError(
            "expected arrays named features.0.weight (torchvision) or block1_conv1... "
            f"(Keras), found {found}"
        )
    return (torchvision, "torchvision") if torchvision else (keras, "caffe")


def _from_torchvision(arrays: Arrays) -> Arrays:
    out: Arrays = {}
    for name, array in arrays.items():
        match = _TORCHVISION_NAME.search(name)
        layer = TORCHVISION_INDEX.get(int(match[1])) if match else None
        if match is None or layer is None:
            continue
        if match[2] == "weight" and array.ndim == 4:
            _put(out, f"{layer}.kernel", array.transpose(2, 3, 1, 0))
        else:
            _put(out, f"{layer}.{match[2].replace('weight', 'kernel')}", array)
    return out


def _from_keras(arrays: Arrays) -> Arrays:
    out: Arrays = {}
    for name, array in arrays.items():
        match = _KERAS_NAME.search(name)
        if match is None or "optimizer" in name:
            continue
        layer = f"conv{match[1]}_{match[2]}"
        if layer in LAYER_WIDTHS:
            _put(out, f"{layer}.{'bias' if array.ndim == 1 else 'kernel'}", array)
    return out


def _put(out: Arrays, key: str, array: np.ndarray) -> None:
    if key in out:
        raise ValueError(f"{key} is there twice")
    out[key] = array


def _summary(
    source: Path, out: Path, layers: Sequence[str], convention: str, digest: str
) -> str:
    features = [FEATURES[n] for n in layers if n in FEATURES]
    missing = [n for n in FEATURES.values() if n not in features]
    lines = [
        f"read    {source} (sha256 {digest})",
        f"input   {convention} convention",
        f"layers  {layers[0]} to {layers[-1]}",
        f"gives   {', '.join(features)}",
    ]
    if missing:
        lines.append(f"without {', '.join(missing)}: these drop out of the loss")
    return "\n".join([*lines, f"wrote   {out}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.port_vgg19",
        description="Convert ImageNet VGG19 weights to the npz file that cmrjax reads.",
    )
    parser.add_argument("source", type=Path, help=".safetensors, .pth, .h5 or .npz")
    parser.add_argument("out", type=Path, help="npz file to write")
    args = parser.parse_args(arguments)
    try:
        print(port(args.source, args.out))
    except (ValueError, OSError) as error:
        print(f"port_vgg19: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    run_command("port_vgg19", main)
