"""Makes small folders in the layout of M&Ms, for tests of reading and preparation."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np

COLUMNS = ("External code", "VendorName", "Vendor", "Centre", "ED", "ES")


def make_arrays(
    *, shape: tuple[int, int, int, int] = (24, 20, 4, 2), seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Images [x, y, z, t] int16 and labels uint8: nested boxes, slice 0 without.

    One voxel of RV is left out, another one in each frame and for each of three seeds.
    """
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 900, shape).astype(np.int16)
    labels = np.zeros(shape, np.uint8)
    x, y = shape[0] // 2, shape[1] // 2
    labels[x - 4 : x + 4, y - 4 : y + 4, 1:] = 2
    labels[x - 2 : x + 2, y - 2 : y + 2, 1:] = 1
    labels[x + 4 : x + 7, y - 2 : y + 2, 1:] = 3
    for frame in range(shape[3]):
        labels[x + 4 + seed % 3, y - 2 + frame % 4, -1, frame] = 0
    return images, labels


def save_nifti(
    path: Path,
    values: np.ndarray,
    *,
    zooms: tuple[float, float, float] = (1.33, 1.33, 10.0),
) -> Path:
    """Writes a file with a diagonal affine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(values, np.diag([*zooms, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return path


def write_subject(
    folder: Path,
    code: str,
    *,
    images: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    seed: int = 0,
    zooms: tuple[float, float, float] = (1.33, 1.33, 10.0),
) -> Path:
    """Writes ``folder/code/code_sa.nii.gz`` and ``_sa_gt``; returns that folder."""
    default_images, default_labels = make_arrays(seed=seed)
    images = default_images if images is None else images
    labels = default_labels if labels is None else labels
    here = folder / code
    save_nifti(here / f"{code}_sa.nii.gz", images, zooms=zooms)
    save_nifti(here / f"{code}_sa_gt.nii.gz", labels, zooms=zooms)
    return here


def write_table(path: Path, rows: dict[str, tuple]) -> Path:
    """Writes the CSV; rows are code -> (vendor, centre, ED, ES)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for code, (vendor, centre, ed, es) in rows.items():
            writer.writerow([code, "Maker", vendor, centre, ed, es])
    return path


def write_split(path: Path, splits: dict[str, str]) -> Path:
    """Writes a split file."""
    lines = ["External code,split", *(f"{c},{s}" for c, s in splits.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_small_set(folder: Path, *, count: int = 3) -> Path:
    """A flat folder of ``count`` subjects P0, P1, ... of A1, the last one in test."""
    codes = [f"P{i}" for i in range(count)]
    for i, code in enumerate(codes):
        write_subject(folder, code, seed=i)
    write_table(folder / "info.csv", {code: ("A", 1, 0, 1) for code in codes})
    splits = {code: "train" for code in codes} | {codes[-1]: "test"}
    write_split(folder / "split.csv", splits)
    return folder
