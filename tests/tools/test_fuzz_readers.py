"""A short fuzzing of every reader, and that the fuzzing sees what is planted."""

import sys

import pytest

from tools.fuzz_readers import Fuzzing, Part, Report, main, table

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the limits are those of Linux"
)

EXAMPLES = {"checkpoint": 2}  # the slowest
PLANTED = "tests.tools.planted_readers"
KINDS = {
    "exception": "exception",
    "hang": "hang",
    "memory": "memory",
    "message": "message",
    "lines": "message",
    "prints": "prints",
    "traceback": "prints",
    "writes": "writes",
    "died": "died",
}


def _needs_torch(reader: str) -> bool:
    return reader == "weights_pth"


@pytest.mark.parametrize(
    "needs_torch", [False, pytest.param(True, marks=pytest.mark.torch)]
)
def test_every_reader_answers_a_few_damaged_files(needs_torch, tmp_path):
    from tools.fuzz_targets import READERS

    assert len(READERS) >= 20
    names = [r.name for r in READERS if _needs_torch(r.name) == needs_torch]
    fuzzing = Fuzzing(tmp_path, say=lambda line: None)
    examples = {name: EXAMPLES.get(name, 5) for name in names}
    fuzzing.run(
        [Part(name, 0, count) for name, count in examples.items()], seconds=2000
    )
    assert fuzzing.crashes == []
    assert {name: r.examples for name, r in fuzzing.reports.items()} == examples
    refused = sum(report.refused for report in fuzzing.reports.values())
    assert refused > len(names) // 2
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """What is found in readers with faults."""
    out = tmp_path_factory.mktemp("crashes")
    fuzzing = Fuzzing(
        out,
        module=PLANTED,
        say=lambda line: None,
        limits={"seconds": 0.3},
        most_deaths=1,
    )
    fuzzing.run([Part(name, 0, 6) for name in ("right", *KINDS)], seconds=2000)
    return fuzzing, out


@pytest.mark.parametrize("name", KINDS)
def test_a_planted_fault_is_found_and_saved(planted, name):
    fuzzing, out = planted
    found = [crash for crash in fuzzing.crashes if crash["reader"] == name]
    assert {crash["kind"] for crash in found} == {KINDS[name]}
    report = fuzzing.reports[name]
    assert report.crashes == len(found)
    folder = out / f"{name}-1"
    text = (folder / "crash.txt").read_text()
    assert text.startswith(f"{KINDS[name]}: ")
    assert f"--reader={name} --replay={folder}" in text


def test_a_right_reader_has_no_crash(planted):
    fuzzing, out = planted
    report = fuzzing.reports["right"]
    assert (report.examples, report.crashes) == (6, 0)
    assert report.refused >= 3
    assert not (out / "right-1").exists()


def test_a_saved_crash_is_small_and_happens_again(planted):
    fuzzing, out = planted
    saved = out / "exception-1" / "files" / "file.json"
    assert not saved.is_file() or len(saved.read_bytes()) <= len(b'{"a": [1, 2, 3]}')
    again = fuzzing.replay("exception", out / "exception-1")
    assert again["crash"]["kind"] == "exception"
    assert "KeyError" in again["crash"]["text"]


def test_a_reader_that_refuses_valid_files_stops_the_fuzzing(tmp_path):
    (tmp_path / "refusing_readers.py").write_text(
        "from tools.fuzz_worker import Reader\n"
        "def use(folder): raise ValueError(f'{folder}: no')\n"
        "READERS = (Reader('no', lambda folder: [{'a.json': b'{}'}], (use,)),)\n"
    )
    program = {"module": "refusing_readers", "say": lambda line: None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        with pytest.raises(RuntimeError, match=r"valid files \['a.json'\]: refused"):
            Fuzzing(tmp_path / "out", **program).run([Part("no", 0, 1)], seconds=60)


def test_the_table_has_a_row_for_each_reader_and_the_sum():
    first, second = Report("a", 3, 1, 1, 1, 2.4, 1.0), Report("b", 5, 2, 3, 0, 1.0, 0.6)
    text = table([first, second])
    assert "| a | 3 | 1 | 1 | 1 | 2 | 1 |" in text
    assert text.endswith("| all | 8 | 3 | 4 | 1 | 3 | 2 |")


def test_command_refuses_an_unknown_reader(capsys):
    assert main(["--reader=none", "--minutes=0.01"]) == 2
    assert "--reader=none: there are nifti, " in capsys.readouterr().err
