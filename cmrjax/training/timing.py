"""What a training measures of itself, kept in timing.json of its folder."""

import resource
import sys
from pathlib import Path
from typing import Any

import jax

from cmrjax.files import read_json, write_json
from cmrjax.training.compiled_step import CompiledStep
from cmrjax.training.process_age import process_age
from cmrjax.training.processes import is_first

TIMING_FILE = "timing.json"
# Names in it that others read (`cmrjax.training.model_record`).
BATCH_SIZE, DEVICES, PEAK_HOST = "batch_size", "devices", "peak_host_bytes"
_PROCESSES, _FIRST_STEP = "processes", "seconds_to_first_step"


def peak_host_bytes() -> int:
    """Returns the largest resident size that this process has had, bytes."""
    try:
        status = Path("/proc/self/status").read_text("utf-8", errors="replace")
    except OSError:  # not on macOS
        status = ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    # On Linux it is at least what the parent had when it started this process.
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def is_from_here(path: Path) -> bool:
    """Tells whether a timing.json is of a run on the devices and processes of now."""
    try:
        content = read_json(path)
    except (FileNotFoundError, ValueError):
        return False
    here = _devices_and_processes()
    return isinstance(content, dict) and here == {k: content.get(k) for k in here}


def _devices_and_processes() -> dict[str, Any]:
    return {
        DEVICES: [device.device_kind for device in jax.devices()],
        _PROCESSES: jax.process_count(),
    }


class Timing:
    """What this process measures of itself, kept in timing.json.

    Args:
      path: the file.
      trainer: whose sizes are noted.
      compiled: the step.
    """

    def __init__(self, path: Path, trainer: Any, compiled: CompiledStep) -> None:
        self._path = path
        self._content: dict[str, Any] = {
            **_devices_and_processes(),
            BATCH_SIZE: trainer.batch_size,
            "image_size": trainer.image_size,
            "compile_seconds": compiled.compile_seconds,
            "step_flops": compiled.flops,
            "step_temporary_bytes": compiled.memory_bytes,
        }

    def first_step(self, metrics: Any) -> None:
        """Waits for the first step and notes how long a user waited for it."""
        if _FIRST_STEP not in self._content:
            jax.block_until_ready(metrics)
            self._content[_FIRST_STEP] = process_age()
            self.write()

    def write(self) -> None:
        """Writes the file, with the peak so far; only the first process does.

        Without a step what is there stays: it is of the devices that made the last one.
        """
        if not is_first() or _FIRST_STEP not in self._content:
            return
        device = jax.local_devices()[0].memory_stats() or {}
        peaks = {
            PEAK_HOST: peak_host_bytes(),
            "peak_device_bytes": device.get("peak_bytes_in_use"),
        }
        write_json(self._path, {**self._content, **peaks})
