"""The files of a subject: reads the labels, checks that image and labels fit."""

import numpy as np

from cmrjax.data.nifti import NiftiFile, read_nifti, split_suffix
from cmrjax.data.records import FilePair, SubjectRecord


def read_labels(
    record: SubjectRecord, pair: FilePair, labels_expected: bool
) -> NiftiFile | None:
    """Reads a label file of a subject.

    Args:
        record: The subject.
        pair: The label file, and the image that it belongs to.
        labels_expected: Whether a file that holds background only is an error; in the
            folder "Unlabeled" it never is.

    Returns:
        The file, or None if the subject has no labels and none are expected.

    Raises:
        ValueError: If it is missing, empty or not readable; one line, with the file.
    """
    in_unlabelled = record.official_subset == "unlabelled"
    if pair.label_path is None:
        if in_unlabelled:
            return None
        stem, suffix = split_suffix(pair.image_path)
        raise ValueError(
            f"{pair.image_path}: has no label file beside it, expected"
            f" {stem}_gt{suffix}; fetch it or leave the subject out"
        )
    labels = read_nifti(pair.label_path)
    if labels.frames.any():
        return labels
    if labels_expected and not in_unlabelled:
        raise ValueError(
            f"{labels.path}: holds background only, but {record.subject} is one"
            " of the labelled subjects; fetch it again or leave the subject out"
        )
    return None


def check_pair(image: NiftiFile, labels: NiftiFile) -> None:
    """Raises ValueError unless image and labels have the same shape."""
    if image.frames.shape != labels.frames.shape:
        raise ValueError(
            f"{labels.path}: has shape {_file_shape(labels)}, the image"
            f" {image.path.name} has {_file_shape(image)}; they must be the same"
        )


def header_notices(image: NiftiFile, labels: NiftiFile | None) -> list[str]:
    """Returns lines on what the headers say twice and not alike; it is no error."""
    notices = []
    if labels and not np.allclose(image.affine, labels.affine, atol=1e-2):
        notices.append(
            f"{labels.path}: its affine is not the image's; voxels are paired by"
            " index and the image's affine is kept"
        )
    by_affine = np.linalg.norm(image.affine[:3, :3], axis=0)[::-1]
    if not np.allclose(by_affine, image.spacing, rtol=0.01):
        stated = " x ".join(f"{v:g}" for v in image.spacing[::-1])
        found = " x ".join(f"{v:.4g}" for v in by_affine[::-1])
        notices.append(
            f"{image.path}: the voxel size is {stated} mm in pixdim and {found} mm in"
            " the affine; pixdim is used for resampling"
        )
    return notices


def check_frames(pair: FilePair, file: NiftiFile) -> None:
    """Raises ValueError unless the file has the frames of the table."""
    count = len(file.frames)
    for phase, frame in pair.phases:
        if frame >= count:
            raise ValueError(
                f"{file.path}: the table puts {phase} at frame {frame}, the file has"
                f" {count} frame(s) (0 to {count - 1}); correct the table"
            )


def check_label_frames(pair: FilePair, labels: NiftiFile) -> None:
    """Raises ValueError unless the table's frames exist and are the labelled ones."""
    check_frames(pair, labels)
    wanted = {frame for _, frame in pair.phases}
    if not any(labels.frames[frame].any() for frame in wanted):
        found = [i for i, frame in enumerate(labels.frames) if frame.any()]
        stated = ", ".join(f"{phase} {frame}" for phase, frame in pair.phases)
        raise ValueError(
            f"{labels.path}: has labels at frame(s) {', '.join(map(str, found))}, but"
            f" the table says {stated}; correct the table"
        )


def _file_shape(file: NiftiFile) -> str:
    return "x".join(str(n) for n in file.frames.shape[::-1])
