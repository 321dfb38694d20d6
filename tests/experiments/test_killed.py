"""SIGKILL at any moment: the same command continues, and ends with the same numbers."""

import multiprocessing
import os
import pathlib
import random
import time

import jax
import numpy as np
import pytest

from cmrjax.training.checkpoint import latest_checkpoint, restore_subtree
from cmrjax.training.writers import read_metrics
from experiments import train_gan
from experiments.gan_data import open_gan_data
from experiments.gan_setup import make_trainer
from tests.experiments.tiny_run import tiny_config, tiny_data

CHECKPOINT_EVERY = 2
LONGEST_WAIT = 120.0  # seconds for a start


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


def _kill_at_a_moment(process, workdir: pathlib.Path, rng: random.Random) -> str:
    """Waits for steps, or for a checkpoint being written, and kills."""
    before, deadline = _steps_done(workdir), time.monotonic() + LONGEST_WAIT
    while _steps_done(workdir) == before and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    while_writing = rng.random() < 0.5
    if while_writing:
        while not _is_writing(workdir) and process.is_alive():
            time.sleep(0.0005)
        time.sleep(rng.uniform(0.0, 0.03))
    else:
        time.sleep(rng.uniform(0.0, 0.6))
    process.kill()
    process.join()
    return "writing" if while_writing else "any"


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
    steps, left = 12 * kills + 20, kills
    while left:
        process = context.Process(target=_run, args=(str(data), str(workdir), steps))
        process.start()
        when = _kill_at_a_moment(process, workdir, rng)
        assert process.exitcode == -9, f"ended by itself with {process.exitcode}"
        left -= 1
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
