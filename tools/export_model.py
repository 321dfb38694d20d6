"""Writes a trained generator as one file that needs JAX alone.

    python -m tools.export_model --model=runs/multi_a1 --out=export/multi_a1

The folder gets generator.jaxexport, model.json and MODEL_CARD.md, with data, licence,
budget and metrics of the model. To use it:

    import jax
    function = jax.export.deserialize(bytearray(open(FILE, "rb").read()))
    images = function.call(labels)  # [b, h, w] uint8 -> [b, h, w, 1] float32
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cmrjax.files import atomic_directory, write_bytes
from cmrjax.output_folder import check_free, holds_only
from cmrjax.synthesis.export import PLATFORMS, export_generator
from cmrjax.synthesis.params import load_params, provenance_of_copy
from cmrjax.training.description import MODEL_FILE, write_description
from cmrjax.training.model_card import CARD_FILE, write_model_card
from experiments.command_line import run_command

FILE = "generator.jaxexport"
is_export = holds_only(FILE, MODEL_FILE, CARD_FILE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.export_model",
        description="Write a trained generator as one file that needs JAX alone.",
    )
    add = parser.add_argument
    add("--model", required=True, help="model folder, or one checkpoint of it")
    add("--out", required=True, type=Path, help="folder to make")
    add("--image-size", type=int, metavar="PIXELS", help="side (that of the training)")
    add(
        "--platforms",
        default="cpu,cuda",
        help=f"separated by commas, of {', '.join(PLATFORMS)} (cpu,cuda)",
    )
    add("--overwrite", action="store_true", help="replace an existing folder")
    options = parser.parse_args(arguments)
    side = options.image_size
    replaced = {"overwrite": options.overwrite, "ours": is_export}
    try:
        check_free(options.out, **replaced)
        params = load_params(options.model)
        content = export_generator(
            params,
            image_size=None if side is None else (side, side),
            platforms=options.platforms.split(","),
        )
        with atomic_directory(options.out, **replaced) as folder:
            write_bytes(folder / FILE, content)
            write_description(
                folder, params.description, provenance=provenance_of_copy(params)
            )
            write_model_card(folder, name=options.out.name)
    except (ValueError, OSError) as error:
        print(f"export_model: {error}", file=sys.stderr)
        return 1
    print(f"{options.out / FILE}: {len(content) / 2**20:.1f} MiB, {options.platforms}")
    return 0


if __name__ == "__main__":
    run_command("export_model", main)
