r"""Trains the SPADE GAN on prepared data; the same command continues a stopped run.

    python -m experiments.train_gan \
        --config=experiments/configs/multi_a1.py --workdir=runs/multi_a1

    --config=FILE                  settings (required); experiments/configs has them
    --workdir=DIR                  folder of the run (required)
    --profile=N                    trace N steps for TensorBoard's profile page
    --config.SECTION.NAME=VALUE    change a setting, as --config.training.num_steps=100

Ctrl-C or SIGTERM saves and exits.
"""

from pathlib import Path

from cmrjax.training.checkpoint_folder import latest_checkpoint
from cmrjax.training.compilation_cache import enable_compilation_cache
from cmrjax.training.description import ModelDescription, write_description
from cmrjax.training.gan_trainer import GanTrainer
from cmrjax.training.loop import Hooks, LoopResult, LoopSettings
from cmrjax.training.model_folder import CHECKPOINTS
from cmrjax.training.processes import is_first
from cmrjax.training.signals import StopRequest
from experiments.configs.base import Config
from experiments.gan_data import (
    GanData,
    input_fingerprints,
    make_iterator,
    open_gan_data,
)
from experiments.gan_setup import (
    learning_rates,
    load_perceptual,
    make_trainer,
    num_steps,
    settling_maps,
)
from experiments.gan_validation import make_validation
from experiments.run_folder import open_run
from experiments.run_guard import guarded
from experiments.training_command import Training, best_settings, train
from experiments.training_flags import run_command

# What the best checkpoint may be chosen by, and whether a high value is good.
BEST_METRICS = {
    "validation_ssim": True,
    "validation_psnr": True,
    "validation_nrmse": False,
}


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
      config: see `experiments/configs/base.py`.
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
    data = open_gan_data(config)
    vgg = load_perceptual(config)
    trainer = make_trainer(config, data.train)
    settings = _loop_settings(config, len(data.train))
    facts = open_run(
        workdir,
        config.to_dict(),
        input_fingerprints(data, vgg),
        has_checkpoint=latest_checkpoint(workdir / CHECKPOINTS) is not None,
    )
    features = [] if vgg is None else list(vgg.feature_names)
    if is_first():
        write_description(
            workdir,
            _describe(trainer, data),
            provenance={
                **facts,
                "perceptual_features": features,
                "data": [data.train.facts],
            },
        )
    training = Training(
        trainer,
        constants=(vgg,),
        evaluate=lambda: make_validation(config, trainer, data, workdir),
        settings=settings,
        hooks=_hooks(config, trainer, data),
        validated="" if data.validation is None else data.validation.fingerprint,
    )
    rows = trainer.placement.rows(trainer.batch_size)
    iterator = make_iterator(config, data.train, rows)
    return train(config, workdir, training, iterator, facts, profile=profile, stop=stop)


def _hooks(config: Config, trainer: GanTrainer, data: GanData) -> Hooks:
    """Before the average of G is looked at or saved, it gets its own statistics."""
    rates = learning_rates(config, len(data.train))
    if not trainer.average_decay:
        return Hooks(rates=rates)
    maps = settling_maps(config, data.train, trainer.placement)
    return Hooks(settle=trainer.settle(maps), rates=rates)


def _describe(trainer: GanTrainer, data: GanData) -> ModelDescription:
    return ModelDescription(
        schema=data.train.schema,
        architecture=trainer.generator.architecture,
        image_size=trainer.image_size,
        spacing=data.dataset.spacing[0],
        transform=data.dataset.transform,
    )


def _loop_settings(config: Config, num_slices: int) -> LoopSettings:
    training = config.training
    return LoopSettings(
        num_steps=num_steps(config, num_slices),
        batch_size=training.batch_size,
        report_every=training.report_every,
        evaluate_every=config.evaluation.every,
        checkpoint_every=training.checkpoint_every,
        checkpoint_minutes=training.checkpoint_minutes,
        **best_settings(training.keep_best, BEST_METRICS),
    )


if __name__ == "__main__":
    run_command("train_gan", run)
