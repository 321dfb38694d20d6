"""Keeps Python from printing what Orbax leaves behind where a checkpoint is damaged.

Orbax reads arrays side by side and gives up at the first that fails. The others end
later, in threads or when they are collected, and each would print a traceback below the
one line that says what is wrong.
"""

import contextlib
import gc
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

_previous: list[Callable[[Any], Any]] = [sys.unraisablehook]


@contextlib.contextmanager
def quiet_failure() -> Iterator[None]:
    """Where the block raises, what its other reads raise is not printed, ever."""
    try:
        yield
    except Exception as error:
        if sys.unraisablehook is not _print_unless_late:
            _previous[0] = sys.unraisablehook
            sys.unraisablehook = _print_unless_late
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
