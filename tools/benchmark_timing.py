"""Times things in turn: a, b, c, a, b, c, ..., so that a drift meets all alike."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

_MOST_ITERATIONS = 200


class Runner(Protocol):
    """Something that is timed.

    Attributes:
      label: unique name.
    """

    label: str

    def run(self, iterations: int) -> None:
        """Does the work so often, and returns when the device has finished."""
        ...


@dataclasses.dataclass(frozen=True)
class Timing:
    """The times of one runner.

    Attributes:
      first_seconds: the first call of all, which may compile.
      iterations: in one repeat.
      seconds: of one iteration, per repeat, in order.
    """

    first_seconds: float
    iterations: int
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median seconds of an iteration."""
        return float(np.median(self.seconds))


@dataclasses.dataclass(frozen=True)
class Ratio:
    """How many times faster one runner is than another, repeat by repeat."""

    median: float
    smallest: float
    largest: float

    @classmethod
    def of(cls, ours: Timing, theirs: Timing) -> "Ratio":
        """Divides their times by ours, each pair of one round."""
        pairs = np.divide(theirs.seconds, ours.seconds)
        return cls(float(np.median(pairs)), float(pairs.min()), float(pairs.max()))


def warm_up(runner: Runner, *, repeat_seconds: float) -> tuple[float, int]:
    """Runs twice, and chooses the iterations of a repeat by the second time.

    Args:
      runner: to be timed later.
      repeat_seconds: how long a repeat should last at least.

    Returns:
      Seconds of the first call, and iterations per repeat.
    """
    first = _time(runner, 1)
    second = _time(runner, 1)
    return first, int(np.clip(np.ceil(repeat_seconds / second), 1, _MOST_ITERATIONS))


def alternate(
    runners: Sequence[Runner],
    warm: Mapping[str, tuple[float, int]],
    *,
    repeats: int,
    pause: float = 0.0,
) -> dict[str, Timing]:
    """Times runners in turn, each once in a round.

    Args:
      runners: with different labels.
      warm: by label, what `warm_up` returned.
      repeats: rounds.
      pause: seconds of rest before each, so that threads of the one before, which wait
        actively for more work, are asleep.

    Returns:
      Times by label.
    """
    seconds: dict[str, list[float]] = {runner.label: [] for runner in runners}
    for _ in range(repeats):
        for runner in runners:
            time.sleep(pause)
            iterations = warm[runner.label][1]
            seconds[runner.label].append(_time(runner, iterations) / iterations)
    return {
        label: Timing(*warm[label], seconds=tuple(values))
        for label, values in seconds.items()
    }


def _time(runner: Runner, iterations: int) -> float:
    start = time.perf_counter()
    runner.run(iterations)
    return time.perf_counter() - start
