"""The command from end to end, with a network that needs no training."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cmrjax.data.preconvert import plan_preparation
from cmrjax.data.prepared import PreparedDataset
from cmrjax.data.subject import Recipe
from cmrjax.files import read_json
from cmrjax.folder_lock import hold_folder
from cmrjax.labels import CAVITY, MULTI_TISSUE, SOURCE_LABELS
from experiments import label_real, prepare_data
from experiments.gan_data import open_gan_data
from experiments.labelling_run import LabellingRun, work_folder
from tests.data.mnms_tree import (
    write_small_set,
    write_split,
    write_subject,
    write_table,
)
from tests.experiments.tiny_run import tiny_config
from tests.segmentation.fake_segmenter import FakeSegmenter

ROOT = Path(__file__).parents[2]


@pytest.fixture
def network(monkeypatch):
    network = FakeSegmenter()
    monkeypatch.setattr(label_real, "load_model", lambda folder: network)
    return network


def _main(source, out, *more):
    arguments = ["--model=runs/net", "--dataset=mnms", f"--source={source}"]
    return label_real.main([*arguments, f"--out={out}", "--image-size=32", *more])


def test_all_well(tmp_path, capsys, network):
    source, out = write_small_set(tmp_path / "in put"), tmp_path / "out"
    assert _main(source, out) == 0
    streams = capsys.readouterr()
    assert "held-out subjects, mid-ventricular slices: Dice LV 0.750" in streams.out
    assert streams.out.endswith(f"problems: 0\nwritten: {out}\n")
    assert "3/3" in streams.err
    assert sorted(os.listdir(tmp_path)) == ["in put", "out"]
    assert sorted(os.listdir(out)) == [
        "images.npy",
        "labelling.csv",
        "labels.npy",
        "manifest.json",
        "montages",
        "nifti",
        "report.html",
        "summary.json",
    ]
    assert sorted(os.listdir(out / "montages")) == ["P0.png", "P1.png", "P2.png"]
    data = PreparedDataset.open(out, verify="full")
    assert data.schema == MULTI_TISSUE
    assert len(data) == 18
    data.validate_labels()
    config = data.manifest["provenance"]["config"]
    assert config["model_fingerprint"] == network.fingerprint
    assert config["expert"] == "labels"
    summary = read_json(out / "summary.json")
    assert summary["slices_kept"] == 18
    table = (out / "labelling.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 1 + 3 * 2 * 4


def test_an_out_below_a_file_is_one_line(tmp_path, capsys, network):
    source = write_small_set(tmp_path / "in", count=1)
    (tmp_path / "f").touch()
    for out in (tmp_path / "f", tmp_path / "f" / "new"):
        with pytest.raises(SystemExit, match="2"):
            _main(source, out)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"label_real: error: --out={out}")
    assert sorted(os.listdir(tmp_path)) == ["f", "in"]


def test_two_at_once_do_not_share_a_work_folder(tmp_path, capsys, network):
    source, out = write_small_set(tmp_path / "in", count=1), tmp_path / "out"
    with hold_folder(work_folder(out)), pytest.raises(SystemExit, match="2"):
        _main(source, out)
    assert ".out.labelling is in use by another process" in capsys.readouterr().err
    assert _main(source, out) == 0
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]


def test_the_heart_is_that_of_prepare_data(tmp_path, network):
    """Merged to the heart's classes the arrays are those of the cavity labels."""
    source = write_small_set(tmp_path / "in", count=2)
    assert _main(source, tmp_path / "multi", "--spacing=1.1") == 0
    options = ["--dataset=mnms", f"--source={source}", f"--out={tmp_path / 'cavity'}"]
    assert prepare_data.main([*options, "--image-size=32", "--spacing=1.1"]) == 0
    multi = PreparedDataset.open(tmp_path / "multi")
    cavity = PreparedDataset.open(tmp_path / "cavity")
    assert multi.slices == cavity.slices
    np.testing.assert_array_equal(multi.images, cavity.images)
    np.testing.assert_array_equal(
        multi.schema.merge(multi.labels, CAVITY), cavity.labels
    )


def test_a_gan_can_be_trained_on_the_result(tmp_path, network):
    source = write_small_set(tmp_path / "in")
    assert _main(source, tmp_path / "out") == 0
    config = tiny_config(tmp_path / "out")
    config.data.schema = "multi_tissue"
    config.data.train_groups, config.data.validation_groups = ("A1",), ()
    data = open_gan_data(config)
    assert data.train.schema == MULTI_TISSUE
    assert {info.subject for info in data.train.slices} == {"P0", "P1"}


def test_nifti_labels_fit_the_files_and_can_be_prepared_again(tmp_path, network):
    """The folder beside the images is a source for prepare_data --dataset=simulated."""
    source = write_small_set(tmp_path / "in", count=1)
    assert _main(source, tmp_path / "out") == 0
    path = tmp_path / "out" / "nifti" / "P0" / "P0_sa_gt.nii.gz"
    image, labels = nib.load(source / "P0" / "P0_sa.nii.gz"), nib.load(path)
    assert isinstance(image, nib.Nifti1Image)
    assert isinstance(labels, nib.Nifti1Image)
    assert labels.shape == image.shape
    np.testing.assert_allclose(np.asarray(labels.affine), np.asarray(image.affine))
    path.replace(source / "P0" / "P0_sa_gt.nii.gz")
    options = ["--dataset=simulated", f"--source={source}", "--image-size=32"]
    assert prepare_data.main([*options, f"--out={tmp_path / 'again'}"]) == 0
    first = PreparedDataset.open(tmp_path / "out")
    again = PreparedDataset.open(tmp_path / "again")
    np.testing.assert_array_equal(first.labels, again.labels)


def test_pieces_are_kept_on_demand(tmp_path, network):
    source = write_small_set(tmp_path / "in", count=1)
    found = {}
    for name, options in (("tidy", []), ("as_is", ["--keep-pieces"])):
        assert _main(source, tmp_path / name, *options) == 0
        data = PreparedDataset.open(tmp_path / name)
        assert data.manifest["provenance"]["config"]["tidy"] == (name == "tidy")
        found[name] = np.asarray(data.labels)
    assert not np.array_equal(found["tidy"], found["as_is"])


def test_without_expert_and_without_label_files(tmp_path, capsys, network):
    source = write_small_set(tmp_path / "in")
    (source / "P0" / "P0_sa_gt.nii.gz").unlink()
    write_subject(source, "P1", labels=np.zeros((24, 20, 4, 2), np.uint8))
    assert _main(source, tmp_path / "out", "--expert=none") == 0
    data = PreparedDataset.open(tmp_path / "out")
    assert {s.subject for s in data.slices} == {"P0", "P1", "P2"}
    assert {s.slice for s in data.slices} == {0, 1, 2}
    assert data.volumes[0]["label_file"] is None
    data.validate_labels()
    assert "Dice" not in capsys.readouterr().out
    assert read_json(tmp_path / "out" / "summary.json")["dice"] == []


def test_with_expert_those_without_labels_are_skipped(tmp_path, capsys, network):
    source = write_small_set(tmp_path / "in", count=1)
    write_subject(source, "P8", labels=np.zeros((24, 20, 4, 2), np.uint8))
    write_table(source / "info.csv", {c: ("A", 1, 0, 1) for c in ("P0", "P8")})
    assert _main(source, tmp_path / "out") == 0
    assert "skipped, no labels: 1 subjects" in capsys.readouterr().out


def test_some_unusable_is_status_1_and_the_rest_is_written(tmp_path, capsys, network):
    source = write_small_set(tmp_path / "in")
    bad = source / "P1" / "P1_sa.nii.gz"
    bad.write_bytes(b"")
    assert _main(source, tmp_path / "out") == 1
    line = f"{bad}: file is empty (0 bytes); fetch it again"
    assert f"problem: {line}" in capsys.readouterr().err
    assert read_json(tmp_path / "out" / "summary.json")["problems"] == [line]
    data = PreparedDataset.open(tmp_path / "out")
    assert {s.subject for s in data.slices} == {"P0", "P2"}


def test_nothing_usable_is_status_1_and_leaves_nothing(tmp_path, capsys, network):
    source = write_small_set(tmp_path / "in", count=1)
    (source / "P0" / "P0_sa.nii.gz").write_bytes(b"")
    assert _main(source, tmp_path / "out") == 1
    assert "error: " in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["in"]


def test_an_interrupted_command_continues(tmp_path, capsys, network, monkeypatch):
    source, out = write_small_set(tmp_path / "in"), tmp_path / "out"
    assert _main(source, tmp_path / "straight") == 0
    whole, network.calls = network.probabilities, 0

    def interrupted(volume, grid):
        if network.calls == 3:  # in the second subject
            raise KeyboardInterrupt
        return whole(volume, grid)

    monkeypatch.setattr(network, "probabilities", interrupted)
    assert _main(source, out) == 130
    message = capsys.readouterr().err
    assert "interrupted: 1 subjects are kept in" in message
    assert "the same command continues" in message
    assert sorted(os.listdir(tmp_path)) == [".out.labelling", "in", "straight"]
    monkeypatch.undo()
    monkeypatch.setattr(label_real, "load_model", lambda folder: network)
    network.calls = 0
    assert _main(source, out) == 0
    assert network.calls == 4  # two subjects, ED and ES
    assert sorted(os.listdir(tmp_path)) == ["in", "out", "straight"]
    one, other = (PreparedDataset.open(p) for p in (tmp_path / "straight", out))
    assert one.fingerprint == other.fingerprint
    for name in ("labelling.csv", "summary.json", "montages/P0.png"):
        assert (out / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def test_another_network_does_not_continue(tmp_path, capsys, network, monkeypatch):
    source, out = write_small_set(tmp_path / "in"), tmp_path / "out"

    def interrupted(volume, grid):
        raise KeyboardInterrupt

    monkeypatch.setattr(network, "probabilities", interrupted)
    assert _main(source, out) == 130
    network.fingerprint = "e" * 64
    with pytest.raises(SystemExit, match="2"):
        _main(source, out)
    errors = capsys.readouterr().err
    assert "holds a labelling that was started differently: model_fing" in errors
    assert "remove that folder" in errors


def test_other_ids_of_labels_do_not_continue(tmp_path, network):
    source = write_small_set(tmp_path / "in")
    plan = plan_preparation("mnms", source, tmp_path / "out")
    recipe = Recipe(schema=MULTI_TISSUE, image_size=(32, 32))
    LabellingRun(plan, recipe, network, "labels")
    LabellingRun(plan, recipe, network, "labels")
    swapped = dataclasses.replace(recipe, label_ids=SOURCE_LABELS["acdc"])
    with pytest.raises(ValueError, match="started differently: label_ids was"):
        LabellingRun(plan, swapped, network, "labels")


def test_choice_of_groups_and_subjects(tmp_path, capsys, network):
    source = write_small_set(tmp_path / "in", count=4)
    rows = {f"P{k}": ("A", 1, 0, 1) for k in range(3)} | {"P3": ("B", 2, 0, 1)}
    write_table(source / "info.csv", rows)
    write_split(source / "split.csv", dict.fromkeys(rows, "train"))
    chosen = ("--groups=A1", "--subjects=P1,P2,P3")
    assert _main(source, tmp_path / "out", *chosen) == 0
    data = PreparedDataset.open(tmp_path / "out")
    assert {s.subject for s in data.slices} == {"P1", "P2"}
    for options, text in (
        (("--groups=A1,C9",), "has no C9; it has A1, B2"),
        (("--subjects=P7",), "has no P7; it has P0, P1, P2, P3"),
        (("--groups=B2", "--subjects=P0"), "no subject is in both choices"),
    ):
        with pytest.raises(SystemExit, match="2"):
            _main(source, tmp_path / "other", *options)
        assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--expert=mine",), "invalid choice"),
        (("--transform=zscore",), "use percentile or clip4000"),
        (("--all-slices",), "slices without heart are not labelled"),
        (("--spacing=0",), "expected 0.05 to 20 mm"),
        (("--source=nowhere",), "nowhere: no such folder"),
    ],
)
def test_usage_is_status_2(tmp_path, capsys, network, options, text):
    source = write_small_set(tmp_path / "in", count=1)
    with pytest.raises(SystemExit, match="2"):
        _main(source, tmp_path / "out", *options)
    assert text in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["in"]


def test_a_network_of_other_classes_is_refused(tmp_path, capsys, network):
    network.schema = CAVITY
    with pytest.raises(SystemExit, match="2"):
        _main(write_small_set(tmp_path / "in", count=1), tmp_path / "out")
    assert "classes are those of schema 'cavity'" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["in"]


def test_existing_out_is_replaced_only_when_told(tmp_path, capsys, network):
    source, out = write_small_set(tmp_path / "in", count=1), tmp_path / "out"
    assert _main(source, out) == 0
    with pytest.raises(SystemExit, match="2"):
        _main(source, out)
    assert "replace it with --overwrite" in capsys.readouterr().err
    network.shift = 2
    assert _main(source, out, "--overwrite") == 0
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit, match="0"):
        label_real.main(["--help"])
    text = capsys.readouterr().out
    assert text.startswith("usage: python -m experiments.label_real")
    for option in (
        "--model",
        "--source",
        "--out",
        "--expert",
        "--groups",
        "--subjects",
    ):
        assert option in text


def test_a_signal_keeps_what_is_done(tmp_path):
    """SIGTERM while the second subject is labelled: the first one stays."""
    source = write_small_set(tmp_path / "in")
    options = ["--model=x", "--dataset=mnms", f"--source={source}", "--image-size=32"]
    options.append(f"--out={tmp_path / 'out'}")
    program = (
        "import signal, sys, time\n"
        "from experiments import label_real\n"
        "from tests.segmentation.fake_segmenter import FakeSegmenter\n"
        "class Endless(FakeSegmenter):\n"
        "    def probabilities(self, volume, grid):\n"
        "        time.sleep(600 if self.calls == 2 else 0)  # after ED and ES of P0\n"
        "        return super().probabilities(volume, grid)\n"
        "label_real.load_model = lambda folder: Endless()\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        f"sys.exit(label_real.main({options!r}))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    work = work_folder(tmp_path / "out")
    try:
        until = time.monotonic() + 60
        while not (work / "subjects" / "P0").is_dir():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "interrupted: 1 subjects are kept" in errors
    assert sorted(os.listdir(tmp_path)) == [".out.labelling", "in"]


@pytest.mark.development_data
def test_real_subjects(tmp_path, development_data, network):
    """Three uncropped subjects: true spacing, oblique affines, a view beyond 256."""
    source = development_data / "data" / "mnms_native_spacing"
    out = tmp_path / "out"
    assert _main(source, out, "--image-size=256") == 0
    data = PreparedDataset.open(out)
    data.validate_labels()
    for folder in source.glob("*/"):
        expert = nib.load(folder / f"{folder.name}_sa_gt.nii.gz")
        final = nib.load(out / "nifti" / folder.name / f"{folder.name}_sa_gt.nii.gz")
        assert isinstance(expert, nib.Nifti1Image)
        assert isinstance(final, nib.Nifti1Image)
        values = np.asanyarray(final.dataobj)
        heart = np.where(values <= 3, values, 0)
        np.testing.assert_array_equal(heart, np.asanyarray(expert.dataobj))
        np.testing.assert_allclose(
            np.asarray(final.affine), np.asarray(expert.affine), atol=1e-4
        )
