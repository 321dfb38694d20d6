"""The data of a GAN training, opened and checked before anything else happens."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

from cmrjax.data.choice import evenly_spaced
from cmrjax.data.intensity import ZScoreTransform
from cmrjax.data.pipeline import make_train_iterator
from cmrjax.data.schema_file import find_schema
from cmrjax.data.source import PreparedDataset, SliceSource
from cmrjax.files import shorten
from cmrjax.labels import LabelSchema
from experiments.config_errors import config_errors
from experiments.configs.base import Config

logger = logging.getLogger(__name__)

SIMULATED_COMMANDS = """\
    python -m experiments.simulate --subjects=100 --out=data/simulated
    python -m experiments.prepare_data --dataset=simulated --source=data/simulated \\
        --out=data/prepared/simulated
and then the same training with
    --config.data.path=data/prepared/simulated --config.data.train_groups="('S1',)" \\
    --config.data.validation_groups="('S1',)\""""
LABEL_COMMANDS = """\
    python -m experiments.train_segmentation \\
        --config=experiments/configs/multi_tissue.py --workdir=runs/multi_tissue
    python -m experiments.label_real --model=runs/multi_tissue --dataset=mnms \\
        --source=DOWNLOAD --out=data/prepared/mnms_multi"""
NO_MULTI_TISSUE = (
    "The maps of all tissues on real images come from the segmentation network:\n"
    + LABEL_COMMANDS
    + "\n(its configuration says how to make the simulated images it learns from). To "
    "train on simulated images themselves\n" + SIMULATED_COMMANDS
)


@dataclasses.dataclass(frozen=True)
class GanData:
    """What a GAN is trained and validated on.

    Attributes:
      dataset: the prepared folder.
      train: slices to learn from.
      validation: slices to evaluate on; None: no validation.
    """

    dataset: PreparedDataset
    train: SliceSource
    validation: SliceSource | None


def open_gan_data(config: Config) -> GanData:
    """Opens the prepared data of a configuration and checks every label.

    Args:
      config: see `experiments/configs/base.py`.

    Returns:
      The sources.

    Raises:
      ValueError: the folder, the groups or the labels do not fit; says which command
        makes what is missing.
    """
    settings = config.data
    with config_errors():
        schema = find_schema(settings.schema)
    try:
        is_there = Path(settings.path).exists()
    except OSError as error:  # as of a name that is too long
        raise ValueError(
            f"config.data.path is {shorten(settings.path)}: {error.strerror}; name the"
            " folder that prepare_data wrote"
        ) from error
    if not is_there and schema.name != "cavity":
        raise ValueError(
            f"config.data.path: no folder {settings.path}\n{NO_MULTI_TISSUE}"
        )
    dataset = PreparedDataset.open(settings.path, verify="full")
    if schema.num_classes > dataset.schema.num_classes:
        raise ValueError(
            f"{settings.path} has the labels of schema {dataset.schema.name!r} "
            f"({dataset.schema.num_classes} classes), config.data.schema asks for "
            f"{schema.name!r} ({schema.num_classes}). Train on the heart classes with "
            f"a cavity_ configuration.\n{NO_MULTI_TISSUE}"
        )
    if isinstance(dataset.transform, ZScoreTransform):
        raise ValueError(
            f"{settings.path} holds z-scores, for the segmentation network; the GAN's "
            "images end at -1 and 1. Prepare them again with --transform=percentile"
        )
    dataset.validate_labels()
    with config_errors():
        train, validation = _choose_slices(config, dataset, schema)
    logger.info(
        "data: %s, %d slices to train on, %s to validate on, all labels checked",
        settings.path,
        len(train),
        "none" if validation is None else len(validation),
    )
    return GanData(dataset, train, validation)


def _choose_slices(
    config: Config, dataset: PreparedDataset, schema: LabelSchema
) -> tuple[SliceSource, SliceSource | None]:
    """Slices to train and, where there are such groups, to validate on."""
    settings = config.data
    chosen = dataset.select(groups=settings.train_groups, splits=("train",))
    train = SliceSource(dataset, chosen, schema=schema, image_size=settings.image_size)
    if not settings.validation_groups:
        return train, None
    chosen = dataset.select(
        groups=settings.validation_groups, splits=settings.validation_splits
    )
    chosen = evenly_spaced(chosen, config.evaluation.max_slices)
    return train, SliceSource(
        dataset, chosen, schema=schema, image_size=settings.image_size
    )


def input_fingerprints(data: GanData, vgg: Any) -> dict[str, str]:
    """Identifies what goes into a run: the training slices and the VGG19 weights."""
    return {
        "data": data.train.fingerprint,
        "vgg19_weights": "none" if vgg is None else vgg.source_sha256,
    }


@config_errors()
def make_iterator(config: Config, source: Any, rows: slice | None = None) -> Any:
    """Makes the training's iterator over batches, as the configuration says.

    Args:
      config: see `experiments/configs/base.py`.
      source: `SliceSource`, or anything with its `len` and `[i]`.
      rows: of each batch that this process reads; None: all.

    Returns:
      See `cmrjax.data.pipeline.make_train_iterator`.
    """
    return make_train_iterator(
        source,
        batch_size=config.training.batch_size,
        seed=config.seed,
        flip=config.data.flip,
        num_threads=config.data.num_threads,
        prefetch=config.data.prefetch,
        rows=rows,
    )
