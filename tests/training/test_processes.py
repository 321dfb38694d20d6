"""How processes are found, what one does alone, and what two do together."""

import os
import subprocess
import sys

import pytest

from cmrjax.training.processes import (
    Launch,
    any_said,
    fail,
    find_launch,
    is_first,
    meet,
    share,
)
from tests.experiments.several_processes import ROOT, ended, started

VARIABLES = {
    "JAX_COORDINATOR_ADDRESS": "node1:1234",
    "JAX_NUM_PROCESSES": "4",
    "JAX_PROCESS_ID": "3",
}
SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"JAX_COORDINATOR_ADDRESS": "node1:1234"}, None),
        (VARIABLES, Launch(3, 4, "node1:1234")),
        ({**VARIABLES, "JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}, None),
        (SLURM, Launch(5, 8)),
        ({**SLURM, **VARIABLES}, Launch(3, 4, "node1:1234")),
        # A batch script of eight tasks that was not started by srun.
        ({k: v for k, v in SLURM.items() if "STEP" not in k}, None),
        ({**SLURM, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
        # Four tasks that see four GPUs; one that sees its own; one alone on its node.
        ({**SLURM, "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, Launch(5, 8)),
        (
            {**SLURM, "CUDA_VISIBLE_DEVICES": "2"},
            Launch(5, 8, local_devices=(0,)),
        ),
        (
            {
                **SLURM,
                "SLURM_STEP_TASKS_PER_NODE": "1(x8)",
                "CUDA_VISIBLE_DEVICES": "0,1,2,3",
            },
            Launch(5, 8, local_devices=(0, 1, 2, 3)),
        ),
    ],
)
def test_a_launch_is_read_from_the_environment(environ, expected):
    assert find_launch(environ) == expected


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"JAX_COORDINATOR_ADDRESS": ""}, "JAX_COORDINATOR_ADDRESS not set"),
        ({"JAX_PROCESS_ID": ""}, "JAX_PROCESS_ID not set; several processes need all"),
        ({"JAX_PROCESS_ID": "4"}, "JAX_PROCESS_ID is '4'; expected numbers"),
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES is 'two'"),
        ({"JAX_COORDINATOR_ADDRESS": "node1"}, "'node1'; expected HOST:PORT"),
    ],
)
def test_variables_that_do_not_fit_are_named(change, text):
    with pytest.raises(ValueError, match=text):
        find_launch({**VARIABLES, **change})


def test_one_process_shares_with_itself_and_fails_as_any_program():
    assert is_first()
    assert share(lambda: (1, "two")) == (1, "two")
    meet()
    assert any_said("SIGTERM") == "SIGTERM"
    assert any_said(None) is None
    with pytest.raises(ValueError, match="broken"):
        share(lambda: int("broken"))
    with pytest.raises(SystemExit, match="command: it broke"):
        fail("command: it broke")


TWO = """
import os, signal, sys
import numpy as np
from cmrjax.training.processes import *
join(find_launch(os.environ))
import jax
from cmrjax.training.agreement import Together, make_agreement
from cmrjax.training.sharding import data_parallel, local_copy

index = jax.process_index()
assert share(lambda: {"from": index}) == {"from": 0}
meet()
assert any_said(None) is None
assert any_said("SIGUSR1" if index else None) == "SIGUSR1"
assert any_said("SIGTERM" if index else "SIGINT") == "SIGINT"
placement = data_parallel(batch_size=8)
rows = placement.rows(8)
assert (rows.start, rows.stop) == (4 * index, 4 * index + 4), rows
tree = placement.replicate({"key": jax.random.key(3), "x": np.arange(3.0)})
assert jax.random.key_data(local_copy(tree)["key"])[1] == 3
whole = placement.put_batch({"x": np.arange(8.0)[rows]})["x"]
total = jax.jit(lambda x: (x * x).sum(), out_shardings=placement.replicated)(whole)
assert total == 140
meet()
agreement = make_agreement(placement)
assert isinstance(agreement, Together)
agreement.meet(None)
assert agreement.stopped_by(None) is None
early = make_agreement(placement)
early.meet("SIGUSR1" if index else None)
assert early.stopped_by(None) == "SIGUSR1"
# Process 1 gets a signal in the second step; the clock of process 0 is what counts.
seen = []
for step in range(1, 6):
    stop = "SIGUSR1" if index == 1 and step >= 2 else None
    saves = agreement.exchange(stop, save=step >= 4 if index == 0 else step >= 2)
    seen.append((saves, agreement.stopped_by(stop)))
stopped = "SIGUSR1"
assert seen == [
    (False, None), (False, None), (False, stopped), (False, stopped), (True, stopped)
], seen
print("through", file=sys.stderr)
share(lambda: None)
if index == 1:
    fail("the disk is full")
share(lambda: signal.pause())
"""


def test_two_processes_share_agree_and_fail_together():
    with started([["-c", TWO]] * 2, devices=2) as processes:
        results = ended(processes)
    for status, text in results:
        assert status == 1, text
        assert "through" in text
        assert "the disk is full" in text
    assert "the disk is full (in process 1 of 2)" in results[0][1]


def test_nothing_is_started_for_one_process():
    """Nor are device and service touched by looking at the environment."""
    program = (
        "import os, jax; from cmrjax.training.processes import find_launch;"
        "assert find_launch(os.environ) is None;"
        "assert not jax.distributed.is_initialized()"
    )
    environ = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environ)
    assert done.returncode == 0
