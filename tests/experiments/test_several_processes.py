"""The training commands in two processes, and a run that changes its devices."""

import dataclasses
import pathlib
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import pytest

from cmrjax.training.checkpoint import restore_subtree
from cmrjax.training.checkpoint_folder import latest_checkpoint
from cmrjax.training.writers import read_metrics
from experiments import train_gan, train_segmentation
from experiments.gan_data import open_gan_data
from experiments.gan_setup import make_trainer
from experiments.segmentation_data import open_segmentation_data
from tests.experiments import tiny_run, tiny_segmentation
from tests.experiments.several_processes import LONGEST, ended, ended_early, started
from tests.models.numpy_layers import relative_error

BATCH = 8
NETWORKS = {"variables", "g_variables", "d_variables", "g_average"}  # of the states
RATES = ("seconds_per_step", "images_per_second", "input_wait_share", "train_seconds")
CONFIGURATION = """\
import pathlib

from tests.experiments.test_several_processes import {function}


def get_config():
    return {function}(pathlib.Path({data!r}))
"""


def gan_config(data: pathlib.Path) -> Any:
    """Eight images a step; one generator pass compiles sooner.

    Adam without a first moment moves each weight by its rate, whichever way float32's
    noise points where a gradient is nearly zero; small rates keep that noise small.
    """
    config = tiny_run.tiny_config(data)
    config.optimizer.g_learning_rate = 1e-6
    config.optimizer.d_learning_rate = 4e-6
    config.training.batch_size = BATCH
    config.training.checkpoint_every = 10**6
    config.optimizer.generator_passes = 1
    config.evaluation.every = 10
    return config


def segmentation_config(data: pathlib.Path) -> Any:
    """Eight images a step, epochs of ten steps; the rate follows the loss slowly.

    Images are not deformed: where rounding moves a point over the middle between two
    pixels it gets another label, and the step is another one.
    """
    config = tiny_segmentation.tiny_config(data)
    config.augmentation.rotation = config.augmentation.shift = 0.0
    config.augmentation.smallest_scale = config.augmentation.largest_scale = 1.0
    config.training.batch_size = BATCH
    config.training.steps_per_epoch = 10
    config.optimizer.learning_rate = 1e-3
    config.optimizer.patience = 10**6
    return config


@dataclasses.dataclass(frozen=True)
class Command:
    """A training command on tiny data.

    Attributes:
      module: what is run.
      config: makes its configuration.
      data: makes its data.
      shapes: (config, data) -> abstract state.
      length: option that says how long it trains.
      steps: that one of these makes.
      networks: fields of the state that hold one.
    """

    module: Any
    config: Callable[[pathlib.Path], Any]
    data: Callable[[pathlib.Path], pathlib.Path]
    shapes: Callable[[Any], Any]
    length: str
    steps: int
    networks: set[str]

    def arguments(self, data: pathlib.Path, workdir: pathlib.Path) -> list[str]:
        file = data.parent / "config.py"
        function = self.config.__name__
        file.write_text(CONFIGURATION.format(function=function, data=str(data)))
        name = self.module.__name__
        return ["-m", name, f"--config={file}", f"--workdir={workdir}"]

    def until(self, count: int) -> str:
        return f"--config.training.{self.length}={count}"

    def run(self, data: pathlib.Path, workdir: pathlib.Path, count: int) -> Any:
        config = self.config(data)
        config.training[self.length] = count
        return self.module.run(config, workdir)

    def state(self, data: pathlib.Path, workdir: pathlib.Path) -> tuple[str, Any]:
        newest = latest_checkpoint(workdir / "checkpoints")
        assert newest is not None
        fields = vars(self.shapes(self.config(data)))
        wanted = {name: shapes for name, shapes in fields.items() if name in NETWORKS}
        assert set(wanted) == self.networks
        return newest.name, restore_subtree(newest, wanted)


def _gan_shapes(config: Any) -> Any:
    return make_trainer(config, open_gan_data(config).train).abstract_state()


def _segmentation_shapes(config: Any) -> Any:
    data = open_segmentation_data(config)
    return train_segmentation.make_trainer(config, data).abstract_state()


SEGMENTATION = Command(
    train_segmentation,
    segmentation_config,
    tiny_segmentation.tiny_data,
    _segmentation_shapes,
    length="epochs",
    steps=10,
    networks={"variables"},
)
GAN = Command(
    train_gan,
    gan_config,
    tiny_run.tiny_data,
    _gan_shapes,
    length="num_steps",
    steps=1,
    networks=NETWORKS - {"variables"},
)


def _wait_for_steps(workdir: pathlib.Path, processes: Sequence[Any], step: int) -> None:
    """Returns when a later step than this one is in the metrics."""
    file, deadline = workdir / "metrics.jsonl", time.monotonic() + LONGEST
    while max((row["step"] for row in _rows(file)), default=0) <= step:
        assert all(process.poll() is None for process in processes), ended_early(
            processes
        )
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _rows(file: pathlib.Path) -> list[dict]:
    return read_metrics(file) if file.exists() else []


def _saved(workdir: pathlib.Path) -> list[int]:
    return [int(path.name) for path in (workdir / "checkpoints").iterdir()]


def _stop_two(command: Command, arguments: list[str], workdir: pathlib.Path) -> int:
    """Trains in two processes until the second gets a signal; returns the step."""
    earlier = max((row["step"] for row in _rows(workdir / "metrics.jsonl")), default=0)
    with started([[*arguments, command.until(10**6)]] * 2) as processes:
        _wait_for_steps(workdir, processes, earlier)
        processes[1].send_signal(signal.SIGTERM)
        (status, first), (other_status, second) = ended(processes)
    assert (status, other_status) == (0, 0), first + second
    step = max(_saved(workdir))
    assert step > earlier
    assert f"SIGTERM: saved at step {step};" in first
    assert first.count(f"saved {workdir / 'checkpoints'}/{step}\n") == 1
    assert "2 devices (cpu) in 2 processes, batch 8: 4 on each device" in first
    assert ("continuing from" in first) == (earlier > 0)
    assert "step" not in second
    return step


def _train(
    command: Command, arguments: list[str], whole: int, count: int, devices: int
) -> str:
    """Trains to the step `whole`; returns what the first process said."""
    arguments = [*arguments, command.until(whole // command.steps)]
    with started([arguments] * count, devices=devices) as processes:
        results = ended(processes)
    assert [status for status, _ in results] == [0] * count, results
    assert f"done: {whole} steps" in results[0][1]
    return results[0][1]


def _assert_equal_runs(
    command: Command, data: pathlib.Path, one: pathlib.Path, other: pathlib.Path
) -> None:
    """The variables at the end, and every step's losses, within float32 noise."""
    name, found = command.state(data, one)
    other_name, expected = command.state(data, other)
    assert name == other_name
    for field, variables in expected.items():
        assert relative_error(_flat(found[field]), _flat(variables)) < 1e-3, field
    losses, others = (
        {
            row["step"]: {k: v for k, v in row.items() if k not in RATES}
            for row in _rows(folder / "metrics.jsonl")
            if any("grad_norm" in key for key in row)
        }
        for folder in (one, other)
    )
    assert list(losses) == list(others) == list(range(1, int(name) + 1))
    for step, row in others.items():
        for key, value in row.items():
            assert losses[step][key] == pytest.approx(value, rel=1e-3), (step, key)


def _flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def test_two_processes_stop_together_continue_and_equal_one(tmp_path):
    data, workdir = SEGMENTATION.data(tmp_path / "prepared"), tmp_path / "run"
    arguments = SEGMENTATION.arguments(data, workdir)
    step = _stop_two(SEGMENTATION, arguments, workdir)
    whole = 10 * (step // 10 + 1)
    said = _train(SEGMENTATION, arguments, whole, count=2, devices=1)
    assert f"continuing from {workdir / 'checkpoints' / str(step)}" in said
    SEGMENTATION.run(data, tmp_path / "unbroken", whole // SEGMENTATION.steps)
    _assert_equal_runs(SEGMENTATION, data, workdir, tmp_path / "unbroken")


def test_a_signal_to_one_of_two_while_they_start_ends_both_well(tmp_path):
    """As soon as the run's folder is there: the step is not compiled yet."""
    data, workdir = SEGMENTATION.data(tmp_path / "prepared"), tmp_path / "run"
    with started([SEGMENTATION.arguments(data, workdir)] * 2) as processes:
        deadline = time.monotonic() + LONGEST
        while not (workdir / "run.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        processes[1].send_signal(signal.SIGTERM)
        (status, first), (other_status, second) = ended(processes)
    assert (status, other_status) == (0, 0), first + second
    assert "SIGTERM before the first step: nothing new is saved; the same" in first
    assert second == ""
    assert not (workdir / "metrics.jsonl").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", [SEGMENTATION, GAN], ids=["segmentation", "gan"])
def test_devices_change_and_the_run_does_not(command, tmp_path):
    """One process, two, two again, one with eight devices, one with one."""
    data, workdir = command.data(tmp_path / "prepared"), tmp_path / "run"
    command.run(data, workdir, 10 // command.steps)
    _, begun = command.state(data, workdir)
    arguments = command.arguments(data, workdir)
    step = _stop_two(command, arguments, workdir)
    whole = 10 * (step // 10 + 1)
    _train(command, arguments, whole, count=2, devices=1)
    said = _train(command, arguments, whole + 10, count=1, devices=8)
    assert "8 devices (cpu) in 1 process, batch 8: 1 on each device" in said
    said = _train(command, arguments, whole + 20, count=1, devices=1)
    assert "1 device (cpu) in 1 process, batch 8: 8 on each device" in said
    command.run(data, tmp_path / "unbroken", (whole + 20) // command.steps)
    _assert_equal_runs(command, data, workdir, tmp_path / "unbroken")
    _, found = command.state(data, workdir)
    _, expected = command.state(data, tmp_path / "unbroken")
    for field, variables in expected.items():
        values, others, start = map(_flat, (variables, found[field], begun[field]))
        moved = np.linalg.norm(values - start)
        assert np.linalg.norm(others - values) < 1e-2 * moved, field


def test_an_error_in_one_process_ends_both_with_its_message(tmp_path):
    """Process 1 has other data: the first would wait for it for ever."""
    data = SEGMENTATION.data(tmp_path / "prepared")
    other = tiny_segmentation.tiny_data(tmp_path / "other", seed=1)
    arguments = SEGMENTATION.arguments(data, tmp_path / "run")
    commands = [arguments, [*arguments, f"--config.data.paths=('{other}',)"]]
    with started(commands) as processes:
        results = ended(processes)
    for status, text in results:
        assert status == 1, text
        assert "train_segmentation: process 0 reads other inputs than this one" in text
        assert "Traceback" not in text
    assert "(in process 1 of 2)" in results[0][1]
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_run_with_half_of_the_variables_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    data = SEGMENTATION.data(tmp_path / "prepared")
    with started([SEGMENTATION.arguments(data, tmp_path / "run")]) as processes:
        ((status, text),) = ended(processes)
    assert status == 1
    assert "JAX_COORDINATOR_ADDRESS and JAX_PROCESS_ID not set" in text
