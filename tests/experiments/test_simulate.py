"""The command line of the simulator."""

import pytest

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


def test_out_is_required(capsys):
    with pytest.raises(SystemExit, match="2"):
        parse_arguments([])
    assert "--out" in capsys.readouterr().err
