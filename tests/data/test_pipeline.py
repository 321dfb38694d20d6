"""Grain batches: order, flips, exact resume, shards; evaluation batches."""

import contextlib
import json
from typing import Any

import numpy as np
import pytest

from cmrjax.data.pipeline import iterate_eval_batches, make_train_iterator
from cmrjax.data.source import PreparedDataset, SliceSource
from tests.data.prepared_folder import make_prepared


class Numbered:
    """Example i: a 2x2 label map whose corner tells the flip, and its index."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {
            "label_map": np.arange(4, dtype=np.uint8).reshape(2, 2),
            "index": np.asarray(index, np.int32),
        }


def _take(count, source=None, *, state=None, **options):
    """The first batches, and the iterator's state after them."""
    settings: dict[str, Any] = {"batch_size": 3, "seed": 7} | options
    iterator = make_train_iterator(source or Numbered(10), **settings)
    with contextlib.closing(iterator):
        if state is not None:
            iterator.set_state(state)
        batches = [next(iterator) for _ in range(count)]
        return batches, iterator.get_state()


def _indices(batches):
    return np.concatenate([b["index"] for b in batches])


def _assert_equal(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def test_each_epoch_visits_every_example_once_in_another_order():
    order = _indices(_take(20)[0]).reshape(6, 10)
    for epoch in order:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(10))
    assert len({tuple(epoch) for epoch in order}) == 6


def test_types_and_shapes_of_batches(tmp_path):
    data = PreparedDataset.open(make_prepared(tmp_path / "d"))
    source = SliceSource(data, data.select(splits=("train",)))
    (batch,), _ = _take(1, source)
    types = {key: (value.dtype.name, value.shape) for key, value in batch.items()}
    assert types == {
        "label_map": ("uint8", (3, 8, 8)),
        "image": ("float32", (3, 8, 8, 1)),
        "valid_mask": ("bool", (3, 8, 8, 1)),
        "index": ("int32", (3,)),
    }
    for k, index in enumerate(batch["index"]):
        labels, image = data.labels[index], data.images[index]
        matches = [
            np.array_equal(batch["label_map"][k], labels[::r, ::c])
            and np.array_equal(batch["image"][k, ..., 0], image[::r, ::c])
            for r in (1, -1)
            for c in (1, -1)
        ]
        assert sum(matches) == 1


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_order_and_flips_depend_on_the_seed_only(threads):
    reference, _ = _take(9)
    _assert_equal(_take(9, num_threads=threads, prefetch=8)[0], reference)
    other, _ = _take(9, seed=8)
    assert (_indices(other) != _indices(reference)).any()


def test_flips_are_new_in_each_epoch_and_can_be_off():
    corners = np.concatenate([b["label_map"][:, 0, 0] for b in _take(80)[0]])
    indices = _indices(_take(80)[0])
    assert {int(c) for c in corners[indices == 4]} == {0, 1, 2, 3}
    assert np.bincount(corners).min() > 35  # of 240, 60 each expected
    plain, _ = _take(8, flip=False)
    assert all((b["label_map"][:, 0, 0] == 0).all() for b in plain)
    np.testing.assert_array_equal(_indices(plain), indices[:24])


@pytest.mark.parametrize("stop", [0, 1, 3, 4, 7, 10])  # an epoch is 3 1/3 batches
@pytest.mark.parametrize("threads", [0, 2])
def test_resume_goes_on_bit_for_bit(stop, threads):
    reference, _ = _take(14)
    _, state = _take(stop, num_threads=threads)
    state = json.loads(json.dumps(state))
    rest, _ = _take(14 - stop, state=state, num_threads=threads)
    _assert_equal(rest, reference[stop:])


def test_set_state_on_a_used_iterator():
    reference, _ = _take(8)
    iterator = make_train_iterator(Numbered(10), batch_size=3, seed=7)
    with contextlib.closing(iterator):
        next(iterator)
        state = iterator.get_state()
        for _ in range(4):
            next(iterator)
        iterator.set_state(state)
        _assert_equal([next(iterator) for _ in range(7)], reference[1:])


def test_batch_larger_than_the_data():
    (batch,), _ = _take(1, Numbered(2), batch_size=5)
    assert np.bincount(batch["index"]).sum() == 5
    (batch,), _ = _take(1, Numbered(1), batch_size=2)
    np.testing.assert_array_equal(batch["index"], [0, 0])


@pytest.mark.parametrize(
    "parts", [[slice(0, 2), slice(2, 4)], [slice(i, i + 1) for i in range(4)]]
)
def test_processes_read_the_rows_of_the_same_batches(parts):
    """Order and flips of the global batch do not depend on who reads it."""
    whole, state = _take(9, batch_size=4)
    shares = [_take(9, batch_size=4, rows=rows) for rows in parts]
    for i, batch in enumerate(whole):
        joined = {
            key: np.concatenate([batches[i][key] for batches, _ in shares])
            for key in batch
        }
        _assert_equal([joined], [batch])
    assert all(found == state for _, found in shares)


def test_a_position_restores_on_another_number_of_processes():
    reference, _ = _take(9, batch_size=4)
    _, state = _take(5, batch_size=4, rows=slice(2, 4))
    rest, _ = _take(4, batch_size=4, state=json.loads(json.dumps(state)))
    _assert_equal(rest, reference[5:])
    _, state = _take(5, batch_size=4)
    rest, _ = _take(4, batch_size=4, state=state, rows=slice(1, 2))
    _assert_equal(
        rest, [{k: v[1:2] for k, v in batch.items()} for batch in reference[5:]]
    )


def test_training_on_a_test_subject_is_refused(tmp_path):
    data = PreparedDataset.open(make_prepared(tmp_path / "d"))
    with pytest.raises(
        ValueError, match=r"slices of the split evaluation, test; training takes only"
    ):
        _take(1, SliceSource(data, data.select()))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"seed": -1}, "seed must be in 0 to"),
        ({"rows": slice(3, 9)}, "no rows of a batch of 3 are wanted"),
    ],
)
def test_arguments_are_checked(options, text):
    with pytest.raises(ValueError, match=text):
        _take(1, **options)


def test_eval_batches_are_in_order_and_weighted():
    batches = list(iterate_eval_batches(Numbered(7), batch_size=3))
    np.testing.assert_array_equal(_indices(batches), [0, 1, 2, 3, 4, 5, 6, 6, 6])
    weights = np.concatenate([b["weight"] for b in batches])
    np.testing.assert_array_equal(weights, [1] * 7 + [0] * 2)
    assert weights.dtype == np.float32
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        next(iterate_eval_batches(Numbered(7), batch_size=0))
