"""Dice by volume, subject and class against a count by hand.

The images hold the ids that are predicted, so that the network is a table.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.evaluation.segmentation_study import evaluate_segmentation
from cmrjax.labels import CAVITY

K = CAVITY.num_classes


@dataclasses.dataclass(frozen=True)
class Info:
    subject: str
    phase: str


# Two slices of one volume, the other phase of the subject, and another subject.
SLICES = [Info("P1", "ED"), Info("P1", "ED"), Info("P1", "ES"), Info("P2", "ED")]
TRUE = np.array(
    [
        [[1, 1, 2], [2, 0, 0]],
        [[1, 0, 2], [0, 0, 0]],
        [[1, 1, 1], [1, 0, 2]],
        [[0, 2, 2], [2, 2, 0]],
    ],
    np.uint8,
)
PREDICTED = np.array(
    [
        [[1, 2, 2], [2, 0, 0]],
        [[1, 1, 2], [0, 0, 3]],
        [[1, 1, 0], [0, 0, 2]],
        [[2, 2, 0], [0, 0, 0]],
    ],
    np.uint8,
)
VALID = np.ones((4, 2, 3, 1), bool)
VALID[1, 1, 2] = False  # hides the one pixel predicted as RV


def predict(image):
    return jax.nn.one_hot(jnp.asarray(image[..., 0], jnp.int32), K)


def batches(size=3, *, order=(0, 1, 2, 3)):
    """As the pipeline makes them: the last batch is filled with its last example."""
    for start in range(0, 4, size):
        rows = [order[min(i, 3)] for i in range(start, start + size)]
        yield {
            "image": PREDICTED[rows][..., None].astype(np.float32),
            "label_map": TRUE[rows],
            "valid_mask": VALID[rows],
            "index": np.asarray(rows, np.int32),
            "weight": (np.arange(start, start + size) < 4).astype(np.float32),
        }


def evaluate(*arguments, **options):
    return evaluate_segmentation(
        predict, batches(*arguments), slices=SLICES, schema=CAVITY, **options
    )


def test_volumes_by_hand():
    """P1 ED, LV: 2 pixels shared, 3 predicted, 3 true over both slices."""
    expected = [
        {"subject": "P1", "phase": "ED", "LV": 4 / 6, "MYO": 6 / 7, "RV": math.nan},
        {"subject": "P1", "phase": "ES", "LV": 4 / 6, "MYO": 1.0, "RV": math.nan},
        {"subject": "P2", "phase": "ED", "LV": math.nan, "MYO": 2 / 6, "RV": math.nan},
    ]
    rows = evaluate()["volumes"]
    assert len(rows) == 3
    for row, wanted in zip(rows, expected, strict=True):
        assert row == pytest.approx(wanted, nan_ok=True)


def test_means_are_over_phases_then_subjects_then_classes():
    result = evaluate()
    assert result["dice"]["LV"] == pytest.approx(4 / 6)  # P2 has none
    myo = ((6 / 7 + 1) / 2 + 2 / 6) / 2
    assert result["dice"]["MYO"] == pytest.approx(myo)
    assert math.isnan(result["dice"]["RV"])  # nobody has it
    assert result["mean_dice"] == pytest.approx((4 / 6 + myo) / 2)
    assert (result["num_subjects"], result["num_slices"]) == (2, 4)
    assert "valid pixels only" in result["protocol"]
    assert "loss" not in result


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_batches_and_their_repeats_do_not_matter(size):
    assert _comparable(evaluate(size)) == _comparable(evaluate(4))


def test_the_order_of_the_slices_does_not_matter():
    shuffled = evaluate_segmentation(
        predict, batches(order=(3, 1, 0, 2)), slices=SLICES, schema=CAVITY
    )
    assert _comparable(shuffled) == _comparable(evaluate())


def _comparable(result):
    return repr(result)  # NaN equals NaN


def test_a_class_in_one_map_only_counts_as_zero():
    result = evaluate_segmentation(
        predict,
        [
            {**batch, "valid_mask": np.ones_like(batch["valid_mask"])}
            for batch in batches()
        ],
        slices=SLICES,
        schema=CAVITY,
    )
    assert result["dice"]["RV"] == 0.0
    assert result["volumes"][0]["RV"] == 0.0
    assert math.isnan(result["volumes"][1]["RV"])


def test_loss_is_the_mean_over_slices_and_leaves_repeats_out():
    """The loss of a batch counts with its slices; a repeat is not valid in it."""
    seen = []

    def loss(logits, batch):
        assert logits.shape == (3, 2, 3, K)
        seen.append(np.asarray(batch["valid_mask"]).any(axis=(1, 2, 3)).tolist())
        return float(batch["index"][0]) + 10.0

    result = evaluate(loss=loss)
    assert seen == [[True, True, True], [True, False, False]]
    assert result["loss"] == pytest.approx((3 * 10.0 + 1 * 13.0) / 4)


def test_without_a_weight_all_slices_count():
    whole = [{k: v for k, v in b.items() if k != "weight"} for b in batches(4)]
    result = evaluate_segmentation(predict, whole, slices=SLICES, schema=CAVITY)
    assert _comparable(result) == _comparable(evaluate())


def test_perfect_and_empty():
    perfect = [
        {**b, "image": b["label_map"][..., None].astype(np.float32)} for b in batches()
    ]
    result = evaluate_segmentation(predict, perfect, slices=SLICES, schema=CAVITY)
    assert result["mean_dice"] == 1.0
    nothing = [
        {**b, "image": 0 * b["image"], "label_map": 0 * b["label_map"]}
        for b in batches()
    ]
    result = evaluate_segmentation(predict, nothing, slices=SLICES, schema=CAVITY)
    assert math.isnan(result["mean_dice"])
    with pytest.raises(ValueError, match="no slice to evaluate on"):
        evaluate_segmentation(predict, [], slices=SLICES, schema=CAVITY)
