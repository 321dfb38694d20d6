"""Writes a prepared folder as a data set of TensorFlow Datasets.

    python -m tools.export_tfds data/prepared/mnms --out=data/tfds

makes data/tfds/cardiac_slices/mnms/1.0.0, which the commands take wherever they take a
prepared folder, and which other programs read by

    tfds.data_source("cardiac_slices/mnms", data_dir="data/tfds", split="train")

Needs the extra tfds: pip install -e ".[tfds]".
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from cmrjax.data.prepared import PreparedDataset
from cmrjax.data.tfds_reader import import_tfds
from experiments.command_line import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.export_tfds",
        description="Write a prepared folder as a data set of TensorFlow Datasets.",
    )
    add = parser.add_argument
    add("prepared", type=Path, help="folder of prepare_data or label_real")
    add("--out", required=True, type=Path, help="folder of TFDS data sets")
    add("--name", help="of the data set (the prepared folder's)")
    add("--overwrite", action="store_true", help="replace one of that name")
    options = parser.parse_args(arguments)
    try:
        import_tfds("writing a TFDS data set")
        from cmrjax.data.tfds_builder import export_tfds

        logging.getLogger("absl").setLevel(logging.ERROR)  # TFDS: our names are new
        total = len(PreparedDataset.open(options.prepared))
        with tqdm(total=total, unit="slice", file=sys.stderr) as bar:
            made = export_tfds(
                options.prepared,
                options.out,
                name=options.name,
                overwrite=options.overwrite,
                on_slice=bar.update,
            )
    except (ValueError, OSError) as error:
        print(f"export_tfds: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: {options.out} is as it was", file=sys.stderr)
        return 130
    size = sum(file.stat().st_size for file in made.iterdir())
    print(f"{made}: {total} slices, {size / 2**20:.1f} MiB, read back and equal")
    return 0


if __name__ == "__main__":
    run_command("export_tfds", main)
