"""Keeps Python from printing what Orbax leaves behind where it fails.

Orbax reads and writes arrays side by side and gives up at the first that fails, as in a
damaged checkpoint or on a full disk. The others end when they like, in threads or when
they are collected, and each would print a traceback beside the one line that says what
is wrong.
"""

import contextlib
import gc
import inspect
import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

_MARKS = ("orbax", "TensorStore", "OCDBT", '"zarr" driver')

_previous: list[Callable[[Any], Any]] = [sys.unraisablehook]


@contextlib.contextmanager
def quiet_failure() -> Iterator[None]:
    """Where the block raises, what its arrays raise besides is not printed, ever."""
    if sys.unraisablehook is not _print_unless_late:
        _previous[0] = sys.unraisablehook
        sys.unraisablehook = _print_unless_late  # for good: they may end much later
    logging.getLogger("asyncio").addFilter(_is_not_orbax)  # once, however often added
    try:
        yield
    except Exception as error:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # "was never awaited"
            traceback.clear_frames(error.__traceback__)
            gc.collect()
        raise


def _print_unless_late(unraisable: Any) -> None:
    error, source = unraisable.exc_value, unraisable.object
    late = isinstance(error, RuntimeError) and str(error) == "Event loop is closed"
    read = inspect.iscoroutine(source) and "orbax" in source.cr_code.co_filename
    if not (late or read):
        _previous[0](unraisable)


def _is_not_orbax(record: logging.LogRecord) -> bool:
    """Whether a line of asyncio's log is of anything but a task of Orbax.

    asyncio logs the error of a task that ended when nobody waited for it any more. A
    task may be of a function of Orbax or wait for TensorStore, whose errors say so.
    """
    text = record.getMessage()
    return not any(mark in text for mark in _MARKS)
