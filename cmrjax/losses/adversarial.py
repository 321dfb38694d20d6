"""Hinge losses of the two players (SPEC 5; paper eq. 5 to 7, SPADE)."""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

Reduction = Literal["mean", "sum"]


def reduce_scales(terms: Sequence[jax.Array], reduction: Reduction) -> jax.Array:
    """Combines one scalar per discriminator.

    Args:
      terms: one scalar per scale.
      reduction: "mean" (the public reference) or "sum" (paper, eq. 7 and 10).

    Returns:
      A float32 scalar.

    Raises:
      ValueError: another reduction.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}; expected 'mean' or 'sum'")
    total = jnp.sum(jnp.stack([term.astype(jnp.float32) for term in terms]))
    return total / len(terms) if reduction == "mean" else total


def hinge_real(
    real_logits: Sequence[jax.Array], *, reduction: Reduction = "mean"
) -> jax.Array:
    """D's loss on real images: -E[min(0, D(x, s) - 1)].

    Args:
      real_logits: per scale [b, h, w, 1].
      reduction: over scales.

    Returns:
      A float32 scalar, >= 0.
    """
    terms = [
        -jnp.mean(jnp.minimum(x.astype(jnp.float32) - 1.0, 0.0)) for x in real_logits
    ]
    return reduce_scales(terms, reduction)


def hinge_fake(
    fake_logits: Sequence[jax.Array], *, reduction: Reduction = "mean"
) -> jax.Array:
    """D's loss on generated images: -E[min(0, -D(G(s), s) - 1)].

    Args:
      fake_logits: per scale [b, h, w, 1].
      reduction: over scales.

    Returns:
      A float32 scalar, >= 0.
    """
    terms = [
        -jnp.mean(jnp.minimum(-x.astype(jnp.float32) - 1.0, 0.0)) for x in fake_logits
    ]
    return reduce_scales(terms, reduction)


def hinge_generator(
    fake_logits: Sequence[jax.Array], *, reduction: Reduction = "mean"
) -> jax.Array:
    """G's loss: -E[D(G(s), s)].

    Args:
      fake_logits: per scale [b, h, w, 1].
      reduction: over scales.

    Returns:
      A float32 scalar.
    """
    terms = [-jnp.mean(x.astype(jnp.float32)) for x in fake_logits]
    return reduce_scales(terms, reduction)
