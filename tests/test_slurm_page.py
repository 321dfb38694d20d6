"""The batch scripts of docs/slurm.md, run with stand-ins for srun and scontrol."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "slurm.md"
SCRIPTS = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
# As a training: it notes its start, and on USR1 it saves, which takes a while.
SRUN = """#!/bin/bash
trap 'sleep 0.3; echo saved > saved; exit ${STATUS:-0}' USR1
echo "$@" > started
[ -n "$SHORT" ] && exit "${STATUS:-0}"
while :; do sleep 0.05; done
"""
SCONTROL = """#!/bin/bash
echo "$@" > requeued
"""


@pytest.fixture(params=range(2), ids=["one node", "several nodes"])
def start(request, tmp_path):
    """Starts a script in tmp_path; what it started ends with the test."""
    processes = []
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"

    def run(**environ: str) -> subprocess.Popen:
        process = subprocess.Popen(
            ["bash", "-c", SCRIPTS[request.param]],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "SLURM_JOB_ID": "77", **environ},
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(path: pathlib.Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_there_are_two_scripts_that_ask_for_a_signal():
    assert len(SCRIPTS) == 2
    for script in SCRIPTS:
        assert "#SBATCH --signal=B:USR1@120" in script
        assert "#SBATCH --requeue" in script


def test_a_time_limit_saves_and_queues_the_job_again(start, tmp_path):
    process = start()
    _wait_for(tmp_path / "started")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "requeued").read_text() == "requeue 77\n"
    assert "python -m experiments.train_gan" in (tmp_path / "started").read_text()


@pytest.mark.parametrize("status", [0, 1])
def test_a_training_that_ends_by_itself_is_not_queued_again(start, tmp_path, status):
    process = start(SHORT="yes", STATUS=str(status))
    assert process.wait(timeout=60) == status
    assert not (tmp_path / "requeued").exists()


def test_a_training_that_could_not_save_is_not_queued_again(start, tmp_path):
    process = start(STATUS="1")
    _wait_for(tmp_path / "started")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 1
    assert not (tmp_path / "requeued").exists()
