"""Random access to chosen slices of a prepared data set, as examples for batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cmrjax.data.geometry import centre_crop_box
from cmrjax.data.prepared import PreparedDataset, SliceInfo
from cmrjax.files import sha256_json
from cmrjax.labels import LabelSchema

__all__ = ["PreparedDataset", "SliceInfo", "SliceSource"]


class SliceSource:
    """Random access to chosen slices, as examples for batches.

    Attributes:
        dataset: The prepared data.
        indices: [n] int64 positions of the chosen slices.
        schema: Schema of the labels that come out.
        image_size: Rows and columns that come out, pixels.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        indices: Sequence[int] | np.ndarray,
        *,
        schema: LabelSchema | None = None,
        image_size: int | tuple[int, int] | None = None,
    ):
        """Chooses slices and what they look like.

        Args:
            dataset: The prepared data.
            indices: Positions of slices, for example from ``dataset.select``.
            schema: Merge the labels to this schema; by default the data set's own.
            image_size: Crop centrally to this size; by default the prepared size.

        Raises:
            ValueError: If an index is out of range, the schema cannot be merged to or
                the crop does not fit.
        """
        self.dataset = dataset
        self.indices = np.asarray(indices, np.int64)
        if self.indices.ndim != 1 or not len(self.indices):
            raise ValueError(
                f"indices must be a non-empty list, got shape {self.indices.shape}"
            )
        low, high = int(self.indices.min()), int(self.indices.max())
        if low < 0 or high >= len(dataset):
            raise ValueError(
                f"indices run from {low} to {high}; {dataset.path} has slices 0 to"
                f" {len(dataset) - 1}"
            )
        self.schema = dataset.schema if schema is None else schema
        self._table = dataset.schema.merge_table(self.schema)
        size = dataset.image_size if image_size is None else image_size
        rows, columns = (size, size) if isinstance(size, int) else size
        self.image_size = (rows, columns)
        try:
            self._crop = centre_crop_box(dataset.image_size, self.image_size)
        except ValueError as error:
            raise ValueError(
                f"image_size: {error}; prepare the data with a larger --image-size or"
                " ask for less"
            ) from error

    def __len__(self) -> int:
        """Number of slices."""
        return len(self.indices)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Returns one example.

        Returns:
            label_map [h, w] uint8, image [h, w, 1] float32, valid_mask
            [h, w, 1] bool (False on padding), index scalar int32 (index in the
            data set).
        """
        index = int(self.indices[index])
        r0, r1, c0, c1 = self._crop
        labels = self.dataset.labels[index, r0:r1, c0:c1]
        image = self.dataset.images[index, r0:r1, c0:c1]
        top, bottom, left, right = self.dataset.slices[index].valid_box
        valid = np.zeros((*self.image_size, 1), bool)
        rows = slice(max(top - r0, 0), max(bottom - r0, 0))
        columns = slice(max(left - c0, 0), max(right - c0, 0))
        valid[rows, columns] = True
        return {
            "label_map": self._table[labels],
            "image": np.asarray(image, np.float32)[..., None],
            "valid_mask": valid,
            "index": np.asarray(index, np.int32),
        }

    @property
    def slices(self) -> list[SliceInfo]:
        """What each chosen slice is, in order."""
        return [self.dataset.slices[i] for i in self.indices]

    @property
    def splits(self) -> set[str]:
        """The splits that the chosen slices belong to."""
        return {info.split for info in self.slices}

    @property
    def fingerprint(self) -> str:
        """Hash of the data set, the choice, the schema and the size."""
        return sha256_json(
            {
                "dataset": self.dataset.fingerprint,
                "indices": self.indices.tolist(),
                "schema": self.schema.to_dict(),
                "image_size": list(self.image_size),
            }
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What the slices are, in plain JSON types, for the record of a model."""
        chosen = self.slices
        manifest = self.dataset.manifest
        config = manifest.get("provenance", {}).get("config", {})
        return {
            "dataset": manifest.get("dataset", "unnamed"),
            "num_slices": len(self),
            "num_subjects": len({info.subject for info in chosen}),
            "groups": sorted({info.group for info in chosen}),
            "fingerprint": self.fingerprint,
            "labelled_by": config.get("model_fingerprint", ""),
        }

    def __repr__(self) -> str:
        """Names the data, the number of slices and what comes out."""
        rows, columns = self.image_size
        return (
            f"SliceSource({self.dataset.path}, {len(self)} slices, {self.schema.name},"
            f" {rows}x{columns})"
        )
