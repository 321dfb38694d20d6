"""The split: the committed file, assignment, errors."""

from collections import Counter
from pathlib import Path

import pytest

from cmrjax.data import split
from cmrjax.data.records import SubjectRecord
from tests.data.mnms_tree import write_split


def _record(code: str, group: str = "A1", subset: str = "") -> SubjectRecord:
    return SubjectRecord(code, group[0], group[1:], Path("i"), None, (), subset)


def test_committed_split():
    path = split.find_split("mnms", "/nonexistent")
    assert path is not None
    counts = Counter(split.read_split(path).values())
    expected = {"train": 80, "test": 20, "development": 5, "evaluation": 15}
    assert counts == expected
    assert split.find_split("simulated", "/nonexistent") is None


def test_split_beside_the_data_comes_first(tmp_path):
    path = write_split(tmp_path / "split.csv", {"P0": "test"})
    assert split.find_split("mnms", tmp_path) == path


def test_assignment_is_stable_and_in_proportion():
    assert split.assign_split(_record("P0")) == split.assign_split(_record("P0"))
    a1 = Counter(split.assign_split(_record(f"S{i}")) for i in range(2000))
    assert set(a1) == {"train", "test"}
    assert a1["test"] == pytest.approx(400, abs=60)
    b3 = Counter(split.assign_split(_record(f"S{i}", "B3")) for i in range(2000))
    assert set(b3) == {"development", "evaluation"}
    assert b3["development"] == a1["test"]  # the same codes are the first fifth


def test_subjects_of_the_official_test_folders_are_never_trained_on():
    for subset in ("Testing", "OpenDataset/Validation"):
        for i in range(20):
            assert split.assign_split(_record(f"S{i}", subset=subset)) == "test"


def test_resolve_prefers_the_table():
    records = [_record("P0"), _record("P1", "B3")]
    splits, assigned = split.resolve_splits(records, {"P0": "test"})
    assert splits == {"P0": "test", "P1": split.assign_split(records[1])}
    assert assigned == ["P1"]


def test_errors(tmp_path):
    with pytest.raises(ValueError, match=r"--split=.*no\.csv: no such file"):
        split.read_split(tmp_path / "no.csv")
    path = tmp_path / "s.csv"
    path.write_text("External code,group\nP0,A1\n")
    with pytest.raises(ValueError, match=r"expected the columns .* got External code,"):
        split.read_split(path)
    write_split(path, {"P0": "train", "P1": "val"})
    with pytest.raises(
        ValueError, match=r"line 3: P1 has split 'val', expected one of"
    ):
        split.read_split(path)
    path.write_text("External code,split\nP0,train\nP0,test\n")
    with pytest.raises(ValueError, match=r"line 3: P0 is in train and in test"):
        split.read_split(path)
