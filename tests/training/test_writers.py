"""metrics.jsonl, its rows after a cut, and TensorBoard."""

import json
import logging
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.training.writers import METRICS_FILE, MetricWriter, NoWriter


def rows(folder):
    text = (folder / METRICS_FILE).read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_rows_hold_the_step_and_plain_numbers(tmp_path):
    folder = tmp_path / "new" / "run"
    with MetricWriter(folder, tensorboard=False) as writer:
        writer.scalars(1, {"a": 1, "b": np.float32(0.5), "c": jnp.asarray(2.0)})
        writer.scalars(2, {"a": float("nan"), "b": float("inf")})
        writer.image(2, "panel", np.zeros((2, 2, 3), np.uint8))
    assert rows(folder) == [
        {"step": 1, "a": 1.0, "b": 0.5, "c": 2.0},
        {"step": 2, "a": None, "b": None},
    ]


def write_steps(folder, steps):
    with MetricWriter(folder, tensorboard=False) as writer:
        for step in steps:
            writer.scalars(step, {"x": step})


@pytest.mark.parametrize(
    ("start", "kept"),
    [(4, [0, 1, 4]), (3, [0, 1]), (99, [0, 1, 4, 6]), (0, [])],
)
def test_rows_after_the_step_that_is_resumed_are_dropped(tmp_path, start, kept):
    """From step 0 the first evaluation is repeated, so that its row goes as well."""
    write_steps(tmp_path, [0, 1, 4, 6])
    MetricWriter(tmp_path, start_step=start, tensorboard=False).close()
    assert [row["step"] for row in rows(tmp_path)] == kept


def test_lines_that_cannot_be_read_are_dropped_and_said(tmp_path, caplog):
    write_steps(tmp_path, [1, 2])
    path = tmp_path / METRICS_FILE
    first, second = path.read_bytes().splitlines(keepends=True)
    # As a loss of power leaves it: zeros, and bytes that are no text.
    parts = [first, bytes(9), b"\n\xff\xfe\n", second, b'[1]\n{"step": 3, "x"']
    path.write_bytes(b"".join(parts))
    with caplog.at_level(logging.WARNING):
        MetricWriter(tmp_path, start_step=5, tensorboard=False).close()
    assert [row["step"] for row in rows(tmp_path)] == [1, 2]
    assert caplog.text.count("dropped an unreadable line") == 4


def test_without_tensorflow_one_line_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "clu.metric_writers", None)
    monkeypatch.delattr("clu.metric_writers", raising=False)
    with caplog.at_level(logging.INFO), MetricWriter(tmp_path) as writer:
        writer.scalars(1, {"x": 1.0})
        writer.image(1, "panel", np.zeros((2, 2, 3), np.uint8))
    assert rows(tmp_path) == [{"step": 1, "x": 1.0}]
    assert caplog.text.count("install tensorflow-cpu and tensorboard") == 1
    assert list(tmp_path.glob("events*")) == []


def test_tensorboard_gets_scalars_and_pictures(tmp_path):
    pytest.importorskip("tensorflow")
    with MetricWriter(tmp_path) as writer:
        writer.scalars(3, {"quality": 0.25})
        writer.image(3, "panel", np.full((4, 4, 3), 255, np.uint8))
    content = b"".join(p.read_bytes() for p in tmp_path.glob("events*"))
    assert b"quality" in content
    assert b"panel" in content
    assert b"PNG" in content


def test_no_writer_takes_the_same_calls_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with NoWriter() as writer:
        writer.scalars(1, {"loss": 1.0})
        writer.image(1, "panel", np.zeros((2, 2, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []
