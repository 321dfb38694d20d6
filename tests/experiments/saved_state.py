"""What a run saved last, to compare it with another."""

import pathlib
from typing import Any

import jax

from cmrjax.training.checkpoint import CheckpointStore


def read_saved_state(workdir: pathlib.Path, trainer: Any) -> tuple[int, Any, Any]:
    """(step, the whole state, position in the data) of the newest checkpoint."""
    with CheckpointStore(workdir / "checkpoints") as store:
        step = store.latest_step
        assert step is not None
        state, position, _ = store.restore(step, trainer.abstract_state())
    return step, jax.device_get(state), position
