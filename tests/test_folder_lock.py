"""Only one process works in a folder."""

import errno
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from cmrjax import folder_lock
from cmrjax.folder_lock import LOCK_FILE, FolderInUseError, hold_folder

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAM = """
import sys, time
from cmrjax.folder_lock import hold_folder
with hold_folder(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def _holder(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    folder = tmp_path / "run"
    with _holder(folder) as process:
        expected = rf"--workdir=.*run is in use .*\(process {process.pid} on .*; wait"
        try:
            with (
                pytest.raises(FolderInUseError, match=expected),
                hold_folder(folder, option="--workdir="),
            ):
                pass
        finally:
            process.send_signal(signal.SIGKILL)
    assert (folder / LOCK_FILE).exists()
    with hold_folder(folder):
        pass


def test_it_is_held_once_in_a_process_and_free_afterwards(tmp_path):
    for _ in range(2):
        with hold_folder(tmp_path):
            with pytest.raises(FolderInUseError), hold_folder(tmp_path):
                pass
            assert (tmp_path / LOCK_FILE).exists()
        assert os.listdir(tmp_path) == []


def test_a_folder_in_which_nothing_was_written_goes_again(tmp_path):
    with hold_folder(tmp_path / "new" / "run"):
        pass
    assert os.listdir(tmp_path) == []
    with hold_folder(tmp_path / "new" / "run"):
        (tmp_path / "new" / "run" / "f").touch()
    assert os.listdir(tmp_path / "new" / "run") == ["f"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "f").touch()
    for path in (tmp_path / "f", tmp_path / "f" / "g"):
        with (
            pytest.raises(OSError, match=r"--workdir=.*is a file.*; give another"),
            hold_folder(path, option="--workdir="),
        ):
            pass


def test_without_locks_nobody_is_kept_out(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "fcntl", None)
    with hold_folder(tmp_path / "f"), hold_folder(tmp_path / "f"):
        pass
    assert os.listdir(tmp_path) == []


def test_on_a_file_system_without_locks_nothing_is_left(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(folder_lock.fcntl, "flock", refuse)
    with hold_folder(tmp_path / "f"), hold_folder(tmp_path / "f"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_run_in_a_folder_of_ones_own_below_another_persons(tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    mine.mkdir()
    monkeypatch.setattr(os, "access", lambda path, _: str(path) == str(mine))
    with hold_folder(mine):
        assert (mine / LOCK_FILE).exists()
