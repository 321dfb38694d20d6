"""SSIM, PSNR and NRMSE of images against their references, on valid pixels only.

All functions are pure, can be jitted and return one figure per image. Pixels outside
the valid mask (padding) never enter, not even when they are NaN. Whatever the input
type, the computation is in float32.
"""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

WINDOW_SIZE = 11
WINDOW_SIGMA = 1.5
K1 = 0.01
K2 = 0.03
DATA_RANGE = 2.0

PROTOCOL = (
    f"SSIM (Wang et al. 2004): {WINDOW_SIZE} x {WINDOW_SIZE} Gaussian window, sigma "
    f"{WINDOW_SIGMA}, K1 {K1}, K2 {K2}, data range {DATA_RANGE:g} (images in [-1, 1]), "
    "mean over the windows that lie wholly inside the valid (unpadded) pixels. "
    f"PSNR: data range {DATA_RANGE:g}, valid pixels. "
    "NRMSE: root mean squared error divided by (maximum - minimum) of the reference, "
    "valid pixels."
)


def ssim(
    image: ArrayLike,
    reference: ArrayLike,
    valid_mask: ArrayLike,
    *,
    data_range: float = DATA_RANGE,
) -> jax.Array:
    """Structural similarity, mean over the windows without any padded pixel.

    SSIM = (2 mx my + C1)(2 cov + C2) / ((mx^2 + my^2 + C1)(vx + vy + C2)), with
    C1 = (K1 L)^2, C2 = (K2 L)^2 and L the data range. The moments are weighted with an
    11 x 11 Gaussian of sigma 1.5 that sums to 1 (biased, no n/(n-1)). Source: Wang et
    al., "Image quality assessment: from error visibility to structural similarity",
    2004, eq. 13 to 16. Deviation: only windows wholly inside the valid mask count, so
    that padding cannot lift the figure.

    Args:
        image: [b, h, w, 1] floating point, the image that is judged, in [-1, 1].
        reference: [b, h, w, 1] floating point, the real image, in [-1, 1].
        valid_mask: [b, h, w, 1] bool, False where the pixel is padding.
        data_range: L, the width of the range of values.

    Returns:
        [b] float32 in [-1, 1]; NaN for an image in which no 11 x 11 window lies wholly
        inside the mask (see `has_valid_window`).

    Raises:
        ValueError: if the shapes differ, are not [b, h, w, 1], or the types are wrong.
    """
    image, reference, valid_mask = _checked(image, reference, valid_mask)
    image = jnp.where(valid_mask, image, 0.0)
    reference = jnp.where(valid_mask, reference, 0.0)
    products = [image, reference, image**2, reference**2, image * reference]
    moments = _gaussian_means(jnp.concatenate(products, axis=0))
    mean_x, mean_y, square_x, square_y, product = jnp.split(moments, 5, axis=0)
    variances = (square_x - mean_x**2) + (square_y - mean_y**2)
    covariance = product - mean_x * mean_y
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (variances + c2)
    return _masked_mean(similarity, _valid_windows(valid_mask))


def psnr(
    image: ArrayLike,
    reference: ArrayLike,
    valid_mask: ArrayLike,
    *,
    data_range: float = DATA_RANGE,
) -> jax.Array:
    """Peak signal-to-noise ratio, 10 log10(data_range^2 / MSE), on valid pixels.

    Args:
        image: [b, h, w, 1] floating point, the image that is judged, in [-1, 1].
        reference: [b, h, w, 1] floating point, the real image, in [-1, 1].
        valid_mask: [b, h, w, 1] bool, False where the pixel is padding.
        data_range: width of the range of values.

    Returns:
        [b] float32 in dB; inf where the two images are equal on all valid pixels, NaN
        for an image without valid pixels.

    Raises:
        ValueError: if the shapes differ, are not [b, h, w, 1], or the types are wrong.
    """
    image, reference, valid_mask = _checked(image, reference, valid_mask)
    error = _mean_squared_error(image, reference, valid_mask)
    return 20.0 * float(np.log10(data_range)) - 10.0 * jnp.log10(error)


def nrmse(image: ArrayLike, reference: ArrayLike, valid_mask: ArrayLike) -> jax.Array:
    """Root mean squared error over the reference's own range, on valid pixels.

    NRMSE = sqrt(MSE) / (max(reference) - min(reference)), all over valid pixels. This
    is one of several definitions in use (others divide by the mean or the norm), and
    it is not symmetric in its arguments.

    Args:
        image: [b, h, w, 1] floating point, the image that is judged, in [-1, 1].
        reference: [b, h, w, 1] floating point, the real image, in [-1, 1].
        valid_mask: [b, h, w, 1] bool, False where the pixel is padding.

    Returns:
        [b] float32, 0 is perfect; NaN (undefined) where the reference is constant on
        its valid pixels, and for an image without valid pixels.

    Raises:
        ValueError: if the shapes differ, are not [b, h, w, 1], or the types are wrong.
    """
    image, reference, valid_mask = _checked(image, reference, valid_mask)
    error = jnp.sqrt(_mean_squared_error(image, reference, valid_mask))
    highest = jnp.max(jnp.where(valid_mask, reference, -jnp.inf), axis=(1, 2, 3))
    lowest = jnp.min(jnp.where(valid_mask, reference, jnp.inf), axis=(1, 2, 3))
    width = highest - lowest
    return jnp.where(width > 0, error / jnp.where(width > 0, width, 1.0), jnp.nan)


def has_valid_window(valid_mask: ArrayLike) -> jax.Array:
    """Tells whether an image has a window on which `ssim` is defined.

    Args:
        valid_mask: [b, h, w, 1] bool, False where the pixel is padding.

    Returns:
        [b] bool, True where at least one 11 x 11 window is wholly valid.

    Raises:
        ValueError: if the mask is not [b, h, w, 1] bool.
    """
    return jnp.any(_valid_windows(_checked_mask(valid_mask)), axis=(1, 2, 3))


@jax.jit
def _gaussian_means(images: jax.Array) -> jax.Array:
    """Gaussian-weighted means, [n, h, w, 1] -> [n, max(h-10, 0), max(w-10, 0), 1]."""
    offsets = np.arange(WINDOW_SIZE) - WINDOW_SIZE // 2
    taps = np.exp(-(offsets**2) / (2 * WINDOW_SIGMA**2))
    taps = (taps / taps.sum()).astype(np.float32)
    if min(images.shape[1:3]) < WINDOW_SIZE:
        return images[:, :0, :0]
    # A sum of shifted images: faster on CPU than a convolution, and everywhere in full
    # float32, which the variance E[x^2] - E[x]^2 needs (no TF32).
    for axis in (1, 2):
        size = images.shape[axis] - WINDOW_SIZE + 1
        shifted = [
            tap * lax.slice_in_dim(images, start, start + size, axis=axis)
            for start, tap in enumerate(taps)
        ]
        images = functools.reduce(operator.add, shifted)
    return images


@jax.jit
def _valid_windows(valid_mask: jax.Array) -> jax.Array:
    """Windows wholly valid, [b, h, w, 1] bool -> [b, max(h-10,0), max(w-10,0), 1]."""
    if min(valid_mask.shape[1:3]) < WINDOW_SIZE:
        return valid_mask[:, :0, :0]
    counts = valid_mask.astype(jnp.int32)
    for axis in (1, 2):  # running sums: a window is valid if it counts 121 pixels
        totals = jnp.cumsum(counts, axis=axis)
        totals = jnp.pad(totals, [(int(axis == other), 0) for other in range(4)])
        size = totals.shape[axis]
        counts = lax.slice_in_dim(totals, WINDOW_SIZE, size, axis=axis)
        counts -= lax.slice_in_dim(totals, 0, size - WINDOW_SIZE, axis=axis)
    return counts == WINDOW_SIZE**2


def _mean_squared_error(
    image: jax.Array, reference: jax.Array, valid_mask: jax.Array
) -> jax.Array:
    """Mean squared difference over valid pixels, [b]; NaN where there are none."""
    difference = jnp.where(valid_mask, image - reference, 0.0)
    return _masked_mean(difference**2, valid_mask)


def _masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of [b, h, w, 1] values where the mask is True, [b]; NaN if nowhere."""
    total = jnp.sum(jnp.where(mask, values, 0.0), axis=(1, 2, 3))
    count = jnp.sum(mask, axis=(1, 2, 3), dtype=jnp.float32)
    return jnp.where(count > 0, total / jnp.maximum(count, 1.0), jnp.nan)


def _checked(
    image: ArrayLike, reference: ArrayLike, valid_mask: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The three arguments as float32, float32 and bool, or a ValueError."""
    arrays = {"image": jnp.asarray(image), "reference": jnp.asarray(reference)}
    mask = _checked_mask(valid_mask)
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(
                f"{name} must be floating point in [-1, 1], got {array.dtype}; "
                "convert it with the intensity transform of its model"
            )
        if array.shape != mask.shape:
            shapes = ", ".join(f"{key} {value.shape}" for key, value in arrays.items())
            raise ValueError(
                "image, reference and valid_mask must have one shape [b, h, w, 1], "
                f"got {shapes}, valid_mask {mask.shape}"
            )
    image, reference = (array.astype(jnp.float32) for array in arrays.values())
    return image, reference, mask


def _checked_mask(valid_mask: ArrayLike) -> jax.Array:
    """The mask as an array, or a ValueError if it is not [b, h, w, 1] bool."""
    mask = jnp.asarray(valid_mask)
    if mask.ndim != 4 or mask.shape[-1] != 1:
        raise ValueError(
            f"valid_mask must have the shape [b, h, w, 1], got {mask.shape}; "
            "for one image use mask[None, :, :, None]"
        )
    if mask.dtype != jnp.bool_:
        raise ValueError(
            f"valid_mask must be bool, got {mask.dtype}; use valid_mask > 0"
        )
    return mask
