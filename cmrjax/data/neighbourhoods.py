"""How many distinct 5x5 label neighbourhoods label maps have, per resolution.

Sets the size of the tables of `cmrjax.models.neighbourhood_table`.
"""

from collections.abc import Iterable
from functools import reduce

import numpy as np

# Odd 64-bit multipliers: a collision would only make a count too small by one.
_MULTIPLIERS = np.random.default_rng(0).integers(2**62, 2**63, (2, 5), np.uint64) | 1
_BATCHES = 50
MARGIN = 1.15  # on the largest count, for maps and batches that were not counted


def count_neighbourhoods(label_map: np.ndarray, stride: int = 1) -> int:
    """Counts the distinct 5x5 neighbourhoods of a down-sampled label map.

    Args:
        label_map: [h, w] integer ids below 255.
        stride: keeps every so-manieth row and column, as the generator does.

    Returns:
        The count, at least 1.
    """
    return len(_codes(label_map, stride))


def table_rows(
    label_maps: Iterable[np.ndarray],
    *,
    maps_per_table: int = 1,
    strides: tuple[int, ...] = (1, 2, 4),
    margin: float = MARGIN,
    largest_shares: tuple[float, ...] = (0.7, 0.7, 0.7),
) -> tuple[tuple[int, int], ...]:
    """Chooses table sizes that fit the maps of a data set.

    Args:
        label_maps: [h, w] integer maps of one shape; each is looked at in all four
            mirrored versions.
        maps_per_table: maps of a batch that share one table. More than one: the
            largest count over many random batches is taken, which is far below as
            many times the count of one map, since maps have neighbourhoods in common.
        strides: resolutions to consider, as divisors of the image side.
        margin: factor on the largest count, for maps that were not looked at.
        largest_shares: for each stride; a table with more rows than this share of the
            pixels is not worth its gather and is left out.

    Returns:
        Pairs (image height, rows), as `TableModulation` takes them; rows are
        multiples of 64.
    """
    maps = list(label_maps)
    if not maps:
        return ()
    mirrored = [version for m in maps for version in _mirrored(m)]
    chosen = []
    for stride, largest_share in zip(strides, largest_shares, strict=True):
        # A map alone has as many neighbourhoods mirrored, unless pixels are skipped.
        versions = maps if stride == maps_per_table == 1 else mirrored
        count = _largest_count([_codes(m, stride) for m in versions], maps_per_table)
        height, width = (side // stride for side in maps[0].shape)
        rows = 64 * int(np.ceil(margin * count / 64))
        if rows <= largest_share * maps_per_table * height * width:
            chosen.append((height, rows))
    return tuple(chosen)


def _largest_count(codes: list[np.ndarray], maps_per_table: int) -> int:
    if maps_per_table == 1:
        return max(len(c) for c in codes)
    rng = np.random.default_rng(0)
    batches = rng.integers(0, len(codes), (_BATCHES, maps_per_table))
    return max(
        len(np.unique(np.concatenate([codes[i] for i in batch]))) for batch in batches
    )


def _codes(label_map: np.ndarray, stride: int) -> np.ndarray:
    """Distinct hashes of the neighbourhoods, [n] uint64: of rows, then of columns."""
    labels = np.pad(label_map[::stride, ::stride] + np.uint64(1), 2)
    h, w = labels.shape[0] - 4, labels.shape[1] - 4
    along, across = _MULTIPLIERS
    rows = reduce(np.add, [along[j] * labels[:, j : j + w] for j in range(5)])
    return np.unique(reduce(np.add, [across[i] * rows[i : i + h] for i in range(5)]))


def _mirrored(label_map: np.ndarray) -> tuple[np.ndarray, ...]:
    upside_down = label_map[::-1]
    return label_map, label_map[:, ::-1], upside_down, upside_down[:, ::-1]
