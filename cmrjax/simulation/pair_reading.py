"""Reads and checks an image and its label map for `label_pairs`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmrjax.data.nifti import NiftiFile, read_nifti
from cmrjax.data.records import PHASES
from cmrjax.labels import HEART_CLASSES, MULTI_TISSUE
from cmrjax.simulation.pair_mapping import Pair, PairMapping


@dataclass(frozen=True)
class ReadPair:
    """An image and its labels in memory.

    Attributes:
        pair: Where they are.
        file: The image's file.
        image: [d, h, w] as stored.
        labels: [d, h, w] uint8, ids of ``MULTI_TISSUE``.
        frames: Frame used of image and label file.
    """

    pair: Pair
    file: NiftiFile
    image: np.ndarray
    labels: np.ndarray
    frames: tuple[int, int]


def read_pairs(pairs: Sequence[Pair], meaning: PairMapping) -> list[ReadPair]:
    """Reads the phases of one subject.

    Args:
        pairs: The subject's pairs, one per phase.
        meaning: The mapping.

    Returns:
        The pairs in their order, all on one grid.

    Raises:
        ValueError: If a file cannot be read or used, image and labels do not fit each
            other, or the phases have different grids or the same frame; names the
            file and the fix.
    """
    read = [_read_pair(pair, meaning) for pair in pairs]
    for other in read[1:]:
        _check_alike(read[0], other)
    return read


def _read_pair(pair: Pair, meaning: PairMapping) -> ReadPair:
    """Read and check image and labels of one phase."""
    image, label = read_nifti(pair.image), read_nifti(pair.label)
    chosen = _choose_frames(image, label, pair.frame)
    values, ids = image.frames[chosen[0]], label.frames[chosen[1]]
    _check_grids(image, label)
    if not np.isfinite(values).all():
        raise ValueError(
            f"{image.path}: holds NaN or infinite values; repair it or leave it out"
        )
    labels = MULTI_TISSUE.remap(ids, meaning.labels, where=str(label.path))
    if not np.isin(labels, MULTI_TISSUE.heart_ids).any():
        raise ValueError(
            f"{label.path}: {pair.phase} shows no {', '.join(HEART_CLASSES)}; correct"
            " the mapping's labels, or leave the file out"
        )
    return ReadPair(pair, image, values, labels, chosen)


def _choose_frames(
    image: NiftiFile, label: NiftiFile, frame: int | None
) -> tuple[int, int]:
    """Return the frames to use; a file of one phase goes with a cine of several."""
    several = max(len(image.frames), len(label.frames)) > 1
    chosen = []
    for file in (image, label):
        count = len(file.frames)
        if frame is None and count > 1:
            raise ValueError(
                f"{file.path}: has {count} frames; say which are {' and '.join(PHASES)}"
                " with frames in the mapping, or a column frame in the table"
            )
        wanted = 0 if frame is None or (several and count == 1) else frame
        if wanted >= count:
            raise ValueError(
                f"{file.path}: has {count} frame(s), 0 to {count - 1}, but frame"
                f" {frame} is asked for; correct the mapping or the table"
            )
        chosen.append(wanted)
    return chosen[0], chosen[1]


def _check_grids(image: NiftiFile, label: NiftiFile) -> None:
    """Image and labels must lie on one grid, of the size that the header says."""
    if image.frames.shape[1:] != label.frames.shape[1:]:
        raise ValueError(
            f"{label.path}: has {_size(label)} voxels, its image {image.path.name} has"
            f" {_size(image)}; they must be the same: resample one, or correct the"
            " pairs"
        )
    if not np.allclose(image.affine, label.affine, atol=1e-2):
        raise ValueError(
            f"{label.path}: its affine is not that of {image.path.name}; resample the"
            " labels to the image's grid, or copy the header if the voxels do match"
        )
    by_affine = np.linalg.norm(image.affine[:3, :3], axis=0)
    stated = image.spacing[::-1]
    if not np.allclose(by_affine, stated, rtol=0.01):
        raise ValueError(
            f"{image.path}: the voxel size is {_numbers(stated)} mm (x, y, slice) in"
            f" pixdim and {_numbers(by_affine)} mm in the affine; repair the header"
        )


def _check_alike(first: ReadPair, other: ReadPair) -> None:
    """Both phases become one file, so they need one grid, and frames of their own."""
    here, there = first.file, other.file
    same_grid = here.frames.shape[1:] == there.frames.shape[1:]
    if not same_grid or not np.allclose(here.affine, there.affine, atol=1e-2):
        raise ValueError(
            f"{there.path}: its grid ({_size(there)} voxels, or its affine) is not that"
            f" of {here.path.name} ({_size(here)}); the phases of a subject must have"
            " one grid: resample one, or give each its own subject"
        )
    places = (
        (first.pair.image, other.pair.image),
        (first.pair.label, other.pair.label),
    )
    for index, (one, two) in enumerate(places):
        if (one, first.frames[index]) == (two, other.frames[index]):
            raise ValueError(
                f"{two}: its frame {other.frames[index]} would be both"
                f" {first.pair.phase} and {other.pair.phase}; give each phase a file"
                " or a frame of its own in the mapping or the table"
            )


def _size(file: NiftiFile) -> str:
    """Return the voxels of a frame as the header has them."""
    return f"{' x '.join(map(str, file.frames.shape[:0:-1]))} (x, y, slice)"


def _numbers(values: Any) -> str:
    return " x ".join(f"{float(v):.4g}" for v in values)
