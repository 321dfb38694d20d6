r"""Prepares a data set for training: NIfTI files to arrays with a manifest.

Example:
    python -m experiments.prepare_data --dataset=mnms --source=OpenDataset \
        --out=prepared/mnms
    python -m experiments.prepare_data --dataset=nifti --table=cases.csv --check

Exit status: 0 all well, 1 something could not be used (the rest is prepared, unless
nothing was usable), 2 wrong usage.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from cmrjax.data import preconvert
from cmrjax.data.check import check_dataset
from cmrjax.data.datasets import DATASETS
from cmrjax.data.geometry import LARGEST_FIELD
from cmrjax.data.intensity import TRANSFORM_NAMES, get_transform
from cmrjax.data.nifti_table import COLUMNS as TABLE_COLUMNS
from cmrjax.data.nifti_table import OPTIONAL as OPTIONAL_COLUMNS
from cmrjax.data.schema_file import read_schema
from cmrjax.data.subject import Recipe
from cmrjax.data.summary import describe
from experiments.command_line import refuse, run_command

LARGEST_IMAGE = 4096  # pixels; far above any MR image
SPACINGS = (0.05, 20.0)  # mm; beyond, the unit is wrong


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.prepare_data",
        description="Prepares cardiac MR with labels for training: reads NIfTI and CSV,"
        " normalises, resamples, crops, keeps the slices that show heart.",
        epilog="A subject of mnms that the split file does not name is trained on only"
        " if it lies below Training/Labeled; otherwise (Validation, Testing, a flat"
        " folder) it is held out. Exit status: 0 all well, 1 some files could not be"
        " used, 2 usage.",
    )
    add_data_options(parser)
    parser.add_argument(
        "--check",
        action="store_true",
        help="read everything, say all that is wrong, write nothing",
    )
    return parser


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say which data are prepared, and how."""
    add = parser.add_argument
    add("--dataset", required=True, choices=list(DATASETS))
    add(
        "--source",
        help="folder with the subjects, nested or flat (nifti: from where the paths of"
        " the table start; default: its folder)",
    )
    add("--out", help="folder to make")
    add(
        "--table",
        help="CSV of the subjects (mnms: searched in and near --source; nifti: columns"
        f" {', '.join(TABLE_COLUMNS)}; where needed {', '.join(OPTIONAL_COLUMNS)}: the"
        " frame of a cine, from 0, and the voxel size in mm that a header has lost, as"
        " 1.25x1.25x8 or, in plane alone, 1.25)",
    )
    add(
        "--schema",
        metavar="JSON",
        help="nifti: file with the classes and the ids of your labels (default: 1 LV,"
        " 2 MYO, 3 RV)",
    )
    add(
        "--split",
        help="CSV of the split (default: split.csv in --source, else ours); subjects"
        " missing from a file of your own are held out",
    )
    add("--image-size", type=int, default=256, metavar="PIXELS", help="default 256")
    add("--spacing", type=float, default=1.33, metavar="MM", help="default 1.33")
    add("--transform", choices=TRANSFORM_NAMES, default="percentile")
    add(
        "--nominal-spacing",
        action="store_true",
        help="the headers' voxel size is known not to be the true one: record it so",
    )
    add(
        "--nominal-spacing-except",
        default="",
        metavar="CODES",
        help="subjects whose voxel size is true all the same, separated by commas",
    )
    add(
        "--all-slices",
        action="store_true",
        help="keep slices without heart too, for the segmentation network",
    )
    add("--overwrite", action="store_true", help="replace a prepared --out")


def recipe_from(options: argparse.Namespace) -> Recipe:
    """Returns how volumes are prepared.

    Raises:
        ValueError: If a number is out of range or exceptions stand without
            ``--nominal-spacing``.
    """
    codes = frozenset(filter(None, options.nominal_spacing_except.split(",")))
    if codes and not options.nominal_spacing:
        raise ValueError("--nominal-spacing-except needs --nominal-spacing")
    _check_grid(options.image_size, options.spacing)
    kind = DATASETS[options.dataset]
    schema, label_ids = kind.schema, kind.label_ids
    if options.schema is not None:
        if not kind.own:
            raise ValueError(
                f"--schema={options.schema}: the labels of {options.dataset} are known;"
                " it is for --dataset=nifti"
            )
        schema, label_ids = read_schema(options.schema)
    return Recipe(
        label_ids=dict(label_ids),
        schema=schema,
        transform=get_transform(options.transform),
        image_size=(options.image_size, options.image_size),
        spacing=(options.spacing, options.spacing),
        nominal_spacing=options.nominal_spacing,
        nominal_except=codes,
        all_slices=options.all_slices,
    )


def _check_grid(image_size: int, spacing: float) -> None:
    """Refuses a grid that no heart is seen on, or that would fill the memory."""
    if not 1 <= image_size <= LARGEST_IMAGE:
        raise ValueError(
            f"--image-size={image_size}: expected 1 to {LARGEST_IMAGE} pixels"
        )
    low, high = SPACINGS
    if not low <= spacing <= high:
        raise ValueError(f"--spacing={spacing:g}: expected {low:g} to {high:g} mm")
    if image_size * spacing > LARGEST_FIELD:
        raise ValueError(
            f"--image-size={image_size} --spacing={spacing:g}: are"
            f" {image_size * spacing:g} mm, expected at most {LARGEST_FIELD:g} mm; give"
            " fewer or smaller pixels"
        )


def plan_from(options: argparse.Namespace, *, out: str | None) -> preconvert.Plan:
    """Finds the subjects that the options name.

    Args:
        options: See ``add_data_options``.
        out: Folder to make; None: nothing is to be written.

    Raises:
        ValueError: If an option or the data are not usable.
    """
    source = options.source
    if source is None:
        if not DATASETS[options.dataset].own:
            raise ValueError(f"--dataset={options.dataset} needs --source")
        if options.table is None:
            raise ValueError(
                "--dataset=nifti needs --table=FILE, a CSV with the columns"
                f" {', '.join(TABLE_COLUMNS)}"
            )
        source = Path(options.table).absolute().parent
    return preconvert.plan_preparation(
        options.dataset,
        source,
        out,
        table=options.table,
        split=options.split,
        overwrite=options.overwrite,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        recipe = recipe_from(options)
        if options.check:
            return _check(plan_from(options, out=None), recipe)
        if options.out is None:
            raise ValueError("--out=FOLDER is missing (or --check, to write nothing)")
        plan = plan_from(options, out=options.out)
    except ValueError as error:
        refuse("prepare_data", error)
    try:
        summary = preconvert.run_preparation(
            plan,
            recipe,
            say=lambda line: tqdm.write(line, file=sys.stderr),
            progress=lambda records: tqdm(records, unit="subject", file=sys.stderr),
        )
    except (
        preconvert.NothingPreparedError,
        preconvert.NotOpenableError,
        OSError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: {plan.out} was not written", file=sys.stderr)
        return 130
    print(describe(summary))
    return 1 if summary.problems else 0


def _check(plan: preconvert.Plan, recipe: Recipe) -> int:
    """Reports everything that is wrong; returns the exit status."""
    try:
        report = check_dataset(
            plan,
            recipe,
            progress=lambda records: tqdm(records, unit="subject", file=sys.stderr),
        )
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(report.describe())
    return 1 if report.problems else 0


if __name__ == "__main__":
    run_command("prepare_data", main)
