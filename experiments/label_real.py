r"""Labels all tissues on real images: the network's, with the expert's heart put in.

    python -m experiments.label_real --model=runs/multi_tissue --dataset=mnms \
        --source=OpenDataset --out=data/prepared/mnms_multi

Writes a prepared folder for `train_gan`, and beside its arrays nifti/ (labels on the
grid of the files), montages/, report.html, labelling.csv and summary.json. The same
command continues a stopped run.

Exit status: 0 all well, 1 something could not be used (the rest is labelled, unless
nothing was usable), 2 wrong usage, 130 interrupted.
"""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Sequence

from tqdm import tqdm

from cmrjax.data import preconvert
from cmrjax.data.subject import Recipe
from cmrjax.data.summary import describe
from cmrjax.evaluation.labelling_report import closing_lines
from cmrjax.folder_lock import hold_folder
from cmrjax.labels import MULTI_TISSUE
from cmrjax.output_folder import check_place
from cmrjax.segmentation.labelling import EXPERT_CHOICES, TissueModel
from experiments.command_line import refuse, run_command
from experiments.labelling_run import LabellingRun, choose_subjects, work_folder
from experiments.prepare_data import add_data_options, plan_from, recipe_from


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.label_real",
        description="Labels all tissues on real cardiac MR with a trained segmentation"
        " network, puts the expert's heart in, and writes a prepared folder, NIfTI"
        " labels, montages and a report. Run again, it continues.",
        epilog="Exit status: 0 all well, 1 some files could not be used, 2 usage, 130"
        " interrupted.",
    )
    add = parser.add_argument
    add("--model", required=True, help="--workdir of train_segmentation")
    add_data_options(parser)
    add(
        "--expert",
        choices=EXPERT_CHOICES,
        default="labels",
        help="whose heart: that of the label files, or (none) the network's own; then"
        " no label files are needed (default labels)",
    )
    add(
        "--keep-pieces",
        action="store_true",
        help="keep the network's tissues as they are: specks, and islands of lung in"
        " the abdomen, which are otherwise given to a tissue around them",
    )
    add("--groups", default="", metavar="A1,B2", help="these only (default: all)")
    add("--subjects", default="", metavar="CODES", help="these only (default: all)")
    return parser


def load_model(folder: str) -> TissueModel:
    """Loads the network of ``--model``.

    Raises:
        ValueError: If the folder holds none.
    """
    from cmrjax.segmentation.predict import Segmenter  # JAX: not for --help

    return Segmenter.load(folder)


def open_labelling(
    options: argparse.Namespace,
) -> tuple[LabellingRun, preconvert.Plan, Recipe]:
    """Checks everything that can be checked before a subject is read.

    Returns:
        The run, its plan and recipe.

    Raises:
        ValueError: If an option, the data or the model is not usable.
    """
    recipe = recipe_from(options)
    # Of the expert's labels the heart is taken; other classes of one's own are not.
    known = MULTI_TISSUE.class_names
    label_ids = {
        i: name if name in known else known[0] for i, name in recipe.label_ids.items()
    }
    recipe = dataclasses.replace(recipe, schema=MULTI_TISSUE, label_ids=label_ids)
    if recipe.transform.name == "zscore":
        raise ValueError(
            "--transform=zscore: is for training the segmentation network; what is"
            " labelled here is for the GAN, whose images end at -1 and 1: use"
            " percentile or clip4000"
        )
    if recipe.all_slices:
        raise ValueError(
            "--all-slices: is for training the segmentation network; real slices"
            " without heart are not labelled"
        )
    if options.out is None:
        raise ValueError("--out=FOLDER is missing")
    plan = plan_from(options, out=options.out)
    groups, subjects = (
        list(filter(None, text.split(",")))
        for text in (options.groups, options.subjects)
    )
    plan = choose_subjects(plan, groups, subjects)
    labelling = LabellingRun(
        plan,
        recipe,
        load_model(options.model),
        options.expert,
        tidy=not options.keep_pieces,
    )
    return labelling, plan, recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    with contextlib.ExitStack() as held:
        try:
            if options.out is not None:
                check_place(options.out, option="--out=")
                held.enter_context(hold_folder(work_folder(options.out)))
            labelling, plan, recipe = open_labelling(options)
        except (ValueError, OSError) as error:
            refuse("label_real", error)
        return _label(labelling, plan, recipe)


def _label(labelling: LabellingRun, plan: preconvert.Plan, recipe: Recipe) -> int:
    """Labels all subjects and writes the folder; returns the exit status."""
    try:
        summary = preconvert.run_preparation(
            plan,
            recipe,
            prepare=labelling.prepare,
            complete=labelling.complete,
            settings=labelling.settings,
            say=lambda line: tqdm.write(line, file=sys.stderr),
            progress=lambda records: tqdm(records, unit="subject", file=sys.stderr),
        )
    except preconvert.NothingPreparedError as error:
        labelling.store.remove()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (preconvert.NotOpenableError, OSError) as error:
        print(
            f"error: {error}; the same command continues with what is in"
            f" {labelling.store.folder}",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        done = len(labelling.store.subjects)
        print(
            f"interrupted: {done} subjects are kept in {labelling.store.folder}; the"
            " same command continues",
            file=sys.stderr,
        )
        return 130
    labelling.store.remove()
    print("\n".join([*closing_lines(labelling.summary), describe(summary)]))
    return 1 if summary.problems else 0


if __name__ == "__main__":
    run_command("label_real", main)
