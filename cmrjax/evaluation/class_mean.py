"""The class-mean image: the floor that a generator must beat.

Each class is painted with its mean over the training set (SPEC 7). It knows the labels
and nothing of texture, coil shading or subject, and so stands beside every result.
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np


class ExampleSource(Protocol):
    """What `cmrjax.data.source.SliceSource` offers, as far as it is used here."""

    def __len__(self) -> int:
        """Number of slices."""
        ...

    def __getitem__(self, index: Any, /) -> Any:
        """A dict with label_map [h, w], image [h, w, 1] and valid_mask [h, w, 1]."""
        ...


def compute_class_means(source: ExampleSource, num_classes: int) -> np.ndarray:
    """Mean intensity of each class over all valid pixels of a source.

    The source is read once, slice by slice; sums are kept in float64.

    Args:
        source: slices with label_map uint8 [h, w], image float32 [h, w, 1] in [-1, 1]
            and valid_mask bool [h, w, 1]. Give training slices only.
        num_classes: k, number of classes of the source's schema.

    Returns:
        [k] float32 in [-1, 1]. A class that never occurs takes the mean over all valid
        pixels.

    Raises:
        ValueError: if the source has no valid pixel, a label id is not below k, or a
            valid pixel is not finite; the slice is named.
    """
    sums = np.zeros(num_classes, np.float64)
    counts = np.zeros(num_classes, np.int64)
    for position in range(len(source)):
        example = source[position]
        valid = np.asarray(example["valid_mask"])[..., 0]
        labels = np.asarray(example["label_map"])[valid]
        values = np.asarray(example["image"])[..., 0][valid].astype(np.float64)
        if labels.size == 0:
            continue
        if labels.max() >= num_classes:
            raise ValueError(
                f"slice {position} of the source has label id {labels.max()}, but "
                f"num_classes is {num_classes}: allowed are 0 to {num_classes - 1}"
            )
        if not np.isfinite(values).all():
            raise ValueError(
                f"slice {position} of the source has valid pixels that are not finite; "
                "prepare the data again"
            )
        sums += np.bincount(labels, weights=values, minlength=num_classes)
        counts += np.bincount(labels, minlength=num_classes)
    if counts.sum() == 0:
        raise ValueError(
            f"no valid pixel in the source ({len(source)} slices), so there is no "
            "class mean; select slices whose valid_mask is not empty"
        )
    overall = sums.sum() / counts.sum()
    means = np.where(counts > 0, sums / np.maximum(counts, 1), overall)
    return means.astype(np.float32)


def class_mean_image(label_map: Any, class_means: Any) -> Any:
    """Paints each class with its mean.

    Args:
        label_map: [b, h, w] integer ids (any leading axes), NumPy or JAX (also traced).
        class_means: [k] float32 in [-1, 1].

    Returns:
        [b, h, w, 1] float32 in [-1, 1], JAX if the label map is, else NumPy. In a JAX
        label map an id outside 0 to k - 1 becomes NaN, since values cannot be checked
        under jit.

    Raises:
        ValueError: if the label map is not integer, the means are not one-dimensional,
            or (NumPy) an id is out of range.
    """
    if np.ndim(class_means) != 1:
        raise ValueError(f"class_means must be [k], got {np.shape(class_means)}")
    if isinstance(label_map, jax.Array):
        _check_integer(label_map.dtype)
        means = jnp.asarray(class_means, jnp.float32)
        ids = label_map.astype(jnp.int32)
        ids = jnp.where(ids < 0, len(means), ids)  # a negative index would wrap
        return means.at[ids].get(mode="fill", fill_value=jnp.nan)[..., None]
    label_map = np.asarray(label_map)
    _check_integer(label_map.dtype)
    means = np.asarray(class_means, np.float32)
    if label_map.size and (label_map.min() < 0 or label_map.max() >= len(means)):
        raise ValueError(
            f"label_map has ids {label_map.min()} to {label_map.max()}, but there are "
            f"{len(means)} class means: allowed are 0 to {len(means) - 1}"
        )
    return means[label_map][..., None]


def _check_integer(dtype: Any) -> None:
    """Refuses label maps that are not integer."""
    if not jnp.issubdtype(dtype, jnp.integer):
        raise ValueError(f"label_map must be integer, got {dtype}")
