"""Finding subjects: nested and flat folders, tables, what is missing."""

import pytest

from cmrjax.data import mnms
from tests.data.locked_folder import lock
from tests.data.mnms_tree import write_subject, write_table

ROWS = {"P0": ("A", 1, 0, 1), "P1": ("B", 3, 1, 0)}


def test_flat_folder(tmp_path):
    for code in ROWS:
        write_subject(tmp_path, code)
    table = write_table(tmp_path / "info.csv", ROWS)
    found = mnms.find_subjects(tmp_path)
    assert found.inputs["table"] == table
    assert [r.subject for r in found.records] == ["P0", "P1"]
    assert not found.problems
    assert not found.notices
    record = found.records[1]
    assert record.group == "B3"
    assert record.pairs[0].phases == (("ED", 1), ("ES", 0))
    assert record.pairs[0].image_path == tmp_path / "P1" / "P1_sa.nii.gz"
    assert record.pairs[0].label_path == tmp_path / "P1" / "P1_sa_gt.nii.gz"
    assert record.subset == ""
    assert record.official_subset == ""


@pytest.mark.parametrize(
    ("around", "table"),
    [
        ("OpenDataset", "OpenDataset/t.csv"),
        ("OpenDataset", "OpenDataset/x/t.csv"),
        ("OpenDataset", "t.csv"),
        (".", "OpenDataset/t.csv"),
        (".", "t.csv"),
    ],
)
def test_official_nested_download(tmp_path, around, table):
    root = tmp_path / "OpenDataset"
    places = {
        "P0": "Training/Labeled",
        "P1": "Training/Unlabeled",
        "P2": "Validation",
        "P3": "Testing",
    }
    for code, place in places.items():
        write_subject(root / place, code)
    write_table(tmp_path / table, {code: ("A", 1, 0, 1) for code in places})
    found = mnms.find_subjects(tmp_path / around)
    subsets = {r.subject: r.subset.removeprefix("OpenDataset/") for r in found.records}
    assert subsets == places
    official = [r.official_subset for r in found.records]
    assert official == ["training", "unlabelled", "validation", "testing"]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("Training/Labeled", "training"),
        ("training/labelled/A1", "training"),
        ("Training/Unlabeled", "unlabelled"),
        ("Testing", "testing"),
        ("OpenDataset/Validation", "validation"),
        ("Labeled", ""),
        ("Training", ""),
        ("Labeled/Training", ""),
        ("Training/Labeled/Testing", "testing"),
        ("testing/Training/Labeled", "training"),  # a folder above the download
        ("TestingData", ""),
    ],
)
def test_official_subset_with_the_folders_above_the_source(tmp_path, place, expected):
    """It is the same whether the source is the subset's folder or one above it."""
    assert mnms.official_subset(place) == expected
    top = tmp_path / "set"
    write_subject(top / place, "P0")
    table = write_table(tmp_path / "t.csv", {"P0": ("A", 1, 0, 1)})
    for source in (top, top / place):
        (record,) = mnms.find_subjects(source, table=table).records
        assert record.official_subset == expected


def test_official_subset_behind_links(tmp_path, monkeypatch):
    table = write_table(tmp_path / "t.csv", {"P0": ("A", 1, 0, 1)})
    write_subject(tmp_path / "Testing", "P0")

    def found(source):
        (record,) = mnms.find_subjects(source, table=table).records
        return record.official_subset

    (tmp_path / "source").symlink_to(tmp_path / "Testing")
    assert found(tmp_path / "source") == "testing"
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "P0").symlink_to(tmp_path / "Testing" / "P0")
    assert found(tmp_path / "flat") == "testing"
    disguised = tmp_path / "Training" / "Labeled"
    disguised.mkdir(parents=True)
    (disguised / "P0").symlink_to(tmp_path / "Testing" / "P0")
    assert found(disguised) == "testing"
    monkeypatch.chdir(tmp_path / "Testing")
    assert found(".") == "testing"


def test_table_as_the_official_one(tmp_path):
    """Index column, byte-order mark, extra columns, semicolons, floats, spaces."""
    write_subject(tmp_path, "P0")
    header = ";External code;VendorName;Vendor;Centre;ED;ES;Age"
    (tmp_path / "t.csv").write_text(
        f"\ufeff{header}\n0; P0;Philips;B;2.0;0;1.0;33\n", encoding="utf-8"
    )
    record = mnms.find_subjects(tmp_path).records[0]
    assert record.group == "B2"
    assert record.pairs[0].phases == (("ED", 0), ("ES", 1))


def test_names_that_no_manifest_can_hold(tmp_path):
    """White space of other kinds is a plain space; what cannot be printed is none."""
    rows = {"P0": ("Siemens\u00a0 Aera", "1\n", 0, 1), "P1": ("S" * 201, 1, 0, 1)}
    for code in (*rows, "P\u00a02"):
        write_subject(tmp_path, code)
    write_table(tmp_path / "t.csv", {**rows, "P\u00a02": ("A", "\u200b2", 0, 1)})
    found = mnms.find_subjects(tmp_path)
    assert [r.group for r in found.records] == ["Siemens Aera1"]
    expected = (
        "t.csv: P1 has Vendor 'SSS",
        r"t.csv: P 2 has External code 'P\xa02'; give a name of at most 200",
        r"t.csv: P 2 has Centre '\u200b2'; give a name of at most 200 characters",
    )
    assert len(found.problems) == len(expected), found.problems
    for line, part in zip(found.problems, expected, strict=True):
        assert part in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2.0", "2"),
        ("2", "2"),
        ("1234567", "1234567"),
        ("1234568.0", "1234568"),
        ("12345678901234567891", "12345678901234567891"),
        ("1.5", "1.5"),
        ("nan", "nan"),
        ("1e999", "1e999"),
        ("Leeds", "Leeds"),
    ],
)
def test_centres_keep_all_their_digits(tmp_path, text, expected):
    """Numbers of seven digits were rounded, and two centres one group."""
    write_subject(tmp_path, "P0")
    write_table(tmp_path / "t.csv", {"P0": ("A", text, 0, 1)})
    (record,) = mnms.find_subjects(tmp_path).records
    assert record.centre == expected


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_table_in_other_encodings_and_with_other_separators(
    tmp_path, encoding, separator
):
    write_subject(tmp_path, "P0")
    header = ["", "External code", "VendorName", "Vendor", "Centre", "ED", "ES"]
    row = ["0", "P0", "Hersteller \xc4\x85", "B", "2", "0", "1"]
    text = "".join(separator.join(line) + "\r\n" for line in (header, row))
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    (record,) = mnms.find_subjects(tmp_path).records
    assert record.group == "B2"
    assert record.pairs[0].phases == (("ED", 0), ("ES", 1))


def test_a_file_that_is_no_text_is_named(tmp_path):
    write_subject(tmp_path, "P0")
    path = tmp_path / "t.csv"
    path.write_bytes("External code,Vendor\n".encode("utf-16"))
    message = r"t\.csv: is not a text file in UTF-8 or Latin-1; save the table as CSV"
    with pytest.raises(ValueError, match=message):
        mnms.find_subjects(tmp_path, table=path)
    with pytest.raises(ValueError, match=rf"(?s)no table found.*{message}"):
        mnms.find_subjects(tmp_path)


def test_split_file_is_not_taken_for_the_table(tmp_path):
    write_subject(tmp_path, "P0")
    (tmp_path / "a_split.csv").write_text("External code,split\nP0,train\n")
    write_table(tmp_path / "t.csv", ROWS)
    found = mnms.find_subjects(tmp_path)
    assert found.inputs["table"].name == "t.csv"
    assert found.notices == ("1 subjects of t.csv have no folder",)


def test_each_fault_of_unusable_subjects_is_one_line(tmp_path):
    for code in ("P0", "P1", "P2", "P3"):
        write_subject(tmp_path, code)
    write_subject(tmp_path / "again", "P3")
    (tmp_path / "P4").mkdir()
    (tmp_path / "P4" / "P4_sa_gt.nii.gz").touch()
    rows = {**ROWS, "P1": ("A", 1, "", ""), "P3": ("A", 1, 0, 1)}
    write_table(tmp_path / "t.csv", rows)
    found = mnms.find_subjects(tmp_path)
    assert [r.subject for r in found.records] == ["P0"]
    expected = [
        "P1 has ED = '', expected the index of a frame",
        "P1 has ES = '', expected the index of a frame",
        "P2 is not in",
        "P3: found in 2 folders",
        "P4_sa.nii.gz is missing; fetch it again",
        "P4 is not in",
    ]
    assert len(found.problems) == len(expected)
    for line, part in zip(found.problems, expected, strict=True):
        assert part in line
    assert [r.subject for r in found.refused] == ["P1", "P2", "P3", "P4"]


def test_an_empty_cell_is_a_phase_that_the_subject_does_not_have(tmp_path):
    write_subject(tmp_path, "P1")
    write_table(tmp_path / "t.csv", {"P1": ("A", 1, "", 1)})
    found = mnms.find_subjects(tmp_path)
    assert found.records[0].pairs[0].phases == (("ES", 1),)
    assert not found.problems


@pytest.mark.parametrize("value", ["-1", "1.5", "nan", "inf", "x"])
def test_frames_that_are_no_index(tmp_path, value):
    write_subject(tmp_path, "P0")
    write_table(tmp_path / "t.csv", {"P0": ("A", 1, 0, value)})
    (line,) = mnms.find_subjects(tmp_path).problems
    assert f"t.csv: P0 has ES = '{value}', expected the index of a frame" in line


def test_missing_label_file_and_vendor(tmp_path):
    write_subject(tmp_path, "P0")
    (tmp_path / "P0" / "P0_sa_gt.nii.gz").unlink()
    write_subject(tmp_path, "P1")
    write_table(tmp_path / "t.csv", {"P0": ("A", 1, 0, 1), "P1": ("", 1, 0, 1)})
    found = mnms.find_subjects(tmp_path)
    assert found.records[0].pairs[0].label_path is None
    assert "P1 has no Vendor; fill it in" in found.problems[0]


def test_source_and_table_errors(tmp_path):
    with pytest.raises(ValueError, match=r"--source=.*/no: no such folder"):
        mnms.find_subjects(tmp_path / "no")
    with pytest.raises(ValueError, match=r"holds no subject folder; expected <code>"):
        mnms.find_subjects(tmp_path)
    source = tmp_path / "a" / "b"
    write_subject(source, "P0")
    with pytest.raises(ValueError, match=r"no table found in .* --table=FILE"):
        mnms.find_subjects(source)
    with pytest.raises(ValueError, match=r"--table=.*t\.csv: no such file"):
        mnms.find_subjects(source, table=source / "t.csv")
    (source / "t.csv").write_text("External code,Vendor\nP0,A\n")
    with pytest.raises(ValueError, match=r"the table has no column Centre, ED, ES"):
        mnms.find_subjects(source, table=source / "t.csv")
    write_table(source / "u.csv", ROWS)
    write_table(source / "v.csv", {**ROWS, "P1": ("B", 3, 0, 1)})
    with pytest.raises(ValueError, match=r"several tables fit .* say which one with"):
        mnms.find_subjects(source)
    text = (source / "u.csv").read_text() + "P0,Maker,B,2,0,1\n"
    (source / "w.csv").write_text(text)
    with pytest.raises(ValueError, match=r"w\.csv: P0 has two different rows"):
        mnms.find_subjects(source, table=source / "w.csv")


def test_folders_that_cannot_be_read_are_said(tmp_path, monkeypatch):
    source = tmp_path / "in"
    for code in ROWS:
        write_subject(source, code)
    write_table(source / "t.csv", ROWS)
    lock(monkeypatch, source / "P1")
    found = mnms.find_subjects(source)
    assert [r.subject for r in found.records] == ["P0"]
    (line,) = found.problems
    assert line.startswith(f"{source}/P1: cannot be read (Permission denied)")
    lock(monkeypatch, source)
    with pytest.raises(ValueError, match=r"holds no subject .*/in: cannot be read"):
        mnms.find_subjects(source)


def test_linked_subject_folders_are_found(tmp_path):
    write_subject(tmp_path / "store", "P0")
    source = tmp_path / "in"
    source.mkdir()
    (source / "P0").symlink_to(tmp_path / "store" / "P0")
    write_table(source / "t.csv", {"P0": ("A", 1, 0, 1)})
    assert [r.subject for r in mnms.find_subjects(source).records] == ["P0"]
