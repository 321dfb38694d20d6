"""SIGKILL at any moment: the same command continues, and ends with the same numbers."""

import multiprocessing
import os
import pathlib
import random
import time
from typing import Any

import jax
import numpy as np
import pytest

from cmrjax.training.checkpoint_folder import latest_checkpoint
from cmrjax.training.writers import read_metrics
from experiments import train_gan, train_segmentation
from tests.experiments import tiny_run, tiny_segmentation

LONGEST_WAIT = 900.0  # seconds for a start, on a machine with much else to do
TINY = {"gan": tiny_run, "segmentation": tiny_segmentation}
LOSSES = {"gan": ("g_loss", "d_loss"), "segmentation": ("loss", "grad_norm")}
STARTS = {"gan": 6.0, "segmentation": 2.0}  # seconds, less than to the first step


def _config(network: str, data: pathlib.Path, steps: int) -> Any:
    """The smallest network, with a checkpoint every second step or so."""
    if network == "segmentation":
        config = tiny_segmentation.tiny_config(data)
        config.training.steps_per_epoch = 2
        config.training.epochs = steps // 2
    else:
        config = tiny_run.tiny_config(data)
        config.training.num_steps = steps
        config.training.checkpoint_every = 2
        config.evaluation.every = 7
    config.training.keep_checkpoints = 2
    return config


def _run(network: str, data: pathlib.Path, workdir: pathlib.Path, steps: int) -> None:
    """What each process does: the command."""
    command = train_gan if network == "gan" else train_segmentation
    command.run(_config(network, data, steps), workdir)


def _rows(network: str, workdir: pathlib.Path) -> list[dict[str, Any]]:
    wanted = ("validation", *LOSSES[network])
    rows = read_metrics(workdir / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k.startswith(wanted)} for row in rows]


def _steps_done(network: str, workdir: pathlib.Path) -> int:
    path = workdir / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return text.count(f'"{LOSSES[network][0]}"')


def _is_writing(workdir: pathlib.Path) -> bool:
    """Whether a checkpoint is under its temporary name."""
    try:
        names = os.listdir(workdir / "checkpoints")
    except FileNotFoundError:
        return False
    return any("tmp" in name for name in names)


def _changed(workdir: pathlib.Path) -> int:
    """When the record of the steps was written last; 0 where there is none."""
    try:
        return (workdir / "metrics.jsonl").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _kill(
    process: Any, network: str, workdir: pathlib.Path, when: str, rng: random.Random
) -> None:
    """Starts the process and kills it: starting, at some step, or while it writes."""
    checkpoint = latest_checkpoint(workdir / "checkpoints")
    step = int(checkpoint.name) if checkpoint else 0
    target = step + rng.randint(1, 6) if when == "training" else step + 1
    before, deadline = _changed(workdir), time.monotonic() + LONGEST_WAIT

    def wait(until, seconds: float) -> None:
        while not until() and process.is_alive():
            assert time.monotonic() < deadline
            time.sleep(seconds)

    process.start()
    try:
        if when == "starting":
            time.sleep(rng.uniform(0.0, STARTS[network]))
        else:  # rows beyond the checkpoint are taken off first
            wait(lambda: _changed(workdir) != before, 0.01)
            wait(lambda: _steps_done(network, workdir) >= target, 0.002)
        if when == "writing":
            wait(lambda: _is_writing(workdir), 0.0005)
            time.sleep(rng.uniform(0.0, 0.03))
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize(
    ("network", "kills"),
    [
        ("segmentation", 3),
        pytest.param("segmentation", 30, marks=pytest.mark.slow),
        pytest.param("gan", 30, marks=pytest.mark.slow),
    ],
)
def test_killed_and_continued_equals_unbroken(network, kills, tmp_path):
    tiny = TINY[network]
    data = tiny.tiny_data(tmp_path / "prepared")
    # Each process is a fork of one that has imported everything and started nothing.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module.__name__ for module in TINY.values()])
    workdir, rng = tmp_path / "killed", random.Random(kills)
    steps = 4 * kills + 20  # a kill comes two to seven steps after the one before, or 0
    arguments = (network, data, workdir, steps)
    moments = ["training", "writing", "starting"] * (kills // 3)
    rng.shuffle(moments)
    for when in moments:
        process = context.Process(target=_run, args=arguments)
        _kill(process, network, workdir, when, rng)
        assert process.exitcode == -9, f"ended by itself with {process.exitcode}"
        print(f"killed at step {_steps_done(network, workdir)} ({when})", flush=True)
    process = context.Process(target=_run, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0
    _run(network, data, tmp_path / "unbroken", steps)
    config = _config(network, data, steps)
    found, expected = (
        tiny.saved_state(tmp_path / name, config) for name in ("killed", "unbroken")
    )
    assert found[0] == steps
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert [p for p in os.listdir(workdir / "checkpoints") if "tmp" in p] == []
    rows = _rows(network, workdir)
    assert len(rows) > steps
    assert rows == _rows(network, tmp_path / "unbroken")
