"""Populations on disk: layout, resuming, refusing."""

import csv

import nibabel as nib
import numpy as np
import pytest

from cmrjax.files import read_json
from cmrjax.simulation import population_folder
from cmrjax.simulation.population import simulate_population
from cmrjax.simulation.population_folder import write_subject
from cmrjax.simulation.subject import simulate_subject
from tests.simulation.drawn_phantom import drawn_tissue, write_xcat

_SMALL = {"image_size": 32, "spacing": 6.0, "progress": False}


def _rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("sim") / "with space"
    assert simulate_population(out, 3, 7, **_SMALL) == 3
    return out


def test_files_hold_what_the_subject_holds(folder):
    expected = simulate_subject((7, 1), image_size=32, spacing=6.0)
    image = nib.Nifti1Image.from_filename(folder / "SIM0001" / "SIM0001_sa.nii.gz")
    label = nib.Nifti1Image.from_filename(folder / "SIM0001" / "SIM0001_sa_gt.nii.gz")
    pixels = np.asarray(image.dataobj)
    assert pixels.dtype == np.int16
    assert pixels.shape == label.shape
    np.testing.assert_array_equal(pixels.transpose(3, 2, 1, 0), expected.images)
    np.testing.assert_array_equal(
        np.asarray(label.dataobj).transpose(3, 2, 1, 0), expected.labels
    )
    np.testing.assert_allclose(np.asarray(image.affine), expected.affine, atol=1e-4)
    np.testing.assert_allclose(
        image.header.get_zooms()[:3], expected.spacing[::-1], rtol=1e-5
    )
    metadata = read_json(folder / "SIM0001" / "SIM0001.json")
    assert metadata["lv_volume_ml"] == expected.metadata["lv_volume_ml"]


def test_tables_follow_the_challenge(folder):
    table = _rows(folder / "dataset_information.csv")
    assert [row["External code"] for row in table] == ["SIM0000", "SIM0001", "SIM0002"]
    assert {(r["VendorName"], r["Vendor"], r["Centre"]) for r in table} == {
        ("Simulated", "S", "1")
    }
    assert {(row["ED"], row["ES"]) for row in table} == {("0", "1")}
    split = [row["split"] for row in _rows(folder / "split.csv")]
    assert split == ["train", "development", "test"]
    record = read_json(folder / "simulation.json")
    assert record["settings"]["seed"] == 7
    assert record["code"]["package"]


def test_running_again_keeps_and_repairs(folder):
    whole = folder / "SIM0000" / "SIM0000_sa.nii.gz"
    before = whole.stat().st_mtime_ns
    (folder / "SIM0002" / "SIM0002.json").unlink()
    assert simulate_population(folder, 3, 7, **_SMALL) == 1
    assert whole.stat().st_mtime_ns == before
    assert (folder / "SIM0002" / "SIM0002.json").is_file()


def test_other_settings_in_the_same_folder_are_refused(folder):
    with pytest.raises(ValueError, match=r"seed 7 there, 8 asked.*another folder"):
        simulate_population(folder, 3, 8, **_SMALL)
    with pytest.raises(ValueError, match="subjects 3 there, 2 asked"):
        simulate_population(folder, 2, 7, **_SMALL)


def test_more_subjects_extend_the_population_in_processes(folder):
    assert simulate_population(folder, 5, 7, jobs=2, **_SMALL) == 2
    split = [row["split"] for row in _rows(folder / "split.csv")]
    assert split == ["train", "development", "test", "train", "train"]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    subject = simulate_subject(0, image_size=32, spacing=6.0)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(population_folder, "write_json", fail)
    with pytest.raises(OSError, match="disk full"):
        write_subject(
            tmp_path,
            "SIM0000",
            subject.images,
            subject.labels,
            subject.affine,
            description={},
        )
    assert list(tmp_path.iterdir()) == []


def test_bad_numbers_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"subjects from 1 to 9999.*subjects=0"):
        simulate_population(tmp_path, 0, 1)


def test_a_phantom_makes_a_population_that_is_kept_apart(tmp_path):
    path = write_xcat(tmp_path / "xcat", {1: drawn_tissue(), 2: drawn_tissue(16.0)})
    out = tmp_path / "out"
    small = {**_SMALL, "anatomy": "xcat", "source": path}
    assert simulate_population(out, 2, 7, **small) == 2
    assert simulate_population(out, 2, 7, **small) == 0
    metadata = read_json(out / "SIM0000" / "SIM0000.json")
    assert metadata["anatomy"]["source"] == "xcat"
    assert metadata["settings"]["source_sha256"]
    codes = {path.name for path in out.iterdir()}
    assert codes == {
        "SIM0000",
        "SIM0001",
        "dataset_information.csv",
        "simulation.json",
        "split.csv",
    }  # nothing else of the phantom
    with pytest.raises(ValueError, match="anatomy xcat there, free asked"):
        simulate_population(out, 2, 7, **_SMALL)
    volume = path / "scan_act_2.bin"
    volume.write_bytes(volume.read_bytes()[:-4] + bytes(4))
    (path / "scan_log").write_text("another phantom")
    with pytest.raises(ValueError, match=r"source_sha256 \w+ there, \w+ asked"):
        simulate_population(out, 2, 7, **small)


def test_a_folder_of_data_is_not_written_into(tmp_path):
    (tmp_path / "P1").mkdir()
    tables = ("dataset_information.csv", "split.csv")
    for name in tables:
        (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=r"holds P1 and no simulation\.json.*empty"):
        simulate_population(tmp_path, 1, 7, **_SMALL)
    assert [(tmp_path / name).read_text() for name in tables] == ["mine", "mine"]
    assert not (tmp_path / "SIM0000").exists()


def test_the_phantoms_folder_is_not_written_into(tmp_path):
    path = write_xcat(tmp_path / "xcat", {1: drawn_tissue()})
    before = sorted(path.rglob("*"))
    with pytest.raises(ValueError, match="overlap"):
        simulate_population(path / "out", 1, 7, **_SMALL, anatomy="xcat", source=path)
    assert sorted(path.rglob("*")) == before


def test_a_style_is_that_of_all_subjects_and_a_setting(tmp_path):
    assert simulate_population(tmp_path, 2, 7, style="C", **_SMALL) == 2
    for code in ("SIM0000", "SIM0001"):
        metadata = read_json(tmp_path / code / f"{code}.json")
        assert metadata["acquisition"]["style"] == "C"
    with pytest.raises(ValueError, match="style C there, None asked"):
        simulate_population(tmp_path, 2, 7, **_SMALL)
    with pytest.raises(ValueError, match="no vendor style 'X'; there are A, B"):
        simulate_population(tmp_path / "x", 2, 7, style="X", **_SMALL)
    assert not (tmp_path / "x").exists()


def test_anatomy_and_source_go_together(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"anatomy must be one of free, xcat: 'cat'"):
        simulate_population(out, 1, 1, anatomy="cat")
    with pytest.raises(ValueError, match="anatomy xcat needs a source: an XCAT zip"):
        simulate_population(out, 1, 1, anatomy="xcat")
    with pytest.raises(ValueError, match="anatomy free has no source"):
        simulate_population(out, 1, 1, source="phantom.zip")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        simulate_population(out, 1, 1, anatomy="xcat", source=tmp_path / "nowhere")
    (tmp_path / "text.zip").write_text("text")
    with pytest.raises(ValueError, match="no folder and no zip file"):
        simulate_population(out, 1, 1, anatomy="xcat", source=tmp_path / "text.zip")
    assert not out.exists()
