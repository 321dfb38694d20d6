"""Feature matching between real and generated images (SPEC 5; pix2pixHD, eq. 3)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from cmrjax.losses.adversarial import Reduction, reduce_scales


def feature_matching_loss(
    fake_features: Sequence[Sequence[jax.Array]],
    real_features: Sequence[Sequence[jax.Array]],
    *,
    reduction: Reduction = "mean",
) -> jax.Array:
    """Sums the mean absolute differences of the hidden features of each D.

    The last entry of each scale, the logits, is left out; real features carry no
    gradient; the sum over layers is divided by the number of discriminators, not of
    layers ("sum" leaves the division out). The weight lambda is applied outside.

    Args:
      fake_features: per scale, feature maps [b, h, w, c] and at last the logits.
      real_features: the same for real images.
      reduction: over scales.

    Returns:
      A float32 scalar, >= 0.

    Raises:
      ValueError: the two sides have different shapes.
    """
    terms = []
    for fake_scale, real_scale in zip(fake_features, real_features, strict=True):
        layers = []
        for fake, real in zip(fake_scale[:-1], real_scale[:-1], strict=True):
            if fake.shape != real.shape:
                raise ValueError(
                    f"fake features have shape {fake.shape} and real ones "
                    f"{real.shape}; both must come from the same discriminator"
                )
            fixed = jax.lax.stop_gradient(real).astype(jnp.float32)
            layers.append(jnp.mean(jnp.abs(fake.astype(jnp.float32) - fixed)))
        terms.append(jnp.sum(jnp.stack(layers)))
    return reduce_scales(terms, reduction)
