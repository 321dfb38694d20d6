"""What the training commands share: starting or continuing a run."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from cmrjax.training.agreement import make_agreement
from cmrjax.training.checkpoint import CheckpointStore
from cmrjax.training.checkpoint_folder import Criterion, latest_checkpoint
from cmrjax.training.compiled_step import CompiledStep
from cmrjax.training.forecast import forecast
from cmrjax.training.loop import (
    NO_HOOKS,
    Evaluate,
    Hooks,
    LoopResult,
    LoopSettings,
    Scalars,
    run_loop,
)
from cmrjax.training.model_card import write_model_card
from cmrjax.training.model_folder import CHECKPOINTS
from cmrjax.training.processes import any_said, is_first, share
from cmrjax.training.sharding import local_copy
from cmrjax.training.signals import StopRequest
from cmrjax.training.step_profile import StepProfile
from cmrjax.training.timing import TIMING_FILE, Timing, is_from_here
from cmrjax.training.writers import (
    METRICS_FILE,
    MetricWriter,
    NoWriter,
    read_metrics,
)

logger = logging.getLogger(__name__)

PROFILE = "profile"
SECONDS = "seconds_per_step"  # of the metrics
BATCH_ARRAYS = ("label_map", "image", "valid_mask")


@dataclasses.dataclass(frozen=True)
class Training:
    """What differs from one kind of training to the other.

    Attributes:
      trainer: has `init`, `abstract_state`, `placement`, `batch_size`, `image_size`.
      constants: arrays that its step takes besides state, batch and key.
      evaluate: makes the evaluation; see `cmrjax.training.loop.run_loop`.
      settings: of the loop.
      hooks: of the loop.
      validated: fingerprint of what the evaluation looks at; "": nothing.
    """

    trainer: Any
    constants: tuple[Any, ...]
    evaluate: Callable[[], Any]
    settings: LoopSettings
    hooks: Hooks = NO_HOOKS
    validated: str = ""


def best_settings(name: str, known: Mapping[str, bool]) -> dict[str, Any]:
    """Returns the loop's settings of which checkpoint is the best one.

    Args:
      name: config.training.keep_best.
      known: metrics of this command's validation, and whether a high value is good.

    Raises:
      ValueError: there is no such metric.
    """
    if name and name not in known:
        raise ValueError(
            f"config.training.keep_best is {name!r}; expected one of {sorted(known)}, "
            'or "" to keep the newest only'
        )
    return {"best_metric": name, "best_is_highest": known.get(name, True)}


def train(
    config: Any,
    workdir: Path,
    training: Training,
    iterator: Any,
    facts: dict[str, Any],
    *,
    profile: int = 0,
    stop: StopRequest | None = None,
) -> LoopResult:
    """Compiles the step and trains, from the newest checkpoint if there is one.

    Before the first step it says what is ahead (`cmrjax.training.forecast`). Where none
    is left, nothing is compiled.

    Args:
      config: has "seed" and "training".
      workdir: the run's folder.
      training: what is trained.
      iterator: of batches; closed at the end.
      facts: kept in each checkpoint.
      profile: steps to trace into the folder's profile/; 0: none.
      stop: what notes signals; None: it begins here. One that came before the first
        step ends the run at the next of a few places where all processes ask for it.

    Returns:
      How it ended.

    Raises:
      OSError: no room on the disk for checkpoints.
    """
    run = _Run(config, workdir, training, iterator)
    trainer = training.trainer
    init_key, step_key = jax.random.split(jax.random.key(config.seed))
    with contextlib.closing(iterator), stop or StopRequest() as noted:
        arguments = trainer.placement.replicate((training.constants, step_key))
        logger.info("%s", describe_devices(trainer))
        if ended := _stopped_early(noted, workdir):
            return ended
        constants, step_key = arguments
        with run.open_store() as store:
            if share(lambda: store.latest_step or 0) >= training.settings.num_steps:
                return _finished(start(trainer, store, iterator, init_key, facts), run)
            compiled = trainer.compile(*constants, step_key)
            logger.info("compiled in %.1f s", compiled.compile_seconds)
            if ended := _stopped_early(noted, workdir):  # waits for all, as `meet` does
                return ended
            _say_what_is_ahead(run, compiled, arguments, store)
            if ended := _stopped_early(noted, workdir):
                return ended
            begun = start(trainer, store, iterator, init_key, facts)
            return _train_from(
                begun, run, compiled, arguments, store, profile=profile, stop=noted
            )


@dataclasses.dataclass(frozen=True)
class _Run:
    """What the parts of `train` share; see there."""

    config: Any
    workdir: Path
    training: Training
    iterator: Any

    def open_store(self) -> CheckpointStore:
        criterion = Criterion(
            self.training.settings.best_metric, self.training.validated
        )
        return CheckpointStore(
            self.workdir / CHECKPOINTS,
            keep=self.config.training.keep_checkpoints,
            criterion=criterion,
        )

    def write_card(self) -> None:
        if is_first():
            write_model_card(self.workdir)


def _finished(begun: tuple[Any, int, dict[str, Any]], run: _Run) -> LoopResult:
    """Leaves a run without steps ahead as `_train_from` does, and compiles nothing.

    One that was killed after its last checkpoint has metrics and card to mend.
    """
    state, step, _ = begun
    with _make_writer(run.config, run.workdir, step):
        run.write_card()
    return LoopResult(state, step, None, run.training.hooks.is_over(state))


def _train_from(
    begun: tuple[Any, int, dict[str, Any]],
    run: _Run,
    compiled: CompiledStep,
    arguments: tuple[Any, Any],
    store: CheckpointStore,
    *,
    profile: int,
    stop: StopRequest,
) -> LoopResult:
    """Trains from what `start` returned; measures that, and writes the model card."""
    (state, step, facts), (constants, key) = begun, arguments
    workdir, training, trainer = run.workdir, run.training, run.training.trainer
    timing = Timing(workdir / TIMING_FILE, trainer, compiled)
    train_step = place_and_step(trainer, compiled, constants, key, timing)
    with (
        StepProfile(workdir / PROFILE, steps=profile * is_first()) as traced,
        _make_writer(run.config, workdir, step) as writer,
    ):
        run.write_card()  # after the writer, which mends the metrics that it reads
        result = run_loop(
            state,
            step=step,
            train_step=traced.around(train_step),
            iterator=run.iterator,
            evaluate=evaluate_in_first(training.evaluate),
            store=store,
            writer=writer,
            settings=training.settings,
            facts=facts,
            hooks=with_model_card(training.hooks, workdir),
            agreement=make_agreement(trainer.placement),
            stop=stop,
        )
    timing.write()
    run.write_card()
    return result


def _stopped_early(noted: StopRequest, workdir: Path) -> LoopResult | None:
    """How a run ends that a signal stops before its first step; all processes ask."""
    name = any_said(noted.received)
    if name is None:
        return None
    saved = latest_checkpoint(workdir / CHECKPOINTS)
    return LoopResult(None, int(saved.name) if saved else 0, name, began=False)


def _say_what_is_ahead(
    run: _Run,
    compiled: CompiledStep,
    arguments: tuple[Any, Any],
    store: CheckpointStore,
) -> None:
    settings = run.training.settings
    saved, seconds = share(lambda: (store.latest_step, _seconds_per_step(run.workdir)))
    is_known = saved is not None and seconds is not None
    ahead = forecast(
        run.training.trainer,
        compiled,
        arguments,
        None if is_known else _peek(run.iterator),
        directory=run.workdir,
        steps=settings.num_steps - (saved or 0),
        kept=run.config.training.keep_checkpoints + bool(settings.best_metric),
        seconds_per_step=seconds,
    )
    logger.info("ahead: %s", ahead)


def _seconds_per_step(workdir: Path) -> float | None:
    """As the run measured it last; None where it did not, or on other devices."""
    if not is_from_here(workdir / TIMING_FILE):
        return None
    try:
        rows = read_metrics(workdir / METRICS_FILE)
    except (FileNotFoundError, ValueError):  # what is unreadable, the writer drops
        return None
    return next(
        (row[SECONDS] for row in reversed(rows) if row.get(SECONDS) is not None), None
    )


def with_model_card(hooks: Hooks, workdir: Path) -> Hooks:
    """Has the model card say what each evaluation measured, whatever comes after it."""

    def after_evaluation(state: Any, scalars: Scalars) -> Any:
        if is_first():
            write_model_card(workdir)
        return hooks.after_evaluation(state, scalars)

    return dataclasses.replace(hooks, after_evaluation=after_evaluation)


def _peek(iterator: Any) -> dict[str, Any]:
    """Returns the arrays of the next batch, which the iterator will yield again."""
    position = iterator.get_state()
    batch = next(iterator)
    iterator.set_state(position)
    return {name: batch[name] for name in BATCH_ARRAYS}


def describe_devices(trainer: Any) -> str:
    """Says on what a training runs, as "8 devices (cpu) in 2 processes, ..."."""
    count, batch_size = trainer.placement.num_devices, trainer.batch_size
    kinds = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    return (
        f"{count} device{'s' * (count > 1)} ({kinds}) in {jax.process_count()} "
        f"process{'es' * (jax.process_count() > 1)}, batch {batch_size}: "
        f"{batch_size // count} on each device"
    )


def _make_writer(config: Any, workdir: Path, step: int) -> MetricWriter | NoWriter:
    if not is_first():
        return NoWriter()
    tensorboard = config.training.tensorboard
    return MetricWriter(workdir, start_step=step, tensorboard=tensorboard)


def evaluate_in_first(make: Callable[[], Evaluate]) -> Evaluate:
    """Makes an evaluation that process 0 does, and whose scalars all processes get.

    Args:
      make: returns the evaluation of one process; called in process 0 only.

    Returns:
      (state, step) -> scalars, and pictures in process 0.
    """
    own = make() if is_first() else None

    def evaluate(state: Any, step: int) -> tuple[Any, Any]:
        pictures: dict[str, Any] = {}

        def compute() -> dict[str, float]:
            assert own is not None
            scalars, shown = own(local_copy(state), step)
            pictures.update(shown)
            return {name: float(value) for name, value in scalars.items()}

        return share(compute), pictures

    return evaluate


def start(
    trainer: Any,
    store: CheckpointStore,
    iterator: Any,
    init_key: jax.Array,
    facts: dict[str, Any],
) -> tuple[Any, int, dict[str, Any]]:
    """Returns the newest saved state, or a new one.

    Args:
      trainer: has `init` and `abstract_state`.
      store: the run's checkpoints.
      iterator: of batches; set to the position of the checkpoint.
      init_key: to draw a new state from.
      facts: of the run, as run.json has them now; they replace those of a checkpoint.

    Returns:
      (state, step, facts).
    """
    step = share(lambda: store.latest_step)
    if step is None:
        return trainer.init(init_key), 0, facts
    state, position, earlier = store.restore(step, trainer.abstract_state())
    iterator.set_state(position["iterator"])
    logger.info("continuing from %s", store.path(step))
    return state, step, {**earlier, **facts}


def place_and_step(
    trainer: Any,
    compiled: CompiledStep,
    constants: Sequence[Any],
    key: jax.Array,
    timing: Timing,
) -> Callable[[Any, Any], Any]:
    """Returns (state, batch of the host) -> (state, metrics).

    Args:
      trainer: has `placement`.
      compiled: the update.
      constants: what it takes between state and batch.
      key: of the run.
      timing: told of the first step.
    """

    def step(state: Any, batch: dict[str, Any]) -> Any:
        arrays = {name: batch[name] for name in BATCH_ARRAYS}
        placed = trainer.placement.put_batch(arrays)
        state, metrics = compiled.function(state, *constants, placed, key)
        timing.first_step(metrics)
        return state, metrics

    return step
