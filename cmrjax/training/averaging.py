"""A moving average of G's weights, with batch statistics and u, v of its own.

Weights that alternate around an optimum make images that flicker from step to step;
their average makes the image in the middle. What belongs to weights does not average
with them: batch statistics and the vectors of spectral normalisation are estimated
anew for the averaged weights, on training labels, before they are evaluated or saved.
"""

from typing import Any

import jax
import jax.numpy as jnp

from cmrjax.models.spade import MOMENTUM
from cmrjax.models.spade_generator import SpadeGenerator
from cmrjax.models.spectral_norm import COLLECTION, settle_vectors
from cmrjax.training.state import Variables

_WARM_UP = 10


def move_average(average: Any, params: Any, *, step: jax.Array, decay: float) -> Any:
    """Moves an average of parameters towards newer ones.

    Args:
      average: parameters so far.
      params: of this step, the same nesting.
      step: updates done before this one.
      decay: share that the average keeps, in [0, 1). In the first steps less is kept,
        (1 + step) / (10 + step), so that the draw at step 0 is soon forgotten.

    Returns:
      The new average.
    """
    kept = jnp.minimum(jnp.float32(decay), (1.0 + step) / (_WARM_UP + step))
    return jax.tree.map(
        lambda old, new: old + (1.0 - kept) * (new - old), average, params
    )


def estimate_state(
    generator: SpadeGenerator, variables: Variables, label_maps: jax.Array
) -> Variables:
    """Estimates batch statistics and u, v that fit the parameters.

    Each statistic is the mean over the batches of what a training forward computes
    (variances unbiased), not a running value that still remembers other parameters.

    Args:
      generator: the module.
      variables: "params" as they stay; "spectral" from which the power iteration
        starts; "batch_stats" only for its shapes.
      label_maps: [n, b, h, w] uint8, n batches of training labels.

    Returns:
      Variables of the same parameters.
    """
    vectors = settle_vectors(variables["params"], variables[COLLECTION])
    variables = {**variables, COLLECTION: vectors}
    zeros = jax.tree.map(jnp.zeros_like, variables["batch_stats"])
    n, b = label_maps.shape[:2]
    latent_size = generator.architecture.latent_size

    def add(total: Any, indexed: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
        index, labels = indexed
        key = jax.random.fold_in(jax.random.key(0), index)
        latent = jax.random.normal(key, (b, latent_size)) if latent_size else None
        _, changed = generator.apply(
            {**variables, "batch_stats": zeros},
            labels,
            latent,
            train=True,
            mutable=["batch_stats", COLLECTION],
        )
        return jax.tree.map(jnp.add, total, changed["batch_stats"]), None

    total, _ = jax.lax.scan(add, zeros, (jnp.arange(n), label_maps))
    # From zero, a running value moves to (1 - momentum) times the batch's own.
    statistics = jax.tree.map(lambda x: x / (n * (1.0 - MOMENTUM)), total)
    return {**variables, "batch_stats": statistics}
