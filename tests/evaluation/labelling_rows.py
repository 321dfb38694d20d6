"""Makes rows of `slice_rows` with chosen values, for tests of what is made of them."""

from typing import Any

from cmrjax.labels import HEART_CLASSES, MULTI_TISSUE
from cmrjax.metrics.overlap import dice_of_counts
from cmrjax.segmentation.agreement import REGIONS

NAN = float("nan")


def make_row(
    subject: str = "P0",
    *,
    group: str = "A1",
    split: str = "test",
    phase: str = "ED",
    index: int = 0,
    level: str = "mid",
    kept: int = 1,
    counts: tuple[float, float, float] = (8, 10, 10),
    fractions: dict[str, float] | None = None,
    pieces: int = 1,
    enclosed: float = 1.0,
) -> dict[str, Any]:
    """One slice; ``counts``: shared, network's and expert's pixels of each region."""
    row: dict[str, Any] = {
        "subject": subject,
        "group": group,
        "split": split,
        "phase": phase,
        "slice": index,
        "level": level,
        "kept": kept,
        "valid_pixels": 100,
    }
    shares = dict.fromkeys(MULTI_TISSUE.class_names, 0.1) | (fractions or {})
    row |= {f"fraction_{k}": v if kept else NAN for k, v in shares.items()}
    for name in HEART_CLASSES:
        row[f"components_{name}"] = row[f"large_components_{name}"] = pieces
    row["lv_enclosed"] = enclosed
    shared, network, expert = counts
    for name in REGIONS:
        row[f"network_pixels_{name}"] = network
        row[f"expert_pixels_{name}"] = expert
        row[f"shared_pixels_{name}"] = shared
        known = shared == shared
        row[f"dice_{name}"] = dice_of_counts(*counts) if known else NAN
    row["disagreement_pixels"] = network + expert - 2 * shared
    return row
