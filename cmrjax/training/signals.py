"""A signal asks a run to save and end, instead of ending it."""

import signal
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Context in which SIGINT, SIGTERM and SIGUSR1 are noted and not obeyed.

    SIGUSR1 is what Slurm can be told to send ahead of its time limit. A second SIGINT
    interrupts at once, as usual. Outside of the main thread nothing is installed.

    It may be entered again inside of itself: a command enters it before anything slow,
    its loop once more.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._interrupted = False
        self._depth = 0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        self._depth += 1
        in_main = threading.current_thread() is threading.main_thread()
        if self._depth == 1 and in_main:
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._depth -= 1
        if self._depth:
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
        self.received = self.received or signal.Signals(number).name
