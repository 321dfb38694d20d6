"""Perceptual loss on VGG19 features (SPEC 5; paper eq. 9)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

# The public SPADE and pix2pixHD implementations; deep layers count most.
REFERENCE_LAYER_WEIGHTS: dict[str, float] = {
    "relu1_1": 1 / 32,
    "relu2_1": 1 / 16,
    "relu3_1": 1 / 8,
    "relu4_1": 1 / 4,
    "relu5_1": 1.0,
}
# The paper's eq. 9 weighs all layers alike.
PAPER_LAYER_WEIGHTS: dict[str, float] = dict.fromkeys(REFERENCE_LAYER_WEIGHTS, 1.0)


def perceptual_loss(
    fake_features: Mapping[str, jax.Array],
    real_features: Mapping[str, jax.Array],
    *,
    layer_weights: Mapping[str, float] = REFERENCE_LAYER_WEIGHTS,
) -> jax.Array:
    """Sums weight times mean absolute difference over the layers that are there.

    L = sum_i w_i mean |F_i(fake) - F_i(real)|, without gradient through the real side.
    Layers which the weights file does not reach drop out; the others keep their
    weights. The weight lambda of the whole term is applied outside.

    Args:
      fake_features: by layer name, [b, h, w, c], from `vgg19_features`.
      real_features: the same for real images.
      layer_weights: by layer name; one that is not named has no part.

    Returns:
      A float32 scalar, >= 0.

    Raises:
      ValueError: an unknown layer name, two sides of different layers or shapes, or no
        layer with a weight.
    """
    unknown = sorted(set(layer_weights) - set(REFERENCE_LAYER_WEIGHTS))
    if unknown:
        raise ValueError(
            f"layer_weights names {unknown}; known are {list(REFERENCE_LAYER_WEIGHTS)}"
        )
    if set(fake_features) != set(real_features):
        raise ValueError(
            f"fake features are {sorted(fake_features)} and real ones "
            f"{sorted(real_features)}; both must come from the same weights"
        )
    terms = [
        layer_weights[name] * _mean_difference(name, fake, real_features[name])
        for name, fake in sorted(fake_features.items())
        if name in layer_weights
    ]
    if not terms:
        raise ValueError(
            f"none of the features {sorted(fake_features)} has a weight in "
            f"layer_weights, which names {sorted(layer_weights)}"
        )
    return jnp.sum(jnp.stack(terms))


def _mean_difference(name: str, fake: jax.Array, real: jax.Array) -> jax.Array:
    if fake.shape != real.shape:
        raise ValueError(
            f"{name}: fake features have shape {fake.shape} and real ones {real.shape}"
        )
    fixed = jax.lax.stop_gradient(real).astype(jnp.float32)
    return jnp.mean(jnp.abs(fake.astype(jnp.float32) - fixed))
