"""One's own data by a table: read, prepared, refused line by line."""

import json
import re

import numpy as np
import pytest

from cmrjax.data.nifti_table import find_subjects
from cmrjax.data.prepared import PreparedDataset
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
        (("p1_ED.nii.gz,,p1,ED,A", ROWS[1]), "line 2: p1 has no centre"),
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


def test_a_frame_that_is_none(tmp_path):
    _files(tmp_path, split=False)
    row = "p1.nii.gz,p1_gt.nii.gz,p1,ED,A,1,"
    table = _table(tmp_path, row + "-1", header=HEADER + ",frame")
    with pytest.raises(ValueError, match=r"no row can be used .* has frame '-1'"):
        find_subjects(None, table=table)


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
