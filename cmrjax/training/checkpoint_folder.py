"""Which checkpoints a run's folder holds, and which of them is the best.

Looks at names and scores alone: nothing here needs JAX or Orbax.
"""

import contextlib
import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from cmrjax.files import shorten

STATE = "state"  # of a checkpoint: its arrays
_METRICS = "metrics"  # beside them, as Orbax names it
_SCORE, _METRIC, _VALIDATED = "score", "metric", "validated"  # of its metrics
_STEP = re.compile("[0-9]+")  # not every digit of Unicode


@dataclasses.dataclass(frozen=True)
class Criterion:
    """What a score is of; scores of different ones are not compared.

    Attributes:
      metric: its name; "": not stated.
      validated: fingerprint of the data that it was computed on.
    """

    metric: str = ""
    validated: str = ""


@dataclasses.dataclass(frozen=True)
class Score:
    """How good a checkpoint's validation was, the higher the better."""

    value: float
    criterion: Criterion

    def by(self, criterion: Criterion) -> float:
        """The value; minus infinity where it is of another criterion."""
        return self.value if self.criterion == criterion else -math.inf

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> Self:
        """Reads the metrics that are stored with a checkpoint; {}: it has no score."""
        metric, validated = (str(metrics.get(x, "")) for x in (_METRIC, _VALIDATED))
        value = float(metrics.get(_SCORE, -math.inf))
        return cls(value, Criterion(metric, validated))

    def to_metrics(self) -> dict[str, Any]:
        """Returns what `of` reads."""
        return {
            _SCORE: self.value,
            _METRIC: self.criterion.metric,
            _VALIDATED: self.criterion.validated,
        }


NOT_STATED = Criterion()


def latest_checkpoint(directory: str | Path) -> Path | None:
    """Returns the newest whole checkpoint below a folder, None where there is none."""
    directory = Path(directory)
    if not directory.is_dir():
        return None
    steps = [int(p.name) for p in directory.iterdir() if _is_whole(p)]
    return directory / str(max(steps)) if steps else None


def _is_whole(path: Path) -> bool:
    """Whether a path is a checkpoint; an empty folder or a file is none."""
    return _STEP.fullmatch(path.name) is not None and (path / STATE).is_dir()


def refuse_strays(directory: Path) -> None:
    """Refuses what Orbax would take for the newest checkpoint, and save none before."""
    newest = latest_checkpoint(directory)
    step = -1 if newest is None else int(newest.name)
    for path in sorted(directory.iterdir()):
        named = _STEP.fullmatch(path.name) is not None
        if named and int(path.name) > step and not _is_whole(path):
            raise ValueError(f"{path} is no checkpoint (it has no {STATE}); remove it")


def best_of(scores: Mapping[int, Score]) -> int | None:
    """Returns the step with the highest score, None where there is no score.

    By the criterion of the newest score: what was validated by another metric, or on
    other slices, is not compared. So the best one of an earlier criterion stays the
    best until there is one by the new criterion.

    Args:
      scores: of checkpoints, by step.
    """
    known = {step: score for step, score in scores.items() if score.value > -math.inf}
    if not known:
        return None
    criterion = known[max(known)].criterion
    return max(known, key=lambda step: (known[step].by(criterion), step))


def best_checkpoint(directory: str | Path) -> Path | None:
    """Returns the checkpoint of the highest score below a folder, as `best_of` says."""
    found = best_score(directory)
    return None if found is None else Path(directory) / str(found[0])


def best_score(directory: str | Path) -> tuple[int, Score] | None:
    """Returns the step of `best_checkpoint` and its score, None where there is none."""
    directory = Path(directory)
    scores = stored_scores(directory) if directory.is_dir() else {}
    step = best_of(scores)
    return None if step is None else (step, scores[step])


def stored_scores(directory: Path) -> dict[int, Score]:
    """Score of each checkpoint below a folder by its step.

    Raises:
      ValueError: one is damaged; names its folder.
    """
    scores = {}
    for path in directory.iterdir():
        file = path / _METRICS / _METRICS
        if _STEP.fullmatch(path.name) and file.is_file():
            with named_errors(path):
                scores[int(path.name)] = Score.of(
                    json.loads(file.read_text(encoding="utf-8"))
                )
    return scores


@contextlib.contextmanager
def named_errors(checkpoint: str | Path) -> Iterator[None]:
    """Turns what Orbax raises for damaged files, of many kinds, into one line."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{checkpoint} is damaged ({shorten(error) or type(error).__name__});"
            " remove that folder, the checkpoint before it is taken then"
        ) from error
