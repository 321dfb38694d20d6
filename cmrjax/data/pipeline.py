"""Batches: a Grain iterator for training, plain iteration for evaluation.

The only module that imports Grain.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import grain
import numpy as np

from cmrjax.data.augment import Example, random_flips


class ExampleSource(Protocol):
    """Anything with a length and examples by index."""

    def __len__(self) -> int:
        """Number of examples."""
        ...

    def __getitem__(self, index: int) -> Example:
        """Returns one example."""
        ...


def make_train_iterator(
    source: ExampleSource,
    *,
    batch_size: int,
    seed: int,
    flip: bool = True,
    num_threads: int = 2,
    prefetch: int = 4,
    rows: slice | None = None,
) -> grain.DatasetIterator:
    """Makes an endless iterator over shuffled, flipped batches.

    Each epoch visits every example once in a new order; a batch may span two epochs,
    so none is shortened or dropped. Order and flips depend on ``seed`` and the
    position only, not on threads. ``get_state`` tells what was taken out (not what
    was prefetched), so ``set_state`` on a new iterator goes on exactly there.

    Args:
        source: Examples by position, for example a ``SliceSource``.
        batch_size: Examples in a batch, those of all processes together.
        seed: 0 to 2**32 - 1.
        flip: Whether rows and columns are mirrored at random.
        num_threads: Threads that make batches ahead; 0 makes them on demand.
        prefetch: Batches made ahead.
        rows: The examples of each batch that this process reads; None: all. Batches
            and positions are the same however many processes share them.

    Returns:
        Iterator of dicts of arrays [batch_size, ...], or as many as ``rows``. Close it
        when done.

    Raises:
        ValueError: If a number is out of range, or the source holds slices that are
            not for training.
    """
    _check(source, batch_size, seed)
    examples: Any = grain.MapDataset.source(source).seed(seed).shuffle().repeat()
    if flip:
        examples = examples.random_map(random_flips)
    own = range(batch_size)[rows] if rows is not None else range(batch_size)
    if len(own) < batch_size:
        part = _PartOfBatches(examples, batch_size, own)
        examples = grain.MapDataset.source(part)
    batches = examples.batch(len(own), drop_remainder=True)
    options = grain.ReadOptions(
        num_threads=num_threads, prefetch_buffer_size=prefetch if num_threads else 0
    )
    iterator: Any = iter(batches.to_iter_dataset(options))
    return iterator


def iterate_eval_batches(
    source: ExampleSource, *, batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yields all examples in order, in batches of one size.

    Args:
        source: Examples by position.
        batch_size: Examples in a batch.

    Yields:
        Dicts of arrays [batch_size, ...] with one more key, weight [batch_size]
        float32: 1, or 0 for the repeats of the last example that fill the last batch.

    Raises:
        ValueError: If ``batch_size`` is not positive.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    total = len(source)
    for start in range(0, total, batch_size):
        positions = np.arange(start, start + batch_size)
        examples = [source[int(min(p, total - 1))] for p in positions]
        batch = {key: np.stack([e[key] for e in examples]) for key in examples[0]}
        batch["weight"] = (positions < total).astype(np.float32)
        yield batch


class _PartOfBatches:
    """Some examples of each batch, one batch after the other.

    Args:
        examples: Shuffled, flipped, repeated; read by position.
        batch_size: Examples in a whole batch.
        rows: Which of them are wanted.
    """

    def __init__(self, examples: Any, batch_size: int, rows: range) -> None:
        if not rows:
            raise ValueError(f"no rows of a batch of {batch_size} are wanted")
        self._examples, self._batch_size, self._rows = examples, batch_size, rows

    def __len__(self) -> int:
        return len(self._examples) // self._batch_size * len(self._rows)

    def __getitem__(self, index: int) -> Example:
        batch, row = divmod(int(index), len(self._rows))
        return self._examples[batch * self._batch_size + self._rows[row]]


def _check(source: ExampleSource, batch_size: int, seed: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in 0 to 2**32 - 1, got {seed}")
    held_out = sorted(set(getattr(source, "splits", ())) - {"train"})
    if held_out:
        raise ValueError(
            f"the source holds slices of the split {', '.join(held_out)}; training"
            " takes only splits=('train',)"
        )
