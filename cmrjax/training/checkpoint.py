"""Checkpoints through Orbax: everything that a run needs to go on, and no less.

The only module that imports Orbax. A checkpoint holds the state, the position of the
input pipeline and a small JSON of facts. Orbax writes it under a temporary name and
renames it at the end, so that a checkpoint that exists is whole.
"""

import contextlib
import functools
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from cmrjax.files import shorten
from cmrjax.training.checkpoint_folder import (
    NOT_STATED,
    STATE,
    Criterion,
    Score,
    best_of,
    latest_checkpoint,
    named_errors,
    refuse_strays,
    stored_scores,
)
from cmrjax.training.orbax_noise import quiet_failure

POSITION, FACTS = "position", "facts"  # of a checkpoint, beside its state
_SLICE_BYTES = 1_000_000  # that a device writes of an array which others have too
_STILL_SECONDS, _LATE_SECONDS = 0.3, 10.0  # of a folder where a write failed


class _Best(checkpoint_managers.PreservationPolicy):
    """Keeps the best checkpoint."""

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: Any
    ) -> list[bool]:
        del context
        best = best_of(
            {info.step: Score.of(info.metrics or {}) for info in checkpoints}
        )
        return [info.step == best for info in checkpoints]


class CheckpointStore:
    """The checkpoints of one run.

    Args:
      directory: where they are, one folder per step.
      keep: how many of the newest are kept; the best one is, too
        (`cmrjax.training.checkpoint_folder.best_of`).
      criterion: what scores are of from now on.

    Raises:
      ValueError: `keep` is not positive, the score of a checkpoint is damaged, or
        something else has the name of a later checkpoint.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        keep: int = 2,
        criterion: Criterion = NOT_STATED,
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}; at least 1 checkpoint must be kept")
        self._directory = Path(directory).absolute()
        self._directory.mkdir(parents=True, exist_ok=True)
        refuse_strays(self._directory)
        stored_scores(self._directory)  # Orbax reads them too, and names no file
        self._criterion = criterion
        processes = _processes(range(jax.process_count()))
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                create=False,
                multiprocessing_options=processes,
                # Makes Orbax store the score.
                best_fn=lambda metrics: Score.of(metrics).value,
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                    [checkpoint_managers.LatestN(keep), _Best()]
                ),
            ),
            item_handlers={
                STATE: _state_handler(processes),
                POSITION: ocp.JsonCheckpointHandler(multiprocessing_options=processes),
                FACTS: ocp.JsonCheckpointHandler(multiprocessing_options=processes),
            },
        )

    def __enter__(self) -> "CheckpointStore":
        return self

    def __exit__(self, kind: type[BaseException] | None, *others: object) -> None:
        with contextlib.suppress(*([] if kind is None else [OSError])):
            self.close()  # says again what failed before

    @property
    def latest_step(self) -> int | None:
        """Step of the newest whole checkpoint, None where there is none."""
        return self._manager.latest_step()

    @property
    def best_score(self) -> float:
        """Highest score by the criterion, minus infinity where none has one."""
        found = (self._manager.metrics(step) for step in self._manager.all_steps())
        scores = (Score.of(metrics).by(self._criterion) for metrics in found if metrics)
        return max(scores, default=-math.inf)

    def path(self, step: int) -> Path:
        """Folder of a checkpoint."""
        return self._directory / str(step)

    def save(
        self,
        step: int,
        state: Any,
        *,
        position: Mapping[str, Any],
        facts: Mapping[str, Any],
        score: float | None = None,
    ) -> None:
        """Writes a checkpoint in the background; does nothing where it exists.

        Args:
          step: updates done.
          state: pytree of arrays.
          position: JSON form of the input pipeline's state.
          facts: JSON to keep beside it.
          score: how good its validation was, the higher the better; None: not known.

        Raises:
          OSError: an earlier checkpoint, or the start of this one, was not written.
        """
        if step in self._manager.all_steps():
            return
        scored = None if score is None else Score(score, self._criterion)
        with self._named_failure():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.PyTreeSave(state),
                    position=ocp.args.JsonSave(dict(position)),
                    facts=ocp.args.JsonSave(dict(facts)),
                ),
                metrics={} if scored is None else scored.to_metrics(),
            )

    def restore(self, step: int, abstract_state: Any) -> tuple[Any, dict, dict]:
        """Reads a checkpoint.

        Args:
          step: which one.
          abstract_state: pytree of `jax.ShapeDtypeStruct` with shardings.

        Returns:
          (state, position, facts).

        Raises:
          ValueError: the checkpoint does not hold such a state, or it is damaged.
        """
        misfit = _misfit(self.path(step), abstract_state)
        if misfit:
            raise ValueError(
                f"{self.path(step)} does not fit this run's networks ({misfit}); the "
                "configuration was changed since: restore it, or use a new workdir"
            )
        with named_errors(self.path(step)), quiet_failure():
            found = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=_restore_args(abstract_state),
                    position=ocp.args.JsonRestore(),
                    facts=ocp.args.JsonRestore(),
                ),
            )
        return found[STATE], dict(found[POSITION]), dict(found[FACTS])

    def wait(self) -> None:
        """Returns when everything is on disk.

        Raises:
          OSError: it could not be written; the checkpoints before it are whole.
        """
        with self._named_failure():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits as `wait` does, then frees what the store holds."""
        with self._named_failure():  # either says what failed before
            try:
                self._manager.wait_until_finished()
            finally:
                self._manager.close()

    @contextlib.contextmanager
    def _named_failure(self) -> Iterator[None]:
        """Says in one line what Orbax says with an error of any kind."""
        try:
            with quiet_failure():
                yield
        except Exception as error:
            _wait_for_late_writes(self._directory)
            last = latest_checkpoint(self._directory)
            kept = "none was saved before" if last is None else f"{last} is whole"
            raise OSError(
                f"{self._directory}: a checkpoint could not be written "
                f"({_reason(error)}); make room or the folder writable, then repeat "
                f"the command ({kept})"
            ) from error


def _wait_for_late_writes(folder: Path) -> None:
    """Returns when a folder has been still for a while, or after some seconds.

    TensorStore gives up at the first array that fails, while its threads still write
    others: a folder that was removed at once would come back.
    """
    end = time.monotonic() + _LATE_SECONDS
    seen: Any = None
    while time.monotonic() < end:
        now = _listing(folder)
        if now == seen:
            return
        seen = now
        time.sleep(_STILL_SECONDS)


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for where, _, names in os.walk(folder):
        for path in (os.path.join(where, name) for name in names):
            with contextlib.suppress(OSError):  # it was renamed or removed since
                status = os.stat(path)
                found[path] = (status.st_size, status.st_mtime_ns)
    return found


def _reason(error: Exception) -> str:
    """Why a write failed, of what TensorStore says: "where": why [how='it asked']."""
    before_how = re.split(r" \[\w+='", str(error), maxsplit=1)[0]
    return shorten(before_how.rsplit('": ', 1)[-1][-160:])


def holds(checkpoint: str | Path, field: str) -> bool:
    """Tells whether a checkpoint's state has arrays below a field of that name."""
    path = (Path(checkpoint) / STATE).absolute()
    return path.is_dir() and any(
        name.startswith(f"{field}/") for name in _stored_shapes(path)
    )


def restore_subtree(checkpoint: str | Path, abstract_subtree: Any) -> Any:
    """Reads a part of a checkpoint's state, without the rest of it.

    Args:
      checkpoint: folder of one checkpoint.
      abstract_subtree: nested dictionaries of `jax.ShapeDtypeStruct`; what it does not
        name is not read.

    Returns:
      The same nesting with arrays on the default device.

    Raises:
      ValueError: the checkpoint does not hold such a part, or it is damaged.
    """
    misfit = _misfit(checkpoint, abstract_subtree)
    if misfit:
        raise ValueError(
            f"{checkpoint} does not hold the model that the folder describes ({misfit})"
        )
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        abstract_subtree,
    )
    options = _processes([jax.process_index()])
    checkpointer = ocp.Checkpointer(
        _state_handler(options), multiprocessing_options=options
    )
    with named_errors(checkpoint), quiet_failure():
        return checkpointer.restore(
            (Path(checkpoint) / STATE).absolute(),
            args=_restore_args(target, partial_restore=True),
        )


def _state_handler(processes: Any) -> Any:
    """Orbax's handler of nested arrays, which leaves small arrays in one piece.

    By default each device writes its slice of every replicated array. Of a thousand
    small ones on eight devices that takes many times the time and the room on disk.
    """
    kinds = ocp.type_handlers
    usual = [
        (kind, kinds.get_type_handler(kind))
        for kind in kinds.supported_types()
        if kind is not jax.Array
    ]
    arrays = kinds.ArrayHandler(min_slice_bytes_for_replica_parallel=_SLICE_BYTES)
    return ocp.PyTreeCheckpointHandler(
        multiprocessing_options=processes,
        type_handler_registry=kinds.create_type_handler_registry(
            *usual, (jax.Array, arrays)
        ),
    )


def _restore_args(abstract: Any, **options: Any) -> Any:
    restore_args = ocp.checkpoint_utils.construct_restore_args(abstract)
    return ocp.args.PyTreeRestore(item=abstract, restore_args=restore_args, **options)


def _processes(indices: Iterable[int]) -> Any:
    """Says which processes save or read together, the first of them leading.

    Named, they wait for each other through JAX's service. Orbax's default is a
    collective of all devices, which on CPUs gives up after 30 s.
    """
    active = sorted(indices)
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    return ocp.options.MultiprocessingOptions(
        primary_host=active[0],
        active_processes=set(active),
        barrier_sync_key_prefix=f"processes_{active[0]}_of_{len(active)}",
    )


def _misfit(checkpoint: str | Path, wanted: Any) -> str:
    """Says what a checkpoint lacks, empty where it has all.

    Shapes are compared before anything is read: Orbax reports a misfit late, in many
    lines and threads.
    """
    path = (Path(checkpoint) / STATE).absolute()
    if not path.is_dir():
        return f"it has no {STATE}"
    stored = _stored_shapes(path)
    for name, shape in _shapes(wanted).items():
        if stored.get(name) != shape:
            return f"{name} has shape {stored.get(name)}, expected {shape}"
    return ""


def _stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a state by name; read once, which takes a millisecond an array."""
    index = [path / name for name in ("_METADATA", "manifest.ocdbt")]
    facts = [file.stat() for file in index if file.is_file()]
    return _read_shapes(path, tuple((f.st_size, f.st_mtime_ns) for f in facts))


@functools.lru_cache(maxsize=8)
def _read_shapes(path: Path, index: tuple[Any, ...]) -> dict[str, tuple[int, ...]]:
    del index  # files that were changed are read again
    handler: Any = ocp.PyTreeCheckpointHandler()
    with named_errors(path.parent), quiet_failure():
        return _shapes(handler.metadata(path).tree)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Shape of each leaf, by a name that does not depend on the kind of container."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
