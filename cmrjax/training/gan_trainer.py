"""Both networks, their optimisers and their placement, ready to train."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from cmrjax.models.discriminator import MultiscaleDiscriminator
from cmrjax.models.spade_generator import SpadeGenerator
from cmrjax.training.accumulation import check_accumulation
from cmrjax.training.averaging import estimate_state
from cmrjax.training.compiled_step import (
    CompiledStep,
    compile_step,
    replicated_shapes,
)
from cmrjax.training.gan_objective import GanObjective
from cmrjax.training.gan_step import Batch, GanStep
from cmrjax.training.processes import meet
from cmrjax.training.sharding import DataParallel
from cmrjax.training.state import GanState, init_state


@dataclasses.dataclass(frozen=True)
class GanTrainer:
    """What does not change in a run.

    Attributes:
      generator: G.
      discriminator: D.
      g_optimizer: of G.
      d_optimizer: of D.
      objective: losses and order of updates.
      placement: of arrays on devices.
      image_size: side of the training images, pixels.
      batch_size: global.
      average_decay: of the moving average of G's parameters; 0: none is kept.
      accumulation: parts of a batch, one after the other.

    Raises:
      ValueError: the batch does not divide into such parts.
    """

    generator: SpadeGenerator
    discriminator: MultiscaleDiscriminator
    g_optimizer: optax.GradientTransformation
    d_optimizer: optax.GradientTransformation
    objective: GanObjective
    placement: DataParallel
    image_size: int
    batch_size: int
    average_decay: float = 0.0
    accumulation: int = 1

    def __post_init__(self) -> None:
        """Checks that each device has its share of each part."""
        check_accumulation(
            self.accumulation,
            batch_size=self.batch_size,
            num_devices=self.placement.num_devices,
        )

    @property
    def step(self) -> GanStep:
        """The update, not compiled."""
        return GanStep(
            self.generator,
            self.discriminator,
            self.g_optimizer,
            self.d_optimizer,
            self.objective,
            self.average_decay,
            self.accumulation,
        )

    def _init(self, key: jax.Array) -> GanState:
        return init_state(
            self.generator,
            self.discriminator,
            self.g_optimizer,
            self.d_optimizer,
            key,
            image_size=self.image_size,
            averaged=self.average_decay > 0,
        )

    def init(self, key: jax.Array) -> GanState:
        """Draws the state at step 0, placed on the devices."""
        return self._placed_init(key)

    @functools.cached_property
    def _placed_init(self) -> Callable[[jax.Array], GanState]:
        """Traced and compiled once, though a run asks for the shapes several times.

        It also draws a state to try a step, and one to start with.
        """
        return jax.jit(self._init, out_shardings=self.placement.replicated)

    def abstract_state(self) -> GanState:
        """Returns shapes, dtypes and placements of the state, without computing it."""
        return replicated_shapes(self._placed_init, self.placement)

    def compile(self, vgg: Any, key: jax.Array) -> CompiledStep:
        """Compiles the update once, for the one shape that a run has.

        Args:
          vgg: weights of the perceptual loss, or None.
          key: the run's key.

        Returns:
          The compiled update.
        """
        step = self.step

        def train_step(state: GanState, vgg: Any, batch: Batch, key: jax.Array) -> Any:
            return step(state, vgg, batch, key)  # named, for profiles and logs

        return compile_step(
            train_step,
            self.placement,
            self.abstract_state(),
            (vgg,),
            self._batch_shapes(),
            key,
        )

    def settle(self, label_maps: np.ndarray) -> Callable[[GanState], GanState]:
        """Makes what the average of G needs before it is evaluated or saved.

        Args:
          label_maps: [n, local b, h, w] uint8, this process's part of n batches of
            training labels.

        Returns:
          (state) -> the state with batch statistics and u, v that fit the average. A
          function of the state alone, so that a run that was interrupted and continued
          ends with the same numbers. Without an average it returns the state as it is.
        """
        if not self.average_decay:
            return lambda state: state
        estimate = jax.jit(
            functools.partial(estimate_state, self.generator),
            in_shardings=(self.placement.replicated, self.placement.split_second),
            out_shardings=self.placement.replicated,
        )
        placed = self.placement.put(label_maps, self.placement.split_second)

        @functools.cache
        def compiled() -> Any:
            variables = self.abstract_state().g_variables
            program = estimate.lower(variables, placed).compile()
            meet()
            return program

        def settle(state: GanState) -> GanState:
            start = {**state.g_variables, "params": state.g_average["params"]}
            return dataclasses.replace(state, g_average=compiled()(start, placed))

        return settle

    def _batch_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        b, side = self.batch_size, self.image_size
        channels = self.generator.architecture.out_channels

        def shape(dims: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(dims, dtype, sharding=self.placement.split)

        return {
            "label_map": shape((b, side, side), np.uint8),
            "image": shape((b, side, side, channels), np.float32),
            "valid_mask": shape((b, side, side, 1), np.bool_),
        }
