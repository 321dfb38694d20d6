"""Counts of distinct neighbourhoods, and the table sizes that follow."""

import numpy as np

from cmrjax.data.neighbourhoods import count_neighbourhoods, table_rows


def _counted_by_hand(label_map: np.ndarray, stride: int) -> int:
    small = label_map[::stride, ::stride]
    padded = np.pad(small.astype(int), 2, constant_values=-1)
    h, w = small.shape
    return len(
        {padded[i : i + 5, j : j + 5].tobytes() for i in range(h) for j in range(w)}
    )


def test_count_equals_a_set_of_windows():
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 9, (6, 4)), np.ones((8, 8), int)).astype(np.uint8)
    for label_map in (blocks, rng.integers(0, 4, (32, 24)), np.zeros((16, 16), int)):
        for stride in (1, 2, 4):
            count = count_neighbourhoods(label_map.astype(np.uint8), stride)
            assert count == _counted_by_hand(label_map, stride)


def test_table_rows_cover_every_mirrored_map_and_leave_out_what_does_not_pay():
    rng = np.random.default_rng(1)
    maps = [
        np.kron(rng.integers(0, 4, (4, 4)), np.ones((32, 32), int)).astype(np.uint8)
        for _ in range(3)
    ]
    rows = dict(table_rows(maps))
    assert 128 in rows
    for height, size in rows.items():
        stride = 128 // height
        assert size % 64 == 0
        assert size <= 0.7 * height**2
        for label_map in maps:
            for mirrored in (label_map, label_map[::-1], label_map[:, ::-1]):
                assert count_neighbourhoods(mirrored, stride) <= size
    noise = [rng.integers(0, 9, (64, 64), np.uint8)]
    assert table_rows(noise) == ()


def test_maps_that_share_a_table_need_less_than_the_sum_of_theirs():
    rng = np.random.default_rng(2)
    maps = [
        np.kron(rng.integers(0, 3, (4, 4)), np.ones((16, 16), int)).astype(np.uint8)
        for _ in range(6)
    ]
    options = {"margin": 1.0, "largest_shares": (1.0,), "strides": (1,)}
    single = dict(table_rows(maps, **options))[64]
    shared = dict(table_rows(maps, maps_per_table=4, **options))[64]
    windows = {
        np.pad(m, 2, constant_values=9)[i : i + 5, j : j + 5].tobytes()
        for label_map in maps
        for m in (label_map, label_map[::-1], label_map[:, ::-1], label_map[::-1, ::-1])
        for i in range(64)
        for j in range(64)
    }
    assert single < shared < 4 * single
    assert shared <= len(windows) + 64
