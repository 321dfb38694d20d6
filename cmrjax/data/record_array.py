"""Records of a random-access source, seen as the arrays of a prepared folder."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

REPAIR = "make the data set again with python -m tools.export_tfds --overwrite"


class Records:
    """The records of several splits in the order of the slices.

    A thread keeps the record that it read last: image and labels of one slice are
    asked for one after the other.
    """

    def __init__(
        self,
        path: Path,
        sources: Mapping[str, Sequence[Mapping[str, Any]]],
        splits: Sequence[str],
    ):
        """Finds the place of each slice.

        Args:
            path: For messages.
            sources: The records of each split, in ascending order of the slices.
            splits: [n], the split of each slice.

        Raises:
            ValueError: If a split has not as many records as slices.
        """
        self._path = path
        self._sources = sources
        counts = dict.fromkeys(splits, 0)
        self._places: list[tuple[str, int]] = []
        for split in splits:
            self._places.append((split, counts[split]))
            counts[split] += 1
        found = {split: len(source) for split, source in sources.items()}
        if found != counts:
            raise ValueError(
                f"{path}: has the records {found}, its metadata say {counts}; {REPAIR}"
            )
        self._last = threading.local()

    def __len__(self) -> int:
        """Number of slices."""
        return len(self._places)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """Reads one record.

        Raises:
            ValueError: If it cannot be read or is another slice's.
        """
        if getattr(self._last, "index", None) != index:
            split, position = self._places[index]
            where = f"{self._path}: record {position} of {split}"
            try:
                record = self._sources[split][position]
            except Exception as error:  # of the file, the container, the protocol
                reason = str(error).splitlines()[0] if str(error) else repr(error)
                message = f"{where} cannot be read ({reason}); {REPAIR}"
                raise ValueError(message) from error
            if record["index"] != index:
                raise ValueError(
                    f"{where} is slice {record['index']}, its metadata say {index};"
                    f" {REPAIR}"
                )
            self._last.index, self._last.record = index, record
        return self._last.record


class RecordArray:
    """One field of all records as [n, h, w], read when it is indexed.

    Attributes:
        shape: (n, h, w).
        dtype: Of the elements.
    """

    def __init__(
        self, records: Records, field: str, shape: tuple[int, int, int], dtype: str
    ):
        """Names the field of the records and what it looks like.

        Args:
            records: One per slice.
            field: Its values are [h, w] or [h, w, 1].
            shape: (n, h, w).
            dtype: Of the elements.
        """
        self._records = records
        self._field = field
        self.shape = shape
        self.dtype = np.dtype(dtype)

    def __len__(self) -> int:
        """Number of slices."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        """Reads the slices that the first index names, then indexes them as NumPy does.

        Args:
            key: A number, slice, list or mask for the first axis; in a tuple with
                numbers or slices for the other axes.

        Raises:
            IndexError: If there is no such slice.
            ValueError: If a record cannot be read.
        """
        first, *others = key if isinstance(key, tuple) else (key,)
        if first is None or first is Ellipsis:
            raise IndexError("index the first axis by a number, slice, list or mask")
        positions = np.arange(len(self))[first]
        if positions.ndim == 0:
            return self._read(int(positions))[tuple(others)]
        found = np.empty((*positions.shape, *self.shape[1:]), self.dtype)
        for place, position in np.ndenumerate(positions):
            found[place] = self._read(int(position))
        return found[(slice(None), *others)]

    def _read(self, index: int) -> np.ndarray:
        return self._records[index][self._field].reshape(self.shape[1:])
