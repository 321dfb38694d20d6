"""The files of a subject: reads image and labels and says all that is wrong."""

from dataclasses import dataclass, field

import numpy as np

from cmrjax.data.geometry import LARGEST_FIELD
from cmrjax.data.label_grid import fit_labels, with_stated_spacing
from cmrjax.data.nifti import NiftiFile, read_nifti, split_suffix
from cmrjax.data.records import FilePair, SubjectRecord, noted
from cmrjax.files import shorten

LARGEST_ANISOTROPY = 3.0
"""Pixels of slices are about square. More is a cut through all slices."""

SMALLEST_SLICE_DISTANCE = 0.5
"""In pixels: slices lie further apart than pixels. Less is a stack that is stored with
another axis than the last one for its slices."""


@dataclass
class PairFiles:
    """What was read of an image file and its labels.

    Attributes:
        image: The image file, None if it cannot be read.
        labels: The label file on the image's grid, None if it cannot or need not be.
        frames: Phase, frame of the image and frame of the labels, of each phase whose
            frames are known.
        problems: Lines about what is wrong with the files; with any, nothing of them
            is to be used.
        notices: Lines about what is worth knowing.
        unlabelled: Whether there are no labels and none are to be expected.
    """

    image: NiftiFile | None = None
    labels: NiftiFile | None = None
    frames: list[tuple[str, int, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    unlabelled: bool = False


def read_pair(
    record: SubjectRecord,
    pair: FilePair,
    *,
    labels_expected: bool = True,
    with_labels: bool = True,
) -> PairFiles:
    """Reads an image file and its labels, each even if the other cannot be used.

    Args:
        record: The subject.
        pair: The files.
        labels_expected: See ``read_labels``.
        with_labels: Whether the label file is read.
    """
    files = PairFiles()
    problems = files.problems
    if with_labels:
        with noted(problems):
            files.labels = read_labels(record, pair, labels_expected)
            files.unlabelled = files.labels is None
    if files.unlabelled:
        return files
    with noted(problems):
        files.image = read_nifti(pair.image_path)
    if pair.spacing is not None:
        _set_spacing(files, pair.spacing)
    if files.image is not None:
        problems += spacing_problems(pair, files.image)
        files.notices += header_notices(pair, files.image)
    image, labels = files.image, files.labels
    phases: list[tuple[str, int]] = []
    for phase, frame in pair.phases:
        with noted(problems):
            phases.append((phase, _known_frame(pair, phase, frame, image or labels)))
    if image is not None and labels is not None:
        with noted(problems):
            files.labels, lines = fit_labels(image, labels)
            labels = files.labels
            files.notices += lines
            check_pair(pair, image, labels)
    one_frame = _is_one_frame(pair, image, labels)
    alike = labels is not None and (
        image is None or len(image.frames) == len(labels.frames)
    )
    with noted(problems):
        if labels is not None and alike:
            check_frames(phases, labels)
            check_label_frames(phases, labels)
        elif image is not None:
            check_frames(phases, image)
    files.frames = [(phase, f, 0 if one_frame else f) for phase, f in phases]
    return files


def _set_spacing(files: PairFiles, spacing: tuple[float | None, float, float]) -> None:
    """Gives both files the voxel size that the table tells of the image."""
    image, labels = files.image, files.labels
    if labels is not None:
        files.labels = with_stated_spacing(labels, spacing, image=image)
    if image is not None:
        files.image = with_stated_spacing(image, spacing)


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
        raise ValueError(_no_labels(record, pair))
    labels = read_nifti(pair.label_path)
    if labels.frames.any():
        return labels
    if labels_expected and not in_unlabelled:
        raise ValueError(
            f"{labels.path}: holds background only, but {record.subject} is one"
            " of the labelled subjects; fetch it again or leave the subject out"
        )
    return None


def check_pair(pair: FilePair, image: NiftiFile, labels: NiftiFile) -> None:
    """Raises ValueError unless image and labels have the same shape.

    Where the pair allows it, labels of one frame go with an image of several.
    """
    same = image.frames.shape == labels.frames.shape
    if _is_one_frame(pair, image, labels):
        same = image.frames.shape[1:] == labels.frames.shape[1:]
        if same and len(pair.phases) > 1:
            names = " and ".join(phase for phase, _ in pair.phases)
            raise ValueError(
                f"{labels.path}: has one time frame, but is to be the labels of"
                f" {names}; give each phase its own label file"
            )
    if not same:
        raise ValueError(
            f"{labels.path}: has shape {_file_shape(labels)}, the image"
            f" {image.path.name} has {_file_shape(image)}; they must be the same"
        )


def spacing_problems(pair: FilePair, image: NiftiFile) -> list[str]:
    """Returns what is wrong with a voxel size: unknown, or of another order of axes."""
    if not image.spacing_known:
        return [
            f"{image.path}: the header does not tell the voxel size (1 x 1 x 1 without"
            f" unit or affine); {_spacing_fix(pair)}"
        ]
    if pair.spacing and pair.spacing[0] is None and image.looks_unset:
        return [
            f"{image.path}: the header does not tell how far apart slices are; give"
            " the column spacing all three sizes, as 1.25x1.25x8 (slices last)"
        ]
    sizes = image.spacing[::-1]  # x, y, z
    width = max(n * v for n, v in zip(image.frames.shape[:0:-1], sizes, strict=True))
    if width > LARGEST_FIELD:  # by the table; read_nifti looks at the header's
        return [
            f"{image.path}: the table's spacing makes a field of {width:g} mm, expected"
            f" at most {LARGEST_FIELD:g} mm; correct it"
        ]
    pixels = sorted(sizes[:2])
    close = image.frames.shape[1] > 1
    close &= sizes[2] < SMALLEST_SLICE_DISTANCE * pixels[0]
    if pixels[1] <= LARGEST_ANISOTROPY * pixels[0] and not close:
        return []
    text = " x ".join(f"{v:g}" for v in sizes)
    axis = int(np.argmax(sizes))
    if axis < 2 and pixels[1] > pixels[0] / SMALLEST_SLICE_DISTANCE:
        looks = (
            f"the {('first', 'second')[axis]} axis looks like that of the slices, which"
            " must be the last: reorder the axes"
        )
    else:
        looks = (
            "slices must have about square pixels and lie further apart than these:"
            " resample the file"
        )
    return [f"{image.path}: voxels are {text} mm; {looks}, or repair the header"]


def header_notices(pair: FilePair, image: NiftiFile) -> list[str]:
    """Returns lines on what a header says doubtfully; it is no error."""
    if image.looks_unset and image.spacing_known and pair.spacing is None:
        return [
            f"{image.path}: the header says 1 x 1 x 1 mm and no other position, as it"
            f" does where the voxel size was lost; if it was, {_spacing_fix(pair)}"
        ]
    by_affine = np.linalg.norm(image.affine[:3, :3], axis=0)[::-1]
    if np.allclose(by_affine, image.spacing, rtol=0.01):
        return []
    stated = " x ".join(f"{v:g}" for v in image.spacing[::-1])
    found = " x ".join(f"{v:.4g}" for v in by_affine[::-1])
    return [
        f"{image.path}: the voxel size is {stated} mm in pixdim and {found} mm in"
        " the affine; pixdim is used for resampling"
    ]


def check_frames(phases: list[tuple[str, int]], file: NiftiFile) -> None:
    """Raises ValueError unless the file has the frames of the phases."""
    count = len(file.frames)
    for phase, frame in phases:
        if frame >= count:
            raise ValueError(
                f"{file.path}: the table puts {phase} at frame {frame}, the file has"
                f" {count} frame(s) (0 to {count - 1}); correct the table"
            )


def check_label_frames(phases: list[tuple[str, int]], labels: NiftiFile) -> None:
    """Raises ValueError unless a frame of the phases is labelled."""
    wanted = {frame for _, frame in phases}
    if phases and not any(labels.frames[frame].any() for frame in wanted):
        found = [i for i, frame in enumerate(labels.frames) if frame.any()]
        stated = ", ".join(f"{phase} {frame}" for phase, frame in phases)
        raise ValueError(
            f"{labels.path}: has labels at frame(s) {', '.join(map(str, found))}, but"
            f" the table says {stated}; correct the table"
        )


def _known_frame(
    pair: FilePair, phase: str, frame: int | None, file: NiftiFile | None
) -> int:
    """The frame of a phase; a file that has several needs to be told which."""
    if frame is None and file is not None and len(file.frames) > 1:
        place = pair.place_of(phase) or "the table"
        raise ValueError(
            f"{file.path}: has {len(file.frames)} time frames; {place} ({phase}) does"
            " not say which; add the column frame (0, 1, ...)"
        )
    return frame or 0


def _is_one_frame(
    pair: FilePair, image: NiftiFile | None, labels: NiftiFile | None
) -> bool:
    """Whether the labels are those of one frame of a longer image."""
    if not pair.one_frame_labels or labels is None or len(labels.frames) > 1:
        return False
    return image is None or len(image.frames) > 1


def _spacing_fix(pair: FilePair) -> str:
    if pair.places:
        return "name it in the table's column spacing, as 1.25x1.25x8"
    return "repair the header (or take --dataset=nifti, whose table can tell it)"


def _no_labels(record: SubjectRecord, pair: FilePair) -> str:
    if pair.places:
        return (
            f"{pair.places[0]}: {record.subject} has an empty label, which says that"
            f" {shorten(pair.image_path.name)} has no labels, and then it cannot be"
            " prepared; name the label file or leave the row out"
        )
    stem, suffix = split_suffix(pair.image_path)
    return (
        f"{pair.image_path}: has no label file beside it, expected"
        f" {stem}_gt{suffix}; fetch it or leave the subject out"
    )


def _file_shape(file: NiftiFile) -> str:
    return "x".join(str(n) for n in file.frames.shape[::-1])
