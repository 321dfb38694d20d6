"""What is ahead: sizes against those of the real checkpoint, and what is refused."""

import logging
import shutil
import types

import jax
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
    def call(batch=None):
        return forecast(
            trainer,
            compiled,
            ((), jax.random.key(0)),
            batch,
            directory=tmp_path,
            steps=1000,
            kept=3,
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
    assert found.memory > found.checkpoint  # a step takes the state and more
    assert found.memory_there is None or found.memory_there > 2**20


def test_without_a_batch_no_step_is_tried(look, monkeypatch):
    monkeypatch.setattr(module, "_try", lambda *arguments: pytest.fail("tried"))
    assert look().seconds_per_step is None


def test_a_forecast_is_one_line():
    found = Forecast(1000, 3.6, 2**30, 8 * 2**30, 2**29, 3, 40 * 2**30)
    assert str(found) == (
        "1000 steps of 3.6 s, 1:00:00; memory of a step 1 GiB of 8 GiB; 3 checkpoints"
        " of 0.5 GiB, 40 GiB free on disk"
    )
    unknown = Forecast(10, None, 2**30, None, 2**29, 3, 2**30)
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
    assert "a step takes" in caplog.text
    assert "config.training.accumulation" in caplog.text
