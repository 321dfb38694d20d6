"""Which steps are traced, and that a trace is written."""

import logging

import jax
import jax.numpy as jnp
import pytest

from cmrjax.training.step_profile import StepProfile


@pytest.fixture
def events(monkeypatch):
    seen = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda path: seen.append("start"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: seen.append("stop"))
    return seen


def run(profile, events, count):
    def train_step(state, batch):
        events.append(batch)
        return state + 1, {"loss": jnp.ones(())}

    with profile:
        step, state = profile.around(train_step), jnp.zeros(())
        for batch in range(count):
            state, _ = step(state, batch)
    return int(state)


def test_the_steps_after_the_first_are_traced_once(events, tmp_path):
    assert run(StepProfile(tmp_path, steps=2, skipped=3), events, 7) == 7
    assert events == [0, 1, 2, "start", 3, 4, "stop", 5, 6]


def test_a_run_that_ends_early_still_writes_its_trace(events, tmp_path):
    run(StepProfile(tmp_path, steps=9, skipped=1), events, 3)
    assert events == [0, "start", 1, 2, "stop"]
    events.clear()
    run(StepProfile(tmp_path, steps=9, skipped=5), events, 3)
    assert events == [0, 1, 2]


def test_without_steps_nothing_is_added(tmp_path):
    def train_step(state, batch):
        return state, {}

    assert StepProfile(tmp_path, steps=0).around(train_step) is train_step
    with pytest.raises(ValueError, match="--profile=-1"):
        StepProfile(tmp_path, steps=-1)


def test_a_trace_is_written_where_the_log_says(tmp_path, caplog):
    double = jax.jit(lambda state, batch: (state + batch, {"loss": state.sum()}))
    with (
        caplog.at_level(logging.INFO, logger="cmrjax"),
        StepProfile(tmp_path / "profile", steps=1, skipped=0) as profile,
    ):
        profile.around(double)(jnp.ones(4), jnp.ones(4))
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    assert "profile of 1 steps in" in caplog.text
