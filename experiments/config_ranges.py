"""What the values of a configuration may be; checked before anything else is done.

A value out of range would otherwise be noticed after minutes, by an error that names
no setting, or never: a negative interval, for example, means "not at all" to a loop.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from cmrjax.files import shorten
from experiments.configs.base import Config

MOST_BITS = 63  # of an integer


@dataclasses.dataclass(frozen=True)
class Range:
    """Bounds of a number.

    Attributes:
      low: smallest value.
      high: largest value.
      open_low: whether `low` itself is out.
      open_high: whether `high` itself is out.
      hint: what a special value means, for the error.
    """

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    hint: str = ""

    def holds(self, value: float) -> bool:
        """Tells whether a number is allowed; NaN and infinity never are."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        """Says what is allowed, as "at least 1"."""
        low = f"{'above' if self.open_low else 'at least'} {self.low:g}"
        high = f"{'below' if self.open_high else 'at most'} {self.high:g}"
        bounded = " and ".join([low, high] if math.isfinite(self.high) else [low])
        return bounded + (f" ({self.hint})" if self.hint else "")


LONGEST_TEXT = 400  # characters; no path is longer, and errors say it in one line

_COUNT = Range(1)
_NONE = Range(0)
_WEIGHT = Range(0, hint="0: without it")
_RATE = Range(0, open_low=True)
_SHARE = Range(0, 1, open_high=True)
_WHOLE_SHARE = Range(0, 1)
_SIDE = Range(1, 4096, hint="pixels")
_SEED = Range(0, 2**32 - 1)

RANGES: dict[str, Range] = {
    "seed": _SEED,
    "data.image_size": _SIDE,
    "data.num_threads": _NONE,
    "data.prefetch": _COUNT,
    "model.base_features": _COUNT,
    "model.seed_stride": _COUNT,
    "model.latent_size": Range(0, hint="0: no z"),
    "model.num_scales": Range(1, 4),
    "loss.feature_matching_weight": _WEIGHT,
    "loss.perceptual_weight": _WEIGHT,
    "optimizer.g_learning_rate": _RATE,
    "optimizer.d_learning_rate": _RATE,
    "optimizer.b1": _SHARE,
    "optimizer.b2": _SHARE,
    "optimizer.constant_epochs": _NONE,
    "optimizer.decay_epochs": _NONE,
    "optimizer.average_decay": Range(0, 1, open_high=True, hint="0: no average"),
    "optimizer.generator_passes": Range(1, 2),
    "training.batch_size": _COUNT,
    "training.accumulation": _COUNT,
    "training.num_steps": Range(0, hint="0: what the epochs come to"),
    "training.report_every": _COUNT,
    "training.checkpoint_every": Range(0, hint="0: by time only"),
    "training.checkpoint_minutes": Range(0, hint="0: by steps only"),
    "training.keep_checkpoints": _COUNT,
    "evaluation.every": Range(0, hint="0: never"),
    "evaluation.max_slices": Range(0, hint="0: all"),
    "evaluation.batch_size": _COUNT,
    "evaluation.panel_rows": _COUNT,
}
"""Of a GAN training; the names are those of `experiments/configs/base.py`."""

SEGMENTATION_RANGES: dict[str, Range] = {
    **{
        name: RANGES[name]
        for name in (
            "seed",
            "data.num_threads",
            "data.prefetch",
            "model.base_features",
            "optimizer.b1",
            "optimizer.b2",
            "training.batch_size",
            "training.accumulation",
            "training.report_every",
            "training.checkpoint_minutes",
            "training.keep_checkpoints",
            "evaluation.max_slices",
            "evaluation.batch_size",
            "evaluation.panel_rows",
        )
    },
    "data.image_size": Range(0, 4096, hint="pixels; 0: as prepared"),
    "model.max_features": _COUNT,
    "model.levels": _COUNT,
    "model.dropout": _SHARE,
    "loss.alpha": _NONE,
    "loss.beta": _NONE,
    "loss.gamma": _RATE,
    "loss.cross_entropy_weight": _WEIGHT,
    "augmentation.rotation": Range(0, 180, hint="degrees"),
    "augmentation.smallest_scale": _RATE,
    "augmentation.largest_scale": _RATE,
    "augmentation.shift": _WHOLE_SHARE,
    "augmentation.elastic": _WHOLE_SHARE,
    "augmentation.intensity": _WHOLE_SHARE,
    "optimizer.learning_rate": _RATE,
    "optimizer.patience": _COUNT,
    "optimizer.factor": Range(0, 1, open_low=True, open_high=True),
    "optimizer.smallest_rate": _NONE,
    "training.epochs": _COUNT,
    "training.steps_per_epoch": Range(0, hint="0: each slice once"),
}
"""Of a segmentation training; as in `experiments/configs/segmentation.py`."""


def check_ranges(config: Config) -> None:
    """Refuses a configuration with a number or a text that cannot be meant.

    Args:
      config: of either training.

    Raises:
      ValueError: names the setting, its value, and what is allowed.
    """
    for name, text in _texts(config):
        if len(text) > LONGEST_TEXT or not text.isprintable():
            raise ValueError(
                f"config.{name} is {shorten(text, 40)!r}, {len(text)} characters; "
                f"expected at most {LONGEST_TEXT}, all of them printable"
            )
    ranges = SEGMENTATION_RANGES if "augmentation" in config else RANGES
    for name, value in numbers(config).items():
        allowed = ranges.get(name)
        bits = value.bit_length() if isinstance(value, int) else 0
        if bits > MOST_BITS:  # neither a float nor, if long, text can be made of it
            raise ValueError(
                f"config.{name} is an integer of {bits} bits; expected {MOST_BITS} at"
                " most"
            )
        if allowed is None:
            if not math.isfinite(value):
                raise ValueError(f"config.{name} is {value}; expected a finite number")
        elif not allowed.holds(value):
            raise ValueError(f"config.{name} is {value}; expected {allowed}")


def check_profile(steps: int) -> None:
    """Refuses a negative --profile.

    Raises:
      ValueError: it is negative.
    """
    if steps < 0:
        raise ValueError(f"--profile is {steps}; expected at least 0 (0: none)")


def _texts(config: Any) -> Iterator[tuple[str, str]]:
    """Every text of a configuration, those in tuples too, by its dotted name."""
    for name, value in _settings(config):
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str):
                yield name, text


def numbers(config: Any) -> dict[str, float]:
    """Returns every number of a configuration by its dotted name; no booleans."""
    return {
        name: value
        for name, value in _settings(config)
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _settings(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a configuration by its dotted name."""
    for key, value in config.items():
        if hasattr(value, "items"):
            yield from _settings(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
