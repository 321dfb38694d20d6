"""How many distinct 5x5 label neighbourhoods label maps have, per resolution.

Sets the size of the tables of `cmrjax.models.neighbourhood_table`.
"""

from collections.abc import Iterable

import numpy as np

# Odd 64-bit multipliers: a collision would only make a count too small by one.
_MULTIPLIERS = np.random.default_rng(0).integers(2**62, 2**63, 25, np.uint64) | 1


def count_neighbourhoods(label_map: np.ndarray, stride: int = 1) -> int:
    """Counts the distinct 5x5 neighbourhoods of a down-sampled label map.

    Args:
        label_map: [h, w] integer ids below 255.
        stride: keeps every so-manieth row and column, as the generator does.

    Returns:
        The count, at least 1.
    """
    padded = np.pad(label_map[::stride, ::stride] + np.uint64(1), 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    codes = (windows.reshape(-1, 25).astype(np.uint64) * _MULTIPLIERS).sum(1)
    return len(np.unique(codes))


def table_rows(
    label_maps: Iterable[np.ndarray],
    *,
    strides: tuple[int, ...] = (1, 2, 4),
    margin: float = 1.15,
    largest_share: float = 0.5,
) -> tuple[tuple[int, int], ...]:
    """Chooses table sizes that fit the maps of a data set.

    Args:
        label_maps: [h, w] integer maps of one shape, flipped or not: all four
            mirrored versions are counted.
        strides: resolutions to consider, as divisors of the image side.
        margin: factor on the largest count, for maps that were not looked at.
        largest_share: a table with more rows than this share of the pixels is not
            worth its gather and is left out.

    Returns:
        Pairs (image height, rows), as `TableModulation` takes them; rows are
        multiples of 64.
    """
    largest = dict.fromkeys(strides, 0)
    shape = (0, 0)
    for label_map in label_maps:
        shape = label_map.shape
        for stride in strides:
            mirrored = _mirrored(label_map) if stride > 1 else (label_map,)
            counts = [count_neighbourhoods(m, stride) for m in mirrored]
            largest[stride] = max(largest[stride], *counts)
    chosen = []
    for stride, count in largest.items():
        height, width = shape[0] // stride, shape[1] // stride
        rows = 64 * int(np.ceil(margin * count / 64))
        if 0 < rows <= largest_share * height * width:
            chosen.append((height, rows))
    return tuple(chosen)


def _mirrored(label_map: np.ndarray) -> tuple[np.ndarray, ...]:
    upside_down = label_map[::-1]
    return label_map, label_map[:, ::-1], upside_down, upside_down[:, ::-1]
