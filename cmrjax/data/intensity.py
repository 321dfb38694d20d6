"""Intensity transforms: native MR intensities to [-1, 1], or to z-scores.

The transform is an object that is stored with the prepared data and with the model,
so that training, evaluation and synthesis cannot use different ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PercentileTransform:
    """Maps two percentiles of the volume to -1 and 1 and clips outside.

    The percentiles are those of the whole volume of one phase, not of a slice: the
    slices of a stack keep their relative brightness.

    Attributes:
        low: Percentile that becomes -1, in percent.
        high: Percentile that becomes 1, in percent.
    """

    low: float = 1.0
    high: float = 99.0

    def __post_init__(self) -> None:
        """Refuses percentiles out of order."""
        if not 0.0 <= self.low < self.high <= 100.0:
            raise ValueError(
                f"percentiles must satisfy 0 <= low < high <= 100, got low={self.low},"
                f" high={self.high}"
            )

    @property
    def name(self) -> str:
        """Name on the command line and in files."""
        return "percentile"

    def limits(self, volume: np.ndarray) -> tuple[float, float]:
        """Returns the intensities that become -1 and 1 for this volume.

        Args:
            volume: [d, h, w] native intensities of one phase.

        Raises:
            ValueError: If the volume is empty, not finite or (nearly) constant.
        """
        _check_finite(volume)
        low, high = np.percentile(volume, [self.low, self.high])
        if not high > low:
            raise ValueError(
                f"percentiles {self.low:g} and {self.high:g} are both {low:g}: the"
                " image is empty or constant"
            )
        return float(low), float(high)

    def apply(
        self, volume: np.ndarray, *, limits: tuple[float, float] | None = None
    ) -> np.ndarray:
        """Maps a whole volume of one phase to [-1, 1].

        Args:
            volume: [d, h, w] native intensities, before any cropping or padding.
            limits: What ``limits`` returned for it, None to compute them.

        Returns:
            [d, h, w] float32 in [-1, 1].

        Raises:
            ValueError: If the volume is empty, not finite or (nearly) constant.
        """
        return _map_to_unit(volume, *(limits or self.limits(volume)))

    def to_dict(self) -> dict[str, Any]:
        """Returns the transform as plain JSON types."""
        return {"name": self.name, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class ClipTransform:
    """Clips to a fixed range (the paper: 0 to 4000) and maps it to [-1, 1].

    Attributes:
        low: Intensity that becomes -1.
        high: Intensity that becomes 1.
    """

    low: float = 0.0
    high: float = 4000.0

    def __post_init__(self) -> None:
        """Refuses an empty range."""
        if not -np.inf < self.low < self.high < np.inf:
            raise ValueError(
                f"clip range must satisfy low < high, got {self.low} to {self.high}"
            )

    @property
    def name(self) -> str:
        """Name on the command line and in files."""
        return f"clip{self.high:g}"

    def limits(self, volume: np.ndarray) -> tuple[float, float]:
        """Returns the fixed range, after checking the volume.

        Raises:
            ValueError: If the volume is empty, not finite or constant.
        """
        _check_finite(volume)
        if volume.min() == volume.max():
            raise ValueError(f"all intensities are {volume.min():g}: no image")
        return self.low, self.high

    def apply(
        self, volume: np.ndarray, *, limits: tuple[float, float] | None = None
    ) -> np.ndarray:
        """Maps a volume to [-1, 1].

        Args:
            volume: [d, h, w] native intensities.
            limits: What ``limits`` returned for it, None to compute them.

        Returns:
            [d, h, w] float32 in [-1, 1].

        Raises:
            ValueError: If the volume is empty, not finite or constant.
        """
        return _map_to_unit(volume, *(limits or self.limits(volume)))

    def to_dict(self) -> dict[str, Any]:
        """Returns the transform as plain JSON types."""
        return {"name": "clip", "low": self.low, "high": self.high}


@dataclass(frozen=True)
class ZScoreTransform:
    """Maps the volume's mean to 0 and its standard deviation to 1, without clipping.

    For the segmentation network (SPEC 3), not for the GAN, whose images lie between -1
    and 1. Padding, which is -1 for every transform, is then about as dark as air.
    """

    @property
    def name(self) -> str:
        """Name on the command line and in files."""
        return "zscore"

    def limits(self, volume: np.ndarray) -> tuple[float, float]:
        """Returns the intensities that become -1 and 1 for this volume.

        Raises:
            ValueError: If the volume is empty, not finite or constant.
        """
        _check_finite(volume)
        if volume.min() == volume.max():
            raise ValueError(f"all intensities are {volume.min():g}: no image")
        mean = float(np.mean(volume, dtype=np.float64))
        deviation = float(np.std(volume, dtype=np.float64))
        return mean - deviation, mean + deviation

    def apply(
        self, volume: np.ndarray, *, limits: tuple[float, float] | None = None
    ) -> np.ndarray:
        """Maps a whole volume of one phase to z-scores.

        Args:
            volume: [d, h, w] native intensities, before any cropping or padding.
            limits: What ``limits`` returned for it, None to compute them.

        Returns:
            [d, h, w] float32.

        Raises:
            ValueError: If the volume is empty, not finite or constant.
        """
        low, high = limits or self.limits(volume)
        unit = (np.asarray(volume, np.float64) - low) / (high - low)
        return (2.0 * unit - 1.0).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Returns the transform as plain JSON types."""
        return {"name": self.name}


IntensityTransform = PercentileTransform | ClipTransform | ZScoreTransform
TRANSFORM_NAMES = ("percentile", "clip4000", "zscore")


def get_transform(name: str) -> IntensityTransform:
    """Returns a transform with default values by name.

    Raises:
        ValueError: If there is none of that name.
    """
    if name == "percentile":
        return PercentileTransform()
    if name == "clip4000":
        return ClipTransform()
    if name == "zscore":
        return ZScoreTransform()
    raise ValueError(
        f"no intensity transform {name!r}; there are {', '.join(TRANSFORM_NAMES)}"
    )


def transform_from_dict(description: Mapping[str, Any]) -> IntensityTransform:
    """Reads what ``to_dict`` wrote.

    Raises:
        ValueError: If the description names an unknown transform.
    """
    kinds = {"percentile": PercentileTransform, "clip": ClipTransform}
    name = description.get("name")
    if name == "zscore":
        return ZScoreTransform()
    if name not in kinds:
        raise ValueError(
            f"unknown intensity transform {name!r}; known are"
            f" {', '.join(kinds)}, zscore"
        )
    return kinds[name](float(description["low"]), float(description["high"]))


def _check_finite(volume: np.ndarray) -> None:
    if volume.size == 0:
        raise ValueError(f"volume is empty, shape {volume.shape}")
    if volume.dtype.kind == "f" and not np.isfinite(volume).all():
        count = int(np.count_nonzero(~np.isfinite(volume)))
        raise ValueError(f"{count} of {volume.size} values are NaN or infinite")


def _map_to_unit(volume: np.ndarray, low: float, high: float) -> np.ndarray:
    unit = (np.asarray(volume, np.float64) - low) / (high - low)
    return (2.0 * np.clip(unit, 0.0, 1.0) - 1.0).astype(np.float32)
