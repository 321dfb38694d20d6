"""Generates images from label files: NIfTI labels in, NIfTI images out.

Example:
    python -m experiments.synthesize --model=runs/multi_a1 --labels=case_gt.nii.gz \
        --out=synthetic

Exit status: 0 all well, 1 some files could not be used (the others are done), 2 wrong
usage, 130 interrupted. The same command continues.
"""

import argparse
import sys
from collections.abc import Sequence

from tqdm import tqdm

from cmrjax.models.spade_generator import DTYPES
from cmrjax.synthesis.cases import find_cases, synthesize_cases
from cmrjax.synthesis.label_input import LABEL_SOURCES
from cmrjax.synthesis.params import load_params
from cmrjax.synthesis.sample import STATISTICS
from cmrjax.synthesis.volume import GRIDS, Synthesizer
from cmrjax.training.compilation_cache import enable_compilation_cache
from experiments.command_line import refuse, run_command

_NOTES = """\
Labels are resampled from their own pixel size to the model's, and the images back to
theirs (--grid=label) or not (--grid=model). Rows are the file's y axis, columns its x
axis, slices its third axis; nothing is turned, and affines are exact.

Of case_gt.nii.gz come case.nii.gz (see --intensity), case_gt.nii.gz (the labels on the
same grid) and case.json (model, settings, hashes). A file with time frames gives such a
pair for each frame with labels: case_frame00.nii.gz, and so on.

Exit status: 0 all well, 1 some files could not be used, 2 usage, 130 interrupted."""


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.synthesize",
        description="Generates cardiac MR images from label maps with a trained model.",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", required=True, help="model folder, or one checkpoint of it")
    add(
        "--labels",
        required=True,
        help="label file, or a folder: its *_gt.nii.gz at any depth, else all NIfTI",
    )
    add("--out", required=True, help="folder to write; finished cases in it are kept")
    add(
        "--label-source",
        default="schema",
        metavar=f"{'|'.join(LABEL_SOURCES)}|JSON",
        help="what the ids mean (default: the ids of the model's own schema); JSON: the"
        " file that prepare_data was given as --schema",
    )
    add(
        "--merge",
        action="store_true",
        help="the labels are multi-tissue; merge them to the model's coarser schema",
    )
    add(
        "--batch-size",
        type=int,
        default=8,
        metavar="N",
        help="slices at a time (default 8)",
    )
    add("--seed", type=int, default=0, help="of z, for models that have one (0)")
    add(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="of activations; bfloat16 is faster where the processor has it (float32)",
    )
    add(
        "--grid",
        choices=GRIDS,
        default="label",
        help="of the outputs: that of the labels (default) or the model's",
    )
    add(
        "--spacing",
        metavar="MM[,MM]",
        type=_spacing,
        help="pixel size of the labels, or rows,columns; the headers' is not used",
    )
    add(
        "--intensity",
        default="model",
        metavar="model|uint12|IMAGE",
        help="values of the outputs: -1 to 1 (default), 0 to 4095, or those of a NIfTI"
        " image of one's own",
    )
    add(
        "--statistics",
        choices=STATISTICS,
        default="running",
        help="of batch normalisation: of the training (default) or of each volume",
    )
    return parser


def _spacing(text: str) -> tuple[float, float]:
    """Reads MM or MM,MM; argparse names the option where this raises."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not all(0 < v < float("inf") for v in values):
        raise argparse.ArgumentTypeError(f"{text!r} is no pixel size, as 1.25")
    return values[0], values[-1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    enable_compilation_cache()
    try:
        cases = find_cases(options.labels, options.out)
        synthesizer = Synthesizer.create(
            load_params(options.model),
            label_source=options.label_source,
            merge=options.merge,
            batch_size=options.batch_size,
            seed=options.seed,
            dtype=options.dtype,
            grid=options.grid,
            spacing=options.spacing,
            statistics=options.statistics,
            intensity=options.intensity,
        )
    except ValueError as error:
        refuse("synthesize", error)
    _announce(synthesizer)
    bar = tqdm(cases, unit="case", file=sys.stderr)
    try:
        summary = synthesize_cases(
            cases=bar, out=options.out, synthesizer=synthesizer, warn=_say
        )
    except OSError as error:
        _say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted: the same command continues")
        return 130
    finally:
        bar.close()
    bad = len(summary.problems)
    print(
        f"{options.out}: {summary.made} cases generated, {summary.kept} kept from "
        f"before, {bad} could not be used"
    )
    return 1 if bad else 0


def _announce(synthesizer: Synthesizer) -> None:
    """Says which model is used, and what its labels will lack."""
    origin = synthesizer.params.origin
    _say(f"model: {origin.path}, step {origin.step}, {origin.weights} weights")
    channels = synthesizer.params.description.architecture.out_channels
    if channels > 1:
        _say(f"the model has {channels} channels; their mean is written")
    missing = synthesizer.label_input.missing_classes
    if missing:
        _say(
            f"warning: labels of source {synthesizer.label_input.source!r} have no "
            f"{', '.join(missing)}, which the model was trained with"
        )


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


if __name__ == "__main__":
    run_command("synthesize", main)
