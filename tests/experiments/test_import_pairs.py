"""The command line that imports pairs."""

from experiments import import_pairs
from experiments.import_pairs import main
from tests.simulation.pair_files import make_labels, write_mapping, write_pair


def _command(tmp_path):
    mapping = write_mapping(tmp_path)
    source = tmp_path / "source"
    return [
        f"--source={source}",
        f"--mapping={mapping}",
        f"--out={tmp_path / 'out'}",
        "--quiet",
    ]


def test_imports_then_keeps_then_tells_problems(tmp_path, capsys):
    write_pair(tmp_path / "source" / "P1", "ED", make_labels(5))
    command = _command(tmp_path)
    assert main(command) == 0
    assert "1 subjects imported, 0 kept from before, 0 problems" in (
        capsys.readouterr().out
    )
    write_pair(tmp_path / "source" / "P2", "ED", make_labels(0)[::-1] * 0)
    assert main(command) == 1
    streams = capsys.readouterr()
    assert "0 subjects imported, 1 kept from before, 1 problems" in streams.out
    assert "problem: " in streams.err
    assert "P2" in streams.err


def test_nothing_to_import_is_one_line(tmp_path, capsys):
    assert main(_command(tmp_path)) == 2
    error = capsys.readouterr().err
    assert error.startswith("import_pairs: ")
    assert "no such folder or table" in error


def test_interruption_is_one_line(tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(import_pairs, "import_pairs", interrupted)
    assert main(_command(tmp_path)) == 130
    assert capsys.readouterr().err == "interrupted: the same command continues\n"


def test_writing_over_the_source_is_refused_in_one_line(tmp_path, capsys):
    write_pair(tmp_path / "source" / "P1", "ED", make_labels(5))
    command = _command(tmp_path)
    assert main([*command, f"--out={tmp_path / 'source'}"]) == 2
    assert "overlap" in capsys.readouterr().err
    assert (tmp_path / "source" / "P1" / "ED_image.nii.gz").is_file()
