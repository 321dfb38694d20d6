"""Makes a model folder from the generator of the public PyTorch SPADE.

    python -m tools.import_spade latest_net_G.pth runs/imported

Generators with a label seed (the default there) and with a z seed (--use_vae) are read,
from .pth (which needs torch), .safetensors or .npz. Their label maps must have been
class ids alone, without an instance channel (--no_instance).
"""

import argparse
import functools
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from cmrjax.data.schema_file import find_schema
from cmrjax.files import sha256_file, shorten
from cmrjax.labels import LabelSchema
from cmrjax.models.interchange import from_torch_names
from cmrjax.models.spade_generator import GeneratorArchitecture, SpadeGenerator
from cmrjax.synthesis.params import (
    ModelOrigin,
    ModelParams,
    check_model_place,
    default_schema,
    save_params,
)
from cmrjax.training.description import ModelDescription
from cmrjax.training.state import init_variables
from experiments.command_line import run_command
from tools.weight_files import Arrays, read_arrays

STRIDES = {"normal": 32, "more": 64, "most": 128}
"""--num_upsampling_layers of the reference, and our seed_stride."""
DEFAULT_IMAGE_SIZE = 256
DEFAULT_SPACING = 1.33


def import_generator(
    source: Path,
    *,
    schema: LabelSchema | None = None,
    upsampling: str | None = None,
    image_size: int | None = None,
    spacing: float | None = None,
    data: str = "",
    licence: str = "",
) -> ModelParams:
    """Reads a generator.

    Args:
      source: state dictionary, .pth, .pt, .safetensors or .npz.
      schema: what the class ids mean; by default that of their number.
      upsampling: "normal", "more" or "most"; by default "most" where the file has the
        block up_4, else "normal" ("more" has the same names).
      image_size: side in pixels that it was trained on; 256 by default. With z it
        follows from the file, for square images.
      spacing: pixel spacing in mm of the images it was trained on; None: 1.33 is
        assumed.
      data: what it was trained on, for the model card.
      licence: of these data, for the model card.

    Returns:
      The parameters.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not such a generator; the message names the file and what is
        missing, too much, or of another shape.
    """
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file")
    try:
        state = _with_v(read_arrays(source))
        architecture = _architecture(state, upsampling)
        side = _image_size(state, architecture, image_size)
        variables = from_torch_names(state)
        _check(variables, architecture, side)
        description = ModelDescription(
            schema=schema or default_schema(architecture.num_classes),
            architecture=architecture,
            image_size=side,
            spacing=DEFAULT_SPACING if spacing is None else spacing,
        )
    except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(
            f"{source}: {shorten(error, 400)}; convert or fetch it again"
        ) from error
    origin = f"{source.name} (sha256 {sha256_file(source)})"
    record: dict[str, Any] = {
        "imported_by": "tools.import_spade",
        "stated_data": data,
        "config": {"data": {"licence": licence}},
        "assumed": _assumed(description, upsampling, spacing),
    }
    return ModelParams(variables, description, ModelOrigin(origin, 0, record=record))


def _assumed(
    description: ModelDescription, upsampling: str | None, spacing: float | None
) -> list[str]:
    """What the file does not tell and the caller did not say."""
    transform = description.transform.to_dict()
    intensities = ", ".join(f"{name} {value}" for name, value in transform.items())
    found = [f"intensities of training ({intensities})"]
    if spacing is None:
        found.insert(0, f"pixel spacing {description.spacing:g} mm (--spacing)")
    stride = description.architecture.seed_stride
    if upsampling is None and stride != STRIDES["most"]:
        found.append(
            f"seed 1/{stride}: a file of --num_upsampling_layers=more has the same "
            "names (--upsampling=more)"
        )
    return found


def _shape(state: Arrays, name: str, ndims: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of an array that must be there."""
    if name not in state:
        found = ", ".join(sorted(state)[:3]) or "nothing"
        raise ValueError(
            f"has no {name}; expected the state dictionary of a SPADE generator "
            f"(latest_net_G.pth), found {found}"
        )
    shape = state[name].shape
    if len(shape) not in ndims:
        raise ValueError(f"{name} has shape {shape}")
    return shape


def _architecture(state: Arrays, upsampling: str | None) -> GeneratorArchitecture:
    """Finds widths, classes and the kind of seed from the shapes."""
    num_classes = _shape(state, "head_0.norm_0.mlp_shared.0.weight", (4,))[1]
    out_channels, last = _shape(state, "conv_img.weight", (4,))[:2]
    fc = _shape(state, "fc.weight", (2, 4))
    deepest = any(name.startswith("up_4.") for name in state)
    upsampling = upsampling or ("most" if deepest else "normal")
    if deepest != (upsampling == "most"):
        raise ValueError(
            f"has {'a' if deepest else 'no'} block up_4, which does not go with "
            f"--upsampling={upsampling}"
        )
    return GeneratorArchitecture(
        num_classes=num_classes,
        base_features=2 * last if deepest else last,
        seed_stride=STRIDES[upsampling],
        latent_size=fc[1] if len(fc) == 2 else 0,
        out_channels=out_channels,
    )


def _image_size(
    state: Arrays, architecture: GeneratorArchitecture, image_size: int | None
) -> int:
    stride = architecture.seed_stride
    if architecture.latent_size:
        pixels = len(state["fc.weight"]) / (16 * architecture.base_features)
        side = stride * math.isqrt(int(pixels))
        if side // stride * (side // stride) != pixels:
            raise ValueError(
                f"its z seed has {pixels:g} pixels, which is no square; only square "
                "images are supported with z"
            )
        if image_size not in (None, side):
            raise ValueError(
                f"its z seed is for images of {side} pixels, not {image_size} (or "
                "another --upsampling)"
            )
        return side
    side = image_size or DEFAULT_IMAGE_SIZE
    if side < 1 or side % stride:
        raise ValueError(
            f"--image-size is {side}; expected a positive multiple of {stride}"
        )
    return side


def _with_v(state: Arrays) -> Arrays:
    """Adds v = W^T u / |W^T u| where PyTorch before 1.1 did not store it."""
    added = {}
    for name, kernel in state.items():
        module, _, leaf = name.rpartition(".")
        u = state.get(f"{module}.weight_u")
        if leaf != "weight_orig" or u is None or f"{module}.weight_v" in state:
            continue
        v = kernel.reshape(len(kernel), -1).T @ u
        added[f"{module}.weight_v"] = v / max(float(np.linalg.norm(v)), 1e-12)
    return {**state, **added}


def _check(
    variables: Mapping[str, Any], architecture: GeneratorArchitecture, side: int
) -> None:
    """Compares every array with what the network needs."""
    expected = _expected_shapes(architecture, side)
    arrays: dict[str, Any] = flatten_dict(dict(variables), sep="/")  # type: ignore[assignment]
    found = {k: v.shape for k, v in arrays.items()}
    missing, more = sorted(expected.keys() - found), sorted(found.keys() - expected)
    if missing or more:
        raise ValueError(
            f"is not the generator that its widths say: lacks {len(missing)} arrays"
            f" ({', '.join(missing[:2])}), has {len(more)} unknown"
            f" ({', '.join(more[:2])})"
        )
    for name, shape in expected.items():
        if found[name] != shape:
            raise ValueError(f"{name} has shape {found[name]}, expected {shape}")
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} holds NaN or infinite values")


@functools.lru_cache(maxsize=8)
def _expected_shapes(
    architecture: GeneratorArchitecture, side: int
) -> dict[str, tuple[int, ...]]:
    """Shape of every array of a generator; tracing it takes a while."""
    generator = SpadeGenerator(architecture)
    wanted = jax.eval_shape(
        lambda key: init_variables(generator, key, image_size=side), jax.random.key(0)
    )
    shapes: dict[str, Any] = flatten_dict(wanted, sep="/")  # type: ignore[assignment]
    return {name: leaf.shape for name, leaf in shapes.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.import_spade",
        description="Make a model folder from a generator of the public SPADE.",
    )
    add = parser.add_argument
    add("source", type=Path, help="latest_net_G.pth, or .safetensors, .npz")
    add("out", type=Path, help="model folder to make")
    add("--schema", help="of the class ids: cavity, multi_tissue or a JSON file")
    add("--upsampling", choices=STRIDES, help="--num_upsampling_layers of the training")
    add("--image-size", type=int, help="side it was trained on (256)")
    add("--spacing", type=float, help="of its images, mm (1.33 is assumed)")
    add("--data", default="", help="what it was trained on, for the model card")
    add("--licence", default="", help="of these data, for the model card")
    add("--overwrite", action="store_true", help="replace an existing folder")
    options = parser.parse_args(arguments)
    try:
        check_model_place(options.out, overwrite=options.overwrite)
        params = import_generator(
            options.source,
            schema=None if options.schema is None else find_schema(options.schema),
            upsampling=options.upsampling,
            image_size=options.image_size,
            spacing=options.spacing,
            data=options.data,
            licence=options.licence,
        )
        save_params(params, options.out, overwrite=options.overwrite)
    except (ValueError, OSError) as error:
        print(f"import_spade: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    architecture = params.description.architecture
    seed = f"z of {architecture.latent_size}" if architecture.latent_size else "labels"
    assumed = "".join(f"assume {x}\n" for x in params.origin.record["assumed"])
    print(
        f"read   {params.origin.path}\n"
        f"shape  {architecture.num_classes} classes, nf {architecture.base_features}, "
        f"{architecture.out_channels} channel(s), seed 1/{architecture.seed_stride} "
        f"from {seed}\n"
        f"{assumed}"
        f"wrote  {options.out}; python -m experiments.synthesize --model={options.out}"
    )
    return 0


if __name__ == "__main__":
    run_command("import_spade", main)
