"""What is ahead: sizes against those of the real checkpoint, and what is refused."""

import dataclasses
import logging
import pathlib
import shutil
import types

import jax
import numpy as np
import pytest

from cmrjax.training import forecast as module
from cmrjax.training.checkpoint import CheckpointStore
from cmrjax.training.forecast import Forecast, forecast
from tests.training.tiny_unet import draw_batch, draw_state, make_trainer

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def trainer():
    return make_trainer()


@pytest.fixture(scope="module")
def compiled(trainer):
    return trainer.compile(KEY)


@pytest.fixture
def look(trainer, compiled, tmp_path):
    def call(batch=None, steps=1000, **options):
        return forecast(
            trainer,
            compiled,
            ((), jax.random.key(0)),
            batch,
            directory=tmp_path,
            steps=steps,
            kept=3,
            **options,
        )

    return call


def test_a_forecast_measures_a_step_and_knows_the_size_of_a_checkpoint(
    look, trainer, tmp_path
):
    found = look(draw_batch())
    assert found.seconds_per_step is not None
    assert 0 < found.seconds_per_step < 60
    assert found.steps == 1000
    assert found.checkpoints == 4
    with CheckpointStore(tmp_path / "checkpoints") as store:
        store.save(1, draw_state(trainer), position={}, facts={})
    arrays = tmp_path / "checkpoints" / "1" / "state"
    stored = sum(p.stat().st_size for p in arrays.rglob("*") if p.is_file())
    assert found.checkpoint < 2 * stored  # compressed, with Orbax's own entries
    held = sum(np.asarray(x).nbytes for x in jax.tree.leaves(draw_state(trainer)))
    assert found.checkpoint == held
    # A step takes the state and the batch, and of each image four levels of features.
    arrays = held + sum(x.nbytes for x in draw_batch().values())
    assert arrays < found.memory < 40 * arrays
    assert found.memory_there is None or found.memory_there > 2**28


def _peak_of_this_process() -> int:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    (line,) = [x for x in lines if x.startswith("VmHWM:")]
    return 1024 * int(line.split()[1])


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="Linux")
def test_on_a_cpu_the_memory_is_that_of_the_process(trainer, compiled, tmp_path):
    """The tried step here takes 256 MiB of its own, of which XLA knows nothing."""
    before, more = _peak_of_this_process(), 2**28

    def step(*arguments):
        held = np.ones(before + more, np.uint8)
        assert held.all()
        return compiled.function(*arguments)

    changed = dataclasses.replace(compiled, function=step)
    found = forecast(
        trainer,
        changed,
        ((), jax.random.key(0)),
        draw_batch(),
        directory=tmp_path,
        steps=1,
        kept=1,
    )
    assert found.process is not None
    assert before + more < found.process < 2 * before + more + 2**28
    assert f"memory of the process {found.process / 2**30:.3g} GiB" in str(found)


def test_without_a_tried_step_its_program_is_added(look, compiled, monkeypatch):
    monkeypatch.setattr(module, "peak_host_bytes", lambda: 1000)
    monkeypatch.setattr(module, "_resident_bytes", lambda: 900)
    assert look().process == 900 + compiled.program_bytes
    monkeypatch.setattr(module, "peak_host_bytes", lambda: 10**9)
    assert look().process == 10**9


def test_the_second_tried_step_is_timed(trainer, compiled, monkeypatch):
    """The first one takes ten seconds of this clock, the second three."""
    clock, steps = [100.0], iter((10.0, 3.0))

    def step(state, *rest):
        clock[0] += next(steps)
        return state, {}

    timed = dataclasses.replace(compiled, function=step)
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    arguments = ((), jax.random.key(0))
    assert module._try(trainer, timed, arguments, draw_batch()) == 3.0


def test_seconds_of_a_run_that_goes_on_are_what_it_measured(look):
    assert look(seconds_per_step=2.5).seconds_per_step == 2.5


def test_without_a_batch_no_step_is_tried(look, monkeypatch):
    monkeypatch.setattr(module, "_try", lambda *arguments: pytest.fail("tried"))
    assert look().seconds_per_step is None


def test_a_forecast_is_one_line():
    found = Forecast(1000, 3.6, 2**30, None, 8 * 2**30, 2**29, 3, 40 * 2**30)
    assert str(found) == (
        "1000 steps of 3.6 s, 1:00:00, besides validations and checkpoints; memory of"
        " a step 1 GiB of 8 GiB; 3 checkpoints of 0.5 GiB, 40 GiB free on disk"
    )
    on_cpu = dataclasses.replace(found, process=3 * 2**30)
    assert "; memory of the process 3 GiB of 8 GiB; " in str(on_cpu)
    unknown = Forecast(10, None, 2**30, None, None, 2**29, 3, 2**30)
    assert str(unknown).startswith("10 steps; memory of a step 1 GiB; 3 checkpoints")


def test_a_disk_without_room_for_two_checkpoints_is_refused(look, monkeypatch):
    size = look().checkpoint
    usage = types.SimpleNamespace(free=2 * size)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert look().disk_there == 2 * size
    usage.free -= 1
    with pytest.raises(OSError, match=r"are free, a checkpoint takes .* --workdir on"):
        look()


def test_memory_that_is_not_there_is_a_warning(look, monkeypatch, caplog):
    monkeypatch.setattr(module, "_memory_there", lambda: 1000)
    with caplog.at_level(logging.WARNING, logger="cmrjax"):
        look()
    assert "training takes" in caplog.text
    assert "config.training.accumulation" in caplog.text
