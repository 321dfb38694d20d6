"""SubjectRecord, and reading of CSV tables."""

from pathlib import Path

import pytest

from cmrjax.data.records import (
    FilePair,
    SubjectRecord,
    is_name,
    plain_spaces,
    read_rows,
)


def test_group_is_vendor_and_centre():
    pair = FilePair(Path("i"), None, (("ED", 0), ("ES", 9)))
    record = SubjectRecord("X", "B", "3", (pair,))
    assert record.group == "B3"
    assert hash(record) == hash(record)


def test_phases_are_those_of_all_files():
    pairs = tuple(FilePair(Path(p), None, ((p, 0),)) for p in ("ED", "ES"))
    record = SubjectRecord("X", "B", "3", pairs)
    assert record.phases == ("ED", "ES")
    assert record.pair_of("ES") is pairs[1]


def test_rows_keep_their_line_numbers_quotes_and_umlauts(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes('a;b, c;\r\n\r\n"x;y" ; J\xf6rg\x85\r\n;\r\n'.encode("latin-1"))
    assert read_rows(path) == [(1, ["a", "b, c", ""]), (3, ["x;y", "J\xf6rg"])]


def test_names_are_text_that_can_be_printed():
    assert is_name("J\xf6rg's 1.5 T")
    assert is_name("x" * 200)
    for value in ("x" * 201, "a\u00a0b", "a\nb", "a\u200b", "\ud800", 1, None):
        assert not is_name(value)
    assert plain_spaces(" Siemens\u00a0 Aera\r\n1.5 ") == "Siemens Aera 1.5"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_lines_end_as_excel_ends_them(tmp_path, end, separator):
    """Also as "CSV (Macintosh)" does, and in quoted cells, even of the first row."""
    path = tmp_path / "t.csv"
    rows = [['"External\ncode"', "Vendor"], ["P0", "A"], ['"P\n1"', "B"]]
    path.write_bytes(end.join(map(separator.join, rows)).encode())
    assert read_rows(path) == [
        (2, ["External\ncode", "Vendor"]),
        (3, ["P0", "A"]),
        (5, ["P\n1", "B"]),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no text"),
        (b" ,,\n\n", "holds no text"),
        (b"\x1f\x8b\x00\x00a,b", "is not a text file in UTF-8 or Latin-1"),
        (b"a,b\n" + b"x" * 200_000, r"is not a CSV table \(field larger"),
    ],
)
def test_files_that_are_no_table_are_named(tmp_path, content, message):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"t\.csv: {message}.*save .* as CSV in UTF-8"
    ):
        read_rows(path)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no\.csv: cannot be read \(No such file"):
        read_rows(tmp_path / "no.csv")
