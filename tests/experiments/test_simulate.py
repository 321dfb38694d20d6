"""The command line of the simulator."""

from concurrent.futures.process import BrokenProcessPool

import pytest

from experiments import simulate
from experiments.simulate import main, parse_arguments


def test_simulates_then_keeps_then_refuses(tmp_path, capsys):
    command = ["--subjects=1", "--image-size=32", "--spacing=6", "--quiet"]
    command.append(f"--out={tmp_path / 'out'}")
    assert main(command) == 0
    assert "1 subjects simulated, 0 kept" in capsys.readouterr().out
    assert main(command) == 0
    assert "0 subjects simulated, 1 kept" in capsys.readouterr().out
    assert main([*command, "--seed=1"]) == 2
    assert "simulate: " in capsys.readouterr().err


def test_a_missing_phantom_is_one_line(tmp_path, capsys):
    command = [f"--out={tmp_path / 'out'}", "--anatomy=xcat", "--quiet"]
    assert main([*command, f"--source={tmp_path / 'nowhere.zip'}"]) == 2
    assert "nowhere.zip" in capsys.readouterr().err
    assert main(command) == 2
    assert "anatomy xcat needs a source" in capsys.readouterr().err


def test_out_is_required(capsys):
    with pytest.raises(SystemExit, match="2"):
        parse_arguments([])
    assert "--out" in capsys.readouterr().err


def test_help_is_plain_text_with_the_command_as_it_is_called(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert text.startswith("usage: python -m experiments.simulate [-h] --out")
    assert "`" not in text


def test_interruption_is_one_line(tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(simulate, "simulate_population", interrupted)
    assert main([f"--out={tmp_path / 'out'}"]) == 130
    streams = capsys.readouterr()
    assert streams.err == "interrupted: the same command continues\n"
    assert streams.out == ""


def test_a_killed_process_is_one_line(tmp_path, capsys, monkeypatch):
    def broken(*_, **__):
        raise BrokenProcessPool("a child was terminated")

    monkeypatch.setattr(simulate, "simulate_population", broken)
    assert main([f"--out={tmp_path / 'out'}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("simulate: a process was ended from outside")
    assert "smaller --jobs continues" in error
    assert error.count("\n") == 1


def test_a_style_reaches_the_simulation(tmp_path, monkeypatch, capsys):
    asked = {}
    monkeypatch.setattr(
        simulate, "simulate_population", lambda *_, **more: asked.update(more) or 0
    )
    assert main([f"--out={tmp_path / 'out'}", "--style=wide"]) == 0
    assert asked["style"] == "wide"
    with pytest.raises(SystemExit, match="2"):
        main([f"--out={tmp_path / 'out'}", "--style=X"])
    assert "invalid choice: 'X'" in capsys.readouterr().err


def test_data_of_others_are_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "split.csv").write_text("mine")
    assert main([f"--out={tmp_path}", "--subjects=1", "--quiet"]) == 2
    assert "choose a new or empty folder with out" in capsys.readouterr().err
    assert (tmp_path / "split.csv").read_text() == "mine"
