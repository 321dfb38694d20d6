"""The folder of a population."""

import nibabel as nib
import numpy as np
import pytest

from cmrjax.files import read_json
from cmrjax.simulation.population_folder import (
    TableRow,
    claim_folder,
    is_complete,
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


def test_a_folder_is_claimed_once(tmp_path):
    claim_folder(tmp_path, 3, {"seed": 1})
    claim_folder(tmp_path, 5, {"seed": 1})
    assert read_json(tmp_path / "simulation.json")["subjects"] == 5
    with pytest.raises(ValueError, match=r"other settings \(seed 1 there, 2 asked\)"):
        claim_folder(tmp_path, 5, {"seed": 2})
    with pytest.raises(ValueError, match="subjects 5 there, 4 asked"):
        claim_folder(tmp_path, 4, {"seed": 1})


def test_tables_keep_order_and_missing_phases(tmp_path):
    rows = [TableRow(f"S{i}", "Name", "S", "1", ("0", "1")) for i in range(5)]
    rows.append(TableRow("S5", "Name", "S", "1", ("0", "")))
    write_tables(tmp_path, rows)
    lines = (tmp_path / "dataset_information.csv").read_text().splitlines()
    assert lines[0] == "External code,VendorName,Vendor,Centre,ED,ES"
    assert lines[1] == "S0,Name,S,1,0,1"
    assert lines[6] == "S5,Name,S,1,0,"
    split = (tmp_path / "split.csv").read_text().splitlines()
    assert [line.rsplit(",")[-1] for line in split[1:]] == [
        "train",
        "development",
        "test",
        "train",
        "train",
        "train",
    ]
