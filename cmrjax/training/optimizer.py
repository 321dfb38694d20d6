"""Adam with the two time scales and the optional linear decay of SPEC 5."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike


def epoch_schedule(
    peak: float, *, steps_per_epoch: int, constant_epochs: int, decay_epochs: int
) -> optax.Schedule:
    """Returns a rate that is constant, then falls linearly to 0, once per epoch.

    Args:
      peak: the constant rate.
      steps_per_epoch: steps after which an epoch ends.
      constant_epochs: epochs at `peak`.
      decay_epochs: epochs of decay; epoch i of the decay (from 0) has the rate
        peak * (1 - i / decay_epochs), as in the reference, so that 0 is reached when
        the last one is over and no epoch is trained without effect. 0: no decay.

    Returns:
      Function of the step number (from 0), float32 rate.

    Raises:
      ValueError: a count below its least sensible value.
    """
    if steps_per_epoch < 1 or constant_epochs < 0 or decay_epochs < 0:
        raise ValueError(
            f"steps_per_epoch {steps_per_epoch}, constant_epochs {constant_epochs}, "
            f"decay_epochs {decay_epochs}: expected at least 1, 0 and 0"
        )

    def rate(step: ArrayLike) -> jax.Array:
        epoch = jnp.asarray(step) // steps_per_epoch
        into_decay = jnp.clip(epoch - constant_epochs, 0, decay_epochs)
        return jnp.float32(peak) * (1.0 - into_decay / max(decay_epochs, 1))

    return rate


def adam(
    learning_rate: float | optax.Schedule, *, b1: float = 0.0, b2: float = 0.9
) -> optax.GradientTransformation:
    """Returns Adam with the betas of the two-time-scale rule (TTUR), eps 1e-8.

    Args:
      learning_rate: rate or schedule; 1e-4 for G and 4e-4 for D by default.
      b1: decay of the first moment.
      b2: decay of the second moment.

    Returns:
      The transformation.
    """
    if b1:
        return optax.adam(learning_rate, b1=b1, b2=b2, eps=1e-8)
    # Without a first moment Adam is RMSprop with bias correction: the same numbers, a
    # third less state to hold, to read and to write.
    return optax.chain(
        optax.scale_by_rms(decay=b2, eps=1e-8, eps_in_sqrt=False, bias_correction=True),
        optax.scale_by_learning_rate(learning_rate),
    )
