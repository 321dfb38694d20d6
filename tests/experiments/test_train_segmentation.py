"""Segmentation training on tiny data: whole, stopped, continued, over, refused."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest

from cmrjax.segmentation.params import load_segmenter
from cmrjax.synthesis.params import load_params
from cmrjax.training.checkpoint_folder import latest_checkpoint
from cmrjax.training.plateau import start_plateau
from cmrjax.training.writers import read_metrics
from experiments import train_segmentation, training_command
from experiments.segmentation_data import open_segmentation_data
from experiments.segmentation_validation import LOSS, SegmentationValidation
from tests.experiments.tiny_segmentation import (
    CROP,
    EPOCHS,
    STEPS_PER_EPOCH,
    saved_state,
    tiny_config,
    tiny_data,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = EPOCHS * STEPS_PER_EPOCH
# Worse at the second epoch's end: with a patience of one the rate falls there.
SCRIPT = {0: 1.0, 3: 0.5, 6: 0.75, 9: 0.25, 12: 0.25, 15: 0.25}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    return tiny_data(tmp_path_factory.mktemp("data") / "prepared")


@pytest.fixture(scope="module")
def scripted():
    """The validation runs as it is, but reports the losses of SCRIPT."""
    evaluate = SegmentationValidation.__call__

    def with_script(self, state, step):
        scalars, pictures = evaluate(self, state, step)
        assert np.isfinite(scalars[LOSS])
        return {**scalars, LOSS: SCRIPT.get(step, 0.9)}, pictures

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SegmentationValidation, "__call__", with_script)
        yield


COMPILED: list[str] = []


@pytest.fixture(scope="module")
def unbroken(data, scripted, tmp_path_factory) -> pathlib.Path:
    """The whole run's folder; what was compiled for it is in COMPILED."""
    workdir = tmp_path_factory.mktemp("runs") / "unbroken"
    listening = True

    def listen(event: str, duration_secs: float, **facts: str | int) -> None:
        if listening and event == "/jax/core/compile/backend_compile_duration":
            COMPILED.append(str(facts.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    jax.clear_caches()  # of tests before this one, in the same process
    result = train_segmentation.run(tiny_config(data), workdir)
    listening = False
    assert (result.step, result.stopped_by, result.over) == (STEPS, None, "")
    return workdir


def test_each_program_is_compiled_once(unbroken):
    """Nine steps, four validations, checkpoints, panels of as many slices."""
    for name in ("jit(train_step)", "jit(_init)", "jit(predict)", "jit(_count)"):
        assert COMPILED.count(name) == 1, name


def test_a_run_leaves_metrics_model_pictures_and_timing(unbroken):
    rows = read_metrics(unbroken / "metrics.jsonl")
    assert {row["step"] for row in rows} == set(range(STEPS + 1))
    validated = {row["step"]: row for row in rows if LOSS in row}
    assert list(validated) == [0, 3, 6, 9]
    names = {"validation_dice", "dice_LV", "dice_fat", "dice_other_blood"}
    for row in validated.values():
        assert names <= set(row)
        assert 0 <= row["validation_dice"] <= 1
    trained = {row["step"]: row for row in rows if "loss" in row}
    assert list(trained) == list(range(1, STEPS + 1))
    assert {"grad_norm", "images_per_second", "input_wait_share"} <= set(trained[STEPS])
    rates = [row["learning_rate"] for row in trained.values()]
    assert rates == pytest.approx([0.01] * 6 + [0.005] * 3)
    panels = sorted(p.name for p in (unbroken / "panels").iterdir())
    assert panels == [f"{step:07d}.png" for step in (0, 3, 6, 9)]
    timing = json.loads((unbroken / "timing.json").read_text())
    assert (timing["batch_size"], timing["image_size"]) == (2, CROP)
    assert timing["compile_seconds"] > 0
    params = load_segmenter(unbroken)
    assert pathlib.Path(params.path).name == str(STEPS)
    description = params.description
    assert description.schema.name == "multi_tissue"
    assert (description.image_size, description.spacing) == (CROP, 1.25)
    assert description.transform.name == "zscore"
    assert description.mirrored  # config.augmentation.flip


def test_the_plateau_is_in_the_checkpoint(data, unbroken):
    _, state, _ = saved_state(unbroken, tiny_config(data))
    assert float(state.plateau.learning_rate) == pytest.approx(0.005)
    assert (float(state.plateau.best_loss), int(state.plateau.waited)) == (0.25, 0)


def kill_after(monkeypatch, step):
    """Lets SIGTERM arrive while the given step is computed."""
    original = training_command.place_and_step

    def place_and_step(*arguments):
        inner = original(*arguments)

        def train_step(state, batch):
            if int(state.step) == step - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return inner(state, batch)

        return train_step

    monkeypatch.setattr(training_command, "place_and_step", place_and_step)
    return lambda: monkeypatch.setattr(training_command, "place_and_step", original)


@pytest.mark.usefixtures("scripted")
def test_stopped_and_continued_equals_unbroken_bit_for_bit(
    data, unbroken, tmp_path, monkeypatch
):
    """Stopped within the second epoch, at its end, and within the third."""
    config, workdir = tiny_config(data), tmp_path / "run"
    expected_plateaus = {4: (0.01, 0.5), 6: (0.005, 0.5), 7: (0.005, 0.5)}
    for step, plateau in expected_plateaus.items():
        restore = kill_after(monkeypatch, step)
        result = train_segmentation.run(config, workdir)
        restore()
        assert (result.step, result.stopped_by) == (step, "SIGTERM")
        saved, state, _ = saved_state(workdir, config)
        assert saved == step
        found = (float(state.plateau.learning_rate), float(state.plateau.best_loss))
        assert found == pytest.approx(plateau)
    assert train_segmentation.run(config, workdir).step == STEPS
    expected, found = saved_state(unbroken, config), saved_state(workdir, config)
    assert found[0] == expected[0]
    jax.tree.map(np.testing.assert_array_equal, found[1], expected[1])
    assert found[2] == expected[2]

    def curves(folder, name):
        rows = read_metrics(folder / "metrics.jsonl")
        return {r["step"]: r[name] for r in rows if name in r}

    for name in ("loss", "learning_rate", "grad_norm", "validation_dice"):
        assert curves(workdir, name) == curves(unbroken, name)


@pytest.mark.usefixtures("scripted")
def test_a_rate_that_is_small_ends_the_run_for_good(data, tmp_path):
    """Before, more epochs may be asked for; other settings stay what they were."""
    config = tiny_config(data)
    config.training.epochs = 1
    config.optimizer.smallest_rate = 0.008
    result = train_segmentation.run(config, tmp_path)
    assert (result.step, result.over) == (STEPS_PER_EPOCH, "")
    config.training.epochs = 100
    result = train_segmentation.run(config, tmp_path)
    assert (result.step, result.stopped_by) == (6, None)
    assert result.over == "learning rate 0.005 below 0.008"
    assert latest_checkpoint(tmp_path / "checkpoints") == tmp_path / "checkpoints" / "6"
    metrics = (tmp_path / "metrics.jsonl").read_text()
    again = train_segmentation.run(config, tmp_path)
    assert (again.step, again.over) == (6, result.over)
    assert (tmp_path / "metrics.jsonl").read_text() == metrics
    config.augmentation.rotation = 5.0
    with pytest.raises(
        ValueError, match=r"augmentation\.rotation: 180.0 then, 5.0 now"
    ):
        train_segmentation.run(config, tmp_path)


def test_the_length_of_an_epoch(data):
    config = tiny_config(data)
    settings = train_segmentation._loop_settings(config, 7)
    assert (settings.evaluate_every, settings.num_steps) == (4, 12)
    assert settings.checkpoint_every == 4
    config.training.steps_per_epoch = 10
    settings = train_segmentation._loop_settings(config, 7)
    assert (settings.evaluate_every, settings.num_steps) == (10, 30)
    config.training.steps_per_epoch = 0
    assert train_segmentation._loop_settings(config, 0).evaluate_every == 1


def test_the_smallest_rate_itself_is_not_below_it(data):
    config = tiny_config(data)
    config.optimizer.learning_rate = config.optimizer.smallest_rate = 1e-6
    opened = open_segmentation_data(config)
    state: Any = train_segmentation.make_trainer(config, opened).abstract_state()
    is_over = train_segmentation._rate_is_small(config)
    assert is_over(state.replace(plateau=start_plateau(1e-6))) == ""
    lower = state.replace(plateau=start_plateau(0.9e-6))
    assert is_over(lower) == "learning rate 9e-07 below 1e-06"


def test_the_values_of_a_configuration_reach_the_trainer(data):
    config = tiny_config(data)
    config.loss.gamma = 2.0
    config.loss.cross_entropy_weight = 0.5
    config.augmentation.rotation = 7.0
    config.model.dropout = 0.25
    trainer = train_segmentation.make_trainer(config, open_segmentation_data(config))
    assert trainer.step.objective.gamma == 2.0
    assert trainer.step.objective.cross_entropy_weight == 0.5
    assert (trainer.step.augmentation.rotation, trainer.step.augmentation.size) == (
        7.0,
        CROP,
    )
    assert trainer.step.network.architecture.dropout == 0.25
    assert trainer.step.network.architecture.num_classes == 9
    assert (trainer.image_size, trainer.prepared_size) == (CROP, 24)


def test_the_model_folder_is_not_that_of_a_generator(unbroken):
    with pytest.raises(
        ValueError, match=r"'cmrjax-segmenter-1'; expected 'cmrjax-model-1', a generat"
    ):
        load_params(unbroken)


def test_a_run_begins_with_a_trained_network(data, unbroken, tmp_path):
    """What a rate of next to nothing leaves is that network."""
    config = tiny_config(data)
    config.training.start_from = str(unbroken)
    config.training.epochs = 1
    config.model.dropout = 0.25
    config.optimizer.learning_rate = 1e-12
    config.optimizer.smallest_rate = 1e-15
    result = train_segmentation.run(config, tmp_path / "run")
    assert result.step == STEPS_PER_EPOCH
    begun, trained = load_segmenter(tmp_path / "run"), load_segmenter(unbroken)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-8),
        begun.variables["params"],
        trained.variables["params"],
    )
    loaded = open_segmentation_data(config)
    trainer = dataclasses.replace(
        train_segmentation.make_trainer(config, loaded),
        start=jax.device_get(trained.variables),
    )
    for _ in range(2):  # its own copy stays
        first = trainer.init(jax.random.key(1)).variables
        jax.tree.map(np.testing.assert_array_equal, first, trained.variables)
        jax.tree.map(lambda a: a.delete(), first)


def test_to_continue_the_first_network_is_not_needed(data, unbroken, tmp_path):
    start = shutil.copytree(unbroken, tmp_path / "start")
    config = tiny_config(data)
    config.training.start_from = str(start)
    train_segmentation.run(config, tmp_path / "run")
    shutil.rmtree(start)
    config.data.licence = "stated later"
    assert train_segmentation.run(config, tmp_path / "run").step == STEPS
    card = (tmp_path / "run" / "MODEL_CARD.md").read_text()
    newest = start / "checkpoints" / str(STEPS)
    assert f"Training began with the network of {newest} (SHA-256 " in card
    assert card.count(" slices of ") == 2
    assert "## Licence\n\n- stated later\n" in card
    config.training.start_from = str(tmp_path / "run")
    train_segmentation.run(config, tmp_path / "third")
    card = (tmp_path / "third" / "MODEL_CARD.md").read_text()
    assert card.count("Training began with the network of ") == 2
    assert card.count(" slices of ") == 3


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"base_features": 4}, "start_from = .*base_features=2.* has .*=4.*alike"),
        ({"spacing": 2.0}, "start_from = .*: its spacing is 1.25, that of the data 2"),
        ({"folder": "nothing"}, "start_from = .*nothing: .*no such folder"),
    ],
)
def test_another_network_is_no_start(data, unbroken, tmp_path, change, text):
    place = data
    if "spacing" in change:
        place = tiny_data(tmp_path / "data", spacing=change["spacing"])
    config = tiny_config(place)
    config.training.start_from = str(tmp_path / change.get("folder", unbroken))
    config.model.base_features = change.get("base_features", 2)
    with pytest.raises(ValueError, match=text):
        train_segmentation.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_which_classes_are_blood_dark_and_mixed(data):
    config = tiny_config(data)
    trainer = train_segmentation.make_trainer(config, open_segmentation_data(config))
    settings = trainer.step.augmentation
    assert settings.blood_ids == (1, 3, 8)
    assert (settings.dark_ids, settings.mixed_ids) == ((4,), (7,))


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        (
            "data.image_size",
            20,
            r"slices of 20 pixels .*levels = 3 takes multiples of 8",
        ),
        ("model.dtype", "float16", r"model\.dtype is 'float16'; expected .*'bfloat16'"),
        ("loss.gamma", 0.0, r"gamma is 0\.0; expected above 0"),
        ("training.batch_size", 3, "does not divide among 2 devices"),
        ("augmentation.smallest_scale", 3.0, "scales from 3.0 to 1.35"),
        ("model.dropout", 1.0, r"dropout is 1\.0; expected at least 0 and below 1"),
    ],
)
def test_bad_settings_end_before_anything_is_written(
    data, tmp_path, setting, value, text
):
    config = tiny_config(data)
    config.model.levels = 3
    section, name = setting.split(".")
    config[section][name] = value
    with pytest.raises(ValueError, match=text):
        train_segmentation.run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_the_command_says_in_one_line_what_is_wrong(tmp_path):
    command = [sys.executable, "-m", "experiments.train_segmentation"]
    command += ["--config=experiments/configs/multi_tissue_cpu.py"]
    command += [f"--workdir={tmp_path / 'run'}", f"--config.data.paths=('{tmp_path}',)"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"train_segmentation: {tmp_path}: not a prepared folder")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
