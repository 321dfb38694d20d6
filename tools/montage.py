r"""Shows subjects of prepared folders: image and label map, base to apex.

    python -m tools.montage --data data/prepared/mnms_multi data/prepared/simulated \
        --groups A1 S1 --splits train --count=6 --out=montage.png

One row a subject, folders in turn; three slices (near the base, in the middle, near the
apex), each as image and label map. For looking at simulated beside real images, and for
reading labels against images.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmrjax.data.source import PreparedDataset
from cmrjax.evaluation.figures import (
    colourise,
    grey_to_rgb,
    shown_range,
    tiled,
    write_png,
)
from cmrjax.output_folder import check_file_place
from experiments.command_line import run_command

PLACES = (0.15, 0.5, 0.85)  # of the way from base to apex
OUTERMOST = (min, max, min, max)  # of boxes (r0, r1, c0, c1): padding is cut off
CAPTIONS = ("base", "", "middle", "", "apex", "")


def subjects_of(
    dataset: PreparedDataset, groups: Sequence[str], splits: Sequence[str]
) -> dict[str, list[int]]:
    """Finds the slices of each subject.

    Args:
        dataset: A prepared folder.
        groups: Vendor and centre; those that the folder lacks are passed over.
        splits: Names of splits; likewise. Empty: all.

    Returns:
        Indices of slices by subject, in the folder's order.
    """
    found: dict[str, list[int]] = {}
    for info in dataset.slices:
        if info.group in groups and (not splits or info.split in splits):
            found.setdefault(info.subject, []).append(info.index)
    return found


def subject_row(
    dataset: PreparedDataset, indices: Sequence[int], phase: str
) -> list[np.ndarray]:
    """Pictures of one subject, [h, w, 3] uint8 each: image, label map, image, ...

    Args:
        dataset: A prepared folder.
        indices: The subject's slices.
        phase: "ED" or "ES"; the other where the subject lacks it.
    """
    schema = dataset.schema
    here = [i for i in indices if dataset.slices[i].phase == phase] or list(indices)
    here.sort(key=lambda i: dataset.slices[i].slice)
    heart = np.isin(dataset.labels[here], schema.heart_ids).sum(axis=(1, 2))
    shown = [i for i, area in zip(here, heart, strict=True) if area]
    area = heart[heart > 0]
    half = len(area) // 2
    if area[:half].sum() < area[len(area) - half :].sum():  # the apex comes first
        shown.reverse()
    chosen = [shown[round(place * (len(shown) - 1))] for place in PLACES]
    row = []
    for index in chosen:
        image = shown_range(dataset.images[index], dataset.transform)[..., None]
        row += [grey_to_rgb(image), colourise(dataset.labels[index], schema)]
    return row


def make_montage(
    folders: Sequence[str],
    *,
    groups: Sequence[str],
    splits: Sequence[str],
    count: int,
    phase: str,
    skip: int = 0,
) -> tuple[np.ndarray, list[str]]:
    """Draws the montage.

    Args:
        folders: Prepared folders; a row of each in turn.
        groups: See `subjects_of`.
        splits: See there.
        count: Subjects of each folder.
        phase: "ED" or "ES".
        skip: Subjects of each folder that are passed over first.

    Returns:
        The picture, [H, W, 3] uint8, and the subjects of its rows.

    Raises:
        ValueError: If a folder has no such subject, or sizes differ.
    """
    rows, names, boxes = [], [], []
    for folder in folders:
        dataset = PreparedDataset.open(folder)
        subjects = list(subjects_of(dataset, groups, splits).items())
        subjects = subjects[skip : skip + count]
        if not subjects:
            raise ValueError(
                f"{folder} has no subject of groups {', '.join(groups)}, splits"
                f" {', '.join(splits) or 'any'}; it has {_groups(dataset)}"
            )
        rows.append([subject_row(dataset, i, phase) for _, i in subjects])
        names.append([name for name, _ in subjects])
        boxes += [dataset.slices[i].valid_box for _, own in subjects for i in own]
    longest = max(map(len, rows))
    order = [
        (f, i) for i in range(longest) for f in range(len(rows)) if i < len(rows[f])
    ]
    if len({rows[f][i][0].shape for f, i in order}) > 1:
        raise ValueError(f"{', '.join(folders)}: prepare them at one --image-size")
    r0, r1, c0, c1 = (
        pick(box) for pick, box in zip(OUTERMOST, zip(*boxes, strict=True), strict=True)
    )
    table = [[p[r0:r1, c0:c1] for p in rows[f][i]] for f, i in order]
    return tiled(table, captions=CAPTIONS), [names[f][i] for f, i in order]


def _groups(dataset: PreparedDataset) -> str:
    return ", ".join(sorted({f"{i.group} {i.split}" for i in dataset.slices}))


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.montage", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--data", nargs="+", required=True, help="folders of prepare_data, label_real")
    add("--groups", nargs="+", default=["A1", "B2", "B3", "S1"])
    add("--splits", nargs="+", default=[], help="default: all")
    add("--count", type=int, default=6, help="subjects of each folder (6)")
    add("--skip", type=int, default=0, help="subjects to pass over first (0)")
    add("--phase", choices=("ED", "ES"), default="ED")
    add("--out", required=True, help="PNG file")
    arguments = parser.parse_args(argv)
    try:
        check_file_place(arguments.out, option="--out=")
        picture, names = make_montage(
            arguments.data,
            groups=arguments.groups,
            splits=arguments.splits,
            count=arguments.count,
            phase=arguments.phase,
            skip=arguments.skip,
        )
        write_png(Path(arguments.out), picture)
    except (ValueError, OSError) as error:
        sys.exit(f"montage: {error}")
    print(f"{arguments.out}, rows from the top: {', '.join(names)}")


if __name__ == "__main__":
    run_command("montage", main)
