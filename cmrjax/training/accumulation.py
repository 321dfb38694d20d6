"""Gradients of a large batch from parts that fit into memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Gradients = Callable[[Any, Any, jax.Array], tuple[Any, Any, dict[str, jax.Array]]]
"""(changing, batch, key) -> (gradients, changing, float32 scalars by name)."""


def check_accumulation(parts: int, *, batch_size: int, num_devices: int) -> None:
    """Checks that a batch can be divided.

    Args:
      parts: of a batch, each with a forward and a backward of its own.
      batch_size: global.
      num_devices: that share each part.

    Raises:
      ValueError: the parts would not be equal on each device.
    """
    if parts < 1 or batch_size % (parts * num_devices):
        raise ValueError(
            f"config.training.accumulation is {parts}: a batch of {batch_size} does not"
            f" divide into so many parts for {num_devices} device(s); expected a"
            f" divisor of {batch_size // num_devices}"
        )


def accumulate(
    gradients: Gradients, changing: Any, batch: Any, key: jax.Array, *, parts: int
) -> tuple[Any, Any, dict[str, jax.Array]]:
    """Computes means over the parts of a batch, one part after the other.

    What a forward changes (batch statistics, u and v of spectral normalisation) goes
    from part to part: batch normalisation is over a part, not over the batch.

    Part i has the examples i, i + parts, i + 2 parts, ... of the batch, so that each
    device works on examples that it holds, and the parts are the same on any number
    of devices.

    Args:
      gradients: of one part.
      changing: pytree that a forward changes.
      batch: pytree of arrays [b, ...].
      key: for one part as it is; for several, folded with the part's number.
      parts: divides b.

    Returns:
      (means of the gradients, changing after the last part, means of the scalars).
    """
    if parts == 1:
        return gradients(changing, batch, key)
    pieces = jax.tree.map(
        lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), batch
    )
    first = jax.tree.map(lambda x: x[0], pieces)
    shapes, _, _ = jax.eval_shape(gradients, changing, first, key)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def add(carry: tuple[Any, Any], numbered: tuple[jax.Array, Any]) -> tuple:
        total, changing = carry
        number, piece = numbered
        grads, changing, scalars = gradients(
            changing, piece, jax.random.fold_in(key, number)
        )
        return (jax.tree.map(jnp.add, total, grads), changing), scalars

    (total, changing), scalars = jax.lax.scan(
        add, (zeros, changing), (jnp.arange(parts), pieces)
    )
    mean = jax.tree.map(lambda x: x / parts, total)
    return mean, changing, {name: x.mean(0) for name, x in scalars.items()}
