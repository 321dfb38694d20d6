"""Both networks, their optimisers and their placement, ready to train."""

import dataclasses
import time
from typing import Any

import jax
import numpy as np
import optax

from cmrjax.models.discriminator import MultiscaleDiscriminator
from cmrjax.models.spade_generator import SpadeGenerator
from cmrjax.training.gan_objective import GanObjective
from cmrjax.training.gan_step import Batch, GanStep
from cmrjax.training.sharding import DataParallel
from cmrjax.training.state import GanState, init_state


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """A compiled update.

    Attributes:
      function: (state, vgg_weights, batch, key) -> (state, metrics); the state it is
        given is donated.
      compile_seconds: what compilation took.
      flops: multiplications and additions of one step as XLA counts them, or 0.
      memory_bytes: what a step holds on a device besides its arguments, or 0.
    """

    function: Any
    compile_seconds: float
    flops: float
    memory_bytes: int


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
    """

    generator: SpadeGenerator
    discriminator: MultiscaleDiscriminator
    g_optimizer: optax.GradientTransformation
    d_optimizer: optax.GradientTransformation
    objective: GanObjective
    placement: DataParallel
    image_size: int
    batch_size: int

    def _init(self, key: jax.Array) -> GanState:
        return init_state(
            self.generator,
            self.discriminator,
            self.g_optimizer,
            self.d_optimizer,
            key,
            image_size=self.image_size,
        )

    def init(self, key: jax.Array) -> GanState:
        """Draws the state at step 0, placed on the devices."""
        return jax.jit(self._init, out_shardings=self.placement.replicated)(key)

    def abstract_state(self) -> GanState:
        """Returns shapes, dtypes and placements of the state, without computing it."""
        shapes = jax.eval_shape(self._init, jax.random.key(0))
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                x.shape, x.dtype, sharding=self.placement.replicated
            ),
            shapes,
        )

    def compile(self, vgg: Any, key: jax.Array) -> CompiledStep:
        """Compiles the update once, for the one shape that a run has.

        Args:
          vgg: weights of the perceptual loss, or None.
          key: the run's key.

        Returns:
          The compiled update.
        """
        step = GanStep(
            self.generator,
            self.discriminator,
            self.g_optimizer,
            self.d_optimizer,
            self.objective,
        )

        def train_step(state: GanState, vgg: Any, batch: Batch, key: jax.Array) -> Any:
            return step(state, vgg, batch, key)  # named, for profiles and logs

        replicated, split = self.placement.replicated, self.placement.split
        jitted = jax.jit(
            train_step,
            in_shardings=(replicated, replicated, split, replicated),
            out_shardings=replicated,
            donate_argnums=0,
        )
        start = time.perf_counter()
        lowered = jitted.lower(self.abstract_state(), vgg, self._batch_shapes(), key)
        compiled = lowered.compile()
        seconds = time.perf_counter() - start
        cost = compiled.cost_analysis() or {}
        memory = compiled.memory_analysis()
        return CompiledStep(
            function=compiled,
            compile_seconds=seconds,
            flops=float(cost.get("flops", 0.0)),
            memory_bytes=int(getattr(memory, "temp_size_in_bytes", 0)),
        )

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
