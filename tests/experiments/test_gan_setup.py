"""What a GAN training is built of, beyond what its runs show."""

from typing import Any

import numpy as np
import pytest

from experiments.gan_setup import SETTLING_BATCHES, part_size, settling_maps
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
