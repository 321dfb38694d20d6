"""The command line of the training commands; they are run in tests of their own."""

import os
import pathlib
import subprocess
import sys

import pytest

from experiments.training_flags import run_command


@pytest.mark.parametrize("option", ["--config=", "-config="])
def test_a_configuration_that_is_not_there_is_named(monkeypatch, tmp_path, option):
    monkeypatch.setattr(
        sys, "argv", ["command", f"{option}{tmp_path / 'none.py'}", "--workdir=x"]
    )
    with pytest.raises(SystemExit, match=r"train_x: --config: no file .*none\.py"):
        run_command("train_x", lambda config, workdir: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ([], "--config and --workdir"),
        (["--config=x.py"], "--workdir"),
        (["--workdir", "run", "--config.seed=1"], "--config"),
    ],
)
def test_what_is_missing_is_said_in_one_line(monkeypatch, arguments, needed):
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(SystemExit) as ended:
        run_command("train_x", lambda config, workdir: None)  # type: ignore[arg-type]
    assert ended.value.code == f"train_x: needs {needed}; --help lists the options"


@pytest.mark.parametrize("name", ["train_gan", "train_segmentation"])
def test_help_lists_the_options(name):
    command = [sys.executable, "-m", f"experiments.{name}", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    for option in ("--config=FILE", "--workdir=DIR", "--profile=N", "--config.SECTION"):
        assert option in shown


ROOT = pathlib.Path(__file__).resolve().parents[2]
# A training that gets signals while it starts: {kill} stands for the first ones.
STARTING = """
import os, signal
from cmrjax.training.loop import LoopResult
from experiments.training_flags import run_command

def run(config, workdir, *, profile, stop):
    for number in ({kill}):
        os.kill(os.getpid(), number)
    return LoopResult(None, {step}, stop.received, began=stop.received is None)

run_command("train_gan", run)
"""


def _started(kill: str, step: int = 0) -> subprocess.CompletedProcess[str]:
    program = STARTING.format(kill=kill, step=step)
    config = "--config=experiments/configs/cavity_a1.py"
    return subprocess.run(
        [sys.executable, "-c", program, config, "--workdir=run"],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM", "SIGINT"])
def test_a_signal_while_starting_ends_well_and_says_what_is_saved(name):
    done = _started(f"signal.{name},")
    assert done.returncode == 0, done.stderr
    said = f"{name} before the first step: nothing new is saved; the same command "
    assert f"{said}starts anew" in done.stderr


def test_a_signal_while_starting_again_names_the_checkpoint():
    done = _started("signal.SIGTERM,", step=7)
    assert (done.returncode, "continues from step 7\n" in done.stderr) == (0, True)


def test_a_second_interrupt_while_starting_aborts():
    done = _started("signal.SIGINT, signal.SIGINT")
    assert done.returncode == 130, done.stderr
    assert "interrupted; what was saved before is there" in done.stderr
    assert "Traceback" not in done.stderr
