"""What commands share: how they end when stopped, and errors in one line."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

INTERRUPTED = 130


@contextlib.contextmanager
def stoppable(name: str) -> Iterator[None]:
    """Makes SIGTERM stop the block as Ctrl-C does, and both end in one line.

    The block cleans up, as at an error; the exit status is 130.

    Args:
      name: of the command, for the line.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        print(f"{name}: interrupted; nothing was left half-written", file=sys.stderr)
        sys.exit(INTERRUPTED)


def run_command(name: str, main: Callable[[], int | None]) -> NoReturn:
    """Runs a command and ends the process with its exit status.

    Args:
      name: of the command, for messages.
      main: returns the exit status; None is 0.
    """
    with stoppable(name):
        sys.exit(main())


def refuse(name: str, error: Any) -> NoReturn:
    """Ends a command that was asked for something impossible: one line, status 2.

    Unlike argparse's error it prints no usage, which hides what is wrong with a file.

    Args:
      name: of the command.
      error: what is wrong.
    """
    print(f"{name}: error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2)
