"""Generates images from label files: NIfTI labels in, NIfTI images out.

Example:
    python -m experiments.synthesize --model=runs/multi_a1 --labels=case_gt.nii.gz \
        --out=synthetic

Exit status: 0 all well, 1 some files could not be used (the others are done), 2 wrong
usage, 130 interrupted. The same command continues.
"""

import argparse
import signal
import sys
from collections.abc import Sequence

from tqdm import tqdm

from cmrjax.models.spade_generator import DTYPES
from cmrjax.synthesis.cases import find_cases, synthesize_cases
from cmrjax.synthesis.label_input import LABEL_SOURCES
from cmrjax.synthesis.params import load_params
from cmrjax.synthesis.volume import Synthesizer
from cmrjax.training.compilation_cache import enable_compilation_cache

_NOTES = """\
Labels are taken pixel by pixel at the model's pixel spacing: nothing is resampled yet,
and a file whose header says another spacing gets a warning. Rows are the file's y axis,
columns its x axis, slices its third axis; affine and shape of the labels are kept.

Of case_gt.nii.gz come case.nii.gz (float32 in [-1, 1]), case_gt.nii.gz (the labels as
the model saw them) and case.json (model, settings, hashes). A file with time frames
gives such a pair for each frame with labels: case_frame00.nii.gz, and so on.

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
        choices=LABEL_SOURCES,
        default="schema",
        help="what the ids mean (default: the ids of the model's own schema)",
    )
    add(
        "--merge",
        action="store_true",
        help="the labels are multi-tissue; merge them to the model's coarser schema",
    )
    add("--batch-size", type=int, default=8, metavar="N", help="default 8")
    add("--seed", type=int, default=0, help="of z, for models that have one (0)")
    add(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="of activations; bfloat16 is faster where the processor has it (float32)",
    )
    return parser


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
        )
    except ValueError as error:
        parser.error(str(error))
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
    missing = synthesizer.label_input.missing_classes
    if missing:
        _say(
            f"warning: labels of source {synthesizer.label_input.source!r} have no "
            f"{', '.join(missing)}, which the model was trained with"
        )


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop between files
    sys.exit(main())
