"""Resampling of images and label maps at drawn positions, on the device."""

import jax
import jax.numpy as jnp


def warp(
    image: jax.Array, label_map: jax.Array, valid_mask: jax.Array, points: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Takes an example's pixels from other places.

    Args:
      image: [h, w] float32; interpolated linearly.
      label_map: [h, w] integer; the nearest pixel is taken.
      valid_mask: [h, w] bool; the nearest pixel is taken.
      points: [2, h', w'] float32, row and column of each new pixel in the old grid.

    Returns:
      image [h', w'] (at the edge continued), label_map [h', w'] (0 outside) and
      valid_mask [h', w'] (False outside).
    """
    h, w = image.shape
    row, column = points
    flat = image.reshape(-1)

    def at(r: jax.Array, c: jax.Array) -> jax.Array:
        return r.clip(0, h - 1) * w + c.clip(0, w - 1)

    r0, c0 = jnp.floor(row).astype(jnp.int32), jnp.floor(column).astype(jnp.int32)
    fr, fc = row - r0, column - c0
    upper = flat[at(r0, c0)] * (1 - fc) + flat[at(r0, c0 + 1)] * fc
    lower = flat[at(r0 + 1, c0)] * (1 - fc) + flat[at(r0 + 1, c0 + 1)] * fc
    warped = upper * (1 - fr) + lower * fr
    r, c = jnp.round(row).astype(jnp.int32), jnp.round(column).astype(jnp.int32)
    inside = (r >= 0) & (r < h) & (c >= 0) & (c < w)
    nearest = at(r, c)
    labels = jnp.where(inside, label_map.reshape(-1)[nearest], 0)
    valid = inside & valid_mask.reshape(-1)[nearest]
    return warped, labels.astype(label_map.dtype), valid


def smooth_noise(
    key: jax.Array, channels: int, shape: tuple[int, int], knots: int
) -> jax.Array:
    """Draws smooth fields: normal values on a coarse grid, interpolated by cubics.

    Args:
      key: PRNG key.
      channels: number of fields.
      shape: (h, w).
      knots: drawn values along each axis.

    Returns:
      [channels, h, w] float32, standard deviation at the knots 1.
    """
    values = jax.random.normal(key, (channels, knots, knots))
    return jax.image.resize(values, (channels, *shape), "cubic")
