"""The ACDC directory: found, split, prepared with its own ids, refused."""

import numpy as np
import pytest

from cmrjax.data.acdc import find_subjects
from cmrjax.data.prepared import PreparedDataset
from cmrjax.data.split import resolve_splits
from cmrjax.data.subject import Recipe, prepare_subject
from cmrjax.labels import CAVITY, SOURCE_LABELS
from experiments import prepare_data
from tests.data.acdc_tree import write_patient
from tests.data.locked_folder import lock
from tests.data.mnms_tree import make_arrays

RECIPE = Recipe(SOURCE_LABELS["acdc"], CAVITY, image_size=(32, 32))


def test_the_official_folders_are_found_with_frames_and_subsets(tmp_path):
    write_patient(tmp_path / "database" / "training", "patient001", frames=(1, 12))
    write_patient(tmp_path / "database" / "testing", "patient101", frames=(14, 1))
    found = find_subjects(tmp_path)
    assert not found.problems
    first, second = found.records
    assert (first.subject, first.group, first.phases) == (
        "patient001",
        "ACDC",
        ("ED", "ES"),
    )
    assert first.official_subset == "training"
    assert second.official_subset == "testing"
    assert second.pair_of("ED").image_path.name == "patient101_frame14.nii.gz"
    labels = second.pair_of("ES").label_path
    assert labels is not None
    assert labels.name == "patient101_frame01_gt.nii.gz"


@pytest.mark.parametrize(
    ("place", "inside"),
    [("acdc", ""), ("training/acdc_flat", ""), ("Testing/acdc", ""), ("", "training")],
)
def test_test_patients_are_never_trained_on_wherever_they_lie(tmp_path, place, inside):
    """Not even below a folder "training", in the source or above it."""
    source = tmp_path / place
    for number in (*range(1, 21), *range(101, 121)):
        write_patient(source / inside, f"patient{number:03d}", frames=(1, 2))
    records = find_subjects(source).records
    splits, _ = resolve_splits(records, {}, dataset="acdc")
    assert all(splits[f"patient{n}"] == "test" for n in range(101, 121))
    assert "train" in splits.values()


def test_what_lies_in_testing_is_no_training_patient(tmp_path):
    write_patient(tmp_path / "Testing", "patient001")
    (record,) = find_subjects(tmp_path).records
    assert record.official_subset == "testing"
    (record,) = find_subjects(tmp_path / "Testing").records
    assert record.official_subset == "training"  # by its number


def test_labels_are_read_with_acdcs_ids(tmp_path):
    write_patient(tmp_path, "patient001")
    (record,) = find_subjects(tmp_path).records
    result = prepare_subject(record, RECIPE)
    assert not result.problems
    _, labels = make_arrays()
    for volume, index in zip(result.volumes, (0, 1), strict=True):
        expected = labels[:, :, 1:, index].transpose(2, 1, 0)
        np.testing.assert_array_equal(volume.labels[:, 6:26, 4:28], expected)
        assert volume.description["frame"] == 0


def test_a_missing_frame_costs_one_phase_or_one_patient(tmp_path):
    folder = write_patient(tmp_path, "patient001")
    (folder / "patient001_frame12_gt.nii.gz").unlink()
    (record,) = find_subjects(tmp_path).records
    result = prepare_subject(record, RECIPE)
    assert [v.description["phase"] for v in result.volumes] == ["ED"]
    (line,) = result.problems
    assert line.startswith(f"{folder}/patient001_frame12.nii.gz: has no label file")
    (folder / "patient001_frame12.nii.gz").unlink()
    found = find_subjects(tmp_path)
    assert not found.records
    assert "patient001_frame12.nii.gz (ES by Info.cfg) is missing" in found.problems[0]


def test_all_that_is_wrong_is_said(tmp_path):
    folder = write_patient(tmp_path, "patient001")
    (folder / "Info.cfg").write_text("ED: one\nES: none\n")
    assert len(find_subjects(tmp_path).problems) == 2
    (folder / "Info.cfg").write_text("ED: 3\nES: 4\n")
    found = find_subjects(tmp_path)
    assert ["frame03" in found.problems[0], "frame04" in found.problems[1]] == [
        True
    ] * 2
    assert [record.phases for record in found.refused] == [("ED", "ES")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ED: 1\n", "ES is '', expected the number of a frame"),
        ("ED: 0\nES: 12\n", "ED is '0', expected"),
        ("ED: 1\nES: 1\n", "ED and ES are both frame 1"),
        ("ED: 1\nES: nine\n", "ES is 'nine'"),
    ],
)
def test_info_that_cannot_be(tmp_path, text, message):
    folder = write_patient(tmp_path, "patient001")
    (folder / "Info.cfg").write_text(text)
    (line,) = find_subjects(tmp_path).problems
    assert line.startswith(str(folder / "Info.cfg"))
    assert message in line


def test_without_info_and_in_two_folders(tmp_path):
    folder = write_patient(tmp_path / "a", "patient001")
    (folder / "Info.cfg").unlink()
    write_patient(tmp_path / "a", "patient002")
    write_patient(tmp_path / "b", "patient002")
    found = find_subjects(tmp_path)
    assert not found.records
    assert "Info.cfg: cannot be read" in found.problems[0]
    assert "patient002: found in 2 folders" in found.problems[1]


def test_what_a_zip_file_of_macos_brings_along_is_not_looked_at(tmp_path):
    """Every patient was refused as found in two folders."""
    write_patient(tmp_path / "database" / "training", "patient001")
    extra = tmp_path / "__MACOSX" / "database" / "training" / "patient001"
    extra.mkdir(parents=True)
    (extra / "._Info.cfg").write_bytes(b"\0\5\x16\7")
    found = find_subjects(tmp_path)
    assert not found.problems
    assert [r.subject for r in found.records] == ["patient001"]


def test_folders_that_cannot_be_read_are_said(tmp_path, monkeypatch):
    source = tmp_path / "in"
    write_patient(source, "patient001")
    write_patient(source / "testing", "patient101")
    lock(monkeypatch, source / "testing")
    found = find_subjects(source)
    assert [r.subject for r in found.records] == ["patient001"]
    (line,) = found.problems
    assert line.startswith(f"{source}/testing: cannot be read (Permission denied)")
    lock(monkeypatch, source)
    with pytest.raises(ValueError, match=r"holds no patient .*/in: cannot be read"):
        find_subjects(source)


def test_what_is_no_acdc_folder_is_said(tmp_path):
    with pytest.raises(ValueError, match="holds no patient folder"):
        find_subjects(tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        find_subjects(tmp_path / "none")
    with pytest.raises(ValueError, match="ACDC has no table"):
        find_subjects(tmp_path, table="t.csv")


def test_the_command_prepares_it(tmp_path, capsys):
    source = tmp_path / "database"
    write_patient(source / "training", "patient001")
    arguments = ["--dataset=acdc", f"--source={source}", "--image-size=32"]
    assert prepare_data.main([*arguments, f"--out={tmp_path / 'out'}"]) == 0
    assert "ACDC    " in capsys.readouterr().out
    data = PreparedDataset.open(tmp_path / "out", verify="full")
    assert len(data) == 6
    assert data.volumes[0]["image_file"] == (
        "training/patient001/patient001_frame01.nii.gz"
    )
