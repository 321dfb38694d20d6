"""Prepares one subject: reads, checks, normalises, resamples, crops."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cmrjax.data.geometry import GridMap
from cmrjax.data.intensity import IntensityTransform, PercentileTransform
from cmrjax.data.nifti import NiftiFile, read_nifti
from cmrjax.data.records import SubjectRecord
from cmrjax.labels import CAVITY, SOURCE_LABELS, LabelSchema


@dataclass(frozen=True)
class Recipe:
    """How volumes are prepared.

    Attributes:
        source_names: Name of the source in ``SOURCE_LABELS``: what its ids mean.
        schema: Schema of the prepared labels.
        transform: Native intensities to [-1, 1].
        image_size: Rows and columns of the prepared slices, pixels.
        spacing: Pixel size (y, x) of the prepared slices, mm.
        nominal_spacing: Whether the headers' spacing is known not to be the true one.
        nominal_except: Subjects whose spacing is true all the same.
    """

    source_names: str = "mnms"
    schema: LabelSchema = CAVITY
    transform: IntensityTransform = field(default_factory=PercentileTransform)
    image_size: tuple[int, int] = (256, 256)
    spacing: tuple[float, float] = (1.33, 1.33)
    nominal_spacing: bool = False
    nominal_except: frozenset[str] = frozenset()

    def is_nominal(self, subject: str) -> bool:
        """Whether this subject's header spacing is nominal."""
        return self.nominal_spacing and subject not in self.nominal_except


@dataclass(frozen=True)
class PreparedVolume:
    """The slices of one phase that show heart.

    Attributes:
        images: [n, h, w] float32 in [-1, 1]; padding is -1.
        labels: [n, h, w] uint8, ids of the schema; padding is background.
        slices: Index of each slice in the file, ascending.
        valid_box: (r0, r1, c0, c1), the part that is not padding.
        description: Facts for the manifest, plain JSON types.
    """

    images: np.ndarray
    labels: np.ndarray
    slices: tuple[int, ...]
    valid_box: tuple[int, int, int, int]
    description: dict[str, Any]


@dataclass
class PreparedSubject:
    """What came of a subject: volumes, and one line for each thing that did not.

    Attributes:
        volumes: Prepared volumes, in the order of the record's phases.
        problems: Lines about what could not be used.
        notices: Lines about what was used but is worth knowing.
        unlabelled: Whether the subject has no labels and none were to be expected.
    """

    volumes: list[PreparedVolume] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    unlabelled: bool = False


def prepare_subject(
    record: SubjectRecord, recipe: Recipe, *, labels_expected: bool = True
) -> PreparedSubject:
    """Reads a subject's files and prepares its volumes.

    Nothing that is wrong with the files is raised: it becomes a line in
    ``problems`` that names file, value and fix, so that the others go on.

    Args:
        record: The subject.
        recipe: How.
        labels_expected: Whether a label file that holds background only is a problem;
            in the folder "Unlabeled" it never is.
    """
    result = PreparedSubject()
    in_unlabelled = record.official_subset == "unlabelled"
    if record.label_path is None:
        if in_unlabelled:
            result.unlabelled = True
        else:
            result.problems.append(
                f"{record.image_path}: has no label file beside it, expected"
                f" {record.subject}_sa_gt.nii.gz; fetch it or leave the subject out"
            )
        return result
    try:
        labels = read_nifti(record.label_path)
        if not labels.frames.any():
            if labels_expected and not in_unlabelled:
                raise ValueError(
                    f"{labels.path}: holds background only, but {record.subject} is one"
                    " of the labelled subjects; fetch it again or leave the subject out"
                )
            result.unlabelled = True
            return result
        image = read_nifti(record.image_path)
        _check_pair(image, labels)
        _check_label_frames(record, labels)
    except ValueError as error:
        result.problems.append(str(error))
        return result
    result.notices += _header_notices(image, labels)
    for phase, frame in record.phases:
        try:
            volume = _prepare_phase(
                record, recipe, image, labels, phase, frame, result.notices
            )
            result.volumes.append(volume)
        except ValueError as error:
            result.problems.append(str(error))
    return result


def _check_pair(image: NiftiFile, labels: NiftiFile) -> None:
    if image.frames.shape != labels.frames.shape:
        raise ValueError(
            f"{labels.path}: has shape {_file_shape(labels)}, the image"
            f" {image.path.name} has {_file_shape(image)}; they must be the same"
        )


def _header_notices(image: NiftiFile, labels: NiftiFile) -> list[str]:
    """What the headers say twice and not alike; it is not an error."""
    notices = []
    if not np.allclose(image.affine, labels.affine, atol=1e-2):
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


def _check_label_frames(record: SubjectRecord, labels: NiftiFile) -> None:
    """The frames of the table must exist and be the labelled ones."""
    count = len(labels.frames)
    for phase, frame in record.phases:
        if frame >= count:
            raise ValueError(
                f"{labels.path}: the table puts {phase} at frame {frame}, the file has"
                f" {count} frame(s) (0 to {count - 1}); correct the table"
            )
    wanted = {frame for _, frame in record.phases}
    if not any(labels.frames[frame].any() for frame in wanted):
        found = [i for i in range(count) if labels.frames[i].any()]
        stated = ", ".join(f"{phase} {frame}" for phase, frame in record.phases)
        raise ValueError(
            f"{labels.path}: has labels at frame(s) {', '.join(map(str, found))}, but"
            f" the table says {stated}; correct the table"
        )


def _prepare_phase(
    record: SubjectRecord,
    recipe: Recipe,
    image: NiftiFile,
    labels: NiftiFile,
    phase: str,
    frame: int,
    notices: list[str],
) -> PreparedVolume:
    """Normalises, resamples and crops one frame; keeps the slices with heart."""
    heart = recipe.schema.heart_ids
    native_labels = _native_labels(recipe, labels, phase, frame)
    native = image.frames[frame]
    try:
        limits = recipe.transform.limits(native)
        normalised = recipe.transform.apply(native)
    except ValueError as error:
        raise ValueError(
            f"{image.path}: frame {frame} ({phase}): {error}; fetch it again or leave"
            " the subject out"
        ) from error
    grid = GridMap(
        native.shape[1:], image.spacing[1:], recipe.spacing, recipe.image_size
    )
    model_labels = grid.labels_to_model(native_labels)
    kept = np.flatnonzero(np.isin(model_labels, heart).any(axis=(1, 2)))
    crop = f"crop to {recipe.image_size[0]}x{recipe.image_size[1]}"
    if not len(kept):
        raise ValueError(
            f"{labels.path}: {phase}: the central {crop} leaves no heart; use a larger"
            " --image-size"
        )
    if np.isin(native_labels[:, ~grid.native_coverage()], heart).any():
        notices.append(
            f"{labels.path}: {phase}: the {crop} cuts the heart; use a larger"
            " --image-size"
        )
    return PreparedVolume(
        images=grid.image_to_model(normalised[kept]),
        labels=model_labels[kept],
        slices=tuple(int(k) for k in kept),
        valid_box=grid.valid_box,
        description={
            "subject": record.subject,
            "phase": phase,
            "frame": frame,
            "subset": record.subset,
            "nominal_spacing": recipe.is_nominal(record.subject),
            "intensity_limits": list(limits),
            "image_sha256": image.sha256,
            "label_sha256": labels.sha256,
            **_grid_facts(grid, image),
        },
    )


def _native_labels(
    recipe: Recipe, labels: NiftiFile, phase: str, frame: int
) -> np.ndarray:
    """Labels of a frame, [d, h, w] uint8, with the ids of the recipe's schema."""
    native = recipe.schema.remap(
        labels.frames[frame],
        SOURCE_LABELS[recipe.source_names],
        where=f"{labels.path}, {phase}",
    )
    if not np.isin(native, recipe.schema.heart_ids).any():
        raise ValueError(
            f"{labels.path}: frame {frame} ({phase}) has no heart label; check the"
            f" table's {phase} and the label file"
        )
    return native


def _grid_facts(grid: GridMap, image: NiftiFile) -> dict[str, Any]:
    """Where the native and the prepared voxels lie; spacing (z, y, x) in mm."""
    depth = image.frames.shape[1]
    return {
        "native_shape": [depth, *grid.native_shape],
        "native_spacing": list(image.spacing),
        "native_affine": image.affine.tolist(),
        "shape": [depth, *grid.image_size],
        "spacing": [image.spacing[0], *grid.spacing],
        "affine": grid.model_affine(image.affine).tolist(),
        "valid_box": list(grid.valid_box),
    }


def _file_shape(file: NiftiFile) -> str:
    return "x".join(str(n) for n in file.frames.shape[::-1])
