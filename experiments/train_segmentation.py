r"""Trains the multi-tissue segmentation; the same command continues a stopped run.

    python -m experiments.train_segmentation \
        --config=experiments/configs/multi_tissue.py --workdir=runs/multi_tissue

    --config=FILE                  settings (required); experiments/configs has them
    --workdir=DIR                  folder of the run (required)
    --profile=N                    trace N steps for TensorBoard's profile page
    --config.SECTION.NAME=VALUE    change a setting, as --config.training.num_steps=100

Ctrl-C or SIGTERM saves and exits.
"""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cmrjax.data.pipeline import make_train_iterator
from cmrjax.models.spade_generator import DTYPES
from cmrjax.models.unet import Unet, UnetArchitecture
from cmrjax.segmentation.params import SegmenterParams, load_segmenter
from cmrjax.training.augmentation import Augmentation
from cmrjax.training.checkpoint_folder import latest_checkpoint
from cmrjax.training.compilation_cache import enable_compilation_cache
from cmrjax.training.description import (
    MODEL_FILE,
    SegmenterDescription,
    write_description,
)
from cmrjax.training.loop import Hooks, LoopResult, LoopSettings
from cmrjax.training.model_folder import CHECKPOINTS
from cmrjax.training.model_record import checkpoint_record, read_provenance
from cmrjax.training.plateau import observe
from cmrjax.training.processes import is_first, share
from cmrjax.training.segmentation_step import (
    SegmentationObjective,
    SegmentationState,
    SegmentationStep,
)
from cmrjax.training.segmentation_trainer import SegmentationTrainer
from cmrjax.training.sharding import data_parallel
from cmrjax.training.signals import StopRequest
from experiments.configs.base import Config
from experiments.run_folder import open_run
from experiments.run_guard import guarded
from experiments.segmentation_data import SegmentationData, open_segmentation_data
from experiments.segmentation_validation import LOSS, SegmentationValidation
from experiments.training_command import Training, best_settings, train
from experiments.training_flags import run_command

logger = logging.getLogger(__name__)

BLOOD = ("LV", "RV", "other_blood")  # one fluid: its signals change mostly together
DARK = ("lung",)  # on every scanner
MIXED = ("abdomen",)  # many organs with signals of their own

# What the best checkpoint may be chosen by, and whether a high value is good.
BEST_METRICS = {LOSS: False, "validation_dice": True}


@guarded
def run(
    config: Config,
    workdir: str | Path,
    *,
    profile: int = 0,
    stop: StopRequest | None = None,
) -> LoopResult:
    """Trains, from the newest checkpoint in the folder if there is one.

    Args:
      config: see `experiments/configs/segmentation.py`.
      workdir: the run's folder.
      profile: steps to trace into its profile/; 0: none.
      stop: what notes signals; None: it begins when the data were read.

    Returns:
      How the run ended.

    Raises:
      ValueError, FileNotFoundError: something does not fit; nothing was trained.
      NonFiniteLossError: see `cmrjax.training.loop`.
    """
    workdir = Path(workdir)
    enable_compilation_cache()
    data = open_segmentation_data(config)
    trainer = make_trainer(config, data)
    settings = _loop_settings(config, len(data.train))
    is_new = share(lambda: latest_checkpoint(workdir / CHECKPOINTS) is None)
    started: dict[str, Any] = {}
    if is_new and config.training.start_from:
        params = trained_network(config.training.start_from, trainer, data)
        # NumPy: a step gives away its arrays.
        trainer = dataclasses.replace(trainer, start=jax.device_get(params.variables))
        logger.info("starting from %s (%s)", params.path, params.fingerprint)
        started = {"started_from": _origin(params)}
    facts = open_run(
        workdir,
        config.to_dict(),
        {
            "data": data.train.fingerprint,
            # The rate follows their loss.
            "validation_data": data.validation.fingerprint,
            "validation_batch_size": str(config.evaluation.batch_size),
        },
        has_checkpoint=not is_new,
    )
    if is_first():
        if not is_new and (workdir / MODEL_FILE).is_file():
            earlier = read_provenance(workdir)
            started = {k: earlier[k] for k in ("started_from",) if k in earlier}
        record = {**facts, "data": data.train.facts, **started}
        write_description(workdir, _describe(trainer, data), provenance=record)
    iterator = _make_iterator(config, trainer, data)
    training = Training(
        trainer,
        constants=(),
        evaluate=lambda: SegmentationValidation(config, trainer, data, workdir),
        settings=settings,
        hooks=Hooks(_follow_loss(config, trainer), _rate_is_small(config)),
        validated=data.validation.fingerprint,
    )
    return train(config, workdir, training, iterator, facts, profile=profile, stop=stop)


def _make_iterator(
    config: Config, trainer: SegmentationTrainer, data: SegmentationData
) -> Any:
    return make_train_iterator(
        data.train,
        batch_size=config.training.batch_size,
        seed=config.seed,
        flip=False,  # done on the device, with the rest of the augmentation
        num_threads=config.data.num_threads,
        prefetch=config.data.prefetch,
        rows=trainer.placement.rows(trainer.batch_size),
    )


def make_trainer(config: Config, data: SegmentationData) -> SegmentationTrainer:
    """Builds network, loss, augmentation and placement from a configuration.

    Args:
      config: see `experiments/configs/segmentation.py`.
      data: sets the classes and the size of the images.

    Returns:
      The trainer.

    Raises:
      ValueError: values that do not fit each other.
    """
    model = config.model.to_dict()
    dtype = model.pop("dtype")
    if dtype not in DTYPES:
        raise ValueError(f"config.model.dtype is {dtype!r}; expected {DTYPES}")
    architecture = UnetArchitecture(data.schema.num_classes, **model)
    if data.image_size % architecture.size_multiple:
        raise ValueError(
            f"training slices of {data.image_size} pixels a side; a network of "
            f"config.model.levels = {architecture.levels} takes multiples of "
            f"{architecture.size_multiple}: set config.data.image_size, or prepare "
            "with another --image-size"
        )

    def ids_of(names: tuple[str, ...]) -> tuple[int, ...]:
        known = [name for name in names if name in data.schema.class_names]
        return tuple(map(data.schema.id_of, known))

    optimizer = config.optimizer
    step = SegmentationStep(
        network=Unet(architecture, dtype=jnp.dtype(dtype)),
        optimizer=optax.scale_by_adam(b1=optimizer.b1, b2=optimizer.b2),
        objective=SegmentationObjective(**config.loss.to_dict()),
        augmentation=Augmentation(
            **config.augmentation.to_dict(),
            blood_ids=ids_of(BLOOD),
            dark_ids=ids_of(DARK),
            mixed_ids=ids_of(MIXED),
            size=data.image_size,
        ),
        accumulation=config.training.accumulation,
    )
    batch_size = config.training.batch_size
    return SegmentationTrainer(
        step=step,
        learning_rate=optimizer.learning_rate,
        placement=data_parallel(batch_size=batch_size),
        image_size=data.image_size,
        prepared_size=data.prepared_size,
        batch_size=batch_size,
    )


def trained_network(
    folder: str, trainer: SegmentationTrainer, data: SegmentationData
) -> SegmenterParams:
    """Loads the network that training begins with.

    Args:
      folder: the --workdir that it was trained in.
      trainer: that is to begin with it.
      data: that it is to be trained on.

    Raises:
      ValueError: there is none, or it is another one; names what differs.
    """
    try:
        params = load_segmenter(folder)
    except ValueError as error:
        raise ValueError(f"config.training.start_from = {folder}: {error}") from error
    theirs, ours = params.description, _describe(trainer, data)
    for name in ("schema", "spacing", "transform"):
        one, other = getattr(theirs, name), getattr(ours, name)
        if one != other:
            raise ValueError(
                f"config.training.start_from = {folder}: its {name} is {one}, that of"
                f" the data {other}; start from a network for such data"
            )
    # Dropout has no variables, so it may differ.
    own = dataclasses.replace(ours.architecture, dropout=theirs.architecture.dropout)
    if theirs.architecture != own:
        raise ValueError(
            f"config.training.start_from = {folder}: it is {theirs.architecture}, the"
            f" configuration has {own}; set config.model alike"
        )
    return params


def _origin(params: SegmenterParams) -> dict[str, Any]:
    """What the model card says of the network that training begins with."""
    record = checkpoint_record(params.path)
    settings = (record.get("config") or {}).get("data", {})
    return {
        "path": params.path,
        "sha256": params.fingerprint,
        "data": record.get("data") or [],
        "licence": settings.get("licence", ""),
        "started_from": record.get("started_from"),
    }


def _describe(
    trainer: SegmentationTrainer, data: SegmentationData
) -> SegmenterDescription:
    return SegmenterDescription(
        schema=data.schema,
        architecture=trainer.step.network.architecture,
        image_size=data.image_size,
        spacing=data.spacing,
        transform=data.transform,
        mirrored=trainer.step.augmentation.flip,
    )


def _follow_loss(config: Config, trainer: SegmentationTrainer) -> Any:
    settings = config.optimizer

    def follow(state: SegmentationState, scalars: Any) -> SegmentationState:
        plateau = observe(
            state.plateau,
            scalars[LOSS],
            patience=settings.patience,
            factor=settings.factor,
        )
        placed = trainer.placement.replicate(plateau)
        return dataclasses.replace(state, plateau=placed)  # type: ignore[type-var]

    return follow


def _rate_is_small(config: Config) -> Any:
    smallest = config.optimizer.smallest_rate

    def is_over(state: SegmentationState) -> str:
        rate = float(state.plateau.learning_rate)
        if rate >= np.float32(smallest):
            return ""
        return f"learning rate {rate:.2g} below {smallest:g}"

    return is_over


def _loop_settings(config: Config, num_slices: int) -> LoopSettings:
    training = config.training
    per_epoch = max(1, round(num_slices / training.batch_size))
    per_epoch = training.steps_per_epoch or per_epoch
    return LoopSettings(
        num_steps=training.epochs * per_epoch,
        batch_size=training.batch_size,
        report_every=training.report_every,
        evaluate_every=per_epoch,
        checkpoint_every=per_epoch,
        checkpoint_minutes=training.checkpoint_minutes,
        progress_metrics=(("loss", "loss"), ("rate", "learning_rate")),
        **best_settings(training.keep_best, BEST_METRICS),
    )


if __name__ == "__main__":
    run_command("train_segmentation", run)
