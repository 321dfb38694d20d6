"""What a GAN training is built of, beyond what its runs show."""

from typing import Any

import numpy as np
import pytest

from experiments.gan_setup import (
    SETTLING_BATCHES,
    learning_rates,
    num_steps,
    part_size,
    settling_maps,
)
from tests.experiments.tiny_run import tiny_config


class OneOfSeveral:
    """The placement of one of several processes with a device each."""

    def __init__(self, index: int, count: int) -> None:
        self._index, self._count = index, count

    def rows(self, batch_size: int) -> slice:
        assert batch_size % self._count == 0
        share = batch_size // self._count
        return slice(self._index * share, (self._index + 1) * share)


class Numbered:
    """Slices whose pixels are their number."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {"label_map": np.full((4, 4), index, np.uint8)}


@pytest.mark.parametrize("accumulation", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2])
def test_processes_share_the_maps_that_settle_the_average(
    tmp_path, accumulation, count
):
    """Of batches as large as a part: with accumulation no process goes without."""
    config = tiny_config(tmp_path)
    config.training.batch_size, config.training.accumulation = 8, accumulation
    source: Any = Numbered()

    def maps(index: int, of: int) -> np.ndarray:
        placement: Any = OneOfSeveral(index, of)
        return settling_maps(config, source, placement)

    parts = [maps(index, count) for index in range(count)]
    whole = np.concatenate(parts, axis=1)
    assert whole.shape == (SETTLING_BATCHES, part_size(config), 4, 4)
    assert len({part.shape for part in parts}) == 1
    np.testing.assert_array_equal(whole, maps(0, 1))
    assert len(np.unique(whole)) == 12


@pytest.fixture
def decaying(tmp_path):
    """Eight slices in batches of two: two epochs of four steps, then four of decay."""
    config = tiny_config(tmp_path)
    config.optimizer.constant_epochs, config.optimizer.decay_epochs = 2, 4
    config.training.num_steps = 0
    return config


def test_a_run_does_not_go_on_at_rate_0(decaying):
    assert num_steps(decaying, 8) == 24
    decaying.training.num_steps = 24
    assert num_steps(decaying, 8) == 24
    decaying.training.num_steps = 25
    with pytest.raises(ValueError, match=r"num_steps is 25, .* 0 after 24 steps") as e:
        num_steps(decaying, 8)
    assert "config.optimizer.decay_epochs = 4; set it to 24 at most" in str(e.value)
    decaying.optimizer.decay_epochs = 0
    assert num_steps(decaying, 8) == 25


def test_a_run_without_a_step_is_refused(decaying):
    decaying.optimizer.constant_epochs = decaying.optimizer.decay_epochs = 0
    with pytest.raises(ValueError, match=r"num_steps are all 0: set how long to train"):
        num_steps(decaying, 8)
    decaying.training.num_steps = 1
    assert num_steps(decaying, 8) == 1


@pytest.mark.parametrize(
    ("step", "share"), [(1, 1), (8, 1), (12, 1), (13, 0.75), (20, 0.5), (24, 0.25)]
)
def test_the_rate_of_a_step_is_that_of_the_update_to_it(decaying, step, share):
    """Update n, from 0, is in epoch n // 4; the first epoch of the decay is a whole."""
    rates = learning_rates(decaying, 8)(step)
    assert rates == {
        "g_learning_rate": pytest.approx(share * 1e-4),
        "d_learning_rate": pytest.approx(share * 4e-4),
    }
