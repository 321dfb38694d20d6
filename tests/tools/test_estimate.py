"""The estimate: what it adds up, what it prints, and what it needs."""

import io
import json

import pytest

from experiments.configs import base
from tests.experiments.tiny_run import tiny_config, tiny_data
from tools import estimate
from tools.benchmark_settings import Settings

MEASURED = {
    "seconds_per_step": 2.0,
    "compile_seconds": 10.0,
    "start_seconds": 30.0,
    "input_wait_share": 0.01,
    "validation_batch_seconds": 0.5,
    "checkpoint_bytes": 2**20,
    "checkpoint_seconds": 1.0,
    "temporary_bytes": 5,
    "program_bytes": 2**30,
    "peak_host_bytes": 2**31,
    "peak_device_bytes": None,
}


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(estimate, "_measure", lambda *_: dict(MEASURED))


def run_estimate(config, **options) -> dict:
    out = io.StringIO()
    estimate.run(config, Settings("tiny"), out=out, **options)
    return json.loads(out.getvalue())


def test_steps_follow_from_the_data_of_the_configuration(measured, tmp_path, capsys):
    config = tiny_config(tiny_data(tmp_path / "data"))
    config.training.num_steps = 0  # 50 epochs
    record = run_estimate(config)
    assert record["maps"] == "prepared data"
    assert (record["num_slices"], record["num_steps"]) == (4, 100)
    assert record["hours_of_steps"] == pytest.approx(200 / 3600)
    assert "h for 100 steps of 2 s (0.0556 h)" in capsys.readouterr().err


def test_an_unknown_number_of_slices_is_said_with_what_to_do(measured, capsys):
    config = tiny_config("nowhere")  # pyright: ignore[reportArgumentType]
    config.training.num_steps = 0
    record = run_estimate(config)
    assert (record["maps"], record["hours"]) == ("simulated", None)
    assert record["hours_per_1000_steps"] == pytest.approx(2000 / 3600)
    shown = capsys.readouterr().err
    assert "give --maps=PREPARED_FOLDER, --slices=N or --config.training" in shown


def test_device_memory_is_said_where_there_is_a_device(monkeypatch, capsys):
    found = {**MEASURED, "peak_device_bytes": 2**30}
    monkeypatch.setattr(estimate, "_measure", lambda *_: found)
    run_estimate(tiny_config("nowhere"), slices=4)  # pyright: ignore
    assert "2.00 GiB of the host at most, 1.00 GiB of the device" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("best", "groups", "kept"),
    [("validation_ssim", ("B3",), 3), ("", ("B3",), 2), ("validation_ssim", (), 2)],
)
def test_the_best_checkpoint_takes_room_too(measured, capsys, best, groups, kept):
    config = tiny_config("nowhere")  # pyright: ignore[reportArgumentType]
    config.training.keep_best, config.data.validation_groups = best, groups
    assert run_estimate(config, slices=4)["disk_bytes"] == kept * 2**20
    assert f"1 MiB a checkpoint, {kept} MiB of them kept" in capsys.readouterr().err


def test_time_adds_up():
    config = base.get_config()
    config.evaluation.every = 100  # 64 slices in batches of 8
    config.training.checkpoint_every = 300
    config.training.checkpoint_minutes = 0.0
    config.training.keep_best = ""
    numbers = {
        "start": 30.0,
        "per_step": 2.0,
        "per_validation_batch": 0.5,
        "per_checkpoint": 10.0,
    }
    found = estimate.predict_time(config, 1000, **numbers)
    assert found == estimate.RunTime(30.0, 2000.0, 11 * 8 * 0.5, 4 * 10.0)
    assert found.total == 30 + 2000 + 44 + 40
    config.training.checkpoint_minutes = 5.0  # 2000 s
    assert estimate.predict_time(config, 1000, **numbers).checkpoints == 60.0
    config.data.validation_groups = ()
    assert estimate.predict_time(config, 1000, **numbers).validation == 0.0


@pytest.mark.parametrize(
    ("best", "groups", "every", "checkpoints"),
    [
        ("validation_ssim", ("B3",), 200, 7),  # 200, 300, 400, 600, 800, 900, 1000
        ("validation_ssim", ("B3",), 0, 4),
        ("validation_ssim", (), 200, 4),
        ("", ("B3",), 200, 4),
    ],
)
def test_each_validation_may_write_the_best_checkpoint(
    best, groups, every, checkpoints
):
    """Those that are due anyway are counted once."""
    config = base.get_config()
    config.training.checkpoint_every = 300
    config.training.checkpoint_minutes = 0.0
    config.training.keep_best, config.data.validation_groups = best, groups
    config.evaluation.every = every
    found = estimate.predict_time(
        config,
        1000,
        start=0.0,
        per_step=1.0,
        per_validation_batch=1.0,
        per_checkpoint=10.0,
    )
    assert found.checkpoints == 10.0 * checkpoints


def test_slices_must_not_be_negative():
    with pytest.raises(ValueError, match="--slices=-1: expected a positive number"):
        estimate.run(base.get_config(), Settings("x"), slices=-1)
