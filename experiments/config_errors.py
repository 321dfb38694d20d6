"""Errors about a configuration say that it is one."""

import contextlib
from collections.abc import Iterator

from cmrjax.files import shorten

_LONGEST = 600  # characters of an error


@contextlib.contextmanager
def config_errors() -> Iterator[None]:
    """Makes a ValueError of the block name the configuration, in one short line.

    Libraries know the names of their arguments only, which are those of the settings.
    """
    try:
        yield
    except ValueError as error:
        text = shorten(error, _LONGEST)
        raise ValueError(text if "config." in text else f"config.*: {text}") from error
