"""Records seen as arrays: NumPy's indexing, order, damaged records."""

import threading

import numpy as np
import pytest

from cmrjax.data.record_array import RecordArray, Records

SPLITS = ("train", "test", "train", "train", "test")
VALUES = np.random.default_rng(0).integers(0, 255, (5, 4, 3)).astype(np.uint8)


class Counting(list):
    """A source that counts what is read of it."""

    def __init__(self, records):
        super().__init__(records)
        self.reads = 0

    def __getitem__(self, key):
        self.reads += 1
        return super().__getitem__(key)


def _sources():
    found = {"test": Counting([]), "train": Counting([])}
    for index, split in enumerate(SPLITS):
        record = {"index": index, "a": VALUES[index], "b": VALUES[index][..., None]}
        found[split].append(record)
    return found


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path, _sources(), SPLITS)


@pytest.mark.parametrize("field", ["a", "b"])
@pytest.mark.parametrize(
    "key",
    [
        2,
        -1,
        np.int64(3),
        slice(None),
        slice(1, 9, 2),
        slice(3, 3),
        [4, 0, 4],
        np.array([True, False, True, False, False]),
        (3, slice(1, 3), slice(None, 2)),
        (slice(1, 3), slice(None), 1),
        (2, 1, 2),
        (2, Ellipsis, 1),
    ],
    ids=str,
)
def test_indexing_is_that_of_the_array(records, field, key):
    array = RecordArray(records, field, VALUES.shape, "uint8")
    assert (array.shape, array.dtype, len(array)) == (VALUES.shape, VALUES.dtype, 5)
    found = array[key]
    np.testing.assert_array_equal(found, VALUES[key], strict=True)


@pytest.mark.parametrize("key", [5, -6, [0, 7], None, Ellipsis, (Ellipsis, 0)])
def test_what_numpy_would_refuse_or_do_otherwise_is_an_error(records, key):
    with pytest.raises(IndexError):
        RecordArray(records, "a", VALUES.shape, "uint8")[key]


def test_two_fields_of_a_slice_are_one_read(tmp_path):
    sources = _sources()
    records = Records(tmp_path, sources, SPLITS)
    arrays = [RecordArray(records, name, VALUES.shape, "uint8") for name in "ab"]
    for index in (0, 3):
        for array in arrays:
            np.testing.assert_array_equal(array[index], VALUES[index])
    assert sources["train"].reads == 2


def test_threads_do_not_see_each_others_record(records):
    array = RecordArray(records, "a", VALUES.shape, "uint8")
    wrong = []

    def read(seed):
        for index in np.random.default_rng(seed).integers(0, 5, 500):
            if not np.array_equal(array[index], VALUES[index]):
                wrong.append(index)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_damaged_records_are_named(tmp_path):
    sources = _sources()
    with pytest.raises(ValueError, match=r"has the records .*'train': 3.* its"):
        Records(tmp_path, sources, SPLITS[1:])
    sources["train"][1]["index"] = 3
    records = Records(tmp_path, sources, SPLITS)
    assert records[0]["index"] == 0
    with pytest.raises(ValueError, match="record 1 of train is slice 3, its metadata"):
        records[2]

    class Broken(list):
        def __getitem__(self, key):
            raise RuntimeError("hash mismatch\nat byte 7")

    records = Records(tmp_path, {**sources, "test": Broken([1, 2])}, SPLITS)
    with pytest.raises(ValueError, match="record 1 of test cannot be read") as caught:
        records[4]
    assert "(hash mismatch); make the data set again" in str(caught.value)
