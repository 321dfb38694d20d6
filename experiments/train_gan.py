r"""Trains the SPADE GAN on prepared data; the same command continues a stopped run.

    python -m experiments.train_gan \
        --config=experiments/configs/multi_a1.py --workdir=runs/multi_a1

Settings are changed by --config.NAME=VALUE. Ctrl-C or SIGTERM saves and exits.
"""

import contextlib
import logging
import os
import resource
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from cmrjax.files import write_json
from cmrjax.training.checkpoint import CheckpointStore, latest_checkpoint
from cmrjax.training.compilation_cache import enable_compilation_cache
from cmrjax.training.console import configure_logging
from cmrjax.training.description import ModelDescription, write_description
from cmrjax.training.gan_trainer import CompiledStep, GanTrainer
from cmrjax.training.loop import (
    LoopResult,
    LoopSettings,
    NonFiniteLossError,
    run_loop,
)
from cmrjax.training.process_age import process_age
from cmrjax.training.state import GanState
from cmrjax.training.writers import MetricWriter
from experiments.configs.base import Config
from experiments.gan_data import (
    GanData,
    input_fingerprints,
    make_iterator,
    open_gan_data,
)
from experiments.gan_setup import load_perceptual, make_trainer, num_steps
from experiments.gan_validation import make_validation
from experiments.run_folder import open_run

logger = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
TIMING_FILE = "timing.json"


def run(config: Config, workdir: str | Path) -> LoopResult:
    """Trains, from the newest checkpoint in the folder if there is one.

    Args:
      config: see `experiments/configs/base.py`.
      workdir: the run's folder.

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
    facts = open_run(
        workdir,
        config.to_dict(),
        input_fingerprints(data, vgg),
        has_checkpoint=latest_checkpoint(workdir / CHECKPOINTS) is not None,
    )
    features = [] if vgg is None else list(vgg.feature_names)
    write_description(
        workdir,
        _describe(trainer, data),
        provenance={**facts, "perceptual_features": features},
    )
    init_key, step_key = jax.random.split(jax.random.key(config.seed))
    vgg, step_key = trainer.placement.replicate((vgg, step_key))
    compiled = trainer.compile(vgg, step_key)
    logger.info("compiled in %.1f s", compiled.compile_seconds)
    iterator = make_iterator(config, data.train)
    with (
        contextlib.closing(iterator),
        CheckpointStore(
            workdir / CHECKPOINTS, keep=config.training.keep_checkpoints
        ) as store,
    ):
        state, step, facts = _start(trainer, store, iterator, init_key, facts)
        timing = _Timing(workdir / TIMING_FILE, trainer, compiled)
        with MetricWriter(
            workdir, start_step=step, tensorboard=config.training.tensorboard
        ) as writer:
            result = run_loop(
                state,
                step=step,
                train_step=_place_and_step(trainer, compiled, vgg, step_key, timing),
                iterator=iterator,
                evaluate=make_validation(config, trainer, data, workdir),
                store=store,
                writer=writer,
                settings=_loop_settings(config, len(data.train)),
                facts=facts,
            )
    timing.write()
    return result


def _describe(trainer: GanTrainer, data: GanData) -> ModelDescription:
    return ModelDescription(
        schema=data.train.schema,
        architecture=trainer.generator.architecture,
        image_size=trainer.image_size,
        spacing=data.dataset.spacing[0],
        transform=data.dataset.transform,
    )


def _start(
    trainer: GanTrainer,
    store: CheckpointStore,
    iterator: Any,
    init_key: jax.Array,
    facts: dict[str, Any],
) -> tuple[GanState, int, dict[str, Any]]:
    """Returns the newest saved state, or a new one."""
    step = store.latest_step
    if step is None:
        return trainer.init(init_key), 0, facts
    state, position, facts = store.restore(step, trainer.abstract_state())
    iterator.set_state(position["iterator"])
    logger.info("continuing from %s", store.path(step))
    return state, step, facts


class _Timing:
    """What this process measures of itself, kept in timing.json.

    Args:
      path: the file.
      trainer: whose sizes are noted.
      compiled: the step.
    """

    def __init__(self, path: Path, trainer: GanTrainer, compiled: CompiledStep) -> None:
        self._path = path
        self._content: dict[str, Any] = {
            "devices": [device.device_kind for device in jax.local_devices()],
            "batch_size": trainer.batch_size,
            "image_size": trainer.image_size,
            "compile_seconds": compiled.compile_seconds,
            "step_flops": compiled.flops,
            "step_temporary_bytes": compiled.memory_bytes,
        }

    def first_step(self, metrics: Any) -> None:
        """Waits for the first step and notes how long a user waited for it."""
        if "seconds_to_first_step" not in self._content:
            jax.block_until_ready(metrics)
            self._content["seconds_to_first_step"] = process_age()
            self.write()

    def write(self) -> None:
        """Writes the file, with the peak so far."""
        # Linux counts in KiB, macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        device = jax.local_devices()[0].memory_stats() or {}
        peaks = {
            "peak_host_bytes": peak,
            "peak_device_bytes": device.get("peak_bytes_in_use"),
        }
        write_json(self._path, {**self._content, **peaks})


def _place_and_step(
    trainer: GanTrainer,
    compiled: CompiledStep,
    vgg: Any,
    key: jax.Array,
    timing: _Timing,
) -> Any:
    names = ("label_map", "image", "valid_mask")

    def step(state: GanState, batch: dict[str, np.ndarray]) -> Any:
        placed = trainer.placement.put_batch({name: batch[name] for name in names})
        state, metrics = compiled.function(state, vgg, placed, key)
        timing.first_step(metrics)
        return state, metrics

    return step


def _loop_settings(config: Config, num_slices: int) -> LoopSettings:
    training = config.training
    return LoopSettings(
        num_steps=num_steps(config, num_slices),
        batch_size=training.batch_size,
        report_every=training.report_every,
        evaluate_every=config.evaluation.every,
        checkpoint_every=training.checkpoint_every,
        checkpoint_minutes=training.checkpoint_minutes,
    )


def main(argv: list[str]) -> None:
    """Runs the command."""
    configure_logging()
    if len(argv) > 1:
        raise app.UsageError(f"not understood: {' '.join(argv[1:])}")
    config, workdir = flags.FLAGS.config, flags.FLAGS.workdir
    try:
        result = run(config, workdir)
    except (ValueError, OSError, NonFiniteLossError) as error:
        sys.exit(f"train_gan: {error}")
    except KeyboardInterrupt:
        logger.info("interrupted; what was saved before is there")
        sys.exit(130)
    if result.stopped_by:
        logger.info(
            "%s: saved at step %d; the same command continues",
            result.stopped_by,
            result.step,
        )
    else:
        logger.info("done: %d steps, model in %s", result.step, workdir)


def _check_config_argument(argv: list[str]) -> None:
    """Names a configuration file that is not there, which ml_collections does not."""
    for value in argv:
        name, _, path = value.partition("=")
        if name.lstrip("-") == "config" and path and not os.path.isfile(path):
            sys.exit(f"train_gan: --config: no file {path}; see experiments/configs")


if __name__ == "__main__":
    _check_config_argument(sys.argv)
    config_flags.DEFINE_config_file("config", help_string="configuration file")
    flags.DEFINE_string("workdir", None, "folder of the run")
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
