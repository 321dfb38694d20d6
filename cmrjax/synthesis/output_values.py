"""The values of what is written: the model's own, 12-bit, or those of a reference."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmrjax.data.intensity import (
    ClipTransform,
    IntensityTransform,
    PercentileTransform,
)
from cmrjax.data.nifti import NiftiFile, read_nifti

MODEL, UINT12 = "model", "uint12"
_LARGEST = 4095  # of 12 bits
_LARGEST_VALUE = 1e9  # of a reference; int32 holds it, and what lies beyond its limits


@dataclass(frozen=True)
class OutputValues:
    """From [-1, 1] to the values of the files.

    Attributes:
      name: "model", float32 in [-1, 1]; "uint12", 0 to 4095 as a scanner writes them;
        or the path of the reference.
      transform: of the model.
      reference: image whose intensities the outputs get: the model's transform is
        undone with the limits (percentiles) that it has there. Where these are the same
        for every image (clip), percentiles 1 and 99 of the outputs become those of the
        reference.
    """

    name: str
    transform: IntensityTransform
    reference: NiftiFile | None = None

    @classmethod
    def create(cls, name: str, transform: IntensityTransform) -> "OutputValues":
        """Reads the reference where one is named.

        Args:
          name: "model", "uint12" or the path of a NIfTI image.
          transform: of the model.

        Raises:
          ValueError: the reference cannot be read or has no contrast.
        """
        if name in (MODEL, UINT12):
            return cls(name, transform)
        if not Path(name).is_file():
            raise ValueError(
                f"--intensity={name}: expected {MODEL}, {UINT12} or the path of a "
                "NIfTI image whose intensities the outputs get; there is no such file"
            )
        values = cls(name, transform, read_nifti(name))
        values.limits(0)
        return values

    def settings(self) -> str:
        """Returns what decides the values, for the record: the name, or a hash."""
        return self.name if self.reference is None else self.reference.sha256

    def limits(self, frame: int) -> tuple[float, float]:
        """Returns what -1 and 1 become in a time frame.

        Raises:
          ValueError: the reference has no contrast, or not so many frames.
        """
        if self.reference is None:
            return (-1.0, 1.0) if self.name == MODEL else (0.0, float(_LARGEST))
        frames = self.reference.frames
        if len(frames) > 1 and frame >= len(frames):
            raise ValueError(
                f"--intensity={self.name}: has {len(frames)} frames, the labels have "
                f"one at {frame}; give a reference with as many frames, or with one"
            )
        try:
            low, high = self._limits_of(frames[frame if len(frames) > 1 else 0])
        except ValueError as error:
            raise ValueError(
                f"--intensity={self.name}: {error}; give an image with contrast"
            ) from error
        if max(abs(low), abs(high)) > _LARGEST_VALUE:
            raise ValueError(
                f"--intensity={self.name}: its values go from {low:g} to {high:g},"
                " beyond those of any scanner; give an image in usual units"
            )
        return low, high

    def _limits_of(self, volume: np.ndarray) -> tuple[float, float]:
        if isinstance(self.transform, ClipTransform):
            return PercentileTransform().limits(volume)
        return self.transform.limits(volume)

    def convert(self, images: np.ndarray, *, frame: int) -> np.ndarray:
        """Converts images.

        Args:
          images: [...] float32 in [-1, 1].
          frame: index of the time frame.

        Returns:
          Same shape: float32, or int16 or int32 where the values are whole numbers
          (uint12, or a reference that stores such).

        Raises:
          ValueError: see `limits`.
        """
        if self.name == MODEL:
            return images
        low, high = self.limits(frame)
        bottom, top = -1.0, 1.0
        if self.reference is not None and isinstance(self.transform, ClipTransform):
            bottom, top = PercentileTransform().limits(images)
        share = (np.asarray(images, np.float64) - bottom) / (top - bottom)
        values = low + share * (high - low)
        whole = self.reference is None or self.reference.frames.dtype.kind in "iu"
        if not whole:
            return values.astype(np.float32)
        rounded = np.round(values)
        fits = -32768 <= rounded.min() and rounded.max() <= 32767
        return rounded.astype(np.int16 if fits else np.int32)

    def describe(self, frame: int) -> str:
        """Says in words what the values are."""
        if self.name == MODEL:
            return "[-1, 1], as the model was trained; no native units"
        low, high = self.limits(frame)
        source = "12 bits" if self.reference is None else f"as in {self.name}"
        ends = "the model's -1 to 1"
        if self.reference is not None and isinstance(self.transform, ClipTransform):
            ends = "percentiles 1 and 99 of each image"
        return f"{low:g} to {high:g} for {ends}, {source}"
