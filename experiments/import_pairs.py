"""Imports labelled images: ``python -m experiments.import_pairs --source=DIR ...``.

Any NIfTI pairs of image and label map, simulated elsewhere (such as openGTN's) or real,
become a folder as `experiments.simulate` writes it; a mapping file says what the ids
mean and where the files are (see `cmrjax.simulation.pair_mapping`). It is a command of
its own since nothing is simulated: there is neither seed nor number of subjects.
"""

import argparse
import sys

from tqdm import tqdm

from cmrjax.simulation.label_pairs import import_pairs
from experiments.command_line import run_command


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        argv: Arguments without the program's name; None takes the process's.

    Returns:
        The values, by name.
    """
    parser = argparse.ArgumentParser(
        prog="python -m experiments.import_pairs",
        description="Imports pairs of NIfTI images and label maps into the layout that"
        " experiments.simulate writes, with the ids of the nine classes. Run again, it"
        " continues.",
    )
    add = parser.add_argument
    add(
        "--source", required=True, help="folder of the files, or CSV table of the pairs"
    )
    add("--mapping", required=True, help="JSON file: meaning of the ids, file patterns")
    add("--out", required=True, help="folder to write")
    add("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Import; return the exit status.

    0 done, 1 done but for some subjects (one line each), 2 refused, 130 interrupted;
    the same command then continues.
    """
    args = parse_arguments(argv)
    try:
        summary = import_pairs(
            args.source,
            args.mapping,
            args.out,
            say=lambda line: tqdm.write(f"problem: {line}", file=sys.stderr),
            progress=lambda items: tqdm(items, unit="subject", disable=args.quiet),
        )
    except (ValueError, OSError) as error:
        print(f"import_pairs: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command continues", file=sys.stderr)
        return 130
    print(
        f"{args.out}: {summary.imported} subjects imported, {summary.kept} kept from"
        f" before, {len(summary.problems)} problems"
    )
    return 1 if summary.problems else 0


if __name__ == "__main__":
    run_command("import_pairs", main)
