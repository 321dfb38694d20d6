"""The demo at its full size, as `make demo` runs it."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_demo_beats_the_class_mean_image(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.demo", f"--workdir={tmp_path / 'demo'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "class-mean image" in done.stdout
    assert (tmp_path / "demo" / "report.html").stat().st_size > 50_000
