"""Checkpoints through Orbax: everything that a run needs to go on, and no less.

The only module that imports Orbax. A checkpoint holds the state, the position of the
input pipeline and a small JSON of facts. Orbax writes it under a temporary name and
renames it at the end, so that a checkpoint that exists is whole.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

STATE, POSITION, FACTS = "state", "position", "facts"


class CheckpointStore:
    """The checkpoints of one run.

    Args:
      directory: where they are, one folder per step.
      keep: how many of the newest are kept.
    """

    def __init__(self, directory: str | Path, *, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}; at least 1 checkpoint must be kept")
        self._directory = Path(directory).absolute()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                create=False,
                multiprocessing_options=_processes(range(jax.process_count())),
            ),
            item_names=(STATE, POSITION, FACTS),
        )

    def __enter__(self) -> "CheckpointStore":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def latest_step(self) -> int | None:
        """Step of the newest whole checkpoint, None where there is none."""
        return self._manager.latest_step()

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
    ) -> None:
        """Writes a checkpoint in the background; does nothing where it exists.

        Args:
          step: updates done.
          state: pytree of arrays.
          position: JSON form of the input pipeline's state.
          facts: JSON to keep beside it.
        """
        if step in self._manager.all_steps():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                position=ocp.args.JsonSave(dict(position)),
                facts=ocp.args.JsonSave(dict(facts)),
            ),
        )

    def restore(self, step: int, abstract_state: Any) -> tuple[Any, dict, dict]:
        """Reads a checkpoint.

        Args:
          step: which one.
          abstract_state: pytree of `jax.ShapeDtypeStruct` with shardings.

        Returns:
          (state, position, facts).

        Raises:
          ValueError: the checkpoint does not hold such a state.
        """
        misfit = _misfit(self.path(step), abstract_state)
        if misfit:
            raise ValueError(
                f"{self.path(step)} does not fit this run's networks ({misfit}); the "
                "configuration was changed since: restore it, or use a new workdir"
            )
        found = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract_state),
                position=ocp.args.JsonRestore(),
                facts=ocp.args.JsonRestore(),
            ),
        )
        return found[STATE], dict(found[POSITION]), dict(found[FACTS])

    def wait(self) -> None:
        """Returns when everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then frees what the store holds."""
        self._manager.wait_until_finished()
        self._manager.close()


def latest_checkpoint(directory: str | Path) -> Path | None:
    """Returns the newest whole checkpoint below a folder, None where there is none."""
    directory = Path(directory)
    if not directory.is_dir():
        return None
    steps = [int(p.name) for p in directory.iterdir() if p.name.isdigit()]
    return directory / str(max(steps)) if steps else None


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
      ValueError: the checkpoint does not hold such a part.
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
    restore_args = ocp.checkpoint_utils.construct_restore_args(target)
    options = _processes([jax.process_index()])
    checkpointer = ocp.Checkpointer(
        ocp.PyTreeCheckpointHandler(multiprocessing_options=options),
        multiprocessing_options=options,
    )
    return checkpointer.restore(
        (Path(checkpoint) / STATE).absolute(),
        args=ocp.args.PyTreeRestore(
            item=target, restore_args=restore_args, partial_restore=True
        ),
    )


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
    handler: Any = ocp.PyTreeCheckpointHandler()
    return _shapes(handler.metadata(path).tree)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Shape of each leaf, by a name that does not depend on the kind of container."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
