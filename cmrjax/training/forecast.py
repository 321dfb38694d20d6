"""What a run will take, said before it starts: time, memory, disk."""

import dataclasses
import datetime
import logging
import math
import shutil
import time
from pathlib import Path
from typing import Any

import jax

from cmrjax.training.compiled_step import CompiledStep

logger = logging.getLogger(__name__)

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What a run needs and what there is; bytes, seconds.

    Attributes:
      steps: that are left.
      seconds_per_step: of a step that was tried, None where none was.
      memory: that a step takes on a device.
      memory_there: of the device, on a CPU what the host has left; None: not known.
      checkpoint: size of one.
      checkpoints: how many are kept, with the one that is being written.
      disk_there: free below the run's folder.
    """

    steps: int
    seconds_per_step: float | None
    memory: int
    memory_there: int | None
    checkpoint: int
    checkpoints: int
    disk_there: int

    def __str__(self) -> str:
        """Says it in one line."""
        parts = [f"{self.steps} steps"]
        if self.seconds_per_step is not None:
            left = datetime.timedelta(seconds=round(self.steps * self.seconds_per_step))
            parts = [f"{self.steps} steps of {self.seconds_per_step:.3g} s, {left}"]
        there = "" if self.memory_there is None else f" of {_gib(self.memory_there)}"
        parts += [
            f"memory of a step {_gib(self.memory)}{there}",
            f"{self.checkpoints} checkpoints of {_gib(self.checkpoint)}, "
            f"{_gib(self.disk_there)} free on disk",
        ]
        return "; ".join(parts)


def forecast(
    trainer: Any,
    compiled: CompiledStep,
    arguments: tuple[Any, ...],
    batch: dict[str, Any] | None,
    *,
    directory: str | Path,
    steps: int,
    kept: int,
) -> Forecast:
    """Measures what is ahead.

    Args:
      trainer: has `init`, `abstract_state` and `placement`.
      compiled: its update.
      arguments: (constants of the update, key of the run).
      batch: of the host, for two steps with a state that is then thrown away, of which
        the second is timed; None: no step is tried.
      directory: of the run.
      steps: that are left.
      kept: checkpoints.

    Returns:
      The forecast.

    Raises:
      OSError: the disk has not even room for two checkpoints.
    """
    state = trainer.abstract_state()
    checkpoint = sum(
        math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(state)
    )
    free = shutil.disk_usage(directory).free
    if free < 2 * checkpoint:
        raise OSError(
            f"{directory}: {_gib(free)} are free, a checkpoint takes "
            f"{_gib(checkpoint)} and two are there while one is written; free some "
            "space, or give a --workdir on another disk"
        )
    seconds = None
    if batch is not None:
        seconds = _try(trainer, compiled, arguments, batch)
    there = _memory_there()
    if there is not None and compiled.program_bytes > there:
        logger.warning(
            "warning: a step takes %s of memory and %s are there; lower "
            "config.training.batch_size, or raise config.training.accumulation",
            _gib(compiled.program_bytes),
            _gib(there),
        )
    return Forecast(
        steps, seconds, compiled.program_bytes, there, checkpoint, kept + 1, free
    )


def _try(
    trainer: Any,
    compiled: CompiledStep,
    arguments: tuple[Any, ...],
    batch: dict[str, Any],
) -> float:
    """Seconds of a step, the first, which is slower, left out."""
    constants, key = arguments
    state = trainer.init(jax.random.key(0))
    seconds = 0.0
    for _ in range(2):
        placed = trainer.placement.put_batch(batch)
        start = time.perf_counter()
        state, metrics = compiled.function(state, *constants, placed, key)
        jax.block_until_ready((state, metrics))
        seconds = time.perf_counter() - start
    return seconds


def _memory_there() -> int | None:
    """Bytes of a device; those that are free where the host is the device."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not on macOS
        return None
    values = dict(line.split(":", 1) for line in lines)
    kib = values.get("MemAvailable", "").split()
    return 1024 * int(kib[0]) if kib else None


def _gib(count: int) -> str:
    return f"{count / _GIB:.3g} GiB"
