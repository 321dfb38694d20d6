"""What a run will take, said before it starts: time, memory, disk."""

import dataclasses
import datetime
import logging
import math
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import jax

from cmrjax.training.compiled_step import CompiledStep
from cmrjax.training.timing import peak_host_bytes

logger = logging.getLogger(__name__)

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What a run needs and what there is; bytes, seconds.

    Attributes:
      steps: that are left.
      seconds_per_step: of a step that was tried, or of the last ones of the run; None:
        not known.
      memory: that a step's program takes on a device, as XLA counts it.
      process: on a CPU what the whole process takes, compiler, data and libraries
        included: its peak after the tried steps, or what it has with that program;
        None on other devices.
      memory_there: of the device, on a CPU what the host has for this process; None:
        not known.
      checkpoint: size of one.
      checkpoints: how many are kept, with the one that is being written.
      disk_there: free below the run's folder.
    """

    steps: int
    seconds_per_step: float | None
    memory: int
    process: int | None
    memory_there: int | None
    checkpoint: int
    checkpoints: int
    disk_there: int

    def __str__(self) -> str:
        """Says it in one line."""
        parts = [f"{self.steps} steps"]
        if self.seconds_per_step is not None:
            left = datetime.timedelta(seconds=round(self.steps * self.seconds_per_step))
            parts = [
                f"{self.steps} steps of {self.seconds_per_step:.3g} s, {left}, besides "
                "validations and checkpoints"
            ]
        there = "" if self.memory_there is None else f" of {_gib(self.memory_there)}"
        memory = f"memory of a step {_gib(self.memory)}"
        if self.process is not None:
            memory = f"memory of the process {_gib(self.process)}"
        parts += [
            f"{memory}{there}",
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
    seconds_per_step: float | None = None,
) -> Forecast:
    """Measures what is ahead.

    Args:
      trainer: has `init`, `abstract_state` and `placement`.
      compiled: its update.
      arguments: (constants of the update, key of the run).
      batch: of the host, for two steps with a state that is then thrown away, of which
        the second is timed; None: no step is tried.
      directory: of the run.
      steps: that are left, one or more.
      kept: checkpoints.
      seconds_per_step: where they are known and no step is tried.

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
    there = _memory_there()
    _warn_of_memory(compiled.program_bytes, there)
    if batch is not None:
        seconds_per_step = _try(trainer, compiled, arguments, batch)
    process = _process_memory(compiled, tried=batch is not None)
    if process is not None:
        _warn_of_memory(process, there)
    return Forecast(
        steps,
        seconds_per_step,
        compiled.program_bytes,
        process,
        there,
        checkpoint,
        kept + 1,
        free,
    )


def _process_memory(compiled: CompiledStep, *, tried: bool) -> int | None:
    """What the process takes where the host is the device, else None.

    XLA counts the arrays of a step alone. Measured on cavity_a1_cpu (GiB): 0.88 by that
    count; the process had 1.80 when it was compiled and 2.77 after steps.
    """
    if jax.local_devices()[0].platform != "cpu":
        return None
    peak = peak_host_bytes()
    return peak if tried else max(peak, _resident_bytes() + compiled.program_bytes)


def _warn_of_memory(needed: int, there: int | None) -> None:
    if there is not None and needed > there:
        logger.warning(
            "warning: training takes %s of memory and %s are there; lower "
            "config.training.batch_size, or raise config.training.accumulation",
            _gib(needed),
            _gib(there),
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
    """Bytes of a device; where it is the host, what is free or this process has."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not on macOS
        return None
    values = dict(line.split(":", 1) for line in lines)
    kib = values.get("MemAvailable", "").split()
    return 1024 * int(kib[0]) + _resident_bytes() if kib else None


def _resident_bytes() -> int:
    """What this process has now; 0: not known, as on macOS."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()


def _gib(count: int) -> str:
    return f"{count / _GIB:.3g} GiB"
