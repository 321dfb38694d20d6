"""Losses between predicted class scores and a label map."""

import jax
import jax.numpy as jnp

# Keeps the power's gradient finite where a class is perfect (its index is 1).
_SMALLEST_GAP = 1e-6


def tversky_indices(
    logits: jax.Array,
    label_map: jax.Array,
    valid_mask: jax.Array,
    *,
    alpha: float = 0.7,
    beta: float = 0.3,
    smoothing: float = 1.0,
) -> jax.Array:
    """Computes the Tversky index of each class over a whole batch.

    (TP + s) / (TP + alpha FN + beta FP + s) with soft counts of true positives, false
    negatives and false positives (Salehi et al. 2017, eq. 4; alpha is the weight of the
    false negatives, as in Abraham and Khan 2019); alpha = beta = 0.5 is the Dice
    coefficient. The batch is counted as one image: most slices lack some class.

    Args:
      logits: [b, h, w, k] float32.
      label_map: [b, h, w] integer, 0 to k - 1.
      valid_mask: [b, h, w, 1] bool; other pixels count nowhere.
      alpha: weight of false negatives.
      beta: weight of false positives.
      smoothing: s, pixels; makes a class that neither map has perfect.

    Returns:
      [k] float32 in (0, 1].

    Raises:
      ValueError: shapes that do not fit each other.
    """
    if logits.shape[:3] != label_map.shape or valid_mask.shape != (
        *label_map.shape,
        1,
    ):
        raise ValueError(
            f"logits {logits.shape}, label_map {label_map.shape} and valid_mask "
            f"{valid_mask.shape} do not belong to the same pixels; expected "
            "[b, h, w, k], [b, h, w] and [b, h, w, 1]"
        )
    k = logits.shape[-1]
    valid = valid_mask.astype(jnp.float32)
    share = jax.nn.softmax(logits.astype(jnp.float32)) * valid
    truth = jax.nn.one_hot(label_map, k, dtype=jnp.float32) * valid
    overlap = jnp.sum(share * truth, axis=(0, 1, 2))
    missed = jnp.sum(truth, axis=(0, 1, 2)) - overlap
    false = jnp.sum(share, axis=(0, 1, 2)) - overlap
    return (overlap + smoothing) / (overlap + alpha * missed + beta * false + smoothing)


def focal_tversky_loss(
    logits: jax.Array,
    label_map: jax.Array,
    valid_mask: jax.Array,
    *,
    alpha: float = 0.7,
    beta: float = 0.3,
    gamma: float = 4.0 / 3.0,
    smoothing: float = 1.0,
) -> jax.Array:
    """Computes the Focal Tversky loss, the mean over classes of (1 - index)^(1/gamma).

    Abraham and Khan 2019, eq. 4, with the mean for their sum: the size of the loss
    then does not depend on the number of classes.

    Args:
      logits: see `tversky_indices`.
      label_map: see there.
      valid_mask: see there.
      alpha: see there.
      beta: see there.
      gamma: above 1, classes that are nearly right count more than by 1 - index.
      smoothing: see there.

    Returns:
      float32 scalar in [0, 1].

    Raises:
      ValueError: see `tversky_indices`; gamma is not positive.
    """
    if gamma <= 0:
        raise ValueError(f"gamma is {gamma}; expected a positive number")
    indices = tversky_indices(
        logits, label_map, valid_mask, alpha=alpha, beta=beta, smoothing=smoothing
    )
    gap = jnp.maximum(1.0 - indices, _SMALLEST_GAP)
    return jnp.mean(gap ** (1.0 / gamma))
