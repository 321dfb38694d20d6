"""Eight devices compute what one does, and take over its checkpoints."""

import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from tests.training.eight_devices import SMALLEST, worst_leaf
from tests.virtual_devices import xla_flags

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOISE = 1e-5  # float32, through a network
# Of the worst leaf: sums that nearly cancel, and 8e-5 was the largest that was seen.
GRADIENT_NOISE = 3e-4

GAN = ("two passes", "one pass", "table")
# The step of a GAN is compiled for a minute.
CASES = ["segmentation", *(pytest.param(case, marks=pytest.mark.slow) for case in GAN)]
GAN_QUANTITIES = {
    "g_gradients",
    "d_gradients",
    "batch_statistics",
    "g_spectral",
    "d_spectral",
    "g_loss",
    "d_loss",
}
QUANTITIES = {"gradients", "batch_statistics", "loss"}


@functools.cache
def errors_of(case: str) -> dict:
    """Relative errors, from a process with eight CPU devices."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.training.eight_devices", folder, case],
            cwd=ROOT,
            env={**os.environ, "XLA_FLAGS": xla_flags(8), "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            timeout=900,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_gradients_statistics_and_losses_are_those_of_one_device(case):
    errors = errors_of(case)["step"]
    assert (GAN_QUANTITIES if case in GAN else QUANTITIES) <= set(errors)
    assert too_large(errors) == {}


def too_large(errors: dict[str, float]) -> dict[str, float]:
    """The errors that are more than rounding."""
    return {
        name: error
        for name, error in errors.items()
        if error > (GRADIENT_NOISE if "gradients" in name else NOISE)
    }


def test_the_comparison_sees_one_small_leaf_and_no_noise_of_zeros():
    tree = {"large": np.full(1000, 5.0), "small": np.array([0.1, 0.2]), "zero": 0.0}
    wrong = {**tree, "small": np.array([0.1, 0.21])}
    assert worst_leaf(tree, wrong) == pytest.approx(0.05)
    noise = {**tree, "zero": 1e-7}
    assert worst_leaf(tree, noise) == pytest.approx(1e-7 / (SMALLEST * 5.0))


@pytest.mark.parametrize("case", CASES)
def test_the_comparison_sees_statistics_of_a_part_of_the_batch(case):
    """What each device would compute by itself is far from that."""
    errors = errors_of(case)["eighth"]
    assert errors["batch_statistics"] > 1e-3
    assert max(e for name, e in errors.items() if "gradients" in name) > 1e-2


@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_goes_on_on_another_number_of_devices(case):
    """One device from the eight's checkpoint and the reverse: the same second step."""
    errors = errors_of(case)["changed"]
    assert too_large(errors) == {}


@pytest.mark.slow
def test_the_settled_average_is_that_of_one_device():
    assert errors_of("settled average")["average"] < NOISE
