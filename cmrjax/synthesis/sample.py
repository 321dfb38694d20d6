"""The public `synthesize`: label maps in, images out."""

import functools
import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cmrjax.data.geometry import GridMap
from cmrjax.models.spade_generator import (
    DTYPES,
    GeneratorArchitecture,
    SpadeGenerator,
)
from cmrjax.models.spectral_norm import fold_spectral_norm
from cmrjax.models.table_size import table_for_unseen_maps
from cmrjax.synthesis.params import ModelParams
from cmrjax.training.description import ModelDescription
from cmrjax.training.state import Variables

STATISTICS = ("running", "batch")

# By id of the parameters and dtype; gone with the parameters.
_READY: dict[tuple[int, str], Variables] = {}


def synthesize(
    labels: Any,
    params: ModelParams,
    *,
    batch_size: int = 8,
    key: jax.Array | None = None,
    dtype: str = "float32",
    statistics: str = "running",
    spacing: float | tuple[float, float] | None = None,
) -> np.ndarray:
    """Generates an image for each label map.

    The network runs in evaluation mode, with its running statistics: the image of a
    slice does not depend on the slices beside it. Labels are taken at the pixel spacing
    of the model (`params.description.spacing`), unless `spacing` says theirs.

    Any height and width will do. Labels are padded with background to the next multiple
    of the network's stride, as much on each side (an odd pixel goes to the end), and
    the image is cropped back: the middle stays the middle, where training had the
    heart, and no side meets more padding than another. Batches are padded to powers of
    two, so that one compilation serves each size and power.

    Args:
      labels: [h, w], [b, h, w] or a volume [d, h, w], integers of any type (NumPy or
        JAX), ids of `params.description.schema`.
      params: from `load_params` or `init_params`.
      batch_size: how many slices are in memory at a time, rounded down to a power of
        two.
      key: only for models with a latent z: one key, and all slices share one z, as the
        slices of a volume should; or keys [b], one for each slice.
      dtype: of activations, "float32" or "bfloat16". bfloat16 is faster on processors
        that have it and rounds to about 1 % of the image's range.
      statistics: of batch normalisation. "running": those of the training. "batch":
        those of all slices in this call together, in one batch whatever `batch_size`,
        without the padding; for labels unlike those of the training.
      spacing: pixel size of the labels, mm, one number or (rows, columns): the labels
        are resampled to the model's grid and the images back to theirs. None: they are
        at the model's spacing.

    Returns:
      Images float32 in [-1, 1], with the shape of `labels`. For a network with more
      than one channel, [..., c].

    Raises:
      ValueError: the labels are no label maps, or hold an id that the model does not
        know (slice, id and the allowed ids are named); the key is missing or too much;
        or a model with z is given another image size than it was trained on.
    """
    label_maps, single = _check_labels(labels, params)
    if statistics not in STATISTICS:
        raise ValueError(f"statistics is {statistics!r}; expected one of {STATISTICS}")
    if spacing is not None:
        grid = model_grid(label_maps.shape[1:], spacing, params.description)
        images = synthesize(
            grid.labels_to_model(label_maps),
            params,
            batch_size=batch_size,
            key=key,
            dtype=dtype,
            statistics=statistics,
        )
        images = images_to_labels(images, grid)
        return images[0] if single else images
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected at least 1")
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; expected one of {DTYPES}")
    architecture = params.description.architecture
    padded, box = _pad(label_maps, architecture.size_multiple)
    latent = _draw_latent(key, padded.shape, params)
    images = np.empty((*label_maps.shape, architecture.out_channels), np.float32)
    variables = _ready_variables(params, dtype)
    together = statistics == "batch"
    inside = np.zeros(padded.shape, bool)
    inside[:, *box] = True
    for start, stop, bucket in plan_batches(
        len(padded), _next_power(len(padded)) if together else batch_size
    ):
        made = _generate(
            variables,
            _fill(padded[start:stop], bucket),
            None if latent is None else _fill(latent[start:stop], bucket),
            _fill(inside[start:stop], bucket) if together else None,
            architecture=architecture,
            dtype=dtype,
        )
        images[start:stop] = np.asarray(made)[: stop - start, *box]
    if architecture.out_channels == 1:
        images = images[..., 0]
    return images[0] if single else images


def model_grid(
    shape: tuple[int, ...],
    spacing: float | tuple[float, float],
    description: ModelDescription,
) -> GridMap:
    """Returns the relation between the grid of labels and the model's.

    Args:
      shape: rows and columns of the labels.
      spacing: pixel size of the labels, mm, one number or (rows, columns).
      description: of the model. A model with z works at one size only, to which the
        grid is cropped or padded; for others it covers the labels' field of view.

    Raises:
      ValueError: the spacing is not positive.
    """
    rows, columns = np.broadcast_to(np.asarray(spacing, float), (2,)).tolist()
    if not all(0 < s < np.inf for s in (rows, columns)):
        raise ValueError(f"spacing is {spacing}; expected positive numbers, mm")
    there = (description.spacing, description.spacing)
    here = (int(shape[0]), int(shape[1]))
    side = description.image_size
    if description.architecture.latent_size:
        return GridMap(here, (rows, columns), there, (side, side))
    size = GridMap(here, (rows, columns), there, (side, side)).resampled_shape
    return GridMap(here, (rows, columns), there, size)


def images_to_labels(images: np.ndarray, grid: GridMap) -> np.ndarray:
    """Resamples images [d, h, w] or [d, h, w, c] back to the grid of the labels."""
    if images.ndim == 3:
        return grid.image_to_native(images)
    channels = [grid.image_to_native(images[..., c]) for c in range(images.shape[-1])]
    return np.stack(channels, axis=-1)


def _next_power(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _ready_variables(params: ModelParams, dtype: str) -> Variables:
    """What evaluations need of the variables, made once for each `params`."""
    key = (id(params), dtype)
    if key not in _READY:
        _READY[key] = _make_ready(params.variables, dtype=dtype)
        weakref.finalize(params, _READY.pop, key, None)
    return _READY[key]


@functools.partial(jax.jit, static_argnames="dtype")
def _make_ready(variables: Variables, *, dtype: str) -> Variables:
    ready = fold_spectral_norm(variables)
    cast = jax.tree.map(lambda x: x.astype(dtype), ready["params"])
    return {**ready, "params": cast}


def plan_batches(count: int, batch_size: int) -> list[tuple[int, int, int]]:
    """Splits slices into batches whose sizes are powers of two.

    Args:
      count: number of slices.
      batch_size: the most in one batch, at least 1.

    Returns:
      (start, stop, bucket) of each batch; bucket is the power of two that slices start
      to stop are padded to.
    """
    full = 1 << (batch_size.bit_length() - 1)
    starts = range(0, count, full)
    spans = [(start, min(start + full, count)) for start in starts]
    return [(a, b, 1 << (b - a - 1).bit_length()) for a, b in spans]


@functools.partial(jax.jit, static_argnames=("architecture", "dtype"))
def _generate(
    variables: Variables,
    label_map: jax.Array,
    latent: jax.Array | None,
    statistics_mask: jax.Array | None,
    *,
    architecture: GeneratorArchitecture,
    dtype: str,
) -> jax.Array:
    """Maps [b, h, w] uint8 to [b, h, w, c]; one cache for the whole process."""
    b, height, width = label_map.shape
    modulation = table_for_unseen_maps(architecture, (b, height, width))
    generator = SpadeGenerator(
        architecture, modulation=modulation, dtype=jnp.dtype(dtype)
    )
    return generator.apply(  # type: ignore[return-value]
        variables, label_map, latent, train=False, statistics_mask=statistics_mask
    )


def _check_labels(labels: Any, params: ModelParams) -> tuple[np.ndarray, bool]:
    """Returns [b, h, w] uint8 and whether one slice was given."""
    if not isinstance(params, ModelParams):
        raise ValueError(
            f"params is a {type(params).__name__}; expected what cmrjax.load_params or "
            "cmrjax.init_params returned"
        )
    label_maps = np.asarray(labels)
    if label_maps.ndim not in (2, 3):
        hint = " (class ids, not one-hot: take the argmax)"
        raise ValueError(
            f"labels have shape {label_maps.shape}; expected [h, w], [b, h, w] or "
            f"[d, h, w]{hint if label_maps.ndim > 3 else ''}"
        )
    params.description.schema.validate(label_maps, where="labels")
    single = label_maps.ndim == 2
    label_maps = label_maps.astype(np.uint8)
    return (label_maps[None] if single else label_maps), single


def _pad(
    label_maps: np.ndarray, multiple: int
) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Pads [b, h, w] with background; also returns where the labels are in it."""
    widths, box = [(0, 0)], []
    for size in label_maps.shape[1:]:
        missing = -size % multiple
        before = missing // 2
        widths.append((before, missing - before))
        box.append(slice(before, before + size))
    return np.pad(label_maps, widths), (box[0], box[1])


def _fill(batch: np.ndarray, bucket: int) -> np.ndarray:
    """Pads the first axis with zeros up to `bucket`."""
    widths = [(0, bucket - len(batch))] + [(0, 0)] * (batch.ndim - 1)
    return np.pad(batch, widths)


def _draw_latent(
    key: jax.Array | None, shape: tuple[int, ...], params: ModelParams
) -> np.ndarray | None:
    """Returns z [b, latent_size] float32, None for a model without z."""
    size, side = (
        params.description.architecture.latent_size,
        params.description.image_size,
    )
    if size == 0:
        if key is not None:
            raise ValueError(
                "key is given, but this model has no latent z; leave it out"
            )
        return None
    if key is None:
        raise ValueError(
            "this model draws a latent z; give key=jax.random.key(seed), or one key "
            "for each slice"
        )
    if shape[1:] != (side, side):
        raise ValueError(
            f"labels have {shape[1]} x {shape[2]} pixels (after padding); a model with "
            f"a latent z works at the size it was trained on, {side} x {side}: crop or "
            "pad the labels"
        )
    if key.ndim == 0:
        one = np.asarray(jax.random.normal(key, (size,)))
        return np.broadcast_to(one, (shape[0], size))
    if key.shape != shape[:1]:
        raise ValueError(
            f"key has shape {key.shape}; expected one key or {shape[:1]}, one for each "
            "slice"
        )
    return np.asarray(jax.vmap(lambda k: jax.random.normal(k, (size,)))(key))
