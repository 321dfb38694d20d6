"""What several processes do at the same step: stop for a signal, save by the clock.

A signal reaches one process, a clock differs from the next. Each process says in every
step what it wishes; the answer is what any of them wished. It is read one step later,
when it is long there, so that no device waits for a host.
"""

import signal
from typing import Any, Protocol

import jax
import numpy as np

from cmrjax.training.processes import any_said, is_first
from cmrjax.training.sharding import DataParallel


class Agreement(Protocol):
    """How processes agree."""

    def meet(self, stop: str | None) -> None:
        """Waits for all, before the first of their steps, and hears what they say.

        A step that waits for the slowest process may give up after 30 s
        (`cmrjax.training.processes.meet`); this waits as long as it takes.

        Args:
          stop: as in `exchange`.
        """
        ...

    def exchange(self, stop: str | None, *, save: bool) -> bool:
        """Says in each step what this process wishes.

        Args:
          stop: name of a signal that it received.
          save: whether it is time to save; process 0 decides.

        Returns:
          Whether all save now.
        """
        ...

    def stopped_by(self, stop: str | None) -> str | None:
        """Returns the signal for which all stop now, None to go on.

        Args:
          stop: as in `exchange`.
        """
        ...


class Alone:
    """One process does what it wishes, at once."""

    def meet(self, stop: str | None) -> None:
        """See `Agreement`."""

    def exchange(self, stop: str | None, *, save: bool) -> bool:
        """See `Agreement`."""
        return save

    def stopped_by(self, stop: str | None) -> str | None:
        """See `Agreement`."""
        return stop


class Together:
    """Several processes, through a maximum over their devices.

    Args:
      placement: over all of their devices.
    """

    def __init__(self, placement: DataParallel) -> None:
        self._placement = placement
        self._rows = jax.local_device_count()
        self._maximum = jax.jit(
            lambda wishes: wishes.max(axis=0), out_shardings=placement.replicated
        )
        self._pending: Any = None
        self._stop: str | None = None
        self._saved = False

    def meet(self, stop: str | None) -> None:
        """See `Agreement`; `stopped_by` knows the answer at once."""
        self._stop = any_said(stop)

    def exchange(self, stop: str | None, *, save: bool) -> bool:
        """See `Agreement`; the answer is to what was said in the step before."""
        number = signal.Signals[stop].value if stop else 0
        wishes = np.full((self._rows, 2), (number, save and is_first()), np.int32)
        placed = self._placement.put(wishes, self._placement.split)
        answer, self._pending = self._pending, self._maximum(placed)
        if answer is None:
            return False
        number, save_now = (int(x) for x in np.asarray(answer))
        self._stop = signal.Signals(number).name if number else None
        # What was said before a save became known asks for the same one again.
        self._saved = bool(save_now) and not self._saved
        return self._saved

    def stopped_by(self, stop: str | None) -> str | None:
        """See `Agreement`."""
        return self._stop


def make_agreement(placement: DataParallel) -> Agreement:
    """Returns how the processes of a run agree.

    Args:
      placement: over all devices.
    """
    return Alone() if jax.process_count() == 1 else Together(placement)
