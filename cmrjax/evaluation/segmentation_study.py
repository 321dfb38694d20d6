"""Dice of a segmentation network on prepared slices, by subject, phase and class."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cmrjax.labels import LabelSchema
from cmrjax.metrics.overlap import dice_of_counts

PROTOCOL = (
    "Dice of all prepared slices of a volume (subject and phase) together, valid pixels"
    " only; mean over the phases of a subject, then over subjects; a class that neither"
    " map of a volume has is left out."
)


def evaluate_segmentation(
    predict: Callable[[Any], jax.Array],
    batches: Iterable[Mapping[str, Any]],
    *,
    slices: Sequence[Any],
    schema: LabelSchema,
    loss: Callable[[Any, Any], Any] | None = None,
) -> dict[str, Any]:
    """Measures a network on slices with exact labels.

    Args:
        predict: image [b, h, w, 1] float32 -> logits [b, h, w, k] float32.
        batches: as from `cmrjax.data.pipeline.iterate_eval_batches`.
        slices: of the whole data set, by index.
        schema: of the labels.
        loss: (logits, batch) -> scalar, to be averaged over the batches by the number
            of their slices.

    Returns:
        "loss" where one was given; "dice": mean over subjects by foreground class;
        "mean_dice": mean over these; "num_subjects", "num_slices"; "volumes": one row
        per subject and phase with the Dice of each class, NaN where neither map has
        the class; "protocol".

    Raises:
        ValueError: there is no slice.
    """
    counts, num_slices, total_loss = _count_all(predict, batches, slices, loss)
    if not counts:
        raise ValueError("there is no slice to evaluate on")
    names = schema.class_names[1:]
    volumes = [
        {
            "subject": subject,
            "phase": phase,
            **dict(zip(names, _dice(count), strict=True)),
        }
        for (subject, phase), count in sorted(counts.items())
    ]
    dice = {name: _mean_over_subjects(volumes, name) for name in names}
    defined = [value for value in dice.values() if math.isfinite(value)]
    measured = {} if loss is None else {"loss": total_loss / num_slices}
    return {
        **measured,
        "dice": dice,
        "mean_dice": sum(defined) / len(defined) if defined else math.nan,
        "num_subjects": len({subject for subject, _ in counts}),
        "num_slices": num_slices,
        "volumes": volumes,
        "protocol": PROTOCOL,
    }


def _count_all(
    predict: Callable[[Any], jax.Array],
    batches: Iterable[Mapping[str, Any]],
    slices: Sequence[Any],
    loss: Callable[[Any, Any], Any] | None,
) -> tuple[dict[tuple[str, str], np.ndarray], int, float]:
    """Pixels by subject and phase (see `_count`), slices, and the sum of the loss."""
    counts: dict[tuple[str, str], np.ndarray] = {}
    num_slices, total_loss = 0, 0.0
    for batch in batches:
        logits = predict(batch["image"])
        per_slice = np.asarray(
            _count(logits, batch["label_map"], batch["valid_mask"]), np.float64
        )
        weight = np.asarray(batch.get("weight", np.ones(len(per_slice))))
        if loss is not None:
            real = np.asarray(batch["valid_mask"]) & (weight > 0)[:, None, None, None]
            value = float(loss(logits, {**batch, "valid_mask": real}))
            total_loss += value * float(weight.sum())
        rows = zip(np.asarray(batch["index"]), per_slice, weight, strict=True)
        for index, count, real in rows:
            if real > 0:
                info = slices[int(index)]
                volume = (info.subject, info.phase)
                counts[volume] = counts.get(volume, 0.0) + count
                num_slices += 1
    return counts, num_slices, total_loss


@jax.jit
def _count(logits: jax.Array, label_map: jax.Array, valid_mask: jax.Array) -> jax.Array:
    """Pixels of each slice and class: in both, predicted, true; [b, 3, k] int32."""
    k = logits.shape[-1]
    predicted = jax.nn.one_hot(jnp.argmax(logits, axis=-1), k, dtype=jnp.bool_)
    truth = jax.nn.one_hot(label_map, k, dtype=jnp.bool_)
    maps = (predicted & truth, predicted, truth)
    return jnp.stack([jnp.sum(m & valid_mask, axis=(1, 2)) for m in maps], axis=1)


def _dice(count: np.ndarray) -> list[float]:
    """Dice of the foreground classes from [3, k] pixel counts."""
    return [dice_of_counts(*map(float, pixels)) for pixels in count[:, 1:].T]


def _mean_over_subjects(volumes: Sequence[Mapping[str, Any]], name: str) -> float:
    by_subject: dict[str, list[float]] = {}
    for row in volumes:
        if math.isfinite(row[name]):
            by_subject.setdefault(row["subject"], []).append(row[name])
    means = [sum(values) / len(values) for values in by_subject.values()]
    return sum(means) / len(means) if means else math.nan
