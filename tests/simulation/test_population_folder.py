"""The folder of a population."""

import csv
import sys

import nibabel as nib
import numpy as np
import pytest

from cmrjax.files import code_version, read_json
from cmrjax.simulation.population_folder import (
    TableRow,
    claim_folder,
    is_complete,
    split_by_code,
    split_by_index,
    write_subject,
    write_tables,
)

AFFINE = np.diag([-1.5, -1.5, 8.0, 1.0])


def _write(out, settings):
    write_subject(
        out,
        "S1",
        np.arange(48, dtype=np.int16).reshape(2, 2, 3, 4),
        np.ones((2, 2, 3, 4), np.uint8),
        AFFINE,
        description={"settings": settings},
    )


def test_axes_and_affine_are_those_of_nifti(tmp_path):
    _write(tmp_path, {})
    image = nib.Nifti1Image.from_filename(tmp_path / "S1" / "S1_sa.nii.gz")
    assert image.shape == (4, 3, 2, 2)
    assert np.asarray(image.dataobj)[3, 2, 1, 0] == 1 * 12 + 2 * 4 + 3
    np.testing.assert_allclose(np.asarray(image.affine), AFFINE)
    assert image.header.get_zooms()[:3] == (1.5, 1.5, 8.0)


def test_a_subject_is_complete_with_its_settings_only(tmp_path):
    assert not is_complete(tmp_path, "S1", {"seed": 1})
    _write(tmp_path, {"seed": 1})
    assert is_complete(tmp_path, "S1", {"seed": 1})
    assert not is_complete(tmp_path, "S1", {"seed": 2})
    (tmp_path / "S1" / "S1_sa.nii.gz").unlink()
    assert not is_complete(tmp_path, "S1", {"seed": 1})


def test_a_folder_is_claimed_once_and_keeps_its_first_record(tmp_path):
    claim_folder(tmp_path, 3, {"seed": 1})
    first = read_json(tmp_path / "simulation.json")
    (tmp_path / "S1").mkdir()
    claim_folder(tmp_path, 3, {"seed": 1})
    assert read_json(tmp_path / "simulation.json") == first
    claim_folder(tmp_path, 5, {"seed": 1})
    longer = read_json(tmp_path / "simulation.json")
    assert longer == {**first, "subjects": 5}
    with pytest.raises(ValueError, match=r"other settings \(seed 1 there, 2 asked\)"):
        claim_folder(tmp_path, 5, {"seed": 2})
    with pytest.raises(ValueError, match="subjects 5 there, 4 asked"):
        claim_folder(tmp_path, 4, {"seed": 1})


def test_the_first_record_stays_when_the_command_is_another(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["first"])
    claim_folder(tmp_path, 3, {"seed": 1})
    monkeypatch.setattr(sys, "argv", ["second"])
    claim_folder(tmp_path, 4, {"seed": 1})
    assert read_json(tmp_path / "simulation.json")["command"] == ["first"]


def test_without_subjects_other_settings_may_take_the_folder(tmp_path):
    claim_folder(tmp_path, 3, {"seed": 1})
    claim_folder(tmp_path, 2, {"seed": 2})
    record = read_json(tmp_path / "simulation.json")
    assert (record["subjects"], record["settings"]) == (2, {"seed": 2})


@pytest.mark.parametrize("name", ["split.csv", "P1/P1_sa.nii.gz", "simulation.json"])
def test_what_others_made_is_not_claimed(tmp_path, name):
    (tmp_path / "P1").mkdir()
    (tmp_path / name).write_text("[1]")
    with pytest.raises(ValueError, match=r"another folder|empty folder"):
        claim_folder(tmp_path, 3, {"seed": 1})
    assert (tmp_path / name).read_text() == "[1]"
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ValueError, match="is a file: choose a new or empty folder"):
        claim_folder(file, 3, {"seed": 1})


def test_a_subject_says_which_code_made_it(tmp_path):
    _write(tmp_path, {})
    record = read_json(tmp_path / "S1" / "S1.json")
    assert record["code"] == "S1"
    assert record["code_version"] == code_version()


def test_tables_keep_order_and_missing_phases(tmp_path):
    rows = [TableRow(f"S{i}", 'A, "B"', "S", "1", ("0", "1")) for i in range(5)]
    rows.append(TableRow("S5", "Name", "S", "1", ("0", "")))
    codes = [row.code for row in rows]
    write_tables(tmp_path, rows, split_by_index(codes))
    with open(tmp_path / "dataset_information.csv", newline="") as file:
        table = list(csv.reader(file))
    names = ["External code", "VendorName", "Vendor", "Centre", "ED", "ES"]
    assert table[0] == names
    assert table[1] == ["S0", 'A, "B"', "S", "1", "0", "1"]
    assert table[6] == ["S5", "Name", "S", "1", "0", ""]
    split = (tmp_path / "split.csv").read_text().splitlines()
    assert [line.rsplit(",")[-1] for line in split[1:]] == [
        "train",
        "development",
        "test",
        "train",
        "train",
        "train",
    ]


def test_splits_by_code_do_not_depend_on_other_subjects(tmp_path):
    codes = [f"P{i}" for i in range(500)]
    whole = split_by_code(tmp_path, codes)
    assert split_by_code(tmp_path, codes[7:8]) == {"P7": whole["P7"]}
    shares = [list(whole.values()).count(n) for n in ("train", "development", "test")]
    np.testing.assert_allclose(np.array(shares) / 500, (0.6, 0.2, 0.2), atol=0.06)
