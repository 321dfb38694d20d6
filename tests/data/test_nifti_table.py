"""One's own data by a table: read, prepared, refused line by line."""

import json
import re

import nibabel as nib
import numpy as np
import pytest

from cmrjax.data.nifti_table import find_subjects
from cmrjax.data.prepared import PreparedDataset
from cmrjax.data.subject import Recipe, prepare_subject
from experiments import prepare_data
from tests.data.mnms_tree import make_arrays, save_nifti

HEADER = "image,label,subject,phase,vendor,centre"


def _table(folder, *rows, header=HEADER):
    path = folder / "cases.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def _files(folder, *, split=True):
    """p1_ED.nii.gz and so on; without `split` one file with both phases."""
    images, labels = make_arrays()
    if not split:
        save_nifti(folder / "p1.nii.gz", images)
        save_nifti(folder / "p1_gt.nii.gz", labels)
        return
    for index, phase in enumerate(("ED", "ES")):
        save_nifti(folder / f"p1_{phase}.nii.gz", images[..., index])
        save_nifti(folder / f"p1_{phase}_gt.nii.gz", labels[..., index])


ROWS = (
    "p1_ED.nii.gz,p1_ED_gt.nii.gz,p1,ed,Siemens,Leeds",
    "p1_ES.nii.gz,p1_ES_gt.nii.gz,p1,ES,Siemens,Leeds",
)


def test_a_file_for_each_phase(tmp_path):
    _files(tmp_path)
    found = find_subjects(None, table=_table(tmp_path, *ROWS))
    assert not found.problems
    (record,) = found.records
    assert (record.group, record.phases) == ("SiemensLeeds", ("ED", "ES"))
    assert len(record.pairs) == 2
    assert record.pair_of("ES").image_path == tmp_path / "p1_ES.nii.gz"
    assert found.inputs == {"table": tmp_path / "cases.csv"}


def test_one_file_with_frames_and_paths_from_another_folder(tmp_path):
    _files(tmp_path / "data", split=False)
    rows = [f"p1.nii.gz,p1_gt.nii.gz,p1,{p},A,1,{f}" for p, f in (("ED", 1), ("ES", 0))]
    table = _table(tmp_path, *rows, header=HEADER.upper() + ",frame")
    (record,) = find_subjects(tmp_path / "data", table=table).records
    (pair,) = record.pairs
    assert pair.phases == (("ED", 1), ("ES", 0))


def test_own_classes_are_prepared_from_a_schema_file(tmp_path, capsys):
    _files(tmp_path)
    schema = tmp_path / "classes.json"
    ids = {"0": "background", "1": "blood", "2": "MYO", "3": "blood"}
    names = ["background", "MYO", "blood"]
    schema.write_text(json.dumps({"name": "own", "class_names": names, "ids": ids}))
    arguments = ["--dataset=nifti", f"--table={_table(tmp_path, *ROWS)}"]
    arguments += [f"--schema={schema}", "--image-size=32", f"--out={tmp_path / 'out'}"]
    assert prepare_data.main(arguments) == 0
    assert "SiemensLeeds  " in capsys.readouterr().out
    data = PreparedDataset.open(tmp_path / "out", verify="full")
    assert data.schema.class_names == tuple(names)
    _, labels = make_arrays()
    expected = np.array([0, 2, 1, 2])[labels[:, :, 1:, 0].transpose(2, 1, 0)]
    np.testing.assert_array_equal(data.labels[:3, 6:26, 4:28], expected)
    assert data.volumes[0]["image_file"] == "p1_ED.nii.gz"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("p1_ED.nii.gz,,p1,ED,Siemens", ROWS[1]), "line 2: p1 has no centre"),
        ((ROWS[0], ROWS[1].replace("Leeds", "York")), "'York', line 2 says 'Leeds'"),
        ((ROWS[0], ROWS[0]), "line 3: p1 has phase ED in line 2 too"),
        ((ROWS[0].replace(",ed,", ",e/d,"),), "phase 'e/d', expected a short name"),
        ((ROWS[0].replace("p1_ED.nii", "p9.nii", 1),), r"image .*p9.nii.gz: no such f"),
        (("," + ROWS[0].partition(",")[2],), "line 2: p1 has no image"),
        ((ROWS[0].replace(",p1,", ",a/b,"),), "line 2: subject is 'a/b'"),
    ],
)
def test_rows_that_cannot_be_used_name_their_line(tmp_path, rows, message):
    _files(tmp_path)
    good = ROWS[0].replace(",p1,", ",p0,")
    found = find_subjects(None, table=_table(tmp_path, *rows, good))
    assert [record.subject for record in found.records] == ["p0"]
    (problem,) = found.problems
    assert re.search(message, problem), problem
    assert str(tmp_path / "cases.csv") in problem


def test_all_that_is_wrong_is_said_line_by_line(tmp_path):
    """Of every row, also where nothing can be used; and nothing is said twice."""
    _files(tmp_path)
    rows = [
        "p1_ED.nii.gz,p9.nii.gz,p1,e/d,Siemens,Leeds,first,",
        "p9.nii.gz,p1_ES_gt.nii.gz,p1,ES,,York,0,1.2x1.2",
        "sub\\p1_ED.nii.gz,p1_ED_gt.nii.gz,p2,ED,A,1,,",
        "p1_ED.nii.gz,p1_ED_gt.nii.gz,p3,ED,A,1,,,B",
        ",p1_ED_gt.nii.gz,p4,ED,A,1,,",
    ]
    table = _table(tmp_path, *rows, header=HEADER + ",frame,spacing")
    found = find_subjects(None, table=table)
    assert not found.records
    lines = [line.replace(str(tmp_path), "T") for line in found.problems]
    assert lines == [
        "T/cases.csv, line 5: has 9 cells, expected 8 as in the first line; put a"
        ' cell that holds a separator into quotes ("a,b")',
        "T/cases.csv, line 3: p1 has no vendor; fill it in",
        "T/cases.csv, line 3: p1 has centre 'York', line 2 says 'Leeds'; a subject has"
        " one, correct it",
        "T/cases.csv, line 2: p1 has phase 'e/d', expected a short name, as ED or ES",
        "T/cases.csv, line 2: p1: label p9.nii.gz: no such file; correct it (relative"
        " to T)",
        "T/cases.csv, line 2: p1 has frame 'first', expected the index of a frame (0,"
        " 1, ...)",
        "T/cases.csv, line 3: p1: image p9.nii.gz: no such file; correct it (relative"
        " to T)",
        "T/cases.csv, line 3: p1 has spacing '1.2x1.2', expected mm: 1.25 in plane, or"
        " 1.25x1.25x8 with the slices last",
        r"T/cases.csv, line 4: p2: image sub\p1_ED.nii.gz: no such file; correct it"
        " with / in place of \\ (relative to T)",
        "T/cases.csv, line 6: p4 has no image; name its file",
    ]
    assert [record.subject for record in found.refused] == ["p1", "p2", "p4"]


@pytest.mark.parametrize("space", ["\u00a0", "  ", "\u2003", " \u00a0"])
def test_white_space_in_vendor_and_centre_is_one_plain_space(tmp_path, space):
    """A copied no-break space made a folder that could not be opened."""
    _files(tmp_path)
    rows = (ROWS[0].replace("Siemens", f"Siemens{space}Aera"), *ROWS[1:])
    rows = (rows[0], rows[1].replace("Siemens", '"Siemens\nAera"'))
    assert _prepare(tmp_path, rows) == 0
    data = PreparedDataset.open(tmp_path / "out")
    assert {s.vendor for s in data.slices} == {"Siemens Aera"}


def test_what_no_manifest_can_hold_is_refused_row_by_row(tmp_path):
    """Names of subjects, vendors and centres, by the rule of the manifest."""
    _files(tmp_path)
    rows = [
        ROWS[0].replace(",p1,", ",p1\u00a0x,"),
        ROWS[0].replace("Siemens", "S" * 201),
        ROWS[1].replace("Siemens", "S" * 201).replace("Leeds", "Leeds\u200b"),
        ROWS[0].replace(",p1,", ",p0,").replace("Siemens", "S" * 200),
    ]
    found = find_subjects(None, table=_table(tmp_path, *rows))
    assert [record.subject for record in found.records] == ["p0"]
    expected = (
        r"line 2: subject is 'p1\xa0x'; give a code",
        "line 3: p1 has vendor 'SSS",
        "line 4: p1 has vendor 'SSS",
        r"line 4: p1 has centre 'Leeds\u200b'; give a name of at most 200",
    )
    assert len(found.problems) == len(expected), found.problems
    for line, part in zip(found.problems, expected, strict=True):
        assert part in line


@pytest.mark.parametrize("text", ["0", "0.0", "0.", ""])
def test_a_frame_as_spreadsheets_and_pandas_write_it(tmp_path, text):
    _files(tmp_path)
    table = _table(tmp_path, ROWS[0] + "," + text, header=HEADER + ",frame")
    (record,) = find_subjects(None, table=table).records
    assert record.pairs[0].phases == (("ED", 0 if text else None),)


@pytest.mark.parametrize("text", ["-1", "0.5", "first", "nan", "inf", "9" * 9])
def test_a_frame_that_is_none(tmp_path, text):
    _files(tmp_path, split=False)
    row = f"p1.nii.gz,p1_gt.nii.gz,p1,ED,A,1,{text}"
    table = _table(tmp_path, row, header=HEADER + ",frame")
    (line,) = find_subjects(None, table=table).problems
    assert f"line 2: p1 has frame '{text}'" in line


def test_a_cine_without_the_column_frame_is_refused(tmp_path, capsys):
    """Not prepared from its first frame, for whatever phase."""
    _files(tmp_path, split=False)
    rows = [f"p1.nii.gz,p1_gt.nii.gz,p1,{phase},A,1" for phase in ("ED", "ES")]
    assert _prepare(tmp_path, rows) == 1
    error = capsys.readouterr().err
    for line, phase in ((2, "ED"), (3, "ES")):
        assert (
            f"p1.nii.gz: has 2 time frames; {tmp_path}/cases.csv, line {line}"
            f" ({phase}) does not say which; add the column frame"
        ) in error
    assert not (tmp_path / "out").exists()


def test_one_file_for_two_phases_is_refused(tmp_path, capsys):
    _files(tmp_path)
    rows = [f"p1_ED.nii.gz,p1_ED_gt.nii.gz,p1,{phase},A,1" for phase in ("ED", "ES")]
    assert _prepare(tmp_path, rows) == 1
    error = capsys.readouterr().err
    assert "p1_ED.nii.gz: frame 0 is both ED (" in error
    assert "line 2) and ES (" in error


def test_labels_of_two_phases_are_refused(tmp_path, capsys):
    """The copied name of a label file trained ES on the labels of ED."""
    _files(tmp_path)
    rows = (ROWS[0], ROWS[1].replace("p1_ES_gt", "p1_ED_gt"))
    line = (
        f"p1_ED_gt.nii.gz: frame 0 is to be the labels of both ED"
        f" ({tmp_path}/cases.csv, line 2) and ES ({tmp_path}/cases.csv, line 3) of p1,"
        " which are different images; give each its own label file"
    )
    assert _prepare(tmp_path, rows) == 1
    assert line in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert _prepare(tmp_path, rows, "--check") == 1
    assert f"{line}\n1 problems, 2 notices" in capsys.readouterr().out


def test_labels_of_two_frames_in_two_cines_are_refused(tmp_path):
    """One frame of labels may belong to one frame of a cine alone."""
    images, labels = make_arrays()
    save_nifti(tmp_path / "a.nii", images)
    save_nifti(tmp_path / "b.nii", images[::-1])
    save_nifti(tmp_path / "l.nii", labels[..., 0])
    rows = [
        f"{n}.nii,l.nii,p1,{p},A,1,{f}" for n, p, f in (("a", "ED", 0), ("b", "ES", 1))
    ]
    (record,) = find_subjects(
        None, table=_table(tmp_path, *rows, header=HEADER + ",frame")
    ).records
    result = prepare_subject(record, Recipe(image_size=(32, 32)))
    assert not result.volumes
    (line,) = result.problems
    assert "l.nii: frame 0 is to be the labels of both ED (" in line


def test_labels_of_two_subjects_are_refused(tmp_path):
    """Also by another path; not of one image that has two codes."""
    _files(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    rows = [
        ROWS[0],
        ROWS[1].replace(",p1,", ",p2,").replace("p1_ES_gt", "link/p1_ED_gt"),
        ROWS[1].replace(",p1,", ",p3,"),
        ROWS[1].replace(",p1,", ",p4,"),
    ]
    found = find_subjects(None, table=_table(tmp_path, *rows))
    assert [record.subject for record in found.records] == ["p3", "p4"]
    assert [record.subject for record in found.refused] == ["p1", "p2"]
    assert found.problems == (
        f"{tmp_path}/cases.csv, line 3: p2 has the label file"
        f" {tmp_path}/link/p1_ED_gt.nii.gz, which p1 has in line 2 for another image;"
        " give each image its own label file",
    )


def _prepare(folder, rows, *more, header=HEADER):
    arguments = ["--dataset=nifti", f"--table={_table(folder, *rows, header=header)}"]
    arguments += ["--image-size=32", f"--out={folder / 'out'}", *more]
    return prepare_data.main(arguments)


def test_a_cine_with_labels_of_one_frame_each(tmp_path):
    """The same arrays as from a label file with all frames."""
    images, labels = make_arrays(shape=(24, 20, 4, 5))
    save_nifti(tmp_path / "cine.nii.gz", images)
    save_nifti(tmp_path / "all.nii.gz", labels)
    for phase, frame in (("ED", 1), ("ES", 3)):
        save_nifti(tmp_path / f"{phase}.nii.gz", labels[..., frame])
    prepared = []
    for name in ("{}", "all"):
        rows = [
            f"cine.nii.gz,{name.format(phase)}.nii.gz,p1,{phase},A,1,{frame}"
            for phase, frame in (("ED", 1), ("ES", 3))
        ]
        assert _prepare(tmp_path, rows, "--overwrite", header=HEADER + ",frame") == 0
        data = PreparedDataset.open(tmp_path / "out", verify="full")
        assert [v["frame"] for v in data.volumes] == [1, 3]
        prepared.append((np.array(data.images), np.array(data.labels)))
    np.testing.assert_array_equal(prepared[0][0], prepared[1][0])
    np.testing.assert_array_equal(prepared[0][1], prepared[1][1])


def test_the_voxel_size_of_the_table_is_used_in_place_of_the_header(tmp_path):
    images, labels = make_arrays()
    for name, values in (("i", images[..., 0]), ("l", labels[..., 0])):
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii")
    header = HEADER + ",spacing"
    row = "i.nii,l.nii,p1,ED,A,1,"
    assert _prepare(tmp_path, [row + "1.33x1.33x10"], header=header) == 0
    data = PreparedDataset.open(tmp_path / "out")
    assert data.volumes[0]["native_spacing"] == [10.0, 1.33, 1.33]
    np.testing.assert_array_equal(data.labels[0, 6:26, 4:28], labels[:, :, 1, 0].T)
    assert _prepare(tmp_path, [row + "1.33"], "--overwrite", header=header) == 1


def test_two_spacings_of_one_image(tmp_path):
    _files(tmp_path, split=False)
    rows = [f"p1.nii.gz,p1_gt.nii.gz,p1,{p},A,1,{f},{s}" for p, f, s in _SPACINGS]
    table = _table(tmp_path, *rows, header=HEADER + ",frame,spacing")
    (line,) = find_subjects(None, table=table).problems
    assert "line 3: p1 has spacing '1.3', unlike line 2 of the same image" in line


_SPACINGS = (("ED", 0, "1.25"), ("ES", 1, "1.3"))


def test_a_table_without_rows(tmp_path):
    with pytest.raises(ValueError, match="holds no row; expected a row for each phase"):
        find_subjects(None, table=_table(tmp_path))


def test_an_empty_label(tmp_path, capsys):
    _files(tmp_path)
    assert _prepare(
        tmp_path, ["p1_ED.nii.gz,,p1,ED,A,1", ROWS[1].replace("p1,", "p2,")]
    )
    error = capsys.readouterr().err
    assert "cases.csv, line 2: p1 has an empty label, which says that p1_ED" in error


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("image,label,subject,phase,vendor", "has no column centre"),
        (HEADER + ",image", "has two columns image"),
    ],
)
def test_columns(tmp_path, header, message):
    with pytest.raises(ValueError, match=message):
        find_subjects(None, table=_table(tmp_path, ROWS[0], header=header))


def test_columns_that_are_not_read_are_named(tmp_path):
    _files(tmp_path)
    table = _table(tmp_path, ROWS[0] + ",42", header=HEADER + ",age")
    assert find_subjects(None, table=table).notices == (f"{table}: age is not read",)


def test_table_and_source_must_be_there(tmp_path):
    with pytest.raises(ValueError, match="--table is missing"):
        find_subjects(None)
    with pytest.raises(ValueError, match="no such file"):
        find_subjects(None, table=tmp_path / "none.csv")
    with pytest.raises(ValueError, match="no such folder"):
        find_subjects(tmp_path / "none", table=_table(tmp_path, ROWS[0]))
