"""Which tables pay, and how large those for unseen maps are."""

import pytest

from cmrjax.models.spade_generator import GeneratorArchitecture
from cmrjax.models.table_size import table_for_unseen_maps, worthwhile_share

FULL = GeneratorArchitecture(9, base_features=64)


def test_wider_layers_are_worth_larger_tables():
    shares = [worthwhile_share(FULL, stride) for stride in (1, 2, 4)]
    narrow = worthwhile_share(GeneratorArchitecture(9, base_features=2), 1)
    assert 0 < narrow < 0.2 < shares[0] < shares[1] < shares[2] < 0.8
    more_classes = GeneratorArchitecture(30, base_features=64)
    assert worthwhile_share(more_classes, 1) < shares[0]


def test_the_extra_block_is_half_as_wide():
    extra = GeneratorArchitecture(9, base_features=64, seed_stride=128)
    assert worthwhile_share(extra, 2) == worthwhile_share(FULL, 1)


def test_arithmetic_at_the_share_is_that_of_the_efficiency():
    """Counted here for nf 64 at half resolution: 128 features, k 9."""
    pixel = 9 * 9 * 128 + 9 * 128 * 256
    row = 9 * 9 * 9 * 128 + 9 * 128 * 256
    assert worthwhile_share(FULL, 2) == pytest.approx(0.8 * pixel / row)


@pytest.mark.parametrize("batch", [1, 4])
def test_tables_for_unseen_maps_stay_below_the_share(batch):
    rows = dict(table_for_unseen_maps(FULL, (batch, 256, 256)).rows)
    assert set(rows) >= {256, 128}
    for height, count in rows.items():
        share = count / (batch * height**2)
        assert share <= worthwhile_share(FULL, 256 // height)


def test_small_images_and_narrow_networks_have_none():
    assert table_for_unseen_maps(FULL, (1, 32, 32)).rows == ()
    narrow = GeneratorArchitecture(9, base_features=1)
    assert table_for_unseen_maps(narrow, (1, 128, 128)).rows == ()
