"""SIGKILL at any moment: the same command continues, and ends with the same numbers."""

import multiprocessing
import os
import pathlib
import random
import time

import jax
import numpy as np
import pytest

from cmrjax.training.checkpoint import restore_subtree
from cmrjax.training.checkpoint_folder import latest_checkpoint
from cmrjax.training.writers import read_metrics
from experiments import train_gan
from experiments.gan_data import open_gan_data
from experiments.gan_setup import make_trainer
from tests.experiments.tiny_run import tiny_config, tiny_data

CHECKPOINT_EVERY = 2
LONGEST_WAIT = 900.0  # seconds for a start, on a machine with much else to do


def _config(data: pathlib.Path, steps: int):
    config = tiny_config(data)
    config.training.num_steps = steps
    config.training.checkpoint_every = CHECKPOINT_EVERY
    config.training.keep_checkpoints = 2
    config.evaluation.every = 7
    return config


def _run(data: str, workdir: str, steps: int) -> None:
    """What each process does: the command, on the smallest network."""
    train_gan.run(_config(pathlib.Path(data), steps), workdir)


def _state(workdir: pathlib.Path, config) -> dict:
    checkpoint = latest_checkpoint(workdir / "checkpoints")
    assert checkpoint is not None
    shapes = make_trainer(config, open_gan_data(config).train).abstract_state()
    fields = ("g_variables", "d_variables", "g_average", "g_opt_state", "d_opt_state")
    wanted = {field: getattr(shapes, field) for field in fields}
    return {"name": checkpoint.name, **restore_subtree(checkpoint, wanted)}


def _steps_done(workdir: pathlib.Path) -> int:
    path = workdir / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return text.count('"g_loss"')


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


def _kill(process, workdir: pathlib.Path, when: str, rng: random.Random) -> None:
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
            time.sleep(rng.uniform(0.0, 6.0))
        else:  # rows beyond the checkpoint are taken off first
            wait(lambda: _changed(workdir) != before, 0.01)
            wait(lambda: _steps_done(workdir) >= target, 0.002)
        if when == "writing":
            wait(lambda: _is_writing(workdir), 0.0005)
            time.sleep(rng.uniform(0.0, 0.03))
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize(
    "kills", [3, pytest.param(30, marks=pytest.mark.slow)], ids=str
)
def test_killed_and_continued_equals_unbroken(kills, tmp_path):
    data = tiny_data(tmp_path / "prepared")
    # Each process is a fork of one that has imported everything and started nothing.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["experiments.train_gan", "tests.experiments.tiny_run"]
    )
    workdir, rng = tmp_path / "killed", random.Random(kills)
    steps = 5 * kills + 15
    moments = ["training", "writing", "starting"] * (kills // 3)
    rng.shuffle(moments)
    for when in moments:
        process = context.Process(target=_run, args=(str(data), str(workdir), steps))
        _kill(process, workdir, when, rng)
        assert process.exitcode == -9, f"ended by itself with {process.exitcode}"
        print(f"killed at step {_steps_done(workdir)} ({when})", flush=True)
    process = context.Process(target=_run, args=(str(data), str(workdir), steps))
    process.start()
    process.join()
    assert process.exitcode == 0
    config = _config(data, steps)
    train_gan.run(config, tmp_path / "unbroken")
    expected, found = _state(tmp_path / "unbroken", config), _state(workdir, config)
    assert found["name"] == str(steps)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert [p for p in os.listdir(workdir / "checkpoints") if "tmp" in p] == []
    rows = [
        {
            k: v
            for k, v in row.items()
            if k.startswith(("g_loss", "d_loss", "validation"))
        }
        for folder in (workdir, tmp_path / "unbroken")
        for row in read_metrics(folder / "metrics.jsonl")
    ]
    half = len(rows) // 2
    assert rows[:half] == rows[half:]
