"""Labels all tissues of one subject: predicts, and puts the expert's heart in."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cmrjax.data.geometry import GridMap
from cmrjax.data.nifti import split_suffix
from cmrjax.data.records import SubjectRecord
from cmrjax.data.subject import NativePhase, PreparedSubject, Recipe, prepare_subject
from cmrjax.labels import LabelSchema
from cmrjax.segmentation.agreement import slice_rows
from cmrjax.segmentation.expert import (
    background_outside,
    full_grid,
    likeliest,
    probabilities_to_native,
    with_expert_heart,
)
from cmrjax.segmentation.tidy import tidy_tissues

EXPERT_CHOICES = ("labels", "none")
MIN_HEART_AREA = 50.0
"""Heart in a slice that shows heart, mm^2: without an expert, slices with less are
dropped."""


class TissueModel(Protocol):
    """A network that gives the probabilities of all tissues."""

    @property
    def schema(self) -> LabelSchema:
        """Schema of the classes."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of the network."""
        ...

    def probabilities(self, volume: np.ndarray, grid: GridMap) -> np.ndarray:
        """Predicts one phase.

        Args:
            volume: [d, h, w] float32 native intensities.
            grid: From the native in-plane grid to that of the result.

        Returns:
            [d, *grid.image_size, k] float32, sum 1 over the classes.
        """
        ...


@dataclass(frozen=True)
class LabelledPhase:
    """The labels of one phase; slices without heart are background in ``labels``.

    Attributes:
        labels: [d, *image_size] uint8, what is kept.
        own: [d, *image_size] uint8, the network's own labels.
        expert: [d, *image_size] uint8, the expert's labels; None without an expert.
        native: [d, h, w] uint8, what is kept, on the grid of the file.
    """

    labels: np.ndarray
    own: np.ndarray
    expert: np.ndarray | None
    native: np.ndarray


@dataclass(frozen=True)
class NativeLabels:
    """Labels on the grid of one image file.

    Attributes:
        name: File name that goes with the image's, as P1_sa_gt.nii.gz.
        labels: [t, d, h, w] uint8, all frames of the image file, background in those
            that are no phase.
        affine: [4, 4] of the image file.
    """

    name: str
    labels: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True)
class LabelledSubject:
    """What came of a subject.

    Attributes:
        prepared: Volumes with the new labels, problems and notices.
        phases: The labels of each prepared volume's phase, by phase.
        native: Labels for each image file; empty if nothing was prepared.
        rows: One dict for each slice of each phase, see ``agreement.slice_rows``.
    """

    prepared: PreparedSubject
    phases: dict[str, LabelledPhase] = field(default_factory=dict)
    native: tuple[NativeLabels, ...] = ()
    rows: list[dict[str, Any]] = field(default_factory=list)


def label_phase(
    native: NativePhase, schema: LabelSchema, model: TissueModel, *, tidy: bool = True
) -> LabelledPhase:
    """Labels one phase.

    With the expert's labels (``native.labels``), their heart is put in and slices in
    which they show none are dropped; without, the network's own heart stays and slices
    with less heart than ``MIN_HEART_AREA`` are dropped.

    Args:
        native: The phase.
        schema: Schema of the labels and of the model.
        model: The network.
        tidy: Whether pieces that cannot be right are given away in what is kept, see
            ``tidy``; ``own`` is always as the network gave it.

    Raises:
        ValueError: If the model's answer is not what it has to be; names the file.
    """
    grid = native.grid
    full, window = full_grid(grid)
    predicted = _predict(native, full, schema, model)
    own = likeliest(predicted)
    background_outside(own, full.valid_box)
    labels, expert = own.copy(), None
    if native.labels is not None:
        expert = full.labels_to_model(native.labels)
        labels = with_expert_heart(predicted, expert, schema)
        background_outside(labels, full.valid_box)
    if tidy:  # before anything is cut off, which would make pieces small
        r0, r1, c0, c1 = full.valid_box
        box = (slice(None), slice(r0, r1), slice(c0, c1))
        image = full.image_to_model(np.asarray(native.volume, np.float32))
        labels[box] = tidy_tissues(
            labels[box], predicted[box], image[box], schema, spacing=full.spacing
        )
    crop = (slice(None), *window)
    own, labels = own[crop], labels[crop].copy()
    if expert is None:
        fewest = MIN_HEART_AREA / np.prod(grid.spacing)
    else:
        expert, fewest = expert[crop], 1
    source = own if expert is None else expert
    pixels = np.isin(source, schema.heart_ids).sum(axis=(1, 2))
    kept = np.greater_equal(pixels, fewest)
    labels[~kept] = 0
    on_native = np.zeros(native.volume.shape, np.uint8)
    if kept.any():
        near = probabilities_to_native(predicted[kept], full)
        on_native[kept] = _native_labels(near, native, kept, schema, tidy=tidy)
    return LabelledPhase(labels, own, expert, on_native)


def _native_labels(
    probabilities: np.ndarray,
    native: NativePhase,
    kept: np.ndarray,
    schema: LabelSchema,
    *,
    tidy: bool,
) -> np.ndarray:
    """Labels [n, h, w] of the kept slices on the grid of the file."""
    if native.labels is None:
        labels = likeliest(probabilities)
    else:
        labels = with_expert_heart(probabilities, native.labels[kept], schema)
    if not tidy:
        return labels
    volume, spacing = native.volume[kept], native.grid.native_spacing
    return tidy_tissues(labels, probabilities, volume, schema, spacing=spacing)


def label_subject(
    record: SubjectRecord,
    recipe: Recipe,
    model: TissueModel,
    *,
    expert: bool,
    tidy: bool = True,
    labels_expected: bool = True,
) -> LabelledSubject:
    """Reads a subject's files and labels its phases.

    Args:
        record: The subject.
        recipe: How volumes are prepared; its schema is the model's.
        model: The network.
        expert: Whether the heart is the expert's; if not, no label file is read.
        tidy: See ``label_phase``.
        labels_expected: See ``prepare_subject``.

    Returns:
        What came of it; what is wrong with the files is a line in its problems.
    """
    phases: dict[str, LabelledPhase] = {}
    sources: list[NativePhase] = []

    def labeller(native: NativePhase) -> np.ndarray:
        phases[native.phase] = label_phase(native, recipe.schema, model, tidy=tidy)
        sources.append(native)
        return phases[native.phase].labels

    prepared = prepare_subject(
        record,
        recipe,
        labels_expected=labels_expected,
        labeller=labeller,
        with_labels=expert,
    )
    done = {volume.description["phase"] for volume in prepared.volumes}
    sources = [source for source in sources if source.phase in done]
    if not sources:
        return LabelledSubject(prepared)
    files: dict[Path, NativeLabels] = {}
    rows: list[dict[str, Any]] = []
    for source in sources:
        file = source.file
        if file.path not in files:
            stem, _ = split_suffix(file.path)
            if any(other.name == f"{stem}_gt.nii.gz" for other in files.values()):
                stem = f"{stem}_{source.phase}"  # same name in another folder
            empty = np.zeros(file.frames.shape, np.uint8)
            files[file.path] = NativeLabels(f"{stem}_gt.nii.gz", empty, file.affine)
        files[file.path].labels[source.frame] = phases[source.phase].native
        rows += _phase_rows(record, recipe.schema, source, phases[source.phase])
    kept = {source.phase: phases[source.phase] for source in sources}
    return LabelledSubject(prepared, kept, tuple(files.values()), rows)


def _phase_rows(
    record: SubjectRecord,
    schema: LabelSchema,
    source: NativePhase,
    phase: LabelledPhase,
) -> list[dict[str, Any]]:
    """One dict for each slice, with whose it is."""
    rows = slice_rows(
        phase.own,
        phase.labels,
        phase.expert,
        schema=schema,
        valid_box=source.grid.valid_box,
    )
    whose = {"subject": record.subject, "group": record.group, "phase": source.phase}
    return [whose | row for row in rows]


def _predict(
    native: NativePhase, grid: GridMap, schema: LabelSchema, model: TissueModel
) -> np.ndarray:
    """Probabilities [d, *grid.image_size, k], checked."""
    volume = np.asarray(native.volume, np.float32)
    where = f"{native.file.path}: frame {native.frame} ({native.phase})"
    try:
        predicted = model.probabilities(volume, grid)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    expected = (len(volume), *grid.image_size, schema.num_classes)
    if predicted.shape != expected or not np.isfinite(predicted).all():
        raise ValueError(
            f"{where}: the network gave probabilities {list(predicted.shape)}, expected"
            f" finite values {list(expected)}; check the model"
        )
    return predicted
