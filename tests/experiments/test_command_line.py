"""Commands end in one line, whether refused or stopped."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from experiments.command_line import refuse

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A shell lets what it starts in the background ignore Ctrl-C; here it counts.
PROGRAM = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from experiments.command_line import run_command
def main():
    try:
        print("ready", flush=True)
        time.sleep(600)
    finally:
        print("cleaned", flush=True)
run_command("tool", main)
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_command_in_one_line(number):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130
    assert out == "cleaned\n"
    assert err == "tool: interrupted; nothing was left half-written\n"


def test_a_refusal_is_one_line_of_status_2(capsys):
    with pytest.raises(SystemExit, match="2"):
        refuse("tool", ValueError("a.csv: row 3\n  is empty"))
    assert capsys.readouterr().err == "tool: error: a.csv: row 3 is empty\n"


def _children(pid):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def _wait_for(condition, seconds=120.0):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    assert condition()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_simulate(tmp_path, number):
    command = [sys.executable, "-m", "experiments.simulate", f"--out={tmp_path / 'o'}"]
    command += ["--subjects=9", "--jobs=2", "--image-size=192", "--quiet"]
    with subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    ) as process:
        # Two workers, and what looks after the resources of multiprocessing.
        _wait_for(lambda: len(_children(process.pid)) >= 3)
        time.sleep(1)
        workers = _children(process.pid)
        process.send_signal(number)
        try:
            _, err = process.communicate(timeout=120)
        finally:
            process.kill()
    _wait_for(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in workers))
    if number == signal.SIGTERM:
        assert process.returncode == 130
        assert "interrupted" in err
        assert "Traceback" not in err
