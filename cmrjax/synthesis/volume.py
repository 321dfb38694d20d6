"""NIfTI labels in, NIfTI images out, with a record of how they came about.

Of a label file `case_gt.nii.gz` come, in the folder of the outputs:

- `case.nii.gz`, the image: axes, shape and header geometry of the labels, or of the
  model's grid (`Synthesizer.grid`); float32 in [-1, 1], or other values
  (`OutputValues`); of a network with several channels their mean;
- `case_gt.nii.gz`, the labels on the same grid: uint8, ids of the model's schema;
- `case.json`: model, label file, settings and hashes.

A file with time frames gives such a pair for each frame that has labels, with the
frame in the name: `case_frame00.nii.gz`, `case_frame00_gt.nii.gz`. One file per frame,
not one with empty frames between: each is an image as it stands, and nobody has to know
which frames are meant. Slices without labels inside a frame are generated too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cmrjax.data.geometry import GridMap, with_spacing
from cmrjax.data.nifti import NiftiFile, read_nifti, split_suffix, write_volume
from cmrjax.files import provenance, read_json, sha256_file, write_json
from cmrjax.synthesis.label_input import LabelInput
from cmrjax.synthesis.output_values import MODEL, OutputValues
from cmrjax.synthesis.params import ModelParams, hash_params
from cmrjax.synthesis.sample import (
    STATISTICS,
    generate,
    images_to_labels,
    model_grid,
)

FORMAT = "cmrjax-synthesis-1"
LABEL_MARK = "_gt"
GRIDS = ("label", "model")
SAME_SPACING = 1e-4  # relative; below it nothing is resampled


@dataclass(frozen=True)
class Synthesizer:
    """A model and how label files are read for it.

    Attributes:
      params: the model.
      label_input: meaning of the ids in the files.
      values: intensities of the outputs.
      batch_size: slices in memory at a time.
      seed: of z, for models that have one; each file and frame draws its own.
      model_sha256: hash of the model, computed once.
      dtype: of activations, see `synthesize`.
      grid: of the outputs: "label", that of the file, to which the images are resampled
        back, or "model", pixels of the model's spacing over the same field of view.
      spacing: pixel size (rows, columns) of all labels, mm, in place of the headers'.
      statistics: of batch normalisation, see `synthesize`; "batch" takes those of one
        volume.
    """

    params: ModelParams
    label_input: LabelInput
    values: OutputValues
    batch_size: int
    seed: int
    model_sha256: str
    dtype: str = "float32"
    grid: str = "label"
    spacing: tuple[float, float] | None = None
    statistics: str = "running"

    @classmethod
    def create(
        cls,
        params: ModelParams,
        *,
        label_source: str = "schema",
        merge: bool = False,
        batch_size: int = 8,
        seed: int = 0,
        dtype: str = "float32",
        grid: str = "label",
        spacing: tuple[float, float] | None = None,
        statistics: str = "running",
        intensity: str = MODEL,
    ) -> "Synthesizer":
        """Checks the settings against the model and hashes it.

        `intensity` is "model", "uint12" or the path of a reference image; the others
        are described with the class.

        Raises:
          ValueError: a setting that does not fit the model.
        """
        if batch_size < 1:
            raise ValueError(f"batch size is {batch_size}; expected at least 1")
        for name, value, known in (
            ("grid", grid, GRIDS),
            ("statistics", statistics, STATISTICS),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}; expected one of {known}")
        if spacing is not None and not all(0 < s < np.inf for s in spacing):
            raise ValueError(f"spacing is {spacing}; expected positive numbers, mm")
        return cls(
            params,
            LabelInput(params.description.schema, label_source, merge),
            OutputValues.create(intensity, params.description.transform),
            batch_size,
            seed,
            hash_params(params),
            dtype,
            grid,
            spacing,
            statistics,
        )

    def settings(self) -> dict[str, Any]:
        """What changes the outputs besides the label file, as JSON types."""
        return {
            "format": FORMAT,
            "model_sha256": self.model_sha256,
            "label_source": self.label_input.settings(),
            "merge": self.label_input.merge,
            "dtype": self.dtype,
            "grid": self.grid,
            "spacing": None if self.spacing is None else list(self.spacing),
            "statistics": self.statistics,
            "intensity": self.values.settings(),
            "seed": self.seed
            if self.params.description.architecture.latent_size
            else 0,
        }

    def grid_of(self, file: NiftiFile) -> GridMap:
        """Returns the relation between a file's pixels and the model's.

        Raises:
          ValueError: the file does not tell its pixel size, and no spacing was given.
        """
        spacing = self.spacing
        if spacing is None:
            if not file.spacing_known:
                raise ValueError(
                    f"{file.path}: the header does not tell the pixel size (it has 1 x "
                    "1 x 1 without unit or affine); say it with --spacing=MM"
                )
            spacing = file.spacing[1:]
        model = self.params.description.spacing
        if max(abs(s / model - 1) for s in spacing) < SAME_SPACING:
            spacing = (model, model)
        return model_grid(file.frames.shape[2:], spacing, self.params.description)

    def images(self, labels: np.ndarray, grid: GridMap, *, salt: int) -> np.ndarray:
        """Generates the images of a volume.

        Args:
          labels: [d, h, w] uint8 on the model's grid.
          grid: that of the model, which knows what of it is padding.
          salt: sets z apart from other calls.

        Returns:
          [d, h, w] float32 in [-1, 1], the mean of the channels.

        Raises:
          ValueError: the model returns NaN.
        """
        key = None
        if self.params.description.architecture.latent_size:
            key = jax.random.fold_in(jax.random.key(self.seed), salt)
        images = generate(
            labels,
            self.params,
            batch_size=self.batch_size,
            key=key,
            dtype=self.dtype,
            statistics=self.statistics,
            valid_box=grid.valid_box,
        ).mean(axis=-1)
        if not np.isfinite(images).all():
            raise ValueError(
                f"the model {self.params.origin.path} returns NaN; take an earlier "
                "checkpoint"
            )
        return images


def case_name(label_path: str | Path) -> str:
    """Returns the name of the outputs: the file's, without suffix and "_gt"."""
    name, _ = split_suffix(label_path)
    return name.removesuffix(LABEL_MARK) or name


def is_finished(
    label_path: str | Path, folder: str | Path, synthesizer: Synthesizer
) -> bool:
    """Tells whether the outputs of a label file are there, whole and up to date.

    They are when the record names the same label file (by its hash), the same model and
    the same settings, and the outputs still have the recorded hashes.
    """
    record = _read_record(Path(folder) / f"{case_name(label_path)}.json")
    if record.get("settings") != synthesizer.settings():
        return False
    try:
        if record["label"]["sha256"] != sha256_file(label_path):
            return False
        outputs = record["outputs"].items()
        return all(
            Path(name).name == name and sha256_file(Path(folder) / name) == sha
            for name, sha in outputs
        )
    except (OSError, KeyError, TypeError, AttributeError, ValueError):
        return False


def synthesize_file(
    label_path: str | Path, folder: str | Path, synthesizer: Synthesizer
) -> list[str]:
    """Generates the images of one label file.

    The record is written last, so that a case with a record is whole.

    Args:
      label_path: NIfTI, axes (x, y, z) or (x, y, z, t).
      folder: where the outputs go.
      synthesizer: model and settings.

    Returns:
      Warnings, one line each: the header's pixel size contradicts the affine, or the
      labels reach beyond what the model works at.

    Raises:
      ValueError: the file cannot be used; one line that begins with its name.
      OSError: an output cannot be written.
    """
    label_path, folder = Path(label_path), Path(folder)
    file = read_nifti(label_path)
    labels = synthesizer.label_input.read(file.frames, where=str(label_path))
    labelled = [t for t, frame in enumerate(labels) if frame.any()]
    if not labelled:
        raise ValueError(
            f"{label_path}: holds background only, in all {len(labels)} frame(s); give "
            "a file with labels or leave it out"
        )
    name = case_name(label_path)
    record_path = folder / f"{name}.json"
    earlier = _read_record(record_path)
    salt = int(file.sha256[:7], 16)
    grid = synthesizer.grid_of(file)
    on_model = synthesizer.grid == "model"
    affine, header = _geometry(file, grid, synthesizer)
    outputs: dict[str, np.ndarray] = {}
    for t in labelled:
        stem = name if len(labels) == 1 else f"{name}_frame{t:02d}"
        model_labels = grid.labels_to_model(labels[t])
        image = synthesizer.images(model_labels, grid, salt=salt ^ t)
        if not on_model:
            image = images_to_labels(image[..., None], grid)[..., 0]
        values = synthesizer.values.convert(image, frame=t)
        outputs[f"{stem}.nii.gz"] = values
        outputs[f"{stem}{LABEL_MARK}.nii.gz"] = model_labels if on_model else labels[t]
    folder.mkdir(parents=True, exist_ok=True)
    record_path.unlink(missing_ok=True)
    for file_name, array in outputs.items():
        write_volume(folder / file_name, array, affine, header=header)
    recorded = earlier.get("outputs")
    if isinstance(recorded, dict):
        _remove_stale(folder, name, set(recorded) - set(outputs))
    hashes = {file_name: sha256_file(folder / file_name) for file_name in outputs}
    write_json(record_path, _record(file, grid, labelled, hashes, synthesizer))
    return _warnings(file, grid, synthesizer)


def _geometry(
    file: NiftiFile, grid: GridMap, synthesizer: Synthesizer
) -> tuple[np.ndarray, Any]:
    """Returns the affine of the outputs, and the header whose geometry they keep.

    On the labels' grid the outputs lie on the label file as it is, whatever its header
    says twice. Where the user said the pixel size, or the pixels are the model's, the
    pixel size is the one that was worked with, around the same centre.
    """
    on_model = synthesizer.grid == "model"
    if not on_model and synthesizer.spacing is None:
        return file.affine, file.header
    affine = file.affine
    worked_with = (file.spacing[0], *grid.native_spacing)
    if synthesizer.spacing is not None:
        worked_with = (_sides(affine)[0], *grid.native_spacing)
    if _contradicts(_sides(affine), worked_with):
        affine = with_spacing(affine, file.frames.shape[1:], worked_with)
    return (grid.model_affine(affine) if on_model else affine), None


def _sides(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel size (z, y, x) in mm by an affine."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return z, y, x


def _contradicts(some: tuple[float, ...], others: tuple[float, ...]) -> bool:
    return bool(np.abs(np.divide(some, others) - 1).max() > 1e-3)


def _record(
    file: NiftiFile,
    grid: GridMap,
    labelled: list[int],
    outputs: Mapping[str, str],
    synthesizer: Synthesizer,
) -> dict[str, Any]:
    params = synthesizer.params
    description = params.description
    made = provenance()
    return {
        "settings": synthesizer.settings(),
        "model": {
            "path": params.origin.path,
            "step": params.origin.step,
            "weights": params.origin.weights,
            "sha256": synthesizer.model_sha256,
            "schema": description.schema.to_dict(),
            "spacing": description.spacing,
            "transform": description.transform.to_dict(),
        },
        "label": {
            "path": str(file.path),
            "sha256": file.sha256,
            "shape": list(file.frames.shape[::-1]),
            "spacing": list(file.spacing),
            "labelled_frames": labelled,
        },
        "grid": {
            "of_the_outputs": synthesizer.grid,
            "label_pixels": list(grid.native_shape),
            "label_spacing": list(grid.native_spacing),
            "model_pixels": list(grid.image_size),
            "model_spacing": list(grid.spacing),
        },
        "intensity": synthesizer.values.describe(labelled[0]),
        "outputs": dict(outputs),
        **{name: made[name] for name in ("code", "command", "created")},
    }


def _warnings(file: NiftiFile, grid: GridMap, synthesizer: Synthesizer) -> list[str]:
    """Lines on what the header says twice, and on labels that the model cannot see."""
    z, y, x = file.spacing
    lines = []
    if not grid.native_coverage().all():
        r, c = grid.image_size
        lines.append(
            f"{file.path}: the labels reach beyond the {c} x {r} pixels of "
            f"{grid.spacing[0]:g} mm that the model works at; what is outside is -1"
        )
    if synthesizer.spacing is None and file.looks_unset:
        lines.append(
            f"{file.path}: the header says 1 x 1 x 1 mm and nothing of where the "
            "voxels lie, as where the size was lost; if so, say it with --spacing=MM"
        )
    if synthesizer.spacing is None and _contradicts(_sides(file.affine), file.spacing):
        c, b, a = _sides(file.affine)
        kept = "lie on the label file as it is"
        if synthesizer.grid == "model":
            kept = "have the first, so they do not lie on the label file"
        lines.append(
            f"{file.path}: voxel size is {x:g} x {y:g} x {z:g} mm in the header, which "
            f"is used, and {a:g} x {b:g} x {c:g} mm by its affine; the outputs {kept}"
        )
    return lines


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = read_json(path)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _remove_stale(folder: Path, name: str, stale: set[str]) -> None:
    """Removes outputs of an earlier version of the case, and nothing else."""
    for file_name in stale:
        if Path(file_name).name == file_name and file_name.startswith(name):
            (folder / file_name).unlink(missing_ok=True)
