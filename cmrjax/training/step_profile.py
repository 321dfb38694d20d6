"""A trace of some steps of a run, for TensorBoard's profile page or Perfetto."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

logger = logging.getLogger(__name__)

SKIPPED = 5  # the first steps fill caches and allocate; they are not typical


class StepProfile:
    """Traces steps of this process, once; a context manager around the training.

    Args:
      directory: where the trace goes, below plugins/profile.
      steps: how many are traced; 0: none.
      skipped: steps before them.

    Raises:
      ValueError: a negative number.
    """

    def __init__(
        self, directory: str | Path, *, steps: int, skipped: int = SKIPPED
    ) -> None:
        if steps < 0:
            raise ValueError(f"--profile={steps}; expected a number of steps, 0: none")
        self._directory, self._steps, self._skipped = Path(directory), steps, skipped
        self._done, self._tracing = 0, False

    def __enter__(self) -> "StepProfile":
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._tracing:
            self._stop()

    def around(self, train_step: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the step, traced when its turn has come.

        Args:
          train_step: (state, batch) -> (state, metrics).
        """
        if not self._steps:
            return train_step

        def step(state: Any, batch: Any) -> Any:
            if self._done == self._skipped:
                jax.block_until_ready(state)  # what came before stays out of it
                jax.profiler.start_trace(self._directory)
                self._tracing = True
            with jax.profiler.StepTraceAnnotation("train", step_num=self._done + 1):
                state, metrics = train_step(state, batch)
            self._done += 1
            if self._done == self._skipped + self._steps:
                jax.block_until_ready((state, metrics))
                self._stop()
            return state, metrics

        return step

    def _stop(self) -> None:
        jax.profiler.stop_trace()
        self._tracing = False
        logger.info(
            "profile of %d steps in %s; look at it with `tensorboard --logdir %s` "
            "(pip install xprof) or, the .trace.json.gz in it, at ui.perfetto.dev",
            self._done - self._skipped,
            self._directory,
            self._directory,
        )
