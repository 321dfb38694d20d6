"""The data of a segmentation training, opened and checked before anything else."""

import bisect
import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np

from cmrjax.data.choice import evenly_spaced
from cmrjax.data.intensity import IntensityTransform, ZScoreTransform
from cmrjax.data.source import PreparedDataset, SliceSource
from cmrjax.files import sha256_json
from cmrjax.labels import LabelSchema
from experiments.configs.base import Config

logger = logging.getLogger(__name__)

DATA_COMMANDS = """\
    python -m experiments.simulate --subjects=130 --image-size=256 --out=data/simulated
    python -m experiments.prepare_data --dataset=simulated --source=data/simulated \\
        --transform=zscore --spacing=1.25 --all-slices --out="""


class JoinedSource:
    """Slices of several prepared folders, one after the other.

    An example's "index" counts through `slices`, where the names of subjects begin with
    the place of their folder: two simulations name theirs alike.

    Args:
      sources: with the same schema and image size.
    """

    def __init__(self, sources: list[SliceSource]) -> None:
        self._sources = sources
        self._starts = np.cumsum([0, *(len(s) for s in sources)]).tolist()
        self.slices = [
            dataclasses.replace(info, subject=f"{place}/{info.subject}")
            for place, source in enumerate(sources)
            for info in source.slices
        ]

    def __len__(self) -> int:
        """Number of slices."""
        return self._starts[-1]

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Returns one example; see `cmrjax.data.source.SliceSource`."""
        which = bisect.bisect_right(self._starts, index) - 1
        example = self._sources[which][index - self._starts[which]]
        return {**example, "index": np.asarray(index, np.int32)}

    @property
    def facts(self) -> list[dict[str, Any]]:
        """What the slices of each folder are; see `SliceSource.facts`."""
        return [source.facts for source in self._sources]

    @property
    def splits(self) -> set[str]:
        """The splits that the slices belong to."""
        return {split for source in self._sources for split in source.splits}

    @property
    def fingerprint(self) -> str:
        """Hash of what is in it."""
        return sha256_json([source.fingerprint for source in self._sources])


@dataclasses.dataclass(frozen=True)
class SegmentationData:
    """What a segmentation network is trained and validated on.

    Attributes:
      train: slices to learn from.
      validation: slices whose loss the learning rate follows.
      schema: of the labels.
      transform: of the intensities.
      prepared_size: side of the training slices, before augmentation, pixels.
      image_size: side of what the network is trained and validated on, pixels.
      spacing: of the pixels, mm.
    """

    train: JoinedSource
    validation: JoinedSource
    schema: LabelSchema
    transform: IntensityTransform
    prepared_size: int
    image_size: int
    spacing: float


def open_segmentation_data(config: Config) -> SegmentationData:
    """Opens the prepared folders of a configuration and checks every label.

    Args:
      config: see `experiments/configs/segmentation.py`.

    Returns:
      The sources.

    Raises:
      ValueError: a folder is missing, has no z-scores, does not fit the others, or has
        no slice of a split, or a label that its schema has not.
    """
    settings = config.data
    datasets = [_open(path) for path in settings.paths]
    if not datasets:
        raise ValueError("config.data.paths names no prepared folder")
    if "train" in settings.validation_splits:
        raise ValueError(
            "config.data.validation_splits has 'train': the rate must follow the loss "
            "on slices that are not trained on; use development"
        )
    for dataset in datasets:
        _check(dataset, datasets[0])
        dataset.validate_labels()

    prepared = datasets[0].image_size[0]
    size = settings.image_size or prepared

    def joined(splits: tuple[str, ...], at_most: int, side: int) -> JoinedSource:
        share = -(-at_most // len(datasets))
        chosen = [evenly_spaced(d.select(splits=splits), share) for d in datasets]
        pairs = zip(datasets, chosen, strict=True)
        return JoinedSource([SliceSource(d, i, image_size=side) for d, i in pairs])

    train = joined(("train",), 0, prepared)
    at_most = config.evaluation.max_slices
    validation = joined(settings.validation_splits, at_most, size)
    logger.info(
        "data: %s, %d slices to train on, %d to validate on, all labels checked",
        ", ".join(settings.paths),
        len(train),
        len(validation),
    )
    first = datasets[0]
    return SegmentationData(
        train=train,
        validation=validation,
        schema=first.schema,
        transform=first.transform,
        prepared_size=prepared,
        image_size=size,
        spacing=first.spacing[0],
    )


def _open(path: str) -> PreparedDataset:
    """Opens a folder; says how it is made where it is missing or has no z-scores."""
    if not Path(path).exists():
        raise ValueError(
            f"config.data.paths: no folder {path}. Make it by\n{DATA_COMMANDS}{path}"
        )
    dataset = PreparedDataset.open(path, verify="full")
    if not isinstance(dataset.transform, ZScoreTransform):
        raise ValueError(
            f"config.data.paths: {path} has intensities {dataset.transform.name}; the "
            "segmentation network takes z-scores of whole volumes: prepare the data "
            "with --transform=zscore"
        )
    return dataset


def _check(dataset: PreparedDataset, first: PreparedDataset) -> None:
    """Refuses a folder that is not like the first, or not square."""

    def facts(d: PreparedDataset) -> dict[str, Any]:
        return {
            "schema": d.schema.name,
            "classes": d.schema.class_names,
            "transform": d.transform.to_dict(),
            "image_size": d.image_size,
            "spacing": d.spacing,
        }

    if facts(dataset) != facts(first):
        raise ValueError(
            f"config.data.paths: {dataset.path} has {facts(dataset)}, {first.path} has "
            f"{facts(first)}; prepare them alike"
        )
    if dataset.image_size[0] != dataset.image_size[1]:
        raise ValueError(
            f"{dataset.path}: slices of {dataset.image_size}; expected square ones"
        )
