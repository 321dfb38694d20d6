"""What a model folder says of its model, for its card and for what is made from it.

A run's folder has it in model.json (provenance), metrics.jsonl and timing.json. A copy
of one checkpoint (saved parameters, an exported file) has model.json alone; its
provenance is that of the source, with a snapshot of the rest at the checkpoint's step.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmrjax.files import provenance, read_json, shorten
from cmrjax.training.description import MODEL_FILE
from cmrjax.training.model_folder import run_folder
from cmrjax.training.timing import BATCH_SIZE, DEVICES, PEAK_HOST, TIMING_FILE
from cmrjax.training.writers import METRICS_FILE, read_metrics

logger = logging.getLogger(__name__)

SNAPSHOT, COPY, MADE = "snapshot", "copy", "made"
# What validations write: `validation_ssim`, and the Dice of each class.
_FIGURES = ("validation_", "dice_")
_DAMAGED = (AttributeError, IndexError, KeyError, OSError, TypeError, ValueError)


def read_provenance(model: str | Path) -> dict[str, Any]:
    """Returns the provenance in a folder's model.json, {} where it has none.

    Raises:
      OSError, ValueError: the file is missing or damaged.
    """
    return dict(read_json(Path(model) / MODEL_FILE).get("provenance", {}))


def snapshot(model: str | Path, step: int | None = None) -> dict[str, Any]:
    """Returns budget and figures of a run's folder, as they were at a step.

    Args:
      model: the folder.
      step: of a checkpoint; None: whatever is the last.

    Returns:
      "step"; "seconds" of training until then; "batch_size", "devices" and
      "peak_host_bytes" of the run; "figures" of the last validation until then, by
      name, and "figures_step". What is not recorded is left out.

    Raises:
      OSError, ValueError: a file is damaged.
    """
    model = Path(model)
    found: dict[str, Any] = {} if step is None else {"step": step}
    rows = (
        read_metrics(model / METRICS_FILE) if (model / METRICS_FILE).is_file() else []
    )
    for row in rows:
        if step is not None and row["step"] > step:
            continue
        if row.get("train_seconds"):
            found["seconds"] = row["train_seconds"]
        figures = {
            name: value
            for name, value in row.items()
            if name.startswith(_FIGURES) and value is not None
        }
        if figures:
            found |= {"figures": figures, "figures_step": row["step"]}
    if (model / TIMING_FILE).is_file():
        timing = read_json(model / TIMING_FILE)
        found |= {name: timing[name] for name in (BATCH_SIZE, DEVICES, PEAK_HOST)}
    return found


def checkpoint_record(checkpoint: str | Path) -> dict[str, Any]:
    """Returns what a copy of a checkpoint is to carry, {} where it cannot be read.

    Args:
      checkpoint: its folder below the model's.

    Returns:
      The model's provenance and a snapshot at the checkpoint's step. Where the model is
      a copy itself, that which it carries.
    """
    checkpoint = Path(checkpoint)
    model = run_folder(checkpoint)
    try:
        record = read_provenance(model)
        if SNAPSHOT not in record:
            record[SNAPSHOT] = snapshot(model, int(checkpoint.name))
        return record
    except _DAMAGED as error:
        logger.warning(
            "%s: what it was trained on cannot be read (%s)", model, shorten(error)
        )
        return {}


def copy_provenance(
    record: Mapping[str, Any], *, source: str, step: int, weights: str, sha256: str
) -> dict[str, Any]:
    """Returns the provenance of a copy.

    Args:
      record: of what is copied (`checkpoint_record`), or what is known of it.
      source: its name: the checkpoint's folder, or "untrained, seed 0".
      step: updates that it has had.
      weights: "last" or "average".
      sha256: of description and weights.
    """
    copy = {"of": source, "step": step, "weights": weights, "sha256": sha256}
    return {**record, COPY: copy, MADE: provenance()}
