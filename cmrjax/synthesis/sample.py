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

# What was made of which arrays, by id of the parameters and dtype; gone with the
# parameters.
_READY: dict[tuple[int, str], tuple[list[Any], Variables]] = {}


def synthesize(
    labels: Any,
    params: ModelParams,
    *,
    batch_size: int = 8,
    key: jax.Array | None = None,
    dtype: str = "float32",
    statistics: str = "running",
    spacing: float | tuple[float, ...] | None = None,
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
      params: from `load_params` or `init_params`. Its arrays are not to be changed in
        place: what is computed from them once is kept.
      batch_size: how many slices are in memory at a time, rounded down to a power of
        two.
      key: only for models with a latent z: one key, and all slices share one z, as the
        slices of a volume should; or keys [b], one for each slice.
      dtype: of activations, "float32" or "bfloat16". bfloat16 is faster on processors
        that have it and rounds to about 1 % of the image's range.
      statistics: of batch normalisation. "running": those of the training. "batch":
        those of all slices in this call together, in one batch whatever `batch_size`,
        without the padding; for labels unlike those of the training.
      spacing: pixel size of the labels, mm, one number, (rows, columns), or a volume's
        (slices, rows, columns) as `read_volume` gives it: the labels are resampled to
        the model's grid and the images back to theirs. A model with z works at one
        size: what it does not cover is -1. None: they are at the model's spacing.

    Returns:
      Images float32 in [-1, 1], with the shape of `labels`. For a network with more
      than one channel, [..., c].

    Raises:
      ValueError: the labels are no label maps, or hold an id that the model does not
        know (slice, id and the allowed ids are named); the key is missing or too much;
        a model with z is given another image size than it was trained on; or batch
        size, dtype, statistics or spacing cannot be.
    """
    label_maps, single = _check_labels(labels, params)
    settings = {
        "batch_size": batch_size,
        "key": key,
        "dtype": dtype,
        "statistics": statistics,
    }
    if spacing is None:
        images = generate(label_maps, params, **settings)
    else:
        grid = model_grid(label_maps.shape[1:], spacing, params.description)
        images = generate(
            grid.labels_to_model(label_maps),
            params,
            valid_box=grid.valid_box,
            **settings,
        )
        images = images_to_labels(images, grid)
    if params.description.architecture.out_channels == 1:
        images = images[..., 0]
    return images[0] if single else images


def generate(
    label_maps: np.ndarray,
    params: ModelParams,
    *,
    batch_size: int = 8,
    key: jax.Array | None = None,
    dtype: str = "float32",
    statistics: str = "running",
    valid_box: tuple[int, int, int, int] | None = None,
) -> np.ndarray:
    """Generates images on the model's grid; `synthesize` says what the rest means.

    Args:
      label_maps: [b, h, w] uint8, ids of the model's schema at its pixel spacing.
      params: the model.
      batch_size: slices in memory at a time.
      key: for models with z.
      dtype: of activations.
      statistics: of batch normalisation.
      valid_box: (r0, r1, c0, c1), the part of the label maps that is not padding, for
        statistics "batch"; None: all of it.

    Returns:
      Images [b, h, w, c] float32 in [-1, 1].

    Raises:
      ValueError: see `synthesize`.
    """
    _check_settings(batch_size, dtype, statistics)
    architecture = params.description.architecture
    padded, box = _pad(label_maps, architecture.size_multiple)
    latent = _draw_latent(key, padded.shape, params)
    images = np.empty((*label_maps.shape, architecture.out_channels), np.float32)
    variables = _ready_variables(params, dtype)
    together = statistics == "batch"
    inside = np.zeros(padded.shape, bool)
    r0, r1, c0, c1 = valid_box or (0, label_maps.shape[1], 0, label_maps.shape[2])
    inside[:, *box][:, r0:r1, c0:c1] = True
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
    return images


def model_grid(
    shape: tuple[int, ...],
    spacing: float | tuple[float, ...],
    description: ModelDescription,
) -> GridMap:
    """Returns the relation between the grid of labels and the model's.

    Args:
      shape: rows and columns of the labels.
      spacing: pixel size of the labels, mm; see `synthesize`.
      description: of the model. A model with z works at one size only, to which the
        grid is cropped or padded; for others it covers the labels' field of view.

    Raises:
      ValueError: the spacing is no pixel size.
    """
    rows, columns = _in_plane(spacing)
    there = (description.spacing, description.spacing)
    here = (int(shape[0]), int(shape[1]))
    side = description.image_size
    if description.architecture.latent_size:
        return GridMap(here, (rows, columns), there, (side, side))
    size = GridMap(here, (rows, columns), there, (side, side)).resampled_shape
    return GridMap(here, (rows, columns), there, size)


def _in_plane(spacing: float | tuple[float, ...]) -> tuple[float, float]:
    """Returns (rows, columns) in mm of one, two or three numbers."""
    try:
        values = np.atleast_1d(np.asarray(spacing, float))
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.shape not in ((1,), (2,), (3,)) or not all(
        0 < v < np.inf for v in values
    ):
        raise ValueError(
            f"spacing is {spacing!r}; expected positive numbers, mm: one, (rows, "
            "columns) or (slices, rows, columns)"
        )
    return float(values[max(len(values) - 2, 0)]), float(values[-1])


def images_to_labels(images: np.ndarray, grid: GridMap) -> np.ndarray:
    """Resamples images [d, h, w, c] back to the grid of the labels."""
    channels = [grid.image_to_native(images[..., c]) for c in range(images.shape[-1])]
    return np.stack(channels, axis=-1)


def _next_power(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _ready_variables(params: ModelParams, dtype: str) -> Variables:
    """What evaluations need of the variables, made once for each `params`."""
    key = (id(params), dtype)
    arrays = jax.tree.leaves(params.variables)
    kept, ready = _READY.get(key, ([], {}))
    if not _are_same(kept, arrays):
        if key not in _READY:
            weakref.finalize(params, _READY.pop, key, None)
        ready = _make_ready(params.variables, dtype=dtype)
        _READY[key] = (arrays, ready)
    return ready


def _are_same(some: list[Any], others: list[Any]) -> bool:
    if len(some) != len(others):
        return False
    return all(a is b for a, b in zip(some, others, strict=True))


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


def _check_settings(batch_size: int, dtype: str, statistics: str) -> None:
    if not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise ValueError(
            f"batch_size is {batch_size!r}; expected a whole number, at least 1"
        )
    for name, value, known in (
        ("dtype", dtype, DTYPES),
        ("statistics", statistics, STATISTICS),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; expected one of {known}")


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


def _as_key(key: Any) -> jax.Array:
    """Returns a typed key; those of `jax.random.PRNGKey` are taken too."""
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return key
    if dtype == np.uint32 and key.shape[-1:] == (2,):
        return jax.random.wrap_key_data(jnp.asarray(key))
    found = "this model draws a latent z"
    if key is not None:
        found = f"key is a {type(key).__name__}"
    raise ValueError(
        f"{found}; give key=jax.random.key(seed), or one key for each slice, "
        "jax.random.split(jax.random.key(seed), num_slices)"
    )


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
    key = _as_key(key)
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
