"""Prepares one subject: reads, checks, normalises, resamples, crops."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cmrjax.data.geometry import GridMap
from cmrjax.data.intensity import IntensityTransform, PercentileTransform
from cmrjax.data.nifti import NiftiFile, read_nifti
from cmrjax.data.records import SubjectRecord
from cmrjax.data.subject_files import (
    check_frames,
    check_label_frames,
    check_pair,
    header_notices,
    read_labels,
)
from cmrjax.labels import CAVITY, SOURCE_LABELS, LabelSchema


@dataclass(frozen=True)
class Recipe:
    """How volumes are prepared.

    Attributes:
        label_ids: What the ids in the label files mean.
        schema: Schema of the prepared labels.
        transform: Native intensities to [-1, 1].
        image_size: Rows and columns of the prepared slices, pixels.
        spacing: Pixel size (y, x) of the prepared slices, mm.
        nominal_spacing: Whether the headers' spacing is known not to be the true one.
        nominal_except: Subjects whose spacing is true all the same.
        all_slices: Whether slices without heart are kept too, as a network needs that
            is to see whole stacks.
    """

    label_ids: Mapping[int, str] = field(
        default_factory=lambda: dict(SOURCE_LABELS["mnms"])
    )
    schema: LabelSchema = CAVITY
    transform: IntensityTransform = field(default_factory=PercentileTransform)
    image_size: tuple[int, int] = (256, 256)
    spacing: tuple[float, float] = (1.33, 1.33)
    nominal_spacing: bool = False
    nominal_except: frozenset[str] = frozenset()
    all_slices: bool = False

    def is_nominal(self, subject: str) -> bool:
        """Whether this subject's header spacing is nominal."""
        return self.nominal_spacing and subject not in self.nominal_except


@dataclass(frozen=True)
class NativePhase:
    """One phase as it was acquired, and the way to the model's grid.

    Attributes:
        file: The image file; ``file.frames[frame]`` is the phase.
        phase: "ED" or "ES".
        frame: Index of the phase in the file.
        labels: [d, h, w] uint8 of the label file, ids of the recipe's schema; None
            where none is read.
        grid: Relation between the file's in-plane grid and the model's.
    """

    file: NiftiFile
    phase: str
    frame: int
    labels: np.ndarray | None
    grid: GridMap

    @property
    def volume(self) -> np.ndarray:
        """[d, h, w] intensities as stored."""
        return self.file.frames[self.frame]


Labeller = Callable[[NativePhase], np.ndarray]
"""Gives the labels of a phase on the model's grid, [d, *image_size] uint8."""


@dataclass(frozen=True)
class PreparedVolume:
    """The slices of one phase that show heart, or all of them.

    Attributes:
        images: [n, h, w] float32 as the transform gives them; padding is -1.
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
    record: SubjectRecord,
    recipe: Recipe,
    *,
    labels_expected: bool = True,
    labeller: Labeller | None = None,
    with_labels: bool = True,
) -> PreparedSubject:
    """Reads a subject's files and prepares its volumes.

    Nothing that is wrong with the files is raised: it becomes a line in
    ``problems`` that names file, value and fix, so that the others go on.

    Args:
        record: The subject.
        recipe: How.
        labels_expected: Whether a label file that holds background only is a problem;
            in the folder "Unlabeled" it never is.
        labeller: Gives the labels of each phase; the slices in which it puts heart are
            kept. By default the labels are those of the file.
        with_labels: Whether the label file is read at all; without, there must be a
            labeller.
    """
    assert with_labels or labeller is not None
    result = PreparedSubject()
    unlabelled = 0
    for pair in record.pairs:
        try:
            labels = read_labels(record, pair, labels_expected) if with_labels else None
            if with_labels and labels is None:
                unlabelled += 1
                continue
            image = read_nifti(pair.image_path)
            if labels is None:
                check_frames(pair, image)
            else:
                check_pair(image, labels)
                check_label_frames(pair, labels)
        except ValueError as error:
            result.problems.append(str(error))
            continue
        result.notices += header_notices(image, labels)
        for phase, frame in pair.phases:
            try:
                native = _native_phase(recipe, image, labels, phase, frame)
                volume = _prepare_phase(
                    record, recipe, native, labels, labeller, result.notices
                )
            except ValueError as error:
                result.problems.append(str(error))
            else:
                result.volumes.append(volume)
    result.unlabelled = unlabelled == len(record.pairs)
    return result


def _native_phase(
    recipe: Recipe, image: NiftiFile, labels: NiftiFile | None, phase: str, frame: int
) -> NativePhase:
    _, _, rows, columns = image.frames.shape
    return NativePhase(
        file=image,
        phase=phase,
        frame=frame,
        labels=labels and _native_labels(recipe, labels, phase, frame),
        grid=GridMap(
            (rows, columns), image.spacing[1:], recipe.spacing, recipe.image_size
        ),
    )


def _prepare_phase(
    record: SubjectRecord,
    recipe: Recipe,
    native: NativePhase,
    labels: NiftiFile | None,
    labeller: Labeller | None,
    notices: list[str],
) -> PreparedVolume:
    """Normalises, resamples and crops one frame; keeps the slices with heart."""
    image, grid = native.file, native.grid
    try:
        limits = recipe.transform.limits(native.volume)
        normalised = recipe.transform.apply(native.volume)
    except ValueError as error:
        raise ValueError(
            f"{image.path}: frame {native.frame} ({native.phase}): {error}; fetch it"
            " again or leave the subject out"
        ) from error
    if labeller is not None:
        model_labels = labeller(native)
    else:
        assert native.labels is not None
        model_labels = grid.labels_to_model(native.labels)
    kept = np.flatnonzero(
        np.isin(model_labels, recipe.schema.heart_ids).any(axis=(1, 2))
    )
    _check_heart(recipe, native, labels, kept, notices)
    if recipe.all_slices:
        kept = np.arange(len(model_labels))
    return PreparedVolume(
        images=grid.image_to_model(normalised[kept]),
        labels=model_labels[kept],
        slices=tuple(int(k) for k in kept),
        valid_box=grid.valid_box,
        description={
            "subject": record.subject,
            "phase": native.phase,
            "frame": native.frame,
            "subset": record.subset,
            "nominal_spacing": recipe.is_nominal(record.subject),
            "intensity_limits": list(limits),
            "image_sha256": image.sha256,
            "label_sha256": None if labels is None else labels.sha256,
            **_grid_facts(grid, image),
        },
    )


def _check_heart(
    recipe: Recipe,
    native: NativePhase,
    labels: NiftiFile | None,
    kept: np.ndarray,
    notices: list[str],
) -> None:
    """Some slice must show heart; a crop through the heart is worth knowing."""
    if native.labels is None or labels is None:
        if not len(kept):
            raise ValueError(
                f"{native.file.path}: frame {native.frame} ({native.phase}): no heart"
                " is found in any slice; check the image or leave the subject out"
            )
        return
    crop = f"crop to {recipe.image_size[0]}x{recipe.image_size[1]}"
    if not len(kept):
        raise ValueError(
            f"{labels.path}: {native.phase}: the central {crop} leaves no heart; use a"
            " larger --image-size"
        )
    outside = native.labels[:, ~native.grid.native_coverage()]
    if np.isin(outside, recipe.schema.heart_ids).any():
        notices.append(
            f"{labels.path}: {native.phase}: the {crop} cuts the heart; use a larger"
            " --image-size"
        )


def _native_labels(
    recipe: Recipe, labels: NiftiFile, phase: str, frame: int
) -> np.ndarray:
    """Labels of a frame, [d, h, w] uint8, with the ids of the recipe's schema."""
    native = recipe.schema.remap(
        labels.frames[frame],
        recipe.label_ids,
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
