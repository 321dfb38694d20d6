"""The segmentation network, its optimiser and its placement, ready to train."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cmrjax.training.accumulation import check_accumulation
from cmrjax.training.compiled_step import (
    CompiledStep,
    compile_step,
    replicated_shapes,
)
from cmrjax.training.segmentation_step import (
    Batch,
    SegmentationState,
    SegmentationStep,
)
from cmrjax.training.sharding import DataParallel


@dataclasses.dataclass(frozen=True)
class SegmentationTrainer:
    """What does not change in a run.

    Attributes:
      step: network, optimiser, loss and augmentation.
      learning_rate: at the start.
      placement: of arrays on devices.
      image_size: side of the images that the network sees, pixels.
      prepared_size: side of the examples before augmentation, pixels.
      batch_size: global.
      start: variables of a trained network of the same architecture, NumPy, which
        training begins with; None: it begins with random ones.

    Raises:
      ValueError: the batch does not divide into the parts that the step takes.
    """

    step: SegmentationStep
    learning_rate: float
    placement: DataParallel
    image_size: int
    prepared_size: int
    batch_size: int
    start: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Checks that each device has its share of each part."""
        check_accumulation(
            self.step.accumulation,
            batch_size=self.batch_size,
            num_devices=self.placement.num_devices,
        )

    def _init(self, key: jax.Array) -> SegmentationState:
        return self.step.init(
            key, image_size=self.image_size, learning_rate=self.learning_rate
        )

    def init(self, key: jax.Array) -> SegmentationState:
        """Makes the state at step 0, placed on the devices."""
        state = self._placed_init(key)
        if self.start is None:
            return state
        variables = self.placement.replicate(self.start)
        return dataclasses.replace(state, variables=variables)

    @functools.cached_property
    def _placed_init(self) -> Callable[[jax.Array], SegmentationState]:
        """Traced and compiled once, though a run asks for the shapes several times.

        It also draws a state to try a step, and one to start with.
        """
        return jax.jit(self._init, out_shardings=self.placement.replicated)

    def abstract_state(self) -> SegmentationState:
        """Returns shapes, dtypes and placements of the state, without computing it."""
        return replicated_shapes(self._placed_init, self.placement)

    def compile(self, key: jax.Array) -> CompiledStep:
        """Compiles the update once, for the one shape that a run has.

        Args:
          key: the run's key.

        Returns:
          The compiled update, (state, batch, key) -> (state, metrics).
        """

        def train_step(state: SegmentationState, batch: Batch, key: jax.Array) -> Any:
            return self.step(state, batch, key)  # named, for profiles and logs

        return compile_step(
            train_step,
            self.placement,
            self.abstract_state(),
            (),
            self._batch_shapes(),
            key,
        )

    def _batch_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        b, side, split = self.batch_size, self.prepared_size, self.placement.split
        return {
            "label_map": jax.ShapeDtypeStruct(
                (b, side, side), np.uint8, sharding=split
            ),
            "image": jax.ShapeDtypeStruct(
                (b, side, side, 1), np.float32, sharding=split
            ),
            "valid_mask": jax.ShapeDtypeStruct(
                (b, side, side, 1), np.bool_, sharding=split
            ),
        }
