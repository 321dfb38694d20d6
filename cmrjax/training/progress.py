"""What a run says of itself: rates over a window of steps, and a progress line."""

import datetime
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

import numpy as np


class StepWindow:
    """Collects the metrics and timings of the steps since the last report.

    Args:
      batch_size: images per step.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._metrics: list[Mapping[str, float]] = []
        self._wait = 0.0
        self._paused = 0.0
        self._start = time.perf_counter()

    def add_wait(self, seconds: float) -> None:
        """Notes time spent waiting for the input pipeline."""
        self._wait += seconds

    def add_pause(self, seconds: float) -> None:
        """Notes time that is not training: evaluation and checkpoints."""
        self._paused += seconds

    def add(self, metrics: Mapping[str, float]) -> None:
        """Notes the metrics of one finished step."""
        self._metrics.append(metrics)

    def summarise(self) -> dict[str, float]:
        """Returns means and rates since the last call, and starts anew.

        Returns:
          Means of the metrics, images_per_second, seconds_per_step and
          input_wait_share (of the step, 0 to 1); empty where no step was added.
        """
        now = time.perf_counter()
        seconds = max(now - self._start - self._paused, 1e-9)
        count = len(self._metrics)
        result: dict[str, float] = {}
        if count:
            names = self._metrics[0]
            result = {n: float(np.mean([m[n] for m in self._metrics])) for n in names}
            result["seconds_per_step"] = seconds / count
            result["images_per_second"] = count * self._batch_size / seconds
            result["input_wait_share"] = self._wait / seconds
        self._metrics, self._wait, self._paused = [], 0.0, 0.0
        self._start = now
        return result


class ProgressLine:
    """Prints the state of a run on one line, with the time left.

    On a terminal the line is rewritten; in a log file each report is a line.

    Args:
      num_steps: where the run ends.
      shown: losses on the line, (caption, metric).
      stream: standard error by default.
    """

    def __init__(
        self,
        num_steps: int,
        shown: Sequence[tuple[str, str]],
        *,
        stream: TextIO | None = None,
    ) -> None:
        self._num_steps, self._shown = num_steps, shown
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream.isatty()
        self._origin: tuple[float, int] | None = None

    def report(self, step: int, summary: Mapping[str, float]) -> None:
        """Prints one report.

        Args:
          step: updates done.
          summary: from `StepWindow.summarise`.
        """
        left = (self._num_steps - step) * self._pace(step, summary["seconds_per_step"])
        losses = (f"{caption} {summary[name]:.4g}" for caption, name in self._shown)
        text = (
            f"step {step}/{self._num_steps}"
            f" | {summary['seconds_per_step']:.3g} s/step"
            f" | {summary['images_per_second']:.3g} images/s"
            f" | left {datetime.timedelta(seconds=round(left))}"
            f" | {' '.join(losses)}"
        )
        self._stream.write(f"\r{text}\x1b[K" if self._terminal else f"{text}\n")
        self._stream.flush()

    def _pace(self, step: int, seconds_per_step: float) -> float:
        """Seconds per step since the first report, evaluations and saving included."""
        now = time.monotonic()
        if self._origin is None:
            self._origin = (now, step)
        start, first = self._origin
        return (now - start) / (step - first) if step > first else seconds_per_step

    def close(self) -> None:
        """Ends a line that was being rewritten."""
        if self._terminal:
            self._stream.write("\n")
