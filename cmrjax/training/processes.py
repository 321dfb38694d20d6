"""Several processes that train as one: how they start, share results, and end.

JAX's own service joins them: process 0 holds it, all others connect. What is decided
once for all (may this folder be continued, where from) is decided by process 0 and
shared as JSON through the service's key-value store; no device takes part. An error in
one process ends all of them with its message, instead of leaving the others waiting
for it. With one process nothing is started, and nothing here costs anything.

The only module that uses `jax.distributed`.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import jax

T = TypeVar("T")

COORDINATOR = "JAX_COORDINATOR_ADDRESS"
NUM_PROCESSES = "JAX_NUM_PROCESSES"
PROCESS_ID = "JAX_PROCESS_ID"
# With these, and no fewer, JAX finds the rest of what it needs to know from Slurm.
_SLURM = (
    "SLURM_JOB_ID",
    "SLURM_STEP_NODELIST",
    "SLURM_NTASKS",
    "SLURM_PROCID",
    "SLURM_LOCALID",
)
_SHARED, _MET, _SAID = "cmrjax/shared", "cmrjax/met", "cmrjax/said"
_FAILURE, _HEARD = "cmrjax/failure", "cmrjax/heard"
_LONGEST_WAIT = 7 * 24 * 3600  # seconds for another process; a failure ends it sooner
_LAST_WORD = 15.0  # seconds in which every process hears of a failure
_POLL = 0.5  # seconds

_numbers = itertools.count()
_left = threading.Event()


@dataclasses.dataclass(frozen=True)
class Launch:
    """How this process was started among others.

    Attributes:
      index: of this process, from 0.
      count: of processes.
      coordinator: host:port of process 0; None: as Slurm tells.
      local_devices: positions of this process's GPUs among those it sees; None: all,
        under Slurm the one with the task's number on its node.
    """

    index: int
    count: int
    coordinator: str | None = None
    local_devices: tuple[int, ...] | None = None


def find_launch(environ: Mapping[str, str]) -> Launch | None:
    """Reads from the environment whether this process is one of several.

    Args:
      environ: JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID together,
        or what `srun` sets.

    Returns:
      The launch; None for a single process.

    Raises:
      ValueError: some of the three variables are missing, or do not fit.
    """
    names = (COORDINATOR, NUM_PROCESSES, PROCESS_ID)
    if any(environ.get(name) for name in names[1:]):
        return _from_variables({name: environ.get(name, "") for name in names})
    if all(environ.get(name) for name in _SLURM):
        count = int(environ["SLURM_NTASKS"])
        if count > 1:
            index = int(environ["SLURM_PROCID"])
            return Launch(index, count, local_devices=_gpus_of_task(environ))
    return None


def _from_variables(values: Mapping[str, str]) -> Launch | None:
    missing = [name for name, value in values.items() if not value]
    if missing:
        raise ValueError(
            f"{' and '.join(missing)} not set; several processes need all of "
            f"{', '.join(values)}, a single one none"
        )
    try:
        count, index = int(values[NUM_PROCESSES]), int(values[PROCESS_ID])
    except ValueError:
        count, index = 0, 0
    if not 0 <= index < count:
        raise ValueError(
            f"{NUM_PROCESSES} is {values[NUM_PROCESSES]!r} and {PROCESS_ID} is "
            f"{values[PROCESS_ID]!r}; expected numbers, the second from 0 to one less "
            "than the first"
        )
    address = values[COORDINATOR]
    if not address.rpartition(":")[2].isdigit() or ":" not in address:
        raise ValueError(f"{COORDINATOR} is {address!r}; expected HOST:PORT")
    return Launch(index, count, address) if count > 1 else None


def _gpus_of_task(environ: Mapping[str, str]) -> tuple[int, ...] | None:
    """Which of the visible GPUs a task of Slurm takes; None: the one of its number.

    A task that was given GPUs of its own (--gpus-per-task) sees only these. A task
    that is alone on its node takes all.
    """
    visible = environ.get("CUDA_VISIBLE_DEVICES", "")
    count = len(visible.split(",")) if visible else 0
    # "4(x2),3": four tasks on each of two nodes, three on the next.
    tasks = environ.get("SLURM_STEP_TASKS_PER_NODE", "")
    alone = all(part.split("(")[0] == "1" for part in tasks.split(","))
    if count == 1 or (count and alone):
        return tuple(range(count))
    return None


def join(launch: Launch, *, timeout: int = 300) -> None:
    """Connects this process with the others; must come before any computation.

    Args:
      launch: from `find_launch`.
      timeout: seconds to wait for the others.

    Raises:
      RuntimeError: they did not come in time.
    """
    # It would take SIGTERM, which `cmrjax.training.signals` sees to.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        coordinator_address=launch.coordinator,
        num_processes=launch.count,
        process_id=launch.index,
        local_device_ids=launch.local_devices,
        cluster_detection_method="deactivate" if launch.coordinator else "slurm",
        initialization_timeout=timeout,
    )
    _left.clear()
    threading.Thread(target=_listen, name="failures", daemon=True).start()


def leave() -> None:
    """Says that this process is through: failures of others no longer end it."""
    _left.set()


def is_first() -> bool:
    """Whether this is the process that writes files and speaks."""
    return jax.process_index() == 0


def share(make: Callable[[], T]) -> T:
    """Calls a function in process 0 and gives its result to all.

    Every process must call this, in the same order. If the function raises, process 0
    ends with the error, and the others with it.

    Args:
      make: returns what has a JSON form; called in process 0 only.

    Returns:
      The result; where there are several processes, as JSON gives it back.
    """
    if jax.process_count() == 1:
        return make()
    key = f"{_SHARED}/{next(_numbers)}"
    if is_first():
        _client().key_value_set(key, json.dumps(make()))
    return json.loads(_client().blocking_key_value_get(key, _LONGEST_WAIT * 1000))


def meet() -> None:
    """Waits until every process is here.

    To be called before the first run of a compiled program that spans processes: on
    CPUs such a program waits 30 s for the others and no longer, and to compile may take
    one process longer than another.
    """
    if jax.process_count() > 1:
        key = f"{_MET}/{next(_numbers)}"
        _client().wait_at_barrier(key, _LONGEST_WAIT * 1000)


def any_said(word: str | None) -> str | None:
    """Returns what a process says, the same in all of them; waits as `meet` does.

    Args:
      word: of this process; None or empty: nothing.

    Returns:
      The word of the first process that says one, None where none does.
    """
    if jax.process_count() == 1:
        return word or None
    folder = f"{_SAID}/{next(_numbers)}"
    if word:
        _client().key_value_set(f"{folder}/{jax.process_index():06d}", word)
    meet()
    said = sorted(_client().key_value_dir_get(f"{folder}/"))
    return said[0][1] if said else None


def fail(message: str) -> NoReturn:
    """Ends this process with a message on standard error, and all others with it.

    Args:
      message: one line or more.
    """
    if not jax.distributed.is_initialized():
        sys.exit(message)
    _left.set()
    name = f"process {jax.process_index()} of {jax.process_count()}"
    # Refused where another one failed before, or process 0 is gone.
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        _client().key_value_set(_FAILURE, f"{message} (in {name})")
    _end(message)


def _listen() -> None:
    """Ends this process when another one says that it failed."""
    while not _left.wait(_POLL):
        message = _look_up(_FAILURE)
        if message is not None and not _left.is_set():
            _end(message)


def _end(message: str) -> NoReturn:
    """Leaves without JAX's farewell, which waits for processes that hang.

    Process 0 goes last: with it goes the store in which the others find the message.
    """
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    index, count = jax.process_index(), jax.process_count()
    try:
        if index:
            _client().key_value_set(f"{_HEARD}/{index}", "", allow_overwrite=True)
        deadline = time.monotonic() + _LAST_WORD
        while index == 0 and time.monotonic() < deadline and _heard() < count - 1:
            time.sleep(_POLL / 5)
    finally:
        os._exit(1)  # also where the store is out of reach


def _heard() -> int:
    return len(_client().key_value_dir_get(f"{_HEARD}/"))


def _look_up(key: str) -> str | None:
    """Returns what is stored under a key, None where nothing is."""
    try:
        return _client().key_value_try_get(key)
    except jax.errors.JaxRuntimeError:
        return None


def _client() -> Any:
    # JAX has no public name for it; Orbax takes it from here too.
    from jax._src import distributed

    return distributed.global_state.client
