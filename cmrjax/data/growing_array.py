"""A .npy file that grows along its first axis, so that memory stays bounded."""

from pathlib import Path
from types import TracebackType

import numpy as np


class GrowingArray:
    """Writes a C-ordered .npy file whose length is known only at the end.

    NumPy pads the header so that the first axis may become longer; the header is
    rewritten in place when the file is closed. Use as a context manager.
    """

    def __init__(self, path: str | Path, dtype: str, item_shape: tuple[int, ...]):
        """Opens the file.

        Args:
            path: The .npy file to write.
            dtype: Type of the elements, for example ``"float16"``.
            item_shape: Shape without the first axis.
        """
        self.dtype = np.dtype(dtype)
        self.item_shape = tuple(item_shape)
        self.length = 0
        self._file = open(path, "wb")
        self._write_header()
        self._data_start = self._file.tell()

    def append(self, values: np.ndarray) -> None:
        """Appends [n, *item_shape] values, converted to the file's type.

        Raises:
            ValueError: If the shape does not fit.
        """
        if values.shape[1:] != self.item_shape:
            raise ValueError(
                f"expected [n, {', '.join(map(str, self.item_shape))}], got"
                f" {list(values.shape)}"
            )
        self._file.write(np.ascontiguousarray(values, self.dtype).tobytes())
        self.length += len(values)

    def close(self) -> None:
        """Writes the final shape into the header and closes the file."""
        if self._file.closed:
            return
        try:
            self._file.seek(
                0
            )  # writes what is buffered, for which there may be no room
            self._write_header()
            assert self._file.tell() == self._data_start, "header changed its length"
        finally:
            self._file.close()

    def _write_header(self) -> None:
        description = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.length, *self.item_shape),
        }
        np.lib.format.write_array_header_1_0(self._file, description)

    def __enter__(self) -> "GrowingArray":
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the file."""
        self.close()
