"""Prepares one subject: reads, checks, normalises, resamples, crops."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from cmrjax.data.geometry import GridMap
from cmrjax.data.intensity import IntensityTransform, PercentileTransform
from cmrjax.data.nifti import NiftiFile
from cmrjax.data.records import SubjectRecord, noted
from cmrjax.data.subject_files import PairFiles, read_pair
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


class _Normalised(NamedTuple):
    """Intensities [d, h, w] float32 after the transform, and the transform's limits."""

    values: np.ndarray
    limits: tuple[float, float]


class _Use(NamedTuple):
    """A phase, and the frame (file, index) of its image and of its labels, if any."""

    phase: str
    image: tuple[str, int]
    labels: tuple[str, int] | None


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
        voxels: Hash of the native voxels, whatever file and type they are stored in;
            "" where it is not known.
        label_voxels: Likewise of the native labels; "" where none were read.
    """

    images: np.ndarray
    labels: np.ndarray
    slices: tuple[int, ...]
    valid_box: tuple[int, int, int, int]
    description: dict[str, Any]
    voxels: str = ""
    label_voxels: str = ""


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
    uses: list[_Use] = []
    for pair in record.pairs:
        files = read_pair(
            record, pair, labels_expected=labels_expected, with_labels=with_labels
        )
        unlabelled += files.unlabelled
        result.problems += files.problems
        result.notices += files.notices
        for phase, frame, label_frame in files.frames:
            of_labels = None
            if with_labels and pair.label_path is not None:
                of_labels = (os.path.realpath(pair.label_path), label_frame)
            of_image = (os.path.realpath(pair.image_path), frame)
            uses.append(_Use(phase, of_image, of_labels))
            native = _native_phase(
                recipe, files, phase, frame, label_frame, result.problems
            )
            if native is None:
                continue
            with noted(result.problems):
                volume = _prepare_phase(
                    record, recipe, *native, files, labeller, result.notices
                )
                result.volumes.append(volume)
    _refuse_shared_frames(record, uses, result)
    result.unlabelled = unlabelled == len(record.pairs)
    return result


def _native_phase(
    recipe: Recipe,
    files: PairFiles,
    phase: str,
    frame: int,
    label_frame: int,
    problems: list[str],
) -> tuple[NativePhase, _Normalised] | None:
    """One phase as it was acquired; None, and all that is wrong, if it is not usable.

    Image and labels are looked at even where the other, or the pair, is not usable.
    """
    count = len(problems)
    image, labels = files.image, files.labels
    native_labels = normalised = None
    if labels is not None and label_frame < len(labels.frames):
        if not files.problems or labels.frames[label_frame].any():
            with noted(problems):
                native_labels = _native_labels(
                    recipe, labels, phase, frame, labels.frames[label_frame]
                )
    if image is not None and frame < len(image.frames):
        with noted(problems):
            normalised = _normalise(recipe, image, phase, frame)
    if files.problems or len(problems) > count or image is None or normalised is None:
        return None
    _, _, rows, columns = image.frames.shape
    grid = GridMap(
        (rows, columns), image.spacing[1:], recipe.spacing, recipe.image_size
    )
    return NativePhase(image, phase, frame, native_labels, grid), normalised


def _normalise(recipe: Recipe, image: NiftiFile, phase: str, frame: int) -> _Normalised:
    """Intensities of a frame as the transform gives them, and their limits."""
    volume = image.frames[frame]
    try:
        limits = recipe.transform.limits(volume)
        return _Normalised(recipe.transform.apply(volume, limits=limits), limits)
    except ValueError as error:
        raise ValueError(
            f"{image.path}: frame {frame} ({phase}): {error}; fetch it"
            " again or leave the subject out"
        ) from error


def _refuse_shared_frames(
    record: SubjectRecord, uses: list[_Use], result: PreparedSubject
) -> None:
    """Two phases that are one frame of one file: which of them it is nobody knows.

    Nor is it known whose labels they are that two different images have.
    """
    images: dict[tuple[str, int], list[_Use]] = {}
    labels: dict[tuple[str, int], list[_Use]] = {}
    for use in uses:
        images.setdefault(use.image, []).append(use)
        if use.labels is not None:
            labels.setdefault(use.labels, []).append(use)
    for (path, frame), found in images.items():
        if len(found) > 1:
            result.problems.append(
                f"{path}: frame {frame} is both {_named(record, found)}; correct the"
                " file or the frame of one of them in the table"
            )
            _drop(found, result)
    for (path, frame), found in labels.items():
        if len({use.image for use in found}) > 1:
            result.problems.append(
                f"{path}: frame {frame} is to be the labels of both"
                f" {_named(record, found)}, which are different images; give each its"
                " own label file"
            )
            _drop(found, result)


def _named(record: SubjectRecord, uses: list[_Use]) -> str:
    """Phases of a subject, with the line of the table that names each."""
    names = []
    for phase in (use.phase for use in uses):
        place = record.pair_of(phase).place_of(phase)
        names.append(f"{phase} ({place})" if place else phase)
    return f"{' and '.join(names)} of {record.subject}"


def _drop(uses: list[_Use], result: PreparedSubject) -> None:
    phases = {use.phase for use in uses}
    result.volumes = [v for v in result.volumes if v.description["phase"] not in phases]


def _prepare_phase(
    record: SubjectRecord,
    recipe: Recipe,
    native: NativePhase,
    normalised: _Normalised,
    files: PairFiles,
    labeller: Labeller | None,
    notices: list[str],
) -> PreparedVolume:
    """Resamples and crops one frame; keeps the slices with heart."""
    image, grid, labels = native.file, native.grid, files.labels
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
        images=grid.image_to_model(normalised.values[kept]),
        labels=model_labels[kept],
        slices=tuple(int(k) for k in kept),
        valid_box=grid.valid_box,
        description={
            "subject": record.subject,
            "phase": native.phase,
            "frame": native.frame,
            "subset": record.subset,
            "nominal_spacing": recipe.is_nominal(record.subject),
            "intensity_limits": list(normalised.limits),
            "image_sha256": image.sha256,
            "label_sha256": None if labels is None else labels.sha256,
            **_grid_facts(grid, image),
        },
        voxels=_hash(native.volume),
        label_voxels="" if native.labels is None else _hash(native.labels),
    )


def _hash(volume: np.ndarray) -> str:
    """A hash of shape and values, the same for integers and floats that are equal."""
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(volume, np.float32) + 0.0  # no -0
    return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()


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
    recipe: Recipe, labels: NiftiFile, phase: str, frame: int, values: np.ndarray
) -> np.ndarray:
    """Labels of a frame, [d, h, w] uint8, with the ids of the recipe's schema."""
    native = recipe.schema.remap(
        values, recipe.label_ids, where=f"{labels.path}, {phase}"
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
