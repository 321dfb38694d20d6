"""The folder of a population: subjects and tables as in the M&Ms challenge."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from cmrjax.files import (
    atomic_directory,
    provenance,
    read_json,
    write_json,
    write_text,
)
from cmrjax.labels import MULTI_TISSUE

RECORD_FILE = "simulation.json"
# 60 % train, 20 % development, 20 % test; a longer population keeps the split of the
# shorter one, and three subjects already hold one of each.
_SPLIT_CYCLE = ("train", "development", "test", "train", "train")


@dataclass(frozen=True)
class TableRow:
    """A subject's row in the tables.

    Attributes:
        code: The subject's code.
        vendor_name: For example ``"Simulated"``.
        vendor: The vendor's letter.
        centre: The centre's number.
        frames: Index of end-diastole and end-systole in the files, as text; empty
            where the subject has no such phase.
    """

    code: str
    vendor_name: str
    vendor: str
    centre: str
    frames: tuple[str, str]


def claim_folder(
    out: Path, subjects: int, settings: dict[str, Any], *, what: str = "population"
) -> None:
    """Writes into the folder what it is going to hold, unless that is there already.

    Args:
        out: The folder; made if need be.
        subjects: Number of subjects.
        settings: All that the subjects depend on, as plain JSON types.
        what: What the folder holds, for the error.

    Raises:
        ValueError: If the folder was made with other settings or for more subjects.
    """
    path = out / RECORD_FILE
    if path.exists():
        there = read_json(path)
        old = there.get("settings") or {}
        changed = [
            f"{key} {old.get(key)} there, {value} asked"
            for key, value in settings.items()
            if old.get(key) != value
        ]
        if there.get("subjects", 0) > subjects:
            changed.append(f"subjects {there['subjects']} there, {subjects} asked")
        if changed:
            raise ValueError(
                f"{out} holds a {what} with other settings ({'; '.join(changed)}):"
                " choose another folder with out, or delete this one"
            )
    record = {"subjects": subjects, "settings": settings, "schema": MULTI_TISSUE.name}
    write_json(path, {**record, **provenance(config=settings)})


def write_subject(
    out: Path,
    code: str,
    images: np.ndarray,
    labels: np.ndarray,
    affine: np.ndarray,
    *,
    description: dict[str, Any],
) -> None:
    """Writes one subject as ``out/code/code_sa.nii.gz``, ``_sa_gt.nii.gz``, ``.json``.

    The folder appears at once and complete.

    Args:
        out: Folder of the population.
        code: The subject's code.
        images: [t, d, h, w], a type that NIfTI knows; end-diastole first.
        labels: [t, d, h, w] uint8, ids of ``MULTI_TISSUE``.
        affine: [4, 4] float64, from (column, row, slice) indices to mm.
        description: What is known of the subject, kept in its JSON file; its
            ``"settings"`` tell whether it must be made anew.
    """
    with atomic_directory(out / code, overwrite=True) as folder:
        for suffix, array in (("sa", images), ("sa_gt", labels)):
            image = nib.Nifti1Image(array.transpose(3, 2, 1, 0), affine)
            image.header.set_xyzt_units("mm", "sec")
            image.set_sform(affine, code=1)
            image.set_qform(affine, code=1)
            nib.save(image, folder / f"{code}_{suffix}.nii.gz")
        write_json(folder / f"{code}.json", {"code": code, **description})


def is_complete(out: Path, code: str, settings: dict[str, Any]) -> bool:
    """Returns whether a subject was written, and with these settings."""
    folder = out / code
    names = (f"{code}_sa.nii.gz", f"{code}_sa_gt.nii.gz", f"{code}.json")
    if not all((folder / name).is_file() for name in names):
        return False
    return read_json(folder / f"{code}.json").get("settings") == settings


def write_tables(out: Path, rows: Sequence[TableRow]) -> None:
    """Writes dataset_information.csv and split.csv.

    Args:
        out: Folder of the population.
        rows: One per subject; the split follows their order.
    """
    table = ["External code,VendorName,Vendor,Centre,ED,ES"]
    split = ["External code,Vendor,Centre,split"]
    for index, row in enumerate(rows):
        names = f"{row.vendor_name},{row.vendor},{row.centre}"
        table.append(f"{row.code},{names},{','.join(row.frames)}")
        part = _SPLIT_CYCLE[index % len(_SPLIT_CYCLE)]
        split.append(f"{row.code},{row.vendor},{row.centre},{part}")
    write_text(out / "dataset_information.csv", "\n".join(table) + "\n")
    write_text(out / "split.csv", "\n".join(split) + "\n")
