"""SubjectRecord."""

from pathlib import Path

from cmrjax.data.records import SubjectRecord


def test_group_is_vendor_and_centre():
    record = SubjectRecord("X", "B", "3", Path("i"), None, (("ED", 0), ("ES", 9)))
    assert record.group == "B3"
    assert hash(record) == hash(record)
