"""A trained model's folder: model.json and checkpoints/STEP/, as training writes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cmrjax.training.checkpoint import restore_subtree
from cmrjax.training.checkpoint_folder import best_checkpoint, latest_checkpoint
from cmrjax.training.description import Description, read_description

CHECKPOINTS = "checkpoints"
BEST = "best"  # stands for the number of the checkpoint whose validation was best


def open_model_folder(
    directory: str | Path, kind: type[Description]
) -> tuple[Description, Path]:
    """Finds what a folder holds.

    Args:
      directory: a model's folder (the --workdir of training), whose newest checkpoint
        is taken, or the folder of one checkpoint, as in runs/multi_a1/checkpoints/1000,
        or runs/multi_a1/checkpoints/best, that with the best validation.
      kind: of network that is expected.

    Returns:
      The description and the folder of the checkpoint.

    Raises:
      ValueError: the folder is missing or holds no such model, or there is no
        checkpoint yet.
    """
    model, checkpoint = _find_checkpoint(Path(directory), kind)
    description = read_description(model, kind)
    if checkpoint is not None and checkpoint.name == BEST:
        checkpoint = best_checkpoint(checkpoint.parent)
        if checkpoint is None:
            raise ValueError(
                f"{directory}: no checkpoint has a validation of its own; name one by "
                f"its step, or {model} for the newest"
            )
    if checkpoint is None:
        checkpoint = latest_checkpoint(model / CHECKPOINTS)
    if checkpoint is None:
        raise ValueError(
            f"{directory} has no checkpoint yet: nothing is in {model / CHECKPOINTS}. "
            "Training saves the first one after a while, and when it is stopped"
        )
    return description, checkpoint


def run_folder(directory: str | Path) -> Path:
    """Returns the model's folder, also where one of its checkpoints is named."""
    path = Path(directory)
    absolute = path.absolute()
    named = absolute.name.isdigit() or absolute.name == BEST
    if named and absolute.parent.name == CHECKPOINTS:
        return absolute.parents[1]
    return path


def restore_variables(checkpoint: Path, field: str, wanted: Any, summary: str) -> Any:
    """Reads one network's variables from a checkpoint, and nothing else.

    Args:
      checkpoint: its folder.
      field: of the training state that holds them.
      wanted: nested dictionaries of `jax.ShapeDtypeStruct`.
      summary: what the description says the network is, for the error.

    Returns:
      The same nesting with arrays on the default device.

    Raises:
      ValueError: the checkpoint does not fit.
    """
    try:
        return restore_subtree(checkpoint, {field: wanted})[field]
    except ValueError as error:
        reason = str(error).split("\n", 1)[0]
        raise ValueError(f"{reason[:400]}. Expected {summary}") from error


def hash_model(description: Any, variables: Any) -> str:
    """Returns the SHA-256 of a description and of every array.

    Equal for equal models, wherever they are stored.

    Args:
      description: has `to_dict`.
      variables: nested dictionaries of arrays.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps(description.to_dict(), sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype}".encode())
        digest.update(f"{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _find_checkpoint(path: Path, kind: type[Description]) -> tuple[Path, Path | None]:
    """Splits a path into the model's folder and the checkpoint that it names."""
    model = run_folder(path)
    if not (path.parent if path.name == BEST else path).is_dir():
        raise ValueError(
            f"{path}: no such folder; expected the --workdir of `python -m "
            f"{kind.COMMAND}`, or one of its checkpoints"
        )
    return model, None if model == path else path.absolute()
