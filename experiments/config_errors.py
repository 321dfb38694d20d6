"""Errors about a configuration say that it is one."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def config_errors() -> Iterator[None]:
    """Makes a ValueError of the block name the configuration, if it does not yet.

    Libraries know the names of their arguments only, which are those of the settings.
    """
    try:
        yield
    except ValueError as error:
        if "config." in str(error):
            raise
        raise ValueError(f"config.*: {error}") from error
