"""Imports pairs of NIfTI images and label maps made elsewhere, simulated or not.

A mapping file says what the ids mean and where the files are, so any set of pairs can
be read, for example the public simulated data of openGTN. The result is the folder that
`population.py` writes: images as they are, ids of ``MULTI_TISSUE``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cmrjax.data.nifti import NiftiFile, read_nifti
from cmrjax.data.records import PHASES
from cmrjax.files import sha256_file
from cmrjax.labels import HEART_CLASSES, MULTI_TISSUE
from cmrjax.simulation.pair_mapping import Pair, PairMapping, find_pairs, read_mapping
from cmrjax.simulation.population_folder import (
    TableRow,
    claim_folder,
    is_complete,
    write_subject,
    write_tables,
)

VERSION = 1  # raise when the same files would be imported otherwise
_STORED = ("uint8", "int16", "int32", "float32", "float64")


@dataclass(frozen=True)
class ImportSummary:
    """What was imported.

    Attributes:
        imported: Subjects written now.
        kept: Subjects that were there already.
        problems: One line per subject that could not be used.
    """

    imported: int
    kept: int
    problems: tuple[str, ...]


def import_pairs(
    source: str | Path,
    mapping: str | Path,
    out: str | Path,
    *,
    say: Callable[[str], None] = print,
    progress: Callable[[Iterable], Iterable] = iter,
) -> ImportSummary:
    """Imports pairs into a folder as the M&Ms challenge's; run again, it continues.

    Args:
        source: Folder that the mapping's patterns start from, or the CSV table of the
            pairs (see `pair_mapping`).
        mapping: The mapping file.
        out: The folder; made if need be.
        say: Takes each problem as it comes up.
        progress: Wraps the sequence of subjects.

    Returns:
        What was imported. A subject that cannot be used does not stop the others.

    Raises:
        ValueError: If the mapping or the table cannot be used, nothing is found, or
            ``out`` holds something else.
    """
    source, mapping, out = Path(source), Path(mapping), Path(out)
    meaning = read_mapping(mapping)
    subjects, problems = find_pairs(source, meaning, mapping)
    for line in problems:
        say(line)
    settings = {
        "version": VERSION,
        "anatomy": "pairs",
        "mapping": meaning.to_dict(),
        "source": str(source.resolve()),
    }
    claim_folder(out, len(subjects), settings, what="set of pairs")
    rows, imported = [], 0
    for code, pairs in progress(sorted(subjects.items())):
        try:
            imported += _import_subject(out, code, pairs, meaning, settings)
        except ValueError as error:
            problems.append(str(error))
            say(problems[-1])
            continue
        found = {pair.phase: str(index) for index, pair in enumerate(pairs)}
        frames = (found.get("ED", ""), found.get("ES", ""))
        name, vendor, centre = meaning.vendor_name, meaning.vendor, meaning.centre
        rows.append(TableRow(code, name, vendor, centre, frames))
    if not rows:
        raise ValueError(f"{source}: no pair could be imported, see the lines above")
    write_tables(out, rows)
    return ImportSummary(imported, len(rows) - imported, tuple(problems))


def _import_subject(
    out: Path,
    code: str,
    pairs: list[Pair],
    meaning: PairMapping,
    settings: dict[str, Any],
) -> bool:
    """Import one subject; return False if it was there already."""
    hashes = {
        pair.phase: {
            "image": _hash(pair.image),
            "label": _hash(pair.label),
        }
        for pair in pairs
    }
    own = {**settings, "sha256": hashes}
    if is_complete(out, code, own):
        return False
    read = [_read_pair(pair, meaning) for pair in pairs]
    first, _, _ = read[0]
    for other, _, _ in read[1:]:
        _check_alike(first, other)
    images = np.stack([image for _, image, _ in read])
    labels = np.stack([label for _, _, label in read])
    voxel_ml = float(np.prod(first.spacing)) / 1000
    volumes = {
        f"{name}_{pair.phase}": float((label == MULTI_TISSUE.id_of(name)).sum())
        * voxel_ml
        for pair, label in zip(pairs, labels, strict=True)
        for name in HEART_CLASSES
    }
    write_subject(
        out,
        code,
        _storable(images),
        labels,
        first.affine,
        description={
            "settings": own,
            "files": {p.phase: [str(p.image), str(p.label)] for p in pairs},
            "spacing": list(first.spacing),
            "label_volume_ml": volumes,
            "ejection_fraction": _ejection_fraction(volumes),
        },
    )
    return True


def _hash(path: Path) -> str:
    """Return a file's hash."""
    try:
        return sha256_file(path)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); correct the mapping or the"
            " table, or fetch the file"
        ) from error


def _read_pair(
    pair: Pair, meaning: PairMapping
) -> tuple[NiftiFile, np.ndarray, np.ndarray]:
    """Read and check image and labels of one phase, [d, h, w] each."""
    image, label = read_nifti(pair.image), read_nifti(pair.label)
    frames = [_frame(file, pair.frame) for file in (image, label)]
    if frames[0].shape != frames[1].shape:
        raise ValueError(
            f"{label.path}: has {_size(frames[1])} voxels, its image"
            f" {image.path.name} has {_size(frames[0])}; they must be the same:"
            " resample one, or correct the pairs"
        )
    if not np.allclose(image.affine, label.affine, atol=1e-2):
        raise ValueError(
            f"{label.path}: its affine is not that of {image.path.name}; resample the"
            " labels to the image's grid, or copy the header if the voxels do match"
        )
    by_affine = np.linalg.norm(image.affine[:3, :3], axis=0)[::-1]
    if not np.allclose(by_affine, image.spacing, rtol=0.01):
        raise ValueError(
            f"{image.path}: the voxel size is {_numbers(image.spacing)} mm (z, y, x) in"
            f" pixdim and {_numbers(by_affine)} mm in the affine; repair the header"
        )
    if not np.isfinite(frames[0]).all():
        raise ValueError(
            f"{image.path}: holds NaN or infinite values; repair it or leave it out"
        )
    labels = MULTI_TISSUE.remap(frames[1], meaning.labels, where=str(label.path))
    if not np.isin(labels, MULTI_TISSUE.heart_ids).any():
        raise ValueError(
            f"{label.path}: {pair.phase} shows no {', '.join(HEART_CLASSES)}; correct"
            " the mapping's labels, or leave the file out"
        )
    return image, frames[0], labels


def _frame(file: NiftiFile, frame: int | None) -> np.ndarray:
    """Return the frame of a file, [d, h, w]."""
    count = len(file.frames)
    if frame is None and count > 1:
        raise ValueError(
            f"{file.path}: has {count} frames; say which are {' and '.join(PHASES)}"
            " with frames in the mapping, or a column frame in the table"
        )
    if (frame or 0) >= count:
        raise ValueError(
            f"{file.path}: has {count} frame(s), 0 to {count - 1}, but frame {frame} is"
            " asked for; correct the mapping or the table"
        )
    return file.frames[frame or 0]


def _check_alike(first: NiftiFile, other: NiftiFile) -> None:
    """Both phases must lie on one grid, since they become one file."""
    here, there = (file.frames.shape[1:] for file in (first, other))
    if here != there or not np.allclose(first.affine, other.affine, atol=1e-2):
        raise ValueError(
            f"{other.path}: its grid ({_numbers(there)} voxels, or its affine) is not"
            f" that of {first.path.name} ({_numbers(here)}); the phases of a subject"
            " must have one grid: resample one, or give each its own subject"
        )


def _storable(images: np.ndarray) -> np.ndarray:
    """Return images in a type that is written as it is; no value changes."""
    if images.dtype.name in _STORED:
        return images
    wide = images.dtype.kind in "iu" and images.dtype.itemsize <= 2
    return images.astype(np.int32 if wide else np.float64)


def _ejection_fraction(volumes: dict[str, float]) -> float | None:
    """Return the ejection fraction by the labels, None with one phase only."""
    diastole, systole = volumes.get("LV_ED"), volumes.get("LV_ES")
    if not diastole or systole is None:
        return None
    return 1.0 - systole / diastole


def _size(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape[::-1]))


def _numbers(values: Any) -> str:
    return " x ".join(f"{float(v):.4g}" for v in values)
