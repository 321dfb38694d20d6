"""A run's folder as training leaves it: averaged weights, best and last, metrics."""

import json
import pathlib

import jax
import jax.numpy as jnp

from cmrjax.files import write_json
from cmrjax.synthesis.params import ModelParams
from cmrjax.training.checkpoint import CheckpointStore
from cmrjax.training.checkpoint_folder import Criterion
from cmrjax.training.description import write_description
from cmrjax.training.model_card import LICENCES

BEST, LAST = 40, 50
PROVENANCE = {
    "inputs": {"data": "f" * 64},
    "config": {
        "data": {"licence": ""},
        "loss": {"perceptual_weight": 10.0},
        "optimizer": {"average_decay": 0.5},
    },
    "code": {"package": "0.0.7", "commit": "c0ffee"},
    "perceptual_features": ["relu1_1", "relu2_1"],
    "data": [
        {
            "dataset": "mnms",
            "num_slices": 826,
            "num_subjects": 48,
            "groups": ["A1"],
            "fingerprint": "f" * 64,
            "labelled_by": "",
        }
    ],
}
SAID = (
    "mnms: 826 slices of 48 subjects, groups A1.",
    LICENCES["mnms"],
    "perceptual on VGG19's relu1_1, relu2_1; perceptual_weight 10.",
    "cmrjax 0.0.7, commit c0ffee.",
    "Batch 8 on 1 device(s), cpu; at most 3.0 GiB",
)
"""What the card of every copy must say, and for its step what `at` returns."""


def at(step: int) -> tuple[str, ...]:
    """What the card of a copy of this step says of budget and metrics."""
    return (
        f"- {step // 10} minutes of training.",
        f"On validation slices, at step {step}:",
        f"| ssim | {step / 100:g} |",
    )


def write_recorded_run(folder: pathlib.Path, params: ModelParams) -> None:
    """Steps 40 and 50; the weights of the average are 1 above the last ones."""
    write_description(folder, params.description, provenance=PROVENANCE)
    last = jax.tree.map(jnp.asarray, params.variables)
    average = jax.tree.map(lambda x: x + 1, last)
    rows = []
    criterion = Criterion("validation_ssim", "abc")
    with CheckpointStore(folder / "checkpoints", criterion=criterion) as store:
        for step, score in ((BEST, 0.9), (LAST, 0.1)):
            state = {"g_variables": last, "g_average": average}
            store.save(step, state, position={}, facts={}, score=score)
            store.wait()
            rows.append({"step": step, "g_loss": 1.0, "train_seconds": 6.0 * step})
            rows.append({"step": step, "validation_ssim": step / 100})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines)
    timing = {"batch_size": 8, "devices": ["cpu"], "peak_host_bytes": 3 * 2**30}
    write_json(folder / "timing.json", timing)
