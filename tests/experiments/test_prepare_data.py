"""The command: exit status, output, refusals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cmrjax.data.prepared import PreparedDataset
from experiments import prepare_data
from tests.data.mnms_tree import write_small_set, write_subject

ROOT = Path(__file__).parents[2]


def _main(source, out, *more):
    arguments = ["--dataset=mnms", f"--source={source}", f"--out={out}", *more]
    return prepare_data.main([*arguments, "--image-size=32"])


def test_all_well(tmp_path, capsys):
    source = write_small_set(tmp_path / "in put")
    options = ("--nominal-spacing", "--nominal-spacing-except=P0,P1")
    assert _main(source, tmp_path / "out", *options) == 0
    streams = capsys.readouterr()
    assert "A1      train" in streams.out
    assert streams.out.endswith(f"problems: 0\nwritten: {tmp_path / 'out'}\n")
    assert "3/3" in streams.err  # the progress bar
    data = PreparedDataset.open(tmp_path / "out")
    assert [v["nominal_spacing"] for v in data.volumes] == [False] * 4 + [True] * 2


def test_a_check_works_from_within_the_data(tmp_path, capsys, monkeypatch):
    """Nothing is written, so nothing can be in the way of what is written."""
    source = write_small_set(tmp_path / "source")
    before = sorted(source.rglob("*"))
    monkeypatch.chdir(source)
    monkeypatch.setattr(os, "access", lambda *_: False)  # a read-only disk
    arguments = ["--dataset=mnms", "--source=.", "--check", "--image-size=32"]
    assert prepare_data.main(arguments) == 0
    assert "0 problems" in capsys.readouterr().out
    assert sorted(source.rglob("*")) == before


def test_some_unusable_is_status_1_and_the_rest_is_written(tmp_path, capsys):
    source = write_small_set(tmp_path / "in")
    (source / "P1" / "P1_sa.nii.gz").write_bytes(b"")
    assert _main(source, tmp_path / "out", "--transform=clip4000") == 1
    streams = capsys.readouterr()
    line = f"problem: {source}/P1/P1_sa.nii.gz: file is empty (0 bytes); fetch it again"
    assert line in streams.err
    assert "problems: 1" in streams.out
    data = PreparedDataset.open(tmp_path / "out")
    assert data.transform.name == "clip4000"
    assert {s.subject for s in data.slices} == {"P0", "P2"}


def test_for_the_segmentation_network_all_slices_are_kept_as_z_scores(tmp_path):
    source = write_small_set(tmp_path / "in")
    assert _main(source, tmp_path / "heart", "--transform=zscore") == 0
    options = ("--transform=zscore", "--spacing=1.25", "--all-slices")
    assert _main(source, tmp_path / "all", *options) == 0
    heart, every = (PreparedDataset.open(tmp_path / n) for n in ("heart", "all"))
    assert every.transform.name == "zscore"
    assert every.spacing == (1.25, 1.25)
    assert {s.slice for s in heart.slices} == {1, 2, 3}
    assert {s.slice for s in every.slices} == {0, 1, 2, 3}
    assert len(every) == 3 * 2 * 4
    settings = every.manifest["provenance"]["config"]
    assert settings["all_slices"] is True
    assert np.asarray(every.images).min() < -1.5  # not clipped to [-1, 1]


def test_background_only_of_a_listed_subject_is_status_1(tmp_path, capsys):
    source = write_small_set(tmp_path / "in")
    write_subject(source, "P1", labels=np.zeros((24, 20, 4, 2), np.uint8))
    assert _main(source, tmp_path / "out") == 1
    streams = capsys.readouterr()
    assert "P1_sa_gt.nii.gz: holds background only" in streams.err
    assert "problems: 1" in streams.out


def test_nothing_usable_is_status_1_and_writes_nothing(tmp_path, capsys):
    source = write_small_set(tmp_path / "in", count=1)
    (source / "P0" / "P0_sa.nii.gz").write_bytes(b"")
    assert _main(source, tmp_path / "out") == 1
    assert "error: " in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ((), "holds no subject folder"),
        (("--nominal-spacing-except=P0",), "needs --nominal-spacing"),
        (("--spacing=0",), "--spacing=0: expected 0.05 to 20 mm"),
        (("--spacing=1e9",), "--spacing=1e+09: expected 0.05 to 20 mm"),
        (("--spacing=1e-6",), "--spacing=1e-06: expected 0.05 to 20 mm"),
        (("--spacing=inf",), "--spacing=inf: expected"),
        (("--spacing=nan",), "--spacing=nan: expected"),
        (("--transform=x",), "invalid choice"),
    ],
)
def test_usage_is_status_2(tmp_path, capsys, options, text):
    with pytest.raises(SystemExit) as caught:
        _main(tmp_path, tmp_path / "out", *options)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert text in said
    if "invalid choice" not in said:  # not an error of the option's form: no usage
        assert said.startswith("prepare_data: error: ")
        assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "--image-size=0: expected 1 to 4096 pixels"),
        (1_000_000, "--image-size=1000000: expected 1 to 4096 pixels"),
        (2000, "--image-size=2000 --spacing=1.33: are 2660 mm, expected at most 2500"),
    ],
)
def test_a_size_that_would_fill_the_memory(capsys, size, text):
    with pytest.raises(SystemExit, match="2"):
        prepare_data.main(["--dataset=mnms", f"--image-size={size}", "--source=x"])
    assert text in capsys.readouterr().err


def test_missing_source_and_existing_out(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        _main(tmp_path / "no", tmp_path / "out")
    assert "no: no such folder" in capsys.readouterr().err
    source = write_small_set(tmp_path / "in", count=1)
    with pytest.raises(SystemExit, match="2"):
        _main(source, tmp_path)
    assert "overlap" in capsys.readouterr().err
    (tmp_path / "there").mkdir()
    with pytest.raises(SystemExit, match="2"):
        _main(source, tmp_path / "there")
    assert "exists already" in capsys.readouterr().err


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit, match="0"):
        prepare_data.main(["--help"])
    text = capsys.readouterr().out
    for option in ("--dataset", "--source", "--out", "--split", "--nominal-spacing"):
        assert option in text
    for option in ("--transform", "--all-slices"):
        assert option in text


def test_a_signal_cleans_up(tmp_path):
    """SIGTERM while a subject is read: no output, no temporary folder."""
    source = write_small_set(tmp_path / "in")
    endless = source / "P1" / "P1_sa.nii.gz"
    endless.unlink()
    os.mkfifo(endless)  # reading it waits for ever
    command = [sys.executable, "-m", "experiments.prepare_data", "--dataset=mnms"]
    command += [f"--source={source}", f"--out={tmp_path / 'out'}", "--image-size=32"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 60
        while not list(tmp_path.glob(".out.partial-*/images.npy")):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert os.listdir(tmp_path) == ["in"]
