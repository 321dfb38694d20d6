"""--check: everything that is wrong is said, and nothing is written."""

import gzip
import json
import shutil

import numpy as np
import pytest

from experiments import prepare_data
from tests.data.acdc_tree import write_patient
from tests.data.mnms_tree import (
    make_arrays,
    save_nifti,
    write_small_set,
    write_split,
    write_subject,
    write_table,
)


def _check(capsys, source, *more, dataset="mnms"):
    arguments = [f"--dataset={dataset}", f"--source={source}", "--image-size=32"]
    status = prepare_data.main([*arguments, "--check", *more])
    return status, capsys.readouterr().out


def test_a_sound_set(tmp_path, capsys, monkeypatch):
    source = write_small_set(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    status, text = _check(capsys, source)
    assert status == 0
    assert "looked at 3 subjects: 6 volumes and 18 slices can be used" in text
    assert "A1      train             2 subjects" in text
    assert "voxel size (x, y, z): 1.33 x 1.33 x 10 mm" in text
    assert "native size (x, y, z): 24 x 20 x 4 voxels" in text
    assert text.endswith("0 problems, 0 notices; nothing was written\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_everything_is_said_at_once(tmp_path, capsys):
    source = write_small_set(tmp_path / "in", count=7)
    (source / "P0" / "P0_sa.nii.gz").write_bytes(b"")
    _, labels = make_arrays()
    labels[0, 0, 0, 0] = 7
    write_subject(source, "P1", labels=labels)
    for name in ("_sa.nii.gz", "_sa_gt.nii.gz"):  # P6 is a test subject
        shutil.copy(source / f"P2/P2{name}", source / f"P6/P6{name}")
    _, gap = make_arrays()
    gap[:, :, 2] = 0
    write_subject(source, "P3", labels=gap, seed=3)
    write_subject(source, "P4", seed=4, zooms=(3.5, 3.5, 10.0))
    status, text = _check(capsys, source)
    assert status == 1
    for line in (
        "P0_sa.nii.gz: file is empty",
        "label id 7",
        "P2 ED, P6 ED: the same image, in test and train; keep one",
        "P2 ES, P6 ES: the same image",
        "P3_sa_gt.nii.gz: ED: slices 2 show no heart between slices that do",
        "2 of 11 volumes have a voxel size unlike the others, 3.5 x 3.5 x 10 mm",
    ):
        assert line in text, (line, text)


def test_files_of_a_subject_with_a_bad_row_are_looked_at_too(tmp_path, capsys):
    """The corrupt one is named, the missing one once, and no subject is prepared."""
    images, labels = make_arrays()
    save_nifti(tmp_path / "i.nii", images[..., 0])
    save_nifti(tmp_path / "l.nii", np.where(labels[..., 0] == 2, 9, labels[..., 0]))
    (tmp_path / "broken.nii").write_bytes(b"")
    table = tmp_path / "cases.csv"
    table.write_text(
        "image,label,subject,phase,vendor,centre\n"
        "i.nii,none.nii,p1,ED,A,1\ni.nii,l.nii,p1,ES,A,1\n"
        "broken.nii,l.nii,p2,ED,A,\nbroken.nii,broken.nii,p2,ES,A,1\n"
    )
    status, text = _check(capsys, tmp_path, f"--table={table}", dataset="nifti")
    assert status == 1
    lines = [line for line in text.splitlines() if line.startswith("problem: ")]
    for count, part in (
        (1, "label none.nii: no such file"),
        (1, "l.nii, ES: slice 1 holds label id 9"),
        (3, "broken.nii: file is empty"),
        (1, "line 4: p2 has no centre"),
        (1, "l.nii, ED: slice 1 holds label id 9"),
    ):
        assert sum(part in line for line in lines) == count, (part, text)
    assert "none.nii: cannot be read" not in text
    assert "looked at 2 subjects: 0 volumes" in text


def test_swapped_ids_are_seen(tmp_path, capsys):
    """ACDC's files read as if they were M&Ms'."""
    write_patient(tmp_path, "patient001")
    status, text = _check(capsys, tmp_path, dataset="acdc")
    assert status == 0, text
    for phase in ("01", "12"):
        stem = f"patient001/patient001_frame{phase}"
        with (tmp_path / "cases.csv").open("a") as file:
            if phase == "01":
                file.write("image,label,subject,phase,vendor,centre\n")
            file.write(f"{stem}.nii.gz,{stem}_gt.nii.gz,p1,f{phase},A,1\n")
    table = f"--table={tmp_path / 'cases.csv'}"
    status, text = _check(capsys, tmp_path, table, dataset="nifti")
    assert status == 1
    assert "the ids of LV and RV look swapped" in text


def test_one_image_in_two_files_is_seen_by_its_voxels(tmp_path, capsys):
    """Packed at another level, and stored as another type."""
    source = write_small_set(tmp_path / "in")
    for code, dtype in (("P1", np.int16), ("P2", np.float32)):
        images, _ = make_arrays(seed=0)
        save_nifti(tmp_path / "again.nii", images.astype(dtype))
        packed = gzip.compress((tmp_path / "again.nii").read_bytes(), 1)
        (source / code / f"{code}_sa.nii.gz").write_bytes(packed)
    status, text = _check(capsys, source)
    assert status == 1
    for phase in ("ED", "ES"):
        line = f"P0 {phase}, P1 {phase}, P2 {phase}: the same image, in test and train"
        assert line in text, text


@pytest.mark.parametrize("subjects", [("p1", "p1"), ("p1", "p2")])
def test_a_copy_of_a_label_file_is_seen_by_its_voxels(tmp_path, capsys, subjects):
    """A problem in one subject; of two it may be meant, as with simulated images."""
    images, labels = make_arrays()
    rows = ["image,label,subject,phase,vendor,centre"]
    for index, (name, subject) in enumerate(zip(("ED", "ES"), subjects, strict=True)):
        save_nifti(tmp_path / f"{name}.nii.gz", images[..., index])
        save_nifti(
            tmp_path / f"{name}_gt.nii", labels[..., 0].astype(("i2", "u1")[index])
        )
        rows.append(f"{name}.nii.gz,{name}_gt.nii,{subject},{name},A,1")
    table = tmp_path / "cases.csv"
    table.write_text("\n".join(rows))
    status, text = _check(capsys, tmp_path, f"--table={table}", dataset="nifti")
    line = f"{subjects[0]} ED, {subjects[1]} ES: the same labels, of different images; "
    if subjects[0] == subjects[1]:
        assert f"problem: {line}give each image its own" in text, text
        assert status == 1
    else:
        assert f"notice: {line}was a label file copied?" in text, text
        assert status == 0
    status, text = _check(capsys, write_small_set(tmp_path / "in"))
    assert "the same labels" not in text


def test_an_organ_that_no_file_shows_is_a_notice(tmp_path, capsys):
    """The schema may have more classes than a small set shows; but for the heart."""
    images, labels = make_arrays()
    save_nifti(tmp_path / "i.nii", images[..., 0])
    save_nifti(tmp_path / "l.nii", labels[..., 0])
    (tmp_path / "cases.csv").write_text(
        "image,label,subject,phase,vendor,centre\ni.nii,l.nii,p1,ED,A,1\n"
    )
    names = ["background", "LV", "MYO", "RV", "lung"]
    schema = tmp_path / "classes.json"
    schema.write_text(json.dumps({"name": "own", "class_names": names}))
    options = (f"--table={tmp_path / 'cases.csv'}", f"--schema={schema}")
    status, text = _check(capsys, tmp_path, *options, dataset="nifti")
    assert status == 0, text
    assert "notice: no label file shows lung; do the ids mean" in text


def test_a_class_that_no_file_shows(tmp_path, capsys):
    _, labels = make_arrays()
    write_subject(tmp_path, "P0", labels=np.where(labels == 3, 0, labels))
    write_table(tmp_path / "t.csv", {"P0": ("A", 1, 0, 1)})
    write_split(tmp_path / "split.csv", {"P0": "test"})
    status, text = _check(capsys, tmp_path)
    assert status == 1
    assert "no label file shows RV" in text
    assert "no subject is for training" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset=nifti", "--check"], "--dataset=nifti needs --table"),
        (["--dataset=mnms", "--check"], "--dataset=mnms needs --source"),
        (["--dataset=mnms", "--source=."], "--out=FOLDER is missing"),
        (["--dataset=mnms", "--source=.", "--schema=x.json"], "it is for --dataset=n"),
        (["--dataset=nifti", "--table=x.csv", "--schema=x.json"], "no such schema f"),
    ],
)
def test_options_that_do_not_fit(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        prepare_data.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_two_phases_of_one_image_are_two(tmp_path, capsys):
    """One file with two frames is not the same image twice."""
    images, labels = make_arrays()
    save_nifti(tmp_path / "P0" / "P0_sa.nii.gz", images)
    save_nifti(tmp_path / "P0" / "P0_sa_gt.nii.gz", labels)
    write_table(tmp_path / "t.csv", {"P0": ("A", 1, 0, 1)})
    _, text = _check(capsys, tmp_path)
    assert "the same image" not in text
