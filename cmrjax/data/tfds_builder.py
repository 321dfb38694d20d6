"""Prepared slices as a data set of TensorFlow Datasets (TFDS).

The records are the slices of a prepared folder, bit for bit, as ArrayRecord files with
random access. The folder's manifest (schema, transform, grid, volumes, split) is the
builder's metadata, so that whoever trains on the data set checks what it checks of the
folder. The module needs the extra tfds; importing it registers the builder.

    tfds.data_source("cardiac_slices/NAME", data_dir=DIR, split="train")
"""

import contextlib
import dataclasses
import io
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from cmrjax.data.prepared import PreparedDataset
from cmrjax.data.source import SliceSource
from cmrjax.data.tfds_reader import METADATA_KEY
from cmrjax.files import atomic_directory
from cmrjax.output_folder import holds_only

_SHARD_BYTES = 128 << 20  # of image and labels; TFDS holds one shard's examples
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
Example = dict[str, Any]
_is_exported = holds_only(
    "dataset_info.json", "features.json", "metadata.json", "*.array_record-*"
)


@dataclasses.dataclass(kw_only=True)
class CardiacSlicesConfig(tfds.core.BuilderConfig):
    """Which slices a data set holds.

    Attributes:
        prepared: The prepared folder.
    """

    prepared: str | Path = ""


class CardiacSlices(tfds.core.ShardBasedBuilder):
    """Short-axis cardiac MR slices with labels, of a prepared folder.

    A builder by shards keeps the order of the slices and holds one shard in memory;
    TFDS's generator builder sorts up to a gigabyte of records in memory, then needs
    TensorFlow.

    Attributes:
        on_slice: Called after each slice, to show progress.
    """

    name = "cardiac_slices"
    VERSION = tfds.core.Version("1.0.0")
    builder_config: CardiacSlicesConfig
    on_slice: Callable[[], object] = staticmethod(lambda: None)

    def _info(self) -> tfds.core.DatasetInfo:
        """What a record holds, and the manifest as metadata."""
        dataset = PreparedDataset.open(self.builder_config.prepared)
        rows, columns = dataset.image_size
        # As bytes: no copy element by element; ArrayRecord compresses them.
        tensor = partial(tfds.features.Tensor, encoding="bytes")
        names = ", ".join(dataset.schema.class_names)
        features = {
            "image": tensor(
                shape=(rows, columns, 1),
                dtype=np.float16,
                doc=f"intensities after the transform {dataset.transform.name}",
            ),
            "label_map": tensor(
                shape=(rows, columns), dtype=np.uint8, doc=f"ids of: {names}"
            ),
            "valid_mask": tensor(
                shape=(rows, columns, 1), dtype=np.bool_, doc="False on padding"
            ),
            "index": tfds.features.Tensor(
                shape=(), dtype=np.int32, doc="position in the prepared folder"
            ),
            "subject": tfds.features.Text(doc="code of the subject"),
            "phase": tfds.features.Text(doc="ED or ES"),
            "slice": tfds.features.Tensor(
                shape=(), dtype=np.int32, doc="index of the slice in its file"
            ),
            "vendor": tfds.features.Text(doc="letter of the vendor"),
            "centre": tfds.features.Text(doc="number of the centre"),
            "spacing": tfds.features.Tensor(
                shape=(2,), dtype=np.float32, doc="pixel size (y, x), mm"
            ),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Short-axis cardiac MR slices with labels, prepared by cmrjax."
            f" Classes: {names}.",
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict({METADATA_KEY: dataset.manifest}),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Iterator[tuple[int, Example]]]]]:
        """Cuts each split into shards of about ``_SHARD_BYTES``."""
        dataset = PreparedDataset.open(self.builder_config.prepared, verify="full")
        dataset.validate_labels()
        rows, columns = dataset.image_size
        size = max(1, _SHARD_BYTES // (rows * columns * 4))  # 2 + 1 + 1 bytes a pixel
        found = {}
        for split in dict.fromkeys(info.split for info in dataset.slices):
            chosen = dataset.select(splits=(split,))
            parts = [chosen[i : i + size] for i in range(0, len(chosen), size)]
            found[split] = [partial(self._examples, dataset, p) for p in parts]
        return found

    def _examples(
        self, dataset: PreparedDataset, indices: np.ndarray
    ) -> Iterator[tuple[int, Example]]:
        source = SliceSource(dataset, indices)
        for position, info in enumerate(source.slices):
            self.on_slice()
            example = source[position]
            yield (
                info.index,
                {
                    "image": dataset.images[info.index][..., None],
                    "label_map": example["label_map"],
                    "valid_mask": example["valid_mask"],
                    "index": info.index,
                    "subject": info.subject,
                    "phase": info.phase,
                    "slice": info.slice,
                    "vendor": info.vendor,
                    "centre": info.centre,
                    "spacing": np.asarray(dataset.spacing, np.float32),
                },
            )


def export_tfds(
    prepared: str | Path,
    data_dir: str | Path,
    *,
    name: str | None = None,
    overwrite: bool = False,
    on_slice: Callable[[], object] = lambda: None,
) -> Path:
    """Writes a prepared folder as a TFDS data set and reads it back.

    Args:
        prepared: The prepared folder.
        data_dir: Folder of TFDS data sets.
        name: Of this one; by default the prepared folder's.
        overwrite: Whether one of that name is replaced, at the end.
        on_slice: Called after each slice.

    Returns:
        The data set's folder, ``data_dir``/cardiac_slices/``name``/VERSION: a
        ``PreparedDataset`` with the fingerprint of ``prepared``.

    Raises:
        FileExistsError: If it exists and ``overwrite`` is not set.
        OSError: If it cannot be written; then nothing is left behind.
        ValueError: If the prepared folder is damaged or has labels that its schema
            lacks, the name is not one for TFDS, or what was written is not what was
            there.
    """
    name = Path(prepared).resolve().name if name is None else name
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot be the name of a TFDS data set: expected a letter, then"
            " letters, digits, _ . or -; give another with --name"
        )
    target = Path(data_dir) / CardiacSlices.name / name / str(CardiacSlices.VERSION)
    with atomic_directory(target, overwrite=overwrite, ours=_is_exported) as folder:
        config = CardiacSlicesConfig(name=name, prepared=prepared)
        builder = CardiacSlices(data_dir=folder, config=config)
        builder.on_slice = on_slice
        download = tfds.download.DownloadConfig(try_download_gcs=False)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it speaks of downloads
                builder.download_and_prepare(
                    file_format="array_record", download_config=download
                )
        except RuntimeError as error:  # ArrayRecord's writer: a full disk
            reason = str(error).split(";")[0]
            message = f"{target}: cannot be written ({reason}); make room for it"
            raise OSError(message) from error
        made = list(folder.iterdir())
        for file in Path(builder.data_dir).iterdir():
            file.rename(folder / file.name)
        for entry in made:
            shutil.rmtree(entry)
        PreparedDataset.open(folder, verify="full")
    return target
