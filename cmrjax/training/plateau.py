"""A learning rate that falls when the validation loss no longer does (SPEC 3)."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np


@flax.struct.dataclass
class Plateau:
    """The rate and what it depends on; part of the state, so of every checkpoint.

    Attributes:
      learning_rate: float32 scalar.
      best_loss: float32 scalar, smallest validation loss so far.
      waited: int32 scalar, validations since the rate fell or the loss was smallest.
    """

    learning_rate: jax.Array
    best_loss: jax.Array
    waited: jax.Array


def start_plateau(learning_rate: float) -> Plateau:
    """Returns the state before the first validation."""
    return Plateau(
        learning_rate=jnp.float32(learning_rate),
        best_loss=jnp.float32(jnp.inf),
        waited=jnp.int32(0),
    )


def observe(
    plateau: Plateau, loss: float, *, patience: int, factor: float = 0.5
) -> Plateau:
    """Takes the loss of one more validation into account.

    Args:
      plateau: before it.
      loss: of the validation; must be finite.
      patience: validations without a smaller loss after which the rate falls.
      factor: by which it falls.

    Returns:
      The state after it; scalars of NumPy, to be placed as the old ones were.

    Raises:
      ValueError: the loss is not finite, or patience or factor make no schedule.
    """
    if not np.isfinite(loss):
        raise ValueError(f"the validation loss is {loss}; the rate cannot follow it")
    if patience < 1 or not 0 < factor < 1:
        raise ValueError(
            f"patience is {patience}, factor {factor}; expected at least 1 and 0 to 1"
        )
    rate, best = float(plateau.learning_rate), float(plateau.best_loss)
    waited = int(plateau.waited) + 1
    loss = float(np.float32(loss))  # as the best one is kept, or equal ones may differ
    if loss < best:
        best, waited = loss, 0
    elif waited >= patience:
        rate, waited = rate * factor, 0
    return Plateau(np.float32(rate), np.float32(best), np.int32(waited))  # type: ignore[arg-type]
