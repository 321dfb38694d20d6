"""Simulates labelled cardiac cine MR: ``python -m experiments.simulate --out=DIR``.

Writes the layout of the M&Ms challenge (4D NIfTI with end-diastole and end-systole,
nine-class labels, dataset_information.csv, split.csv); run again, it continues. With
``--anatomy=xcat --source=xcat.zip`` the subjects are made of an XCAT phantom instead of
the free anatomy, and ``--style=B`` gives all of them one vendor-like style; images
made elsewhere come in by ``experiments.import_pairs``.
"""

import argparse
import sys
from concurrent.futures.process import BrokenProcessPool

from cmrjax.simulation.population import ANATOMIES, simulate_population
from cmrjax.simulation.vendor_style import STYLES
from experiments.command_line import run_command


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        argv: Arguments without the program's name; None takes the process's.

    Returns:
        The values, by name.
    """
    parser = argparse.ArgumentParser(
        prog="python -m experiments.simulate",
        description="Simulates labelled cardiac cine MR and writes it in the layout of"
        " the M&Ms challenge: 4D NIfTI with end-diastole and end-systole, nine-class"
        " labels, dataset_information.csv, split.csv. Run again, it continues.",
    )
    add = parser.add_argument
    add("--out", required=True, help="folder of the population")
    add("--subjects", type=int, default=24, help="number of subjects (24)")
    add("--seed", type=int, default=0, help="seed of the population (0)")
    add("--image-size", type=int, default=192, help="rows and columns (192)")
    add("--spacing", type=float, default=1.33, help="pixel distance, mm (1.33)")
    add("--slice-distance", type=float, help="slice distance, mm (drawn)")
    add(
        "--anatomy",
        default="free",
        choices=ANATOMIES,
        help="what subjects are made of: a free parametric torso, or a phantom (free)",
    )
    add("--source", help="the phantom for --anatomy=xcat: XCAT zip file or folder")
    add(
        "--style",
        choices=tuple(STYLES),
        help="vendor-like style of all scanners (drawn for each subject)",
    )
    add("--jobs", type=int, help="processes at work (number of processors)")
    add("--quiet", action="store_true", help="no progress bar")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Simulate; return the exit status.

    0 done, 1 broken off, 2 refused, 130 interrupted; after 1 and 130 it can continue.
    """
    args = parse_arguments(argv)
    try:
        made = simulate_population(
            args.out,
            args.subjects,
            args.seed,
            image_size=args.image_size,
            spacing=args.spacing,
            slice_distance=args.slice_distance,
            anatomy=args.anatomy,
            source=args.source,
            style=args.style,
            jobs=args.jobs,
            progress=not args.quiet,
        )
    except (ValueError, OSError) as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 2
    except BrokenProcessPool:
        print(
            "simulate: a process was ended from outside, often for want of memory: the"
            " same command with a smaller --jobs continues",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command continues", file=sys.stderr)
        return 130
    kept = args.subjects - made
    print(f"{args.out}: {made} subjects simulated, {kept} kept from before")
    return 0


if __name__ == "__main__":
    run_command("simulate", main)
