"""Rates over a window and the progress line."""

import io

import pytest

from cmrjax.training import progress
from cmrjax.training.progress import ProgressLine, StepWindow

SUMMARY = {
    "seconds_per_step": 0.5,
    "images_per_second": 16.0,
    "g_loss": 1.23456,
    "d_loss": 2.0,
}
LOSSES = (("G", "g_loss"), ("D", "d_loss"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_file_gets_one_line_per_report():
    stream = io.StringIO()
    line = ProgressLine(7300, LOSSES, stream=stream)
    line.report(100, SUMMARY)
    line.report(7300, SUMMARY)
    line.close()
    assert stream.getvalue() == (
        "step 100/7300 | 0.5 s/step | 16 images/s | left 1:00:00 | G 1.235 D 2\n"
        "step 7300/7300 | 0.5 s/step | 16 images/s | left 0:00:00 | G 1.235 D 2\n"
    )


def test_a_terminal_line_is_rewritten_and_ended_once():
    stream = Terminal()
    line = ProgressLine(10, LOSSES, stream=stream)
    line.report(4, SUMMARY)
    line.report(6, SUMMARY)
    line.close()
    text = stream.getvalue()
    assert text.count("\r") == 2
    assert text.count("\x1b[K") == 2
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert "left 0:00:03" in text


def test_the_line_shows_the_metrics_it_is_told_to():
    stream = io.StringIO()
    shown = (("loss", "loss"), ("rate", "learning_rate"))
    summary = {"seconds_per_step": 2.0, "images_per_second": 4.0}
    line = ProgressLine(3, shown, stream=stream)
    line.report(1, {**summary, "loss": 0.25, "learning_rate": 1e-4})
    assert stream.getvalue().endswith("left 0:00:04 | loss 0.25 rate 0.0001\n")
    stream = io.StringIO()
    ProgressLine(3, (), stream=stream).report(3, summary)
    assert stream.getvalue().endswith("left 0:00:00 | \n")


def test_window_takes_means_and_leaves_pauses_out(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    window = StepWindow(batch_size=8)
    assert window.summarise() == {}
    for loss in (1.0, 3.0):
        window.add_wait(0.5)
        now[0] += 2.0
        window.add({"g_loss": loss})
    now[0] += 10.0
    window.add_pause(10.0)
    summary = window.summarise()
    assert summary == {
        "g_loss": 2.0,
        "seconds_per_step": 2.0,
        "images_per_second": 4.0,
        "input_wait_share": pytest.approx(0.25),
    }
    assert window.summarise() == {}
    now[0] += 1.0
    window.add({"g_loss": 7.0})
    assert window.summarise() == {
        "g_loss": 7.0,
        "seconds_per_step": 1.0,
        "images_per_second": 8.0,
        "input_wait_share": 0.0,
    }
