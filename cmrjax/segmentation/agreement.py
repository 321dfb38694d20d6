"""Where the network's own heart and the expert's agree, slice by slice."""

from typing import Any

import numpy as np

from cmrjax.labels import HEART_CLASSES, LabelSchema
from cmrjax.metrics.overlap import dice_of_counts
from cmrjax.segmentation.components import (
    component_sizes,
    count_large,
    enclosed_share,
)

LEVELS = ("basal", "mid", "apical")
REGIONS = (*HEART_CLASSES, "heart")
"""What is compared: the heart's classes, and all of them as one."""


def slice_levels(labels: np.ndarray, schema: LabelSchema) -> list[str]:
    """Tells the level of each slice of a stack.

    The range from the first to the last slice with LV myocardium is cut into thirds
    (by the middle of each slice); the middle third is "mid". The outer third with the
    larger mean area of LV and RV is "basal", on a tie the first; the other is "apical".
    Slices with heart beyond the myocardium take the level of their end.

    Args:
        labels: [d, h, w] ids of the schema.
        schema: The schema.

    Returns:
        d texts: "basal", "mid", "apical", or "" for a slice without heart and where no
        slice has myocardium.
    """
    lv, myo, rv = (labels == schema.id_of(name) for name in HEART_CLASSES)
    has_heart = (lv | myo | rv).any(axis=(1, 2))
    with_myo = np.flatnonzero(myo.any(axis=(1, 2)))
    if not len(with_myo):
        return [""] * len(labels)
    first, last = with_myo[0], with_myo[-1]
    position = (np.arange(len(labels)) - first + 0.5) / (last - first + 1)
    third = np.clip(np.floor(3 * position), 0, 2).astype(int)
    area = (lv | rv).sum(axis=(1, 2))
    inside = has_heart & (position > 0) & (position < 1)
    ends = [area[inside & (third == end)] for end in (0, 2)]
    low, high = (float(end.mean()) if len(end) else 0.0 for end in ends)
    names = LEVELS if low >= high else LEVELS[::-1]
    return [
        names[t] if shows else "" for t, shows in zip(third, has_heart, strict=True)
    ]


def slice_rows(
    own: np.ndarray,
    labels: np.ndarray,
    expert: np.ndarray | None,
    *,
    schema: LabelSchema,
    valid_box: tuple[int, int, int, int],
) -> list[dict[str, Any]]:
    """Measures every slice of a phase, on its valid pixels.

    Args:
        own: [d, h, w] ids, the network's own labels.
        labels: [d, h, w] ids, what is kept; slices without heart were dropped.
        expert: [d, h, w] ids, the expert's labels; None without an expert.
        schema: The schema of all of them.
        valid_box: (r0, r1, c0, c1), the part that is not padding, pixels.

    Returns:
        One dict per slice: ``slice``, ``level`` (by the expert, without one by what is
        kept), ``kept`` (0 or 1), ``valid_pixels``; ``fraction_CLASS`` of what is kept;
        of the network's own heart ``components_CLASS``, ``large_components_CLASS`` and
        ``lv_enclosed``; against the expert ``dice_REGION``, ``network_pixels_REGION``,
        ``expert_pixels_REGION``, ``shared_pixels_REGION`` and ``disagreement_pixels``
        (another heart class, or heart in one only). NaN where something is undefined.
    """
    levels = slice_levels(labels if expert is None else expert, schema)
    r0, r1, c0, c1 = valid_box
    box = (slice(r0, r1), slice(c0, c1))
    rows = []
    for index, level in enumerate(levels):
        kept = bool(np.isin(labels[index], schema.heart_ids).any())
        row: dict[str, Any] = {"slice": index, "level": level, "kept": int(kept)}
        row["valid_pixels"] = (r1 - r0) * (c1 - c0)
        row |= _fractions(labels[index][box], kept, schema)
        row |= _shapes(own[index][box], schema)
        reference = None if expert is None else expert[index][box]
        row |= _agreement(own[index][box], reference, schema)
        rows.append(row)
    return rows


def _fractions(labels: np.ndarray, kept: bool, schema: LabelSchema) -> dict[str, float]:
    """Share of each class in a slice that is kept."""
    counts = np.bincount(labels.ravel(), minlength=schema.num_classes)
    shares = counts / labels.size if kept else np.full(len(counts), np.nan)
    return {
        f"fraction_{name}": float(share)
        for name, share in zip(schema.class_names, shares, strict=True)
    }


def _shapes(own: np.ndarray, schema: LabelSchema) -> dict[str, Any]:
    """Pieces of the network's heart classes, and how far MYO encloses LV."""
    row: dict[str, Any] = {}
    for name in HEART_CLASSES:
        sizes = component_sizes(own == schema.id_of(name))
        row[f"components_{name}"] = len(sizes)
        row[f"large_components_{name}"] = count_large(sizes)
    lv, myo = (own == schema.id_of(name) for name in ("LV", "MYO"))
    row["lv_enclosed"] = enclosed_share(lv, myo)
    return row


def _agreement(
    own: np.ndarray, expert: np.ndarray | None, schema: LabelSchema
) -> dict[str, Any]:
    """Dice and pixel counts of each region; NaN without an expert."""
    row: dict[str, Any] = {}
    for name in REGIONS:
        ids = schema.heart_ids if name == "heart" else (schema.id_of(name),)
        here = np.isin(own, ids)
        row[f"network_pixels_{name}"] = int(here.sum())
        there = None if expert is None else np.isin(expert, ids)
        row[f"expert_pixels_{name}"] = np.nan if there is None else int(there.sum())
        shared = np.nan if there is None else int((here & there).sum())
        row[f"shared_pixels_{name}"] = shared
        row[f"dice_{name}"] = (
            np.nan
            if there is None
            else dice_of_counts(int(shared), int(here.sum()), int(there.sum()))
        )
    row["disagreement_pixels"] = np.nan
    if expert is not None:
        hearts = [np.where(np.isin(m, schema.heart_ids), m, 0) for m in (own, expert)]
        row["disagreement_pixels"] = int((hearts[0] != hearts[1]).sum())
    return row
