"""The training loop: steps, reports, evaluations, checkpoints, and a clean end."""

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from cmrjax.training.agreement import Agreement, Alone
from cmrjax.training.checkpoint import CheckpointStore
from cmrjax.training.processes import is_first, share
from cmrjax.training.progress import ProgressLine, StepWindow
from cmrjax.training.schedule import is_due
from cmrjax.training.signals import StopRequest
from cmrjax.training.writers import MetricWriter, NoWriter

logger = logging.getLogger(__name__)

Scalars = Mapping[str, float]
Pictures = Mapping[str, np.ndarray]
Evaluate = Callable[[Any, int], tuple[Scalars, Pictures]]


class BatchIterator(Protocol):
    """Batches without end, with a position that can be saved and set."""

    def __next__(self) -> Any:
        """Returns the next batch."""
        ...

    def get_state(self) -> Any:
        """Returns the position, as JSON types."""
        ...


class NonFiniteLossError(RuntimeError):
    """A loss or a gradient norm became NaN or infinite."""


@dataclasses.dataclass(frozen=True)
class LoopSettings:
    """When things are done, in steps; 0: never.

    Attributes:
      num_steps: where the run ends.
      batch_size: images per step, for the rates.
      report_every: metrics and the progress line.
      evaluate_every: validation.
      checkpoint_every: checkpoints.
      checkpoint_minutes: one is also written when so much time has passed; 0: not.
      progress_metrics: what the progress line shows, (caption, metric).
      best_metric: of the evaluation; its best value makes a checkpoint of that step,
        which is kept. "": none is.
      best_is_highest: whether a high value of it is good.
    """

    num_steps: int
    batch_size: int
    report_every: int = 50
    evaluate_every: int = 1000
    checkpoint_every: int = 1000
    checkpoint_minutes: float = 15.0
    progress_metrics: tuple[tuple[str, str], ...] = (("G", "g_loss"), ("D", "d_loss"))
    best_metric: str = ""
    best_is_highest: bool = True


@dataclasses.dataclass(frozen=True)
class LoopResult:
    """How a run ended.

    Attributes:
      state: the last state.
      step: updates done.
      stopped_by: name of the signal that ended it, None where it reached its end.
      over: why it ended before the last step all the same, or "".
      began: False where a signal came before the first step: nothing was saved.
    """

    state: Any
    step: int
    stopped_by: str | None
    over: str = ""
    began: bool = True


@dataclasses.dataclass(frozen=True)
class Hooks:
    """What a training may do besides steps.

    Attributes:
      after_evaluation: (state, scalars) -> the state to go on with, after each periodic
        evaluation; a learning rate may follow the validation loss here.
      is_over: tells from a state why nothing is left to do, or "".
      settle: (state) -> the state as it is evaluated and saved. A function of the
        state alone; what it changes must not change the training.
      rates: (step) -> scalars of the update that made this step, which are known
        without it, as learning rates; they are in each report.
    """

    after_evaluation: Callable[[Any, Scalars], Any] = lambda state, scalars: state
    is_over: Callable[[Any], str] = lambda state: ""
    settle: Callable[[Any], Any] = lambda state: state
    rates: Callable[[int], Scalars] = lambda step: {}


NO_HOOKS = Hooks()


def run_loop(
    state: Any,
    *,
    step: int,
    train_step: Callable[[Any, Any], tuple[Any, Mapping[str, jax.Array]]],
    iterator: BatchIterator,
    evaluate: Evaluate,
    store: CheckpointStore,
    writer: MetricWriter | NoWriter,
    settings: LoopSettings,
    facts: Mapping[str, Any],
    hooks: Hooks = NO_HOOKS,
    agreement: Agreement | None = None,
    stop: StopRequest | None = None,
) -> LoopResult:
    """Trains until the last step, a signal, or until it is over; then saves.

    After a signal before its first step there is nothing to save. Of several processes
    each may come when it is ready: they wait for each other here.

    Metrics of a step are looked at while the next one runs, so that the device never
    waits for the host. A state is saved only after the metrics that led to it were
    found to be finite.

    Args:
      state: where to start; donated to `train_step`.
      step: updates that `state` has had.
      train_step: (state, batch) -> (state, scalars).
      iterator: yields batches ready for `train_step`.
      evaluate: (state, step) -> scalars and pictures [h, w, 3] uint8 by name. Called
        once before the first step, so that a broken evaluation fails at once.
      store: where checkpoints go.
      writer: where metrics go.
      settings: when.
      facts: JSON kept in each checkpoint; "train_seconds" is added up across resumes.
      hooks: what else it does.
      agreement: among the processes that run this loop; None: there is one.
      stop: what notes signals, where that began before; None: it begins here.

    Returns:
      How it ended.

    Raises:
      NonFiniteLossError: names step, term and the last good checkpoint. Nothing of the
        bad state is saved.
    """
    agreed, start = agreement or Alone(), step
    run = _Run(iterator, evaluate, store, writer, settings, dict(facts))
    with contextlib.closing(run.progress), stop or StopRequest() as noted:
        agreed.meet(noted.received)
        if step == 0 and agreed.stopped_by(noted.received) is None:
            run.evaluate(hooks.settle(state), 0)
            agreed.meet(noted.received)
        over = hooks.is_over(state)
        while (
            step < settings.num_steps
            and agreed.stopped_by(noted.received) is None
            and not over
        ):
            batch = run.next_batch()
            state, metrics = train_step(state, batch)
            step += 1
            run.finish_pending()
            run.pending = (step, metrics)
            last = settings.num_steps
            if is_due(step, settings.report_every, last_step=last) or step == 1:
                run.report(step, hooks.rates(step))
            evaluates = is_due(step, settings.evaluate_every, last_step=last)
            saves = agreed.exchange(noted.received, save=run.time_is_up())
            saves = saves or is_due(step, settings.checkpoint_every)
            score = None
            if evaluates or saves:
                state = hooks.settle(state)
            if evaluates:
                scalars = run.evaluate(state, step)
                score = run.score(scalars)
                if is_due(step, settings.evaluate_every):
                    state = hooks.after_evaluation(state, scalars)
                    over = hooks.is_over(state)
            if saves or run.is_best(score):
                run.save(state, step, score)
        stopped = agreed.stopped_by(noted.received)
        # A state without a step of this run is there already, or is untrained and would
        # bind the run to its settings.
        began = stopped is None or step > start
        if began and step != store.latest_step:
            run.save(hooks.settle(state), step)
        return LoopResult(state, step, stopped, over, began)


class _Run:
    """The bookkeeping of one `run_loop`."""

    def __init__(
        self,
        iterator: BatchIterator,
        evaluate: Evaluate,
        store: CheckpointStore,
        writer: MetricWriter | NoWriter,
        settings: LoopSettings,
        facts: dict[str, Any],
    ) -> None:
        self.pending: tuple[int, Mapping[str, jax.Array]] | None = None
        self.progress = ProgressLine(settings.num_steps, settings.progress_metrics)
        self._iterator, self._evaluate = iterator, evaluate
        self._store, self._writer = store, writer
        self._settings, self._facts = settings, facts
        self._window = StepWindow(settings.batch_size)
        self._started = self._last_saved = time.monotonic()
        self._earlier_seconds = float(facts.get("train_seconds", 0.0))

    def next_batch(self) -> Any:
        start = time.perf_counter()
        batch = next(self._iterator)
        self._window.add_wait(time.perf_counter() - start)
        return batch

    def finish_pending(self) -> None:
        """Waits for the step under way and checks its metrics."""
        if self.pending is None:
            return
        step, metrics = self.pending
        self.pending = None
        numbers = {name: float(x) for name, x in jax.device_get(metrics).items()}
        bad = [name for name, value in numbers.items() if not math.isfinite(value)]
        if bad:
            raise self._non_finite(step, bad, numbers)
        self._window.add(numbers)

    def _non_finite(
        self, step: int, bad: list[str], numbers: Mapping[str, float]
    ) -> NonFiniteLossError:
        self._writer.scalars(step, numbers)
        good = self._store.latest_step
        kept = "there is none" if good is None else str(self._store.path(good))
        values = ", ".join(f"{name} = {numbers[name]}" for name in bad)
        return NonFiniteLossError(
            f"step {step}: {values}. The last good checkpoint: {kept}. The same "
            "command goes on from there; if it happens again, start in a new --workdir "
            "with lower learning rates"
        )

    def report(self, step: int, rates: Scalars) -> None:
        self.finish_pending()
        summary = self._window.summarise()
        if summary:
            seconds = {"train_seconds": self._seconds()}
            self._writer.scalars(step, {**summary, **rates, **seconds})
            if is_first():
                self.progress.report(step, summary)

    def evaluate(self, state: Any, step: int) -> Scalars:
        self.finish_pending()
        start = time.perf_counter()
        scalars, pictures = self._evaluate(state, step)
        if scalars:
            self._writer.scalars(step, scalars)
            values = ", ".join(f"{k} {v:.4g}" for k, v in scalars.items())
            logger.info("step %d: %s", step, values)
        for name, rgb in pictures.items():
            self._writer.image(step, name, rgb)
        self._window.add_pause(time.perf_counter() - start)
        return scalars

    def time_is_up(self) -> bool:
        minutes = self._settings.checkpoint_minutes
        return 0 < minutes * 60 < time.monotonic() - self._last_saved

    def score(self, scalars: Scalars) -> float | None:
        """How good an evaluation was; None where it says nothing of it."""
        value = scalars.get(self._settings.best_metric, math.nan)
        if not math.isfinite(value):
            return None
        return float(value if self._settings.best_is_highest else -value)

    def is_best(self, score: float | None) -> bool:
        if score is None:
            return False
        return share(lambda: score > self._store.best_score)

    def save(self, state: Any, step: int, score: float | None = None) -> None:
        self.finish_pending()
        if step == self._store.latest_step:
            return
        start = time.perf_counter()
        self._store.save(
            step,
            state,
            position={"iterator": self._iterator.get_state()},
            facts={**self._facts, "train_seconds": self._seconds()},
            score=score,
        )
        # The next step is given this state's buffers, so the writing must be over.
        self._store.wait()
        self._last_saved = time.monotonic()
        self._window.add_pause(time.perf_counter() - start)
        logger.info("step %d: saved %s", step, self._store.path(step))

    def _seconds(self) -> float:
        return self._earlier_seconds + time.monotonic() - self._started
