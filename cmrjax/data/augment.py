"""Augmentation for the GAN: flips of rows and of columns, nothing else (SPEC 4)."""

import numpy as np

Example = dict[str, np.ndarray]


def flip(example: Example, *, rows: bool, columns: bool) -> Example:
    """Mirrors everything in an example that has rows and columns.

    Args:
        example: Arrays [h, w] or [h, w, c]; arrays with fewer axes stay as they are.
        rows: Whether the order of rows is reversed (up and down).
        columns: Whether the order of columns is reversed (left and right).

    Returns:
        A new example with the same keys, shapes and types.
    """
    steps = (
        slice(None, None, -1 if rows else 1),
        slice(None, None, -1 if columns else 1),
    )
    return {
        key: np.ascontiguousarray(value[steps]) if value.ndim >= 2 else value
        for key, value in example.items()
    }


def random_flips(example: Example, rng: np.random.Generator) -> Example:
    """Mirrors rows and columns, each with probability 0.5 and independently."""
    rows, columns = rng.random(2) < 0.5
    return flip(example, rows=bool(rows), columns=bool(columns))
