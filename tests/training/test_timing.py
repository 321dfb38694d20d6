"""What a training measures of itself is written when it is known."""

import json
import pathlib
import subprocess
import sys
import types

import jax.numpy as jnp
import numpy as np

from cmrjax.training.compiled_step import CompiledStep
from cmrjax.training.timing import Timing, is_from_here, peak_host_bytes

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAINER = types.SimpleNamespace(batch_size=2, image_size=8)
COMPILED = CompiledStep(None, compile_seconds=1.5, flops=10.0, memory_bytes=3)


def test_timing_is_written_after_the_first_step_and_at_the_end(tmp_path):
    path = tmp_path / "timing.json"
    timing = Timing(path, TRAINER, COMPILED)
    timing.write()  # a run that has nothing left to do measured nothing
    assert not path.exists()
    timing.first_step({"loss": jnp.ones(())})
    first = json.loads(path.read_text())
    assert first["seconds_to_first_step"] > 0
    timing.first_step({"loss": jnp.ones(())})
    timing.write()
    last = json.loads(path.read_text())
    assert last["seconds_to_first_step"] == first["seconds_to_first_step"]
    assert (last["compile_seconds"], last["step_flops"]) == (1.5, 10.0)
    assert (last["step_temporary_bytes"], last["batch_size"]) == (3, 2)
    assert last["peak_host_bytes"] > 1e7
    assert last["peak_host_bytes"] <= peak_host_bytes()


def test_the_peak_is_not_that_of_the_process_which_started_this_one():
    held = np.ones(2**29, np.uint8)
    program = "from cmrjax.training import timing; print(timing.peak_host_bytes())"
    command = [sys.executable, "-c", program]
    peak = int(subprocess.check_output(command, text=True, cwd=ROOT))
    assert 2**25 < peak < held.nbytes


def test_a_file_is_from_here_if_devices_and_processes_are_those_of_now(tmp_path):
    path = tmp_path / "timing.json"
    assert not is_from_here(path)
    Timing(path, TRAINER, COMPILED).first_step({})
    assert is_from_here(path)
    content = json.loads(path.read_text())
    kinds = content["devices"]
    for change in (
        {"processes": 2},
        {"devices": [*kinds, "cpu"]},
        {"devices": ["NVIDIA H100 80GB HBM3"] * len(kinds)},
        {"devices": None},
    ):
        path.write_text(json.dumps({**content, **change}))
        assert not is_from_here(path), change
    for damaged in ("", "[]", '{"devices": '):
        path.write_text(damaged)
        assert not is_from_here(path), damaged
