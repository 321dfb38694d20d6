"""A configuration and prepared data of the smallest size that a U-Net trains on."""

import pathlib
from typing import Any

import numpy as np

from cmrjax.data.intensity import IntensityTransform, ZScoreTransform
from cmrjax.labels import MULTI_TISSUE
from experiments.configs import segmentation
from experiments.configs.base import Config
from experiments.segmentation_data import open_segmentation_data
from experiments.train_segmentation import make_trainer
from tests.data.prepared_folder import make_prepared
from tests.experiments.saved_state import read_saved_state

SIDE, CROP = 24, 16
COUNT = 18  # slices: three subjects of two to train on, as many to test
STEPS_PER_EPOCH = 3
EPOCHS = 3


def tiny_config(*data: pathlib.Path) -> Config:
    """One level of two features, crops of 16 x 16, batch 2, three epochs."""
    config = segmentation.get_config()
    config.data.paths = tuple(str(path) for path in data)
    config.data.validation_splits = ("test",)
    config.data.image_size = CROP
    config.model.base_features = 2
    config.model.max_features = 4
    config.model.levels = 1
    config.optimizer.learning_rate = 0.01
    config.optimizer.patience = 1
    config.training.batch_size = 2
    config.training.epochs = EPOCHS
    config.training.report_every = 1
    config.training.tensorboard = False
    config.evaluation.max_slices = 5
    config.evaluation.batch_size = 2
    config.evaluation.panel_rows = 2
    return config


def tiny_data(
    folder: pathlib.Path,
    *,
    transform: IntensityTransform | None = None,
    spacing: float = 1.25,
    size: int = SIDE,
    seed: int = 0,
) -> pathlib.Path:
    """Blocks of all tissues but other blood, an image that shows them, padded rows."""
    rng = np.random.default_rng(seed)
    shape = (COUNT, size // 4, size // 4)
    blocks = rng.integers(0, MULTI_TISSUE.num_classes - 1, shape)
    labels = np.kron(blocks, np.ones((1, 4, 4), int))
    images = (labels - 4) / 2 + 0.2 * rng.normal(size=labels.shape)
    labels[:, :5], images[:, :5] = 0, -1
    return make_prepared(
        folder,
        count=COUNT,
        size=(size, size),
        schema=MULTI_TISSUE,
        labels=labels,
        images=images,
        valid_box=(5, size, 0, size),
        transform=transform or ZScoreTransform(),
        spacing=spacing,
    )


def saved_state(workdir: pathlib.Path, config: Config) -> tuple[int, Any, Any]:
    """(step, the whole state, position in the data) of the newest checkpoint."""
    trainer = make_trainer(config, open_segmentation_data(config))
    return read_saved_state(workdir, trainer)
