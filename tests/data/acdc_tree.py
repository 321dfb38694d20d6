"""Makes small folders in the layout of the ACDC challenge."""

from pathlib import Path

import numpy as np

from tests.data.mnms_tree import make_arrays, save_nifti

SWAPPED = np.array([0, 3, 2, 1], np.uint8)  # M&Ms' ids to ACDC's


def write_patient(
    folder: Path, code: str, *, frames: tuple[int, int] = (1, 12), seed: int = 0
) -> Path:
    """Writes Info.cfg and the files of both frames, counted from 1; returns the folder.

    The voxels are those of `mnms_tree.make_arrays`, with ACDC's label ids.
    """
    here = folder / code
    here.mkdir(parents=True)
    text = f"ED: {frames[0]}\nES: {frames[1]}\nGroup: DCM\nNbFrame: 30\n"
    (here / "Info.cfg").write_text(text)
    images, labels = make_arrays(seed=seed)
    for index, frame in enumerate(frames):
        stem = f"{code}_frame{frame:02d}"
        save_nifti(here / f"{stem}.nii.gz", images[..., index])
        save_nifti(here / f"{stem}_gt.nii.gz", SWAPPED[labels[..., index]])
    return here
