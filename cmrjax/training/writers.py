"""Metrics: metrics.jsonl always, TensorBoard through CLU where TensorFlow is there.

The only module that imports CLU's writers; they take seconds to import, so they are
imported when a writer is made.
"""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cmrjax.files import naming, shorten, write_text

METRICS_FILE = "metrics.jsonl"

logger = logging.getLogger(__name__)


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Reads the rows of a metrics.jsonl file.

    A last line that is cut off (the run was stopped while writing, or still writes) is
    left out.

    Args:
        path: file with one JSON object per line.

    Returns:
        The rows in file order. After a resumed run a step may occur twice.

    Raises:
        ValueError: if a line other than the last is not a JSON object; names the line.
    """
    lines = Path(path).read_text(encoding="utf-8", errors="replace").split("\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines):  # no newline after it: the line is not complete
                break
            raise ValueError(
                f"{path}, line {number} is not JSON: {shorten(error)}"
            ) from error
        if not isinstance(row, dict):
            raise ValueError(
                f"{path}, line {number} must be a JSON object with 'step' and scalars, "
                f"got {type(row).__name__}"
            )
        rows.append(row)
    return rows


class MetricWriter:
    """Writes scalars and pictures of a run.

    metrics.jsonl has one JSON object per line: "step" and scalars; numbers that are not
    finite are null.

    Args:
      directory: the run's folder.
      start_step: rows of later steps, from a run that was cut off, are dropped; at 0
        those of step 0 too, since the evaluation before step 1 is repeated.
      tensorboard: also write TensorBoard events.
    """

    def __init__(
        self, directory: str | Path, *, start_step: int = 0, tensorboard: bool = True
    ) -> None:
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / METRICS_FILE
        _drop_rows_after(self._path, start_step)
        self._clu = _clu_writer(directory) if tensorboard else None

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes scalars at a step.

        Args:
          step: updates done.
          values: by name; numbers or zero-dimensional arrays.
        """
        numbers = {name: float(value) for name, value in values.items()}
        finite = {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        with naming(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **finite}, allow_nan=False) + "\n")
        if self._clu is not None:
            self._clu.write_scalars(step, numbers)

    def image(self, step: int, name: str, rgb: np.ndarray) -> None:
        """Shows a picture in TensorBoard.

        Args:
          step: updates done.
          name: of the picture.
          rgb: [h, w, 3] uint8.
        """
        if self._clu is not None:
            self._clu.write_images(step, {name: rgb[None]})

    def close(self) -> None:
        """Flushes and closes."""
        if self._clu is not None:
            self._clu.flush()
            self._clu.close()
            self._clu = None


class NoWriter:
    """Writes nothing: that of all processes but the first."""

    def __enter__(self) -> "NoWriter":
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Has nothing to close."""

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """See `MetricWriter.scalars`."""

    def image(self, step: int, name: str, rgb: np.ndarray) -> None:
        """See `MetricWriter.image`."""


def _clu_writer(directory: Path) -> Any:
    try:
        from clu import metric_writers
    except ImportError as error:
        logger.info(
            "no TensorBoard events (%s); install tensorflow-cpu and tensorboard for "
            "them; %s is written all the same",
            error,
            METRICS_FILE,
        )
        return None
    return metric_writers.AsyncWriter(metric_writers.SummaryWriter(str(directory)))


def _drop_rows_after(path: Path, step: int) -> None:
    """Keeps the rows up to a step; lines that cannot be read go too."""
    if not path.exists():
        return
    if step == 0:
        write_text(path, "")
        return
    kept = []
    # Bytes that are no text are in lines that are no JSON.
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, RecursionError, KeyError, TypeError):
            logger.warning("%s: dropped an unreadable line: %.60s", path, line)
    write_text(path, "".join(kept))
