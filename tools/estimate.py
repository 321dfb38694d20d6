"""Predicts hours, memory and disk of a configuration from three steps.

What `python -m tools.benchmark --config=... --estimate` prints. The step is compiled as
training compiles it (through the same cache) and fed by the loader; one checkpoint is
written to a temporary folder. The predicted time holds start, compilation, steps,
checkpoints and the network's part of the validations.
"""

import dataclasses
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, TextIO

import jax
import jax.numpy as jnp
import numpy as np

from cmrjax.training.checkpoint import CheckpointStore
from cmrjax.training.gan_trainer import GanTrainer
from cmrjax.training.process_age import process_age
from experiments.configs.base import Config
from experiments.gan_setup import make_trainer, num_steps
from tools.benchmark_maps import (
    SIMULATED,
    name_of,
    open_maps,
    take_batches,
    training_slices,
)
from tools.benchmark_ours import LoaderRunner, StepRunner
from tools.benchmark_report import Report
from tools.benchmark_settings import Settings, choose_vgg19
from tools.benchmark_timing import alternate, warm_up
from tools.device_facts import peak_memory

STEPS = 3


@dataclasses.dataclass(frozen=True)
class RunTime:
    """Where the time of a run goes, seconds.

    Attributes:
      start: imports, data, compilation and first draw.
      steps: updates, waiting for input included.
      validation: the network's part.
      checkpoints: writing them, at most: each validation may be the best so far.
    """

    start: float
    steps: float
    validation: float
    checkpoints: float

    @property
    def total(self) -> float:
        """Seconds in all."""
        return self.start + self.steps + self.validation + self.checkpoints


def predict_time(
    config: Config,
    steps: int,
    *,
    start: float,
    per_step: float,
    per_validation_batch: float,
    per_checkpoint: float,
) -> RunTime:
    """Adds up the time of a run.

    Where config.evaluation.max_slices is 0, all slices, a validation counts as one
    batch: how many there are is not known here.

    Args:
      config: see `experiments/configs/base.py`.
      steps: updates.
      start: seconds before the first.
      per_step: seconds of one.
      per_validation_batch: seconds of the network on one batch.
      per_checkpoint: seconds of writing one.

    Returns:
      The parts.
    """
    evaluation, training = config.evaluation, config.training
    validations = 0
    if config.data.validation_groups:
        validations = 1  # before the first step
        if evaluation.every:
            validations += math.ceil(steps / evaluation.every)
    slices = max(evaluation.max_slices, 1)
    batches = validations * math.ceil(slices / evaluation.batch_size)
    seconds = steps * per_step
    checkpoints = len(_saved_steps(config, steps, validates=validations > 0))
    if training.checkpoint_minutes > 0:
        checkpoints = max(checkpoints, int(seconds / 60 / training.checkpoint_minutes))
    return RunTime(
        start, seconds, batches * per_validation_batch, checkpoints * per_checkpoint
    )


def _saved_steps(config: Config, steps: int, *, validates: bool) -> set[int]:
    """Steps after which a checkpoint is written, or may be as the best so far."""
    saved = {steps}
    periods = [config.training.checkpoint_every]
    if validates and config.training.keep_best:
        periods.append(config.evaluation.every)
    for every in periods:
        if every:
            saved.update(range(every, steps + 1, every))
    return saved


def run(
    config: Config,
    settings: Settings,
    *,
    maps: str | None = None,
    slices: int = 0,
    out: TextIO | None = None,
) -> None:
    """Estimates and prints: lines for people, and one JSON line.

    Args:
      config: see `experiments/configs/base.py`.
      settings: of the benchmark; `maps` of it is not used.
      maps: as --maps; None: the configuration's data where they are there, else the
        built-in ones.
      slices: training slices, where the maps are not the training's own.
      out: where the JSON line goes; standard output by default.

    Raises:
      ValueError, OSError: something does not fit; one line says what.
    """
    if slices < 0:
        raise ValueError(f"--slices={slices}: expected a positive number")
    if maps is None:
        there = Path(config.data.path).is_dir()
        maps = config.data.path if there else SIMULATED
    source: Any = open_maps(str(maps), config)
    slices = slices or training_slices(source)
    perceptual = choose_vgg19(settings, config)
    trainer = make_trainer(config, source)
    facts = {"maps": name_of(source), "perceptual": perceptual.name}
    report = Report(settings, config, facts, out=out)
    report.note(f"compile the step of {settings.config_name}, then time {STEPS} steps")
    measured = _measure(config, trainer, source, perceptual.weights)
    steps = None
    if slices or config.training.num_steps:
        steps = num_steps(config, slices)
    time_of_run = None
    if steps is not None:
        time_of_run = predict_time(
            config,
            steps,
            start=measured["start_seconds"],
            per_step=measured["seconds_per_step"],
            per_validation_batch=measured["validation_batch_seconds"],
            per_checkpoint=measured["checkpoint_seconds"],
        )
    record = {
        "measure": "estimate",
        "num_slices": slices or None,
        "num_steps": steps,
        "hours": time_of_run and time_of_run.total / 3600,
        "hours_of_steps": time_of_run and time_of_run.steps / 3600,
        "hours_per_1000_steps": measured["seconds_per_step"] / 3.6,
        "images_per_second": trainer.batch_size / measured["seconds_per_step"],
        **measured,
        "disk_bytes": _checkpoints_kept(config) * measured["checkpoint_bytes"],
    }
    report.line(record)
    print(_text(record), file=sys.stderr, flush=True)


def _checkpoints_kept(config: Config) -> int:
    """The newest, and that of the best validation."""
    has_best = bool(config.training.keep_best and config.data.validation_groups)
    return config.training.keep_checkpoints + has_best


def _measure(
    config: Config, trainer: GanTrainer, source: Any, vgg: Any
) -> dict[str, Any]:
    """Compiles, times three steps, a validation batch and a checkpoint."""
    batches = take_batches(source, trainer.batch_size, 1)
    step = StepRunner("step", trainer, vgg, batches=batches, seed=config.seed)
    loader = LoaderRunner("loader", step, source, config)
    try:
        warm = {loader.label: (warm_up(loader, repeat_seconds=0.0)[0], 1)}
        start_seconds = process_age()
        timing = alternate([loader], warm, repeats=STEPS)[loader.label]
        alone = loader.seconds_alone()
    finally:
        loader.close()
    waited = float(np.sum(loader.waits[-STEPS:]) / np.sum(timing.seconds))
    # A loader that is slower than the step sets the pace; the first batches were made
    # ahead, so that three steps do not show it.
    per_step = max(timing.median, alone)
    checkpoint_bytes, checkpoint_seconds = _write_checkpoint(step.state)
    return {
        "seconds_per_step": per_step,
        "compile_seconds": step.compiled.compile_seconds,
        "start_seconds": start_seconds,
        "input_wait_share": max(waited, 1 - timing.median / per_step),
        "validation_batch_seconds": _time_validation(config, trainer, step, batches[0]),
        "checkpoint_bytes": checkpoint_bytes,
        "checkpoint_seconds": checkpoint_seconds,
        "temporary_bytes": step.compiled.memory_bytes,
        "program_bytes": step.program_bytes,
        **peak_memory(),
    }


def _write_checkpoint(state: Any) -> tuple[int, float]:
    """Writes one to a temporary folder: bytes on disk, and seconds."""
    with tempfile.TemporaryDirectory(prefix="cmrjax-estimate-") as name:
        start = time.perf_counter()
        with CheckpointStore(name) as store:
            store.save(1, state, position={}, facts={})
        seconds = time.perf_counter() - start
        files = [path for path in Path(name).rglob("*") if path.is_file()]
        return sum(path.stat().st_size for path in files), seconds


def _time_validation(
    config: Config, trainer: GanTrainer, step: StepRunner, batch: dict
) -> float:
    """Seconds of G, compiled as in validation, on one batch; 0 without validation."""
    if not config.data.validation_groups:
        return 0.0
    generator = trainer.generator.clone(dtype=jnp.float32)
    size = config.evaluation.batch_size
    labels = np.resize(batch["label_map"], (size, *batch["label_map"].shape[1:]))
    latent_size = generator.architecture.latent_size
    latent = jnp.zeros((size, latent_size)) if latent_size else None
    predict = jax.jit(lambda v, x, z: generator.apply(v, x, z, train=False))
    variables = step.state.g_variables
    jax.block_until_ready(predict(variables, labels, latent))
    start = time.perf_counter()
    jax.block_until_ready(predict(variables, labels, latent))
    return time.perf_counter() - start


def _text(record: dict[str, Any]) -> str:
    steps, hours = record["num_steps"], record["hours"]
    if steps is None:
        time_line = (
            f"time       {record['hours_per_1000_steps']:.3g} h per 1000 steps; the "
            "number of slices is unknown: give --maps=PREPARED_FOLDER, --slices=N or "
            "--config.training.num_steps=N"
        )
    else:
        time_line = (
            f"time       {hours:.3g} h for {steps} steps of "
            f"{record['seconds_per_step']:.3g} s ({record['hours_of_steps']:.3g} h), "
            "validations and checkpoints"
        )
    device = record["peak_device_bytes"]
    memory = f"{record['peak_host_bytes'] / 2**30:.2f} GiB of the host at most"
    if device is not None:
        memory += f", {record['program_bytes'] / 2**30:.2f} GiB of the device"
    return "\n".join(
        [
            time_line,
            f"input      waiting for it {100 * record['input_wait_share']:.1f} %",
            f"start      {record['start_seconds']:.0f} s to the first step, "
            f"{record['compile_seconds']:.0f} s of it the step's compilation",
            f"memory     {memory} (without TensorBoard's writer)",
            f"disk       {record['checkpoint_bytes'] / 2**20:.0f} MiB a checkpoint, "
            f"{record['disk_bytes'] / 2**20:.0f} MiB of them kept",
        ]
    )
