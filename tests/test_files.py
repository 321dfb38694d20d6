"""Atomic writing, hashes, provenance."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import cmrjax
from cmrjax import files
from cmrjax.output_folder import holds_only


def test_write_json_and_read_json(tmp_path):
    path = tmp_path / "new" / "a.json"
    files.write_json(path, {"a": np.float32(0.5), "b": np.arange(2), "p": Path("x")})
    assert files.read_json(path) == {"a": 0.5, "b": [0, 1], "p": "x"}
    assert os.listdir(path.parent) == ["a.json"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_json(path, [1])
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, [float("nan")])
    with pytest.raises(TypeError, match="object has no JSON form"):
        files.write_json(path, [object()])

    def fail(*_):
        raise OSError("disk")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk"):
        files.write_json(path, [2])
    assert files.read_json(path) == [1]
    assert os.listdir(tmp_path) == ["a.json"]


def test_read_json_names_the_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"a\.json: not a JSON file"):
        files.read_json(path)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_read_json_has_finite_numbers_alone(tmp_path, number):
    path = tmp_path / "a.json"
    path.write_text(f'{{"a": [{number}]}}')
    with pytest.raises(
        ValueError, match=rf"a\.json: .*{number} is not a finite number"
    ):
        files.read_json(path)


def test_read_json_has_text_that_can_be_printed(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(r'{"a": "\ud83d\ude00"}')
    assert files.read_json(path) == {"a": "\N{GRINNING FACE}"}
    path.write_text(r'{"a": ["\uD800"]}')
    with pytest.raises(
        ValueError, match=r"a\.json: not a JSON file \(.*surrogates"
    ) as e:
        files.read_json(path)
    assert str(e.value).isprintable()


def test_content_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda h: (done.append("sync"), sync(h)))
    monkeypatch.setattr(os, "replace", lambda *a: (done.append("name"), rename(*a)))
    files.write_bytes(tmp_path / "a", b"x")
    assert done == ["sync", "name"]


def test_atomic_directory_appears_at_the_end(tmp_path):
    out = tmp_path / "out"
    with files.atomic_directory(out) as folder:
        (folder / "f").write_text("x")
        assert not out.exists()
    assert (out / "f").read_text() == "x"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_atomic_directory_keeps_the_old_one_on_failure(tmp_path, error):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch()

    def interrupted():
        with files.atomic_directory(out, overwrite=True) as folder:
            (folder / "f").touch()
            raise error

    with pytest.raises(error):
        interrupted()
    assert os.listdir(out) == ["old"]
    assert os.listdir(tmp_path) == ["out"]


def test_atomic_directory_replaces_only_when_told(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch()
    with pytest.raises(FileExistsError, match="exists already"):
        files.atomic_directory(out).__enter__()
    with files.atomic_directory(out, overwrite=True) as folder:
        (folder / "new").touch()
    assert os.listdir(out) == ["new"]
    assert os.listdir(tmp_path) == ["out"]


def test_atomic_directory_replaces_only_what_is_ours(tmp_path):
    ours = holds_only("marker")
    out = tmp_path / "out"
    with files.atomic_directory(out, overwrite=True, ours=ours) as folder:
        (folder / "marker").touch()
    with files.atomic_directory(out, overwrite=True, ours=ours) as folder:
        (folder / "marker").write_text("second")
    (out / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match="something else"):
        files.atomic_directory(out, overwrite=True, ours=ours).__enter__()
    assert sorted(os.listdir(out)) == ["marker", "thesis.txt"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="is a file"):
        files.atomic_directory(tmp_path / "file", overwrite=True).__enter__()
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_atomic_directory_keeps_what_appears_while_it_works(tmp_path, kind):
    out = tmp_path / "out"
    kept = out / "other" if kind == "folder" else out

    def work():
        with files.atomic_directory(out):
            out.mkdir() if kind == "folder" else None
            kept.write_text("of another process")

    with pytest.raises(FileExistsError):
        work()
    assert kept.read_text() == "of another process"
    assert os.listdir(tmp_path) == ["out"]


def test_atomic_directory_follows_a_link(tmp_path):
    disk, link = tmp_path / "disk", tmp_path / "out"
    disk.mkdir()
    link.symlink_to(disk)
    with files.atomic_directory(link, overwrite=True) as folder:
        (folder / "new").touch()
    assert link.is_symlink()
    assert os.listdir(disk) == ["new"]


def _dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def _left_behind(template, pid, *, age, suffix=""):
    """A temporary sibling as a killed process leaves it."""
    own = f"-{os.getpid()}-"
    assert own in template.name
    name = template.name.replace(own, f"-{pid}-") + f"{age}{suffix}"
    stale = template.with_name(name)
    stale.mkdir()
    (stale / "f").touch()
    os.utime(stale, (time.time() - age,) * 2)
    return stale


def test_atomic_directory_removes_what_dead_processes_left(tmp_path):
    out, dead = tmp_path / "out", _dead_pid()
    with files.atomic_directory(out) as template:
        pass
    with files.atomic_directory(tmp_path / "other") as other_template:
        pass
    foreign = tmp_path / f".out.partial-00000000-{dead}-abc"  # another machine's
    foreign.mkdir()
    os.utime(foreign, (0, 0))
    kept = [
        foreign,
        _left_behind(template, dead, age=5),
        _left_behind(template, os.getppid(), age=3600),
        _left_behind(other_template, dead, age=3600),
    ]
    stale = [_left_behind(template, dead, age=3600, suffix=s) for s in ("", ".old")]
    with files.atomic_directory(out, overwrite=True):
        assert not any(path.exists() for path in stale)
    assert all(path.is_dir() for path in kept)
    assert out.is_dir()


def test_atomic_directory_keeps_the_only_copies(tmp_path):
    """Killed between the two renames: the old folder and the new one lie aside."""
    out, dead = tmp_path / "out", _dead_pid()
    with files.atomic_directory(out) as template:
        pass
    kept = [_left_behind(template, dead, age=3600, suffix=s) for s in ("", ".old")]
    out.rmdir()
    with files.atomic_directory(out):
        assert all(path.exists() for path in kept)


def test_hashes(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"abc" * 1_000_000)
    assert files.sha256_file(path) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
    assert files.sha256_json({"b": 1, "a": [2]}) == files.sha256_json(
        {"a": (2,), "b": np.int64(1)}
    )


def test_provenance_is_json_and_names_the_inputs(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("x")
    record = files.provenance(inputs={"table": path}, config={"n": 1}, command=["run"])
    assert json.loads(json.dumps(record)) == record
    assert record["inputs"]["table"]["sha256"] == hashlib.sha256(b"x").hexdigest()
    assert record["command"] == ["run"]
    assert record["config"] == {"n": 1}
    assert record["code"]["package"] == cmrjax.__version__
