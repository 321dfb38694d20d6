"""The command line of the training commands; they are run in tests of their own."""

import sys

import pytest

from experiments.training_flags import run_command


@pytest.mark.parametrize("option", ["--config=", "-config="])
def test_a_configuration_that_is_not_there_is_named(monkeypatch, tmp_path, option):
    monkeypatch.setattr(sys, "argv", ["command", f"{option}{tmp_path / 'none.py'}"])
    with pytest.raises(SystemExit, match=r"train_x: --config: no file .*none\.py"):
        run_command("train_x", lambda config, workdir: None)  # type: ignore[arg-type]
