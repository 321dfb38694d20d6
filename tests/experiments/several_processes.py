"""Starts a command in several processes of this machine, each with its own devices."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

from tests.virtual_devices import xla_flags

ROOT = pathlib.Path(__file__).resolve().parents[2]
LONGEST = 600.0  # seconds


def _environment(index: int, count: int, port: int, devices: int) -> dict[str, str]:
    own = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla_flags(devices)}
    if count == 1:
        return own
    return {
        **own,
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": str(count),
        "JAX_PROCESS_ID": str(index),
    }


@contextlib.contextmanager
def started(
    commands: Sequence[Sequence[str]], *, devices: int = 1
) -> Iterator[list[subprocess.Popen]]:
    """Starts `python COMMAND` for each of the commands, as one run; ends what is left.

    Args:
      commands: arguments of Python, one list a process.
      devices: CPU devices of each process.

    Yields:
      The processes, whose standard error is a pipe.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=_environment(index, len(commands), port, devices),
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, command in enumerate(commands)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


def ended_early(processes: Sequence[subprocess.Popen]) -> list[tuple[int, str]]:
    """Of processes of which one ended too soon: ends the others, returns as `ended`."""
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)  # it may have something to say of the one
        process.kill()
    return ended(processes)


def ended(processes: Sequence[subprocess.Popen]) -> list[tuple[int, str]]:
    """Waits for processes; returns exit status and standard error of each."""
    texts = [process.communicate(timeout=LONGEST)[1] for process in processes]
    return [(p.returncode, text) for p, text in zip(processes, texts, strict=True)]
