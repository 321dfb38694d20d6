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


def _state(pid):
    """Parent and letter of a process as /proc tells them, (0, "Z") if it is gone."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0, "Z"
    letter, parent = stat.rpartition(")")[2].split()[:2]
    return int(parent), letter


def _is_running(pid):
    return _state(pid)[1] not in "ZX"


def _children(pid):
    found = [int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*")]
    return [child for child in found if _state(child)[0] == pid and _is_running(child)]


def _wait_for(condition, seconds=120.0):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    assert condition()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_simulate_stops_with_its_workers_and_keeps_what_is_whole(tmp_path, number):
    """Two workers are amid subjects, and many more are waiting."""
    out, asked = tmp_path / "o", 40
    command = [sys.executable, "-m", "experiments.simulate", f"--out={out}", "--quiet"]
    command += [f"--subjects={asked}", "--jobs=2", "--image-size=32", "--spacing=6"]
    with subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _wait_for(lambda: process.poll() is not None or any(out.glob("SIM*")))
            workers = _children(process.pid)
            process.send_signal(number)
            _, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert len(workers) >= 2, err
    _wait_for(lambda: not any(map(_is_running, workers)))
    made = list(out.glob("SIM*"))
    assert 0 < len(made) < asked / 2
    assert all(len(list(folder.iterdir())) == 3 for folder in made)
    if number == signal.SIGTERM:
        assert process.returncode == 130
        assert err == "interrupted: the same command continues\n"
        assert not list(out.glob(".*"))  # subjects that were not finished
