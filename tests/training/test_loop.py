"""The loop with a step that only counts, and a GAN that is resumed."""

import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.data.pipeline import make_train_iterator
from cmrjax.training.agreement import Alone
from cmrjax.training.checkpoint import CheckpointStore
from cmrjax.training.checkpoint_folder import best_checkpoint, latest_checkpoint
from cmrjax.training.loop import Hooks, LoopSettings, NonFiniteLossError, run_loop
from cmrjax.training.signals import StopRequest
from cmrjax.training.writers import METRICS_FILE, MetricWriter
from tests.training.tiny_gan import (
    BATCH,
    RandomSource,
    copy_of,
    draw_state,
    make_trainer,
)


class Counter:
    """Batches 0, 1, 2, ... with a position."""

    def __init__(self, position=0):
        self.position = position

    def __next__(self):
        self.position += 1
        return self.position - 1

    def get_state(self):
        return {"position": self.position}


class Run:
    """A run of a counting step in a folder, and what it was seen to do."""

    def __init__(self, folder, *, bad=None, kill_at=None, **hooks):
        self.folder, self.bad, self.kill_at = folder, bad or {}, kill_at
        self.events, self.hooks = [], hooks

    def train_step(self, state, batch):
        step = int(state["step"]) + 1
        assert batch == step - 1
        self.events.append(f"step {step}")
        if step == self.kill_at:
            os.kill(os.getpid(), signal.SIGTERM)
        metrics = {"g_loss": float(step), "d_loss": 0.5, **self.bad.get(step, {})}
        return (
            {"step": jnp.asarray(step), "sum": state["sum"] + batch},
            {name: jnp.asarray(value) for name, value in metrics.items()},
        )

    def evaluate(self, state, step):
        assert int(state["step"]) == step
        self.events.append(f"evaluate {step}")
        return {"ssim": step / 10}, {"panel": np.zeros((2, 2, 3), np.uint8)}

    def __call__(self, num_steps, *, step=0, state=None, facts=None, **settings):
        if state is None:
            state = {"step": jnp.asarray(step), "sum": jnp.asarray(0)}
        with (
            CheckpointStore(self.folder / "checkpoints", keep=9) as store,
            MetricWriter(self.folder, start_step=step, tensorboard=False) as writer,
        ):
            defaults = {
                "report_every": 2,
                "evaluate_every": 4,
                "checkpoint_every": 3,
                "checkpoint_minutes": 0.0,
            }
            return run_loop(
                state,
                step=step,
                train_step=self.train_step,
                iterator=Counter(step),
                evaluate=self.evaluate,
                store=store,
                writer=writer,
                settings=LoopSettings(num_steps, 8, **{**defaults, **settings}),
                facts=facts or {},
                **self.hooks,
            )

    def saved(self):
        steps = (self.folder / "checkpoints").iterdir()
        return sorted(int(p.name) for p in steps if p.name.isdigit())

    def rows(self, name):
        text = (self.folder / METRICS_FILE).read_text()
        rows = [json.loads(line) for line in text.splitlines()]
        return {row["step"]: row for row in rows if name in row}

    def restore(self, step):
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        scalar = jax.ShapeDtypeStruct((), "int32", sharding=device)
        with CheckpointStore(self.folder / "checkpoints") as store:
            return store.restore(step, {"step": scalar, "sum": scalar})


@pytest.mark.parametrize("highest", [True, False])
def test_the_best_evaluation_is_saved_when_it_is_made(tmp_path, highest):
    """Its metric rises with the step: each is best, or only the first."""
    run = Run(tmp_path)
    run(9, best_metric="ssim", best_is_highest=highest, checkpoint_every=0)
    assert run.saved() == ([4, 8, 9] if highest else [4, 9])
    best = best_checkpoint(tmp_path / "checkpoints")
    assert best is not None
    assert best.name == ("9" if highest else "4")


def test_a_best_metric_that_is_not_finite_or_not_there_saves_nothing(tmp_path):
    run = Run(tmp_path / "a")
    run.evaluate = lambda state, step: ({"ssim": float("nan")}, {})
    run(5, best_metric="ssim", checkpoint_every=0)
    assert run.saved() == [5]
    run = Run(tmp_path / "b")
    run(5, best_metric="other", checkpoint_every=0)
    assert run.saved() == [5]


def test_a_whole_run_does_everything_when_due(tmp_path, capsys):
    run = Run(tmp_path)
    result = run(7)
    assert (result.step, result.stopped_by) == (7, None)
    assert int(result.state["sum"]) == sum(range(7))
    assert run.events == [
        "evaluate 0",
        *(f"step {i}" for i in (1, 2, 3, 4)),
        "evaluate 4",
        *(f"step {i}" for i in (5, 6, 7)),
        "evaluate 7",
    ]
    assert run.saved() == [3, 6, 7]
    reports = run.rows("g_loss")
    assert list(reports) == [1, 2, 4, 6, 7]
    assert [r["g_loss"] for r in reports.values()] == [1, 2, 3.5, 5.5, 7]
    assert {
        "seconds_per_step",
        "images_per_second",
        "input_wait_share",
        "train_seconds",
    } <= set(reports[7])
    assert {s: r["ssim"] for s, r in run.rows("ssim").items()} == {0: 0, 4: 0.4, 7: 0.7}
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("step ") for line in lines) == 5
    assert any(
        line.startswith("step 7/7 ") and "left 0:00:00" in line for line in lines
    )


def test_a_checkpoint_holds_state_position_and_seconds(tmp_path):
    run = Run(tmp_path)
    run(4, facts={"train_seconds": 1000.0, "data": "abc"})
    state, position, facts = run.restore(3)
    assert (int(state["step"]), int(state["sum"])) == (3, 3)
    assert position == {"iterator": {"position": 3}}
    assert facts["data"] == "abc"
    assert 1000 < facts["train_seconds"] < 1100


def test_rates_are_in_each_report(tmp_path):
    run = Run(tmp_path, hooks=Hooks(rates=lambda step: {"rate": 1 / step}))
    run(4)
    rows = run.rows("g_loss")
    assert {step: row["rate"] for step, row in rows.items()} == {1: 1, 2: 0.5, 4: 0.25}
    assert list(run.rows("rate")) == list(rows)


def test_zero_means_never(tmp_path):
    run = Run(tmp_path)
    run(3, report_every=0, evaluate_every=0, checkpoint_every=0)
    assert run.events == ["evaluate 0", "step 1", "step 2", "step 3"]
    assert run.saved() == [3]
    assert list(run.rows("g_loss")) == [1]


def test_a_checkpoint_is_also_due_by_the_clock(tmp_path):
    run = Run(tmp_path)
    run(3, checkpoint_every=0, checkpoint_minutes=1e-9)
    assert run.saved() == [1, 2, 3]


def test_a_signal_saves_and_ends(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    run = Run(tmp_path, kill_at=5)
    result = run(100)
    assert (result.step, result.stopped_by) == (5, "SIGTERM")
    assert run.events[-1] == "step 5"
    assert run.saved() == [3, 5]
    state, position, _ = run.restore(5)
    assert int(state["sum"]) == sum(range(5))
    assert position == {"iterator": {"position": 5}}
    assert signal.getsignal(signal.SIGTERM) == before
    # The same again goes on to the end, without the first evaluation.
    again = Run(tmp_path)
    result = again(7, step=5, state=state)
    assert (result.step, result.stopped_by) == (7, None)
    assert again.events == ["step 6", "step 7", "evaluate 7"]
    assert int(result.state["sum"]) == sum(range(7))


def test_a_signal_before_the_loop_ends_it_before_anything(tmp_path):
    stop = StopRequest()
    with stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        run = Run(tmp_path, stop=stop)
        result = run(100)
    assert (result.step, result.stopped_by, result.began) == (0, "SIGUSR1", False)
    assert (run.events, run.saved()) == ([], [])


def test_a_signal_during_the_first_evaluation_saves_nothing(tmp_path):
    """The untrained state would bind the run to the settings of now."""
    run = Run(tmp_path)

    def evaluate(state, step):
        os.kill(os.getpid(), signal.SIGTERM)
        return {"ssim": 0.0}, {}

    run.evaluate = evaluate
    result = run(100)
    assert (result.step, result.stopped_by, result.began) == (0, "SIGTERM", False)
    assert (run.events, run.saved()) == ([], [])


class Recorded(Alone):
    """Notes when processes would wait for each other."""

    def __init__(self, events):
        self.events = events

    def meet(self, stop):
        self.events.append("meet")


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, ["meet", "evaluate 0", "meet", "step 1"]),  # settling spans processes too
        (5, ["meet", "step 6"]),
    ],
)
def test_processes_meet_before_what_they_compute_together(tmp_path, step, expected):
    run = Run(tmp_path)
    run.hooks["agreement"] = Recorded(run.events)
    run(step + 1, step=step, evaluate_every=0)
    assert run.events == expected


def test_a_run_that_is_over_does_nothing(tmp_path):
    run = Run(tmp_path)
    state = run(3).state
    again = Run(tmp_path)
    result = again(3, step=3, state=state)
    assert (result.step, result.stopped_by, again.events) == (3, None, [])


class Follower:
    """Adds 1000 to the state after each periodic evaluation; over after two."""

    def __init__(self, last=2000):
        self.last, self.seen = last, []

    def after_evaluation(self, state, scalars):
        self.seen.append((int(state["step"]), scalars["ssim"]))
        return {**state, "sum": state["sum"] + 1000}

    def is_over(self, state):
        return "rate is small" if int(state["sum"]) >= self.last else ""

    @property
    def hooks(self):
        return {"hooks": Hooks(self.after_evaluation, self.is_over)}


def test_the_state_after_an_evaluation_is_what_goes_on_and_is_saved(tmp_path):
    follower = Follower(last=10**6)
    run = Run(tmp_path, **follower.hooks)
    result = run(7, evaluate_every=3, checkpoint_every=3)
    # Not after the evaluation before the first step, nor after the extra one at the
    # end: a run that goes on from there would have followed its loss once more.
    assert follower.seen == [(3, 0.3), (6, 0.6)]
    assert [e for e in run.events if "evaluate" in e] == [
        f"evaluate {step}" for step in (0, 3, 6, 7)
    ]
    assert int(result.state["sum"]) == sum(range(7)) + 2000
    for step, expected in ((3, 3 + 1000), (6, 15 + 2000), (7, 21 + 2000)):
        assert int(run.restore(step)[0]["sum"]) == expected
    assert result.over == ""


def test_what_is_over_ends_and_is_saved_and_stays_over(tmp_path):
    run = Run(tmp_path, **Follower().hooks)
    result = run(100, evaluate_every=2, checkpoint_every=50)
    assert (result.step, result.stopped_by, result.over) == (4, None, "rate is small")
    assert run.saved() == [4]
    state, position, _ = run.restore(4)
    assert int(state["sum"]) == sum(range(4)) + 2000
    assert position == {"iterator": {"position": 4}}
    follower = Follower()
    again = Run(tmp_path, **follower.hooks)
    result = again(100, step=4, state=state)
    assert (result.step, result.stopped_by, result.over) == (4, None, "rate is small")
    assert (again.events, follower.seen, again.saved()) == ([], [], [4])


def test_a_signal_during_the_last_step_before_an_evaluation_is_still_followed(tmp_path):
    """Else the resumed run, which does not evaluate again, would be another."""
    follower = Follower(last=10**6)
    run = Run(tmp_path, kill_at=4, **follower.hooks)
    result = run(100)
    assert (result.step, result.stopped_by) == (4, "SIGTERM")
    assert follower.seen == [(4, 0.4)]
    assert int(run.restore(4)[0]["sum"]) == sum(range(4)) + 1000


def test_progress_shows_the_metrics_of_the_settings(tmp_path, capsys):
    shown = (("kept", "d_loss"),)
    Run(tmp_path)(1, progress_metrics=shown)
    assert capsys.readouterr().err.splitlines()[-1].endswith("| kept 0.5")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("bad_step", [3, 4, 6, 7])
def test_a_non_finite_metric_stops_and_saves_nothing_after(tmp_path, value, bad_step):
    """After steps 3 and 6 a checkpoint is due, after 3 no report; 7 is the last."""
    run = Run(tmp_path, bad={bad_step: {"d_loss": value}})
    saved = {3: [], 4: [3], 6: [3], 7: [3, 6]}[bad_step]
    with pytest.raises(NonFiniteLossError) as caught:
        run(7)
    text = str(caught.value)
    assert text.startswith(f"step {bad_step}: d_loss = {value}.")
    good = latest_checkpoint(tmp_path / "checkpoints")
    assert f"good checkpoint: {good or 'there is none'}." in text
    assert run.saved() == saved
    row = run.rows("d_loss")[bad_step]
    assert row["d_loss"] is None
    assert row["g_loss"] == bad_step
    # The step that ran meanwhile is the last.
    assert f"step {bad_step + 2}" not in run.events


def test_a_non_finite_metric_before_any_checkpoint(tmp_path):
    run = Run(tmp_path, bad={1: {"g_loss": np.nan, "d_grad_norm": np.inf}})
    with pytest.raises(
        NonFiniteLossError,
        match=r"step 1: d_grad_norm = inf, g_loss = nan\. .*there is none",
    ):
        run(7)
    assert run.saved() == []


def test_a_broken_evaluation_fails_before_the_first_step(tmp_path):
    run = Run(tmp_path)

    def broken(state, step):
        raise RuntimeError("evaluation")

    run.evaluate = broken
    with pytest.raises(RuntimeError, match="evaluation"):
        run(3)
    assert run.events == []


# A small GAN and the real pipeline; the whole one: experiments/test_train_gan.py.


@pytest.fixture(scope="module")
def trainer():
    return make_trainer()


@pytest.fixture(scope="module")
def compiled(trainer):
    return trainer.compile(None, jax.random.key(7))


def train(trainer, compiled, folder, num_steps):
    """What the training command does: restore where it can, then the loop."""
    key, names = jax.random.key(7), ("label_map", "image", "valid_mask")

    def step(state, batch):
        placed = trainer.placement.put_batch({name: batch[name] for name in names})
        return compiled.function(state, None, placed, key)

    iterator = make_train_iterator(RandomSource(), batch_size=BATCH, seed=3)
    try:
        with CheckpointStore(folder / "checkpoints") as store:
            start = store.latest_step or 0
            if start:
                state, position, _ = store.restore(start, trainer.abstract_state())
                iterator.set_state(position["iterator"])
            else:
                state = copy_of(draw_state(trainer))
            with MetricWriter(folder, start_step=start, tensorboard=False) as writer:
                result = run_loop(
                    state,
                    step=start,
                    train_step=step,
                    iterator=iterator,
                    evaluate=lambda state, step: ({}, {}),
                    store=store,
                    writer=writer,
                    settings=LoopSettings(num_steps, BATCH, report_every=1),
                    facts={},
                )
    finally:
        iterator.close()
    assert (result.step, result.stopped_by) == (num_steps, None)
    return jax.device_get(result.state)


def losses(folder):
    rows = [json.loads(x) for x in (folder / METRICS_FILE).read_text().splitlines()]
    timings = ("second", "input_wait")
    return [
        {k: v for k, v in row.items() if not any(t in k for t in timings)}
        for row in rows
    ]


def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(tmp_path, trainer, compiled):
    """Six steps of five images in batches of two: the epoch ends in between."""
    whole = train(trainer, compiled, tmp_path / "whole", 6)
    halfway = train(trainer, compiled, tmp_path / "parts", 3)
    parts = train(trainer, compiled, tmp_path / "parts", 6)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(losses(tmp_path / "whole")) == 6
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    changed = [
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(halfway), strict=True)
    ]
    assert np.mean(changed) > 0.5
