"""The split: the committed file, assignment, errors."""

from collections import Counter

import pytest

from cmrjax.data import split
from cmrjax.data.records import SubjectRecord
from tests.data.mnms_tree import write_split

CODES = [f"S{i}" for i in range(200)]


def _record(code: str, group: str = "A1", official: str = "") -> SubjectRecord:
    return SubjectRecord(code, group[0], group[1:], (), "", official)


def _splits(
    group: str = "A1", official: str = "", **options
) -> tuple[Counter[str], list[str]]:
    """Splits of 200 unlisted subjects of one kind, and the notices about them."""
    records = [_record(code, group, official) for code in CODES]
    dataset = options.pop("dataset", "mnms")
    splits, notices = split.resolve_splits(records, {}, dataset=dataset, **options)
    assert set(splits) == set(CODES)
    return Counter(splits.values()), notices


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
    def assign(code, group):
        return split.assign_split(_record(code, group), may_train=True)

    assert assign("P0", "A1") == assign("P0", "A1")
    a1 = Counter(assign(f"S{i}", "A1") for i in range(2000))
    assert set(a1) == {"train", "test"}
    assert a1["test"] == pytest.approx(400, abs=60)
    b3 = Counter(assign(f"S{i}", "B3") for i in range(2000))
    assert set(b3) == {"development", "evaluation"}
    assert b3["development"] == a1["test"]  # the same codes are the first fifth


@pytest.mark.parametrize("official", ["validation", "testing", "unlabelled", ""])
def test_unlisted_subjects_are_trained_on_only_below_training_labeled(official):
    """A flat folder ("") may hold official test subjects."""
    counts, (notice,) = _splits(official=official)
    assert counts == {"test": 200}
    assert "(200 test)" in notice
    assert "held out" in notice
    if official == "":
        assert "200 unlisted subjects of unknown subset" in notice
        assert "held out as test" in notice
        assert "--split=CSV decides otherwise" in notice
    counts, _ = _splits("B3", official)
    assert set(counts) == {"development", "evaluation"}


def test_unlisted_subjects_of_training_labeled_are_assigned_by_their_code():
    counts, (notice,) = _splits(official="training", place="s.csv")
    assert set(counts) == {"train", "test"}
    assert notice == (
        "200 subjects are not in s.csv; assigned by their code:"
        f" {counts['train']} train, {counts['test']} test"
    )


@pytest.mark.parametrize("official", ["training", "testing", ""])
@pytest.mark.parametrize("dataset", ["mnms", "simulated"])
def test_subjects_missing_from_an_own_split_file_are_held_out(dataset, official):
    counts, (notice,) = _splits(
        official=official, dataset=dataset, own=True, place="s.csv"
    )
    assert counts == {"test": 200}
    assert notice.startswith("200 subjects are not in s.csv")
    assert "held out (200 test)" in notice


def test_simulated_subjects_without_a_split_file_are_assigned_by_their_code():
    assert _splits(dataset="simulated") == _splits(official="training")


def test_resolve_prefers_the_table():
    records = [_record("P0", "A1", "testing"), _record("P1", "B3"), _record("P2")]
    table = {"P0": "train", "P1": "test"}
    splits, notices = split.resolve_splits(records, table, dataset="mnms")
    assert splits == {"P0": "train", "P1": "test", "P2": "test"}
    assert len(notices) == 1


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_and_encodings(tmp_path, separator):
    path = tmp_path / "s.csv"
    lines = [["Name", "External code", "split"], ["J\xf6rg", "P0", "test"]]
    text = "\r\n".join(separator.join(line) for line in lines)
    for encoding in ("utf-8", "utf-8-sig", "latin-1"):
        path.write_bytes(text.encode(encoding))
        assert split.read_split(path) == {"P0": "test"}


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
