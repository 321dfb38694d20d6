"""Networks, optimisers and losses of a GAN training, built from a configuration."""

import logging
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from cmrjax.data.choice import evenly_spaced
from cmrjax.data.neighbourhoods import MARGIN, table_rows
from cmrjax.data.source import SliceSource
from cmrjax.models.cpu_convolution import branches_may_sum
from cmrjax.models.discriminator import (
    DiscriminatorArchitecture,
    MultiscaleDiscriminator,
)
from cmrjax.models.neighbourhood_table import TableModulation
from cmrjax.models.spade import DenseModulation, Modulation
from cmrjax.models.spade_generator import (
    DTYPES,
    GeneratorArchitecture,
    SpadeGenerator,
)
from cmrjax.models.table_size import worthwhile_share
from cmrjax.models.vgg19 import Vgg19Weights, load_vgg19
from cmrjax.training.gan_objective import GanObjective
from cmrjax.training.gan_trainer import GanTrainer
from cmrjax.training.optimizer import adam, epoch_schedule
from cmrjax.training.sharding import DataParallel, data_parallel
from experiments.config_errors import config_errors
from experiments.configs.base import Config

logger = logging.getLogger(__name__)

SLICES_TO_SIZE_TABLES = 100
STRIDES = (1, 2, 4)  # resolutions that may have a table
SETTLING_BATCHES = 16


@config_errors()
def make_trainer(config: Config, train: SliceSource) -> GanTrainer:
    """Builds networks, optimisers and placement from a configuration.

    Args:
      config: see `experiments/configs/base.py`.
      train: the training slices, which set the classes, the length of an epoch and
        the size of the label tables.

    Returns:
      The trainer.
    """
    num_classes, num_slices = train.schema.num_classes, len(train)
    model, optimizer = config.model, config.optimizer
    batch_size = config.training.batch_size
    placement = data_parallel(batch_size=batch_size)
    architecture = _architecture(config, num_classes)
    dtype = jnp.dtype(model.dtype)

    g_optimizer, d_optimizer = (
        adam(schedule, b1=optimizer.b1, b2=optimizer.b2)
        for schedule in _schedules(config, num_slices)
    )
    return GanTrainer(
        generator=SpadeGenerator(
            architecture,
            modulation=make_modulation(
                config, architecture, train, placement.num_devices
            ),
            dtype=dtype,
            rematerialise=model.rematerialise,
        ),
        discriminator=MultiscaleDiscriminator(
            DiscriminatorArchitecture(
                num_classes, model.base_features, model.num_scales
            ),
            dtype=dtype,
        ),
        g_optimizer=g_optimizer,
        d_optimizer=d_optimizer,
        objective=_objective(config),
        placement=placement,
        image_size=config.data.image_size,
        batch_size=batch_size,
        average_decay=_average_decay(config),
        accumulation=config.training.accumulation,
    )


def _schedules(config: Config, num_slices: int) -> list[Callable[[Any], Any]]:
    """Rate of G and of D by the number of an update, from 0."""
    optimizer = config.optimizer
    return [
        epoch_schedule(
            rate,
            steps_per_epoch=steps_per_epoch(config, num_slices),
            constant_epochs=optimizer.constant_epochs,
            decay_epochs=optimizer.decay_epochs,
        )
        for rate in (optimizer.g_learning_rate, optimizer.d_learning_rate)
    ]


def learning_rates(
    config: Config, num_slices: int
) -> Callable[[int], dict[str, float]]:
    """Returns (step, from 1) -> the rates with which the update to it is made.

    Args:
      config: see `experiments/configs/base.py`.
      num_slices: to train on.
    """
    g_rate, d_rate = _schedules(config, num_slices)

    def rates(step: int) -> dict[str, float]:
        return {
            "g_learning_rate": float(g_rate(step - 1)),
            "d_learning_rate": float(d_rate(step - 1)),
        }

    return rates


def _objective(config: Config) -> GanObjective:
    loss = config.loss
    if loss.reduction not in ("mean", "sum"):
        raise ValueError(
            f"config.loss.reduction is {loss.reduction!r}; expected 'mean' or 'sum'"
        )
    return GanObjective(
        feature_matching_weight=loss.feature_matching_weight,
        perceptual_weight=loss.perceptual_weight,
        perceptual_layers=loss.perceptual_layers,
        reduction=loss.reduction,
        generator_passes=config.optimizer.generator_passes,
    )


def _average_decay(config: Config) -> float:
    """Reads how much of the average of G a step keeps."""
    decay = config.optimizer.average_decay
    if not 0.0 <= decay < 1.0:
        raise ValueError(
            f"config.optimizer.average_decay is {decay}; expected 0 (no average) or a "
            "share below 1, as 0.999"
        )
    return decay


def settling_maps(
    config: Config, train: SliceSource, placement: DataParallel
) -> np.ndarray:
    """Reads the label maps on which the average of G gets its batch statistics.

    Args:
      config: see `experiments/configs/base.py`.
      train: the training slices.
      placement: says which rows of a batch this process reads.

    Returns:
      [n, local b, h, w] uint8: slices in a fixed random order, repeated where there
      are few, and of each batch this process's part. A batch here is what training
      normalises over.
    """
    batch_size = part_size(config)
    wanted = SETTLING_BATCHES * batch_size
    order = np.random.default_rng(0).permutation(len(train))
    chosen = np.resize(order, wanted).reshape(-1, batch_size)
    local = chosen[:, placement.rows(batch_size)]
    maps = np.stack([train[int(i)]["label_map"] for i in local.ravel()])
    return maps.reshape(*local.shape, *maps.shape[1:])


def _architecture(config: Config, num_classes: int) -> GeneratorArchitecture:
    """Reads the generator's shapes and checks what goes with them."""
    model = config.model
    if model.seed_stride < 1 or config.data.image_size % model.seed_stride:
        raise ValueError(
            f"config.data.image_size is {config.data.image_size}; expected a multiple "
            f"of config.model.seed_stride, {model.seed_stride}"
        )
    if model.dtype not in DTYPES:
        raise ValueError(f"config.model.dtype is {model.dtype!r}; expected {DTYPES}")
    return GeneratorArchitecture(
        num_classes=num_classes,
        base_features=model.base_features,
        seed_stride=model.seed_stride,
        latent_size=model.latent_size,
        paper_equation=model.paper_equation,
    )


def make_modulation(
    config: Config,
    architecture: GeneratorArchitecture,
    train: SliceSource,
    num_devices: int,
) -> Modulation:
    """Chooses how SPADE computes gamma and beta; both ways give the same values.

    Args:
      config: see `experiments/configs/base.py`.
      architecture: of the generator.
      train: the training slices, whose maps set the size of the tables.
      num_devices: that share a batch; each has its own table.

    Returns:
      The way to compute them.

    Raises:
      ValueError: config.model.modulation is not known.
    """
    name = config.model.modulation
    if name == "dense":
        return DenseModulation()
    if name != "table":
        raise ValueError(
            f"config.model.modulation is {name!r}; expected 'table' or 'dense'"
        )
    if not branches_may_sum():
        logger.info("no label tables, as among several processes on CPUs")
        return DenseModulation()
    looked_at = evenly_spaced(np.arange(len(train)), SLICES_TO_SIZE_TABLES)
    maps_per_table = max(1, part_size(config) // num_devices)
    is_exact = maps_per_table == 1 and len(looked_at) == len(train)
    rows = table_rows(
        (train[int(i)]["label_map"] for i in looked_at),
        maps_per_table=maps_per_table,
        strides=STRIDES,
        largest_shares=tuple(worthwhile_share(architecture, s) for s in STRIDES),
        margin=1.0 if is_exact else MARGIN,
    )
    logger.info("label tables (image height: rows): %s", dict(rows) or "none")
    return TableModulation(rows, groups=num_devices)


def part_size(config: Config) -> int:
    """Returns the images of one forward: the batch, or a part of it."""
    return config.training.batch_size // max(1, config.training.accumulation)


def steps_per_epoch(config: Config, num_slices: int) -> int:
    """Returns the steps in which each slice is seen once, at least 1."""
    return max(1, round(num_slices / config.training.batch_size))


@config_errors()
def num_steps(config: Config, num_slices: int) -> int:
    """Returns the length of the run: what is set, or what the epochs come to.

    Raises:
      ValueError: it goes on after the decay, when the rates are 0, or has no step.
    """
    optimizer, wanted = config.optimizer, config.training.num_steps
    epochs = optimizer.constant_epochs + optimizer.decay_epochs
    whole = epochs * steps_per_epoch(config, num_slices)
    if optimizer.decay_epochs and wanted > whole:
        raise ValueError(
            f"config.training.num_steps is {wanted}, but the learning rates are 0 after"
            f" {whole} steps, the end of config.optimizer.decay_epochs = "
            f"{optimizer.decay_epochs}; set it to {whole} at most, or start a new run "
            "with more epochs"
        )
    if not (wanted or whole):
        raise ValueError(
            "config.optimizer.constant_epochs, config.optimizer.decay_epochs and"
            " config.training.num_steps are all 0: set how long to train"
        )
    return wanted or whole


def load_perceptual(config: Config) -> Vgg19Weights | None:
    """Loads the VGG19 weights of a configuration; None where the loss is off."""
    loss = config.loss
    if not loss.vgg19_weights or loss.perceptual_weight == 0:
        logger.info("no perceptual loss")
        return None
    vgg = load_vgg19(loss.vgg19_weights)
    if vgg.missing_features:
        logger.info(
            "perceptual loss on %s; %s has no %s, which drop out",
            ", ".join(vgg.feature_names),
            loss.vgg19_weights,
            ", ".join(vgg.missing_features),
        )
    return vgg
