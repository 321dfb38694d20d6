"""What of the log reaches the terminal."""

import logging
import os
import re

import pytest

from cmrjax.training.console import configure_logging

NAMES = ("absl", "orbax", "grain", "jax", "cmrjax", "experiments", "__main__")


@pytest.fixture(autouse=True)
def _keep_logging(monkeypatch):
    """Handlers and levels of the test run stay as they are."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in NAMES)]
    before = [(one, one.level) for one in loggers]
    handlers = root.handlers[:]
    for handler in handlers:  # so that they are not closed
        root.removeHandler(handler)
    yield
    root.handlers[:] = handlers
    for one, level in before:
        one.setLevel(level)


def test_own_messages_have_the_time_and_others_are_warnings_only(capsys):
    configure_logging()
    logging.getLogger("cmrjax.training.loop").info("step %d", 3)
    logging.getLogger("experiments.train_gan").info("started")
    logging.getLogger("cmrjax").debug("detail")
    logging.getLogger("orbax.checkpoint").info("saved")
    logging.getLogger("somebody").info("chatter")
    logging.getLogger("orbax.checkpoint").warning("old format")
    lines = capsys.readouterr().err.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    assert [line[9:] for line in lines] == ["step 3", "started", "old format"]


def test_called_twice_it_says_each_line_once(capsys):
    configure_logging()
    configure_logging()
    logging.getLogger("cmrjax").info("once")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_log_level_of_tensorflow_is_the_users_if_set(monkeypatch):
    configure_logging()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "1"
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    configure_logging()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "2"


def test_a_quiet_process_speaks_of_warnings_only(capsys):
    configure_logging(quiet=True)
    logging.getLogger("cmrjax.training.loop").info("step 3")
    logging.getLogger("experiments.train_gan").warning("odd")
    assert [line[9:] for line in capsys.readouterr().err.splitlines()] == ["odd"]
