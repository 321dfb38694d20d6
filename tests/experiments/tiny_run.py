"""A configuration and prepared data of the smallest size that trains."""

import pathlib
from typing import Any

import numpy as np

from experiments.configs import base
from experiments.gan_data import open_gan_data
from experiments.gan_setup import make_trainer
from tests.data.prepared_folder import make_prepared
from tests.experiments.saved_state import read_saved_state

STEPS = 4


def tiny_config(data: pathlib.Path) -> base.Config:
    """Width 1, 32 x 32, batch 2, four steps; no VGG19, no TensorBoard."""
    config = base.get_config()
    config.data.path = str(data)
    config.data.schema = "cavity"
    config.data.validation_splits = ("evaluation",)
    config.data.image_size = 32
    config.model.base_features = 1
    config.loss.vgg19_weights = ""
    config.optimizer.average_decay = 0.5
    config.training.batch_size = 2
    config.training.num_steps = STEPS
    config.training.report_every = 1
    config.training.tensorboard = False
    config.evaluation.every = 2
    config.evaluation.max_slices = 2
    config.evaluation.batch_size = 2
    return config


def tiny_data(folder: pathlib.Path) -> pathlib.Path:
    """Twelve slices of 32 x 32 with blocks of four classes."""
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 4, (12, 4, 4)), np.ones((1, 8, 8), int))
    return make_prepared(
        folder, count=12, size=(32, 32), labels=labels, valid_box=(2, 30, 0, 32)
    )


def saved_state(workdir: pathlib.Path, config: base.Config) -> tuple[int, Any, Any]:
    """(step, the whole state, position in the data) of the newest checkpoint."""
    trainer = make_trainer(config, open_gan_data(config).train)
    return read_saved_state(workdir, trainer)
