"""Compilation of a training step, once, for the one shape that a run has."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax

from cmrjax.training.sharding import DataParallel


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """A compiled update.

    Attributes:
      function: (state, *constants, batch, key) -> (state, metrics); the state it is
        given is donated.
      compile_seconds: what compilation took.
      flops: multiplications and additions of one step as XLA counts them, or 0.
      memory_bytes: what a step holds on a device besides its arguments, or 0.
      program_bytes: with arguments and results, or 0.
    """

    function: Any
    compile_seconds: float
    flops: float
    memory_bytes: int
    program_bytes: int = 0


def compile_step(
    train_step: Callable[..., Any],
    placement: DataParallel,
    abstract_state: Any,
    constants: tuple[Any, ...],
    batch_shapes: dict[str, jax.ShapeDtypeStruct],
    key: jax.Array,
) -> CompiledStep:
    """Compiles an update; the state and the constants are on every device.

    Args:
      train_step: (state, *constants, batch, key) -> (state, metrics). Its name is what
        profiles and logs show.
      placement: of the arrays.
      abstract_state: shapes, dtypes and placements of the state.
      constants: arrays that the step reads, as pytrees.
      batch_shapes: of the batch, whose first axis is split over the devices.
      key: the run's key.

    Returns:
      The compiled update.
    """
    replicated, split = placement.replicated, placement.split
    jitted = jax.jit(
        train_step,
        in_shardings=(
            replicated,
            *(replicated for _ in constants),
            split,
            replicated,
        ),
        out_shardings=replicated,
        donate_argnums=0,
    )
    start = time.perf_counter()
    lowered = jitted.lower(abstract_state, *constants, batch_shapes, key)
    compiled = lowered.compile()
    seconds = time.perf_counter() - start
    cost = compiled.cost_analysis() or {}
    memory = compiled.memory_analysis()
    return CompiledStep(
        function=compiled,
        compile_seconds=seconds,
        flops=float(cost.get("flops", 0.0)),
        memory_bytes=int(getattr(memory, "temp_size_in_bytes", 0)),
        program_bytes=_program_bytes(memory),
    )


def _program_bytes(memory: Any) -> int:
    """Adds up XLA's counts; results that take the place of arguments count once."""
    sizes = ("argument", "output", "temp")
    parts = [getattr(memory, f"{name}_size_in_bytes", 0) for name in sizes]
    return int(sum(parts) - getattr(memory, "alias_size_in_bytes", 0))


def replicated_shapes(init: Callable[..., Any], placement: DataParallel) -> Any:
    """Returns shapes, dtypes and placements of what `init(key)` would draw.

    Args:
      init: draws a state from a PRNG key; it is not computed.
      placement: of the arrays.
    """
    shapes = jax.eval_shape(init, jax.random.key(0))
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement.replicated),
        shapes,
    )
