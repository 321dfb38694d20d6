"""What the training commands share; the commands themselves are run in their tests."""

import json
import os
import signal
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.training.checkpoint import CheckpointStore
from cmrjax.training.compiled_step import CompiledStep
from cmrjax.training.description import write_description
from cmrjax.training.loop import Hooks, LoopResult, LoopSettings
from cmrjax.training.sharding import data_parallel
from cmrjax.training.signals import StopRequest
from cmrjax.training.timing import Timing
from experiments import training_command as module
from experiments.configs import base
from experiments.training_command import (
    Training,
    best_settings,
    describe_devices,
    evaluate_in_first,
    place_and_step,
    start,
    train,
    with_model_card,
)
from tests.synthesis.tiny_models import make_params

KEY = jax.random.key(0)


class Iterator:
    """Remembers the position that it was set to."""

    state: object = None

    def set_state(self, state):
        self.state = state


def trainer(num_devices=1):
    placement = data_parallel(batch_size=2, num_devices=num_devices)
    shape = jax.ShapeDtypeStruct((2,), np.float32, sharding=placement.replicated)
    return types.SimpleNamespace(
        placement=placement,
        init=lambda key: {"w": jnp.full(2, jax.random.uniform(key))},
        abstract_state=lambda: {"w": shape},
        batch_size=2,
        image_size=8,
    )


def compiled(function):
    return CompiledStep(function, compile_seconds=1.5, flops=10.0, memory_bytes=3)


def test_a_new_run_draws_and_an_old_one_is_restored(tmp_path):
    iterator, facts = Iterator(), {"data": "abc"}
    with CheckpointStore(tmp_path) as store:
        state, step, found = start(trainer(), store, iterator, KEY, facts)
        assert (step, found, iterator.state) == (0, facts, None)
        drawn = np.asarray(state["w"])
        position = {"iterator": {"next": 5}}
        store.save(
            7, {"w": state["w"] + 1}, position=position, facts={"old": 1, "data": "old"}
        )
        store.wait()
        state, step, found = start(trainer(), store, iterator, KEY, facts)
    assert (step, iterator.state) == (7, {"next": 5})
    assert found == {"old": 1, "data": "abc"}
    np.testing.assert_array_equal(state["w"], drawn + 1)


def test_the_best_checkpoint_goes_by_a_known_metric():
    known = {"loss": False, "dice": True}
    assert best_settings("loss", known) == {
        "best_metric": "loss",
        "best_is_highest": False,
    }
    assert best_settings("", known)["best_metric"] == ""
    with pytest.raises(ValueError, match=r"keep_best is 'los'; expected .*'dice'"):
        best_settings("los", known)


def test_a_step_gets_constants_and_the_arrays_that_it_takes(tmp_path):
    """Not the index of the slices, nor the weight of an evaluation."""
    seen = []

    def function(state, *arguments):
        seen.append(arguments)
        return state + 1, {"loss": jnp.ones(())}

    owner = trainer()
    timing = Timing(tmp_path / "timing.json", owner, compiled(function))
    step = place_and_step(owner, compiled(function), ("constant",), KEY, timing)
    names = ("label_map", "image", "valid_mask", "index")
    batch = {name: np.full((2, 3), i) for i, name in enumerate(names)}
    state, metrics = step(4, batch)
    assert state == 5
    assert set(metrics) == {"loss"}
    ((constant, placed, key),) = seen
    assert (constant, key) == ("constant", KEY)
    assert set(placed) == {"label_map", "image", "valid_mask"}
    for name in placed:
        np.testing.assert_array_equal(placed[name], batch[name])
        assert placed[name].sharding == owner.placement.split


def test_an_evaluation_gets_one_copy_of_the_state_and_returns_plain_numbers():
    """As process 0 does it for all."""
    placement = data_parallel(batch_size=2, num_devices=min(2, jax.device_count()))
    state = placement.replicate({"w": np.arange(3.0, dtype=np.float32)})
    seen = []

    def own(state, step):
        seen.append((state, step))
        return {"loss": np.float32(0.5)}, {"panel": "picture"}

    scalars, pictures = evaluate_in_first(lambda: own)(state, 4)  # type: ignore[arg-type]
    assert (scalars, pictures) == ({"loss": 0.5}, {"panel": "picture"})
    assert type(scalars["loss"]) is float
    ((copy, step),) = seen
    assert step == 4
    assert len(copy["w"].sharding.device_set) == 1
    np.testing.assert_array_equal(copy["w"], [0, 1, 2])


def test_the_devices_of_a_run_are_named():
    text = describe_devices(trainer())
    assert text == "1 device (cpu) in 1 process, batch 2: 2 on each device"


def test_the_model_card_has_the_figures_of_each_evaluation(tmp_path):
    """A run that is killed later leaves them."""
    write_description(tmp_path, make_params().description, provenance={})
    inner = Hooks(after_evaluation=lambda state, scalars: state + scalars["x"])
    hooks = with_model_card(inner, tmp_path)
    for step in (10, 20):
        row = {"step": step, "validation_ssim": step / 100}
        (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
        assert hooks.after_evaluation(1, {"x": 2.0}) == 3.0
        card = (tmp_path / "MODEL_CARD.md").read_text()
        assert f"at step {step}" in card
        assert f"| ssim | {step / 100:g} |" in card


@pytest.mark.parametrize("when", ["compile", "forecast"])
def test_a_signal_while_starting_ends_before_what_comes_next(
    tmp_path, monkeypatch, when
):
    """One step is then neither tried nor made."""
    owner, done = trainer(), []

    def at(name, result):
        def call(*arguments, **options):
            done.append(name)
            if name == when:
                os.kill(os.getpid(), signal.SIGUSR1)
            return result

        return call

    owner.compile = at("compile", compiled(None))
    monkeypatch.setattr(module, "forecast", at("forecast", "much"))
    monkeypatch.setattr(module, "_peek", at("peek", {}))
    monkeypatch.setattr(module, "run_loop", lambda *_, **__: pytest.fail("began"))
    config = base.get_config()
    settings = LoopSettings(num_steps=9, batch_size=2)
    training = Training(owner, (), lambda: None, settings)
    iterator: Any = types.SimpleNamespace(close=lambda: done.append("closed"))
    with StopRequest() as stop:
        result = train(config, tmp_path, training, iterator, {}, stop=stop)
    assert result == LoopResult(None, 0, "SIGUSR1", began=False)
    before = ["compile"] if when == "compile" else ["compile", "peek", "forecast"]
    assert done == [*before, "closed"]
    assert not (tmp_path / "model.json").exists()


@pytest.fixture
def go_on(tmp_path, monkeypatch):
    """Continues a run that has a checkpoint of step 2; (how it ended, the forecast).

    What the folder holds besides is the test's; no step is made.
    """
    write_description(tmp_path, make_params().description, provenance={})
    with CheckpointStore(tmp_path / "checkpoints") as store:
        position = {"iterator": {}}
        store.save(2, {"w": jnp.ones(2)}, position=position, facts={})
    monkeypatch.setattr(module, "_peek", lambda iterator: "batch")
    monkeypatch.setattr(module, "run_loop", lambda *_, **__: LoopResult(None, 9, None))

    def call(num_steps=9):
        seen = {}

        def look(*arguments, **options):
            seen.update(options, batch=arguments[3])
            return "much"

        monkeypatch.setattr(module, "forecast", look)
        owner, config = trainer(), base.get_config()
        owner.compile = lambda *_: seen.update(compiled=True) or compiled(None)
        config.training.tensorboard = False
        training = Training(owner, (), lambda: None, LoopSettings(num_steps, 2))
        iterator: Any = Iterator()
        iterator.close = lambda: None
        return train(config, tmp_path, training, iterator, {}), seen

    return call


def _measure_here(folder):
    """Leaves the timing.json of a run on these devices."""
    Timing(folder / "timing.json", trainer(), compiled(None)).first_step({})


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], None),
        ([{"step": 1, "validation_ssim": 0.5}], None),
        ([{"step": 1, "seconds_per_step": 9.0}, {"step": 2, "x": 0.0}], 9.0),
        ([{"step": s, "seconds_per_step": float(s)} for s in (1, 2)], 2.0),
    ],
)
def test_a_run_that_goes_on_takes_the_duration_of_its_last_steps(
    tmp_path, go_on, rows, expected
):
    """A step is tried where it measured none."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(lines)
    _measure_here(tmp_path)
    _, seen = go_on()
    assert (seen["seconds_per_step"], seen["steps"]) == (expected, 7)
    assert seen["batch"] == ("batch" if expected is None else None)


def test_a_step_is_tried_where_those_before_were_on_other_devices(tmp_path, go_on):
    row = {"step": 1, "seconds_per_step": 9.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    _measure_here(tmp_path)
    timing = json.loads((tmp_path / "timing.json").read_text())
    changed = {**timing, "devices": ["NVIDIA H200"]}
    (tmp_path / "timing.json").write_text(json.dumps(changed))
    _, seen = go_on()
    assert (seen["seconds_per_step"], seen["batch"]) == (None, "batch")


@pytest.mark.parametrize("num_steps", [2, 1])
def test_a_run_with_nothing_left_compiles_nothing(tmp_path, go_on, num_steps):
    """Also one that trained further than it now should; nor is timing.json changed.

    What a kill after the last checkpoint left is mended: half a row, no card.
    """
    content = {"devices": ["NVIDIA H200"], "batch_size": 2, "peak_host_bytes": 2**30}
    (tmp_path / "timing.json").write_text(json.dumps(content))
    row = json.dumps({"step": 2, "validation_ssim": 0.5}) + "\n"
    (tmp_path / "metrics.jsonl").write_text(row + '{"step": 2, "valid')
    result, seen = go_on(num_steps)
    assert (result.step, result.stopped_by, result.over) == (2, None, "")
    np.testing.assert_array_equal(result.state["w"], np.ones(2))
    assert seen == {}
    assert json.loads((tmp_path / "timing.json").read_text()) == content
    assert (tmp_path / "metrics.jsonl").read_text() == row
    assert "at step 2" in (tmp_path / "MODEL_CARD.md").read_text()


def test_a_run_goes_on_though_its_metrics_have_an_unreadable_line(tmp_path, go_on):
    """The writer drops it before the model card, which reads them, is written."""
    row = json.dumps({"step": 1, "seconds_per_step": 9.0}) + "\n"
    last = json.dumps({"step": 2, "validation_ssim": 0.5}) + "\n"
    (tmp_path / "metrics.jsonl").write_text(row + "\0\0\0\0\n" + last)
    _measure_here(tmp_path)
    _, seen = go_on()
    assert (seen["seconds_per_step"], seen["batch"]) == (None, "batch")
    assert (tmp_path / "metrics.jsonl").read_text() == row + last
    assert "at step 2" in (tmp_path / "MODEL_CARD.md").read_text()
