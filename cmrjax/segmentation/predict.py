"""Class probabilities of real images, by a trained segmentation network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cmrjax.data.geometry import GridMap
from cmrjax.data.resample import interpolate
from cmrjax.labels import LabelSchema
from cmrjax.models.unet import Unet
from cmrjax.segmentation.params import SegmenterParams, load_segmenter

BATCH_SIZE = 8  # slices
_MIRRORED = ((), (1,), (2,), (1, 2))  # axes of [b, h, w, 1]


class Segmenter:
    """Predicts at the network's own pixel spacing and resamples the probabilities.

    Args:
      params: of the network.
    """

    def __init__(self, params: SegmenterParams) -> None:
        self._params = params
        self._predict = _compiled(params)

    @classmethod
    def load(cls, directory: str | Path) -> "Segmenter":
        """Loads a network from its folder.

        Args:
          directory: the --workdir of `python -m experiments.train_segmentation`.

        Raises:
          ValueError: see `cmrjax.segmentation.params.load_segmenter`.
        """
        return cls(load_segmenter(directory))

    @property
    def schema(self) -> LabelSchema:
        """Schema of the classes."""
        return self._params.description.schema

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the network: description and variables."""
        return self._params.fingerprint

    def probabilities(self, volume: np.ndarray, grid: GridMap) -> np.ndarray:
        """Predicts one phase.

        The volume is normalised as a whole, resampled to the network's spacing, padded
        to a size that the network takes, predicted (mean over the four ways to mirror
        it, if the network learned them), and the probabilities are resampled linearly.

        Args:
          volume: [d, h, w] native intensities.
          grid: from the native in-plane grid to that of the result.

        Returns:
          [d, *grid.image_size, k] float32, sum 1 over the classes; beyond the field of
          view those of its border.

        Raises:
          ValueError: the volume is empty, constant, or not on the native grid.
        """
        description = self._params.description
        own = self._own_grid(grid)
        image = own.image_to_model(description.transform.apply(volume))[..., None]
        predicted = np.concatenate(
            [
                self._predict(image[start : start + BATCH_SIZE])
                for start in range(0, len(image), BATCH_SIZE)
            ]
        )
        r0, r1, c0, c1 = own.valid_box
        inside = predicted[:, r0:r1, c0:c1]
        # From a pixel of the result to the native grid, and from there to ours.
        rows, columns = (
            (grid.native_coordinates(axis) - _shift(own, axis)) / _scale(own, axis)
            for axis in (0, 1)
        )
        classes = [
            interpolate(inside[..., k], rows - r0, columns - c0)
            for k in range(inside.shape[-1])
        ]
        return np.stack(classes, axis=-1)

    def _own_grid(self, grid: GridMap) -> GridMap:
        """The network's grid over the whole native field of view."""
        description = self._params.description
        multiple = description.architecture.size_multiple
        spacing = (description.spacing, description.spacing)
        covered = GridMap(grid.native_shape, grid.native_spacing, spacing, (1, 1))
        size = [-(-n // multiple) * multiple for n in covered.resampled_shape]
        return GridMap(
            grid.native_shape, grid.native_spacing, spacing, (size[0], size[1])
        )


def _scale(grid: GridMap, axis: int) -> float:
    """Native pixels in a pixel of the grid."""
    return grid.spacing[axis] / grid.native_spacing[axis]


def _shift(grid: GridMap, axis: int) -> float:
    """Native index of the grid's first pixel."""
    return float(grid.native_coordinates(axis)[0])


def _compiled(params: SegmenterParams) -> Callable[[np.ndarray], np.ndarray]:
    """Returns image [b, h, w, 1] -> probabilities [b, h, w, k], any b up to the batch.

    One program is compiled for each height and width.
    """
    network = Unet(params.description.architecture)
    mirrored = _MIRRORED if params.description.mirrored else _MIRRORED[:1]

    @jax.jit
    def predict(variables: dict, image: jax.Array) -> jax.Array:
        ways = []
        for axes in mirrored:
            logits: Any = network.apply(variables, jnp.flip(image, axes), train=False)
            ways.append(jnp.flip(jax.nn.softmax(logits), axes))
        return jnp.mean(jnp.stack(ways), axis=0)

    def predict_batch(image: np.ndarray) -> np.ndarray:
        missing = BATCH_SIZE - len(image)
        padded = np.pad(image, ((0, missing), (0, 0), (0, 0), (0, 0)))
        return np.asarray(predict(params.variables, padded))[: len(image)]

    return predict_batch
