"""What a command says on the terminal."""

import logging
import os


def configure_logging(*, quiet: bool = False) -> None:
    """Shows this project's messages with the time, and warnings of all others.

    The libraries under a training speak at every checkpoint; their warnings stay. What
    Orbax and its tasks say of an error is left out, many times the error that they
    raise, which is told by the command.

    Args:
      quiet: only this project's warnings too, as in all processes but the first.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when it is imported
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(lambda record: not _is_raised_too(record))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # absl, through which Orbax and Grain speak, brings its own handler and level.
    for name in ("absl", "orbax", "grain", "jax"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("cmrjax", "experiments", "__main__"):
        logging.getLogger(name).setLevel(logging.WARNING if quiet else logging.INFO)


def _is_raised_too(record: logging.LogRecord) -> bool:
    by_orbax = record.name == "asyncio" or "orbax" in record.pathname
    return by_orbax and record.levelno >= logging.ERROR
