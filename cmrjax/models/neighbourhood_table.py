"""SPADE's modulation from a table of distinct label neighbourhoods: exact and fast.

Gamma and beta at a pixel come from two 3x3 convolutions over labels, so they are a
function of its 5x5 label neighbourhood alone. Label maps are piecewise constant, so few
neighbourhoods are distinct, and the maps of a batch share many of them. Per resolution
and group of images this makes the list of distinct ones, computes gamma and beta for
these only, and gathers. Maps with more distinct neighbourhoods than the table has rows
take the dense path: slower, never wrong.

The table is made on the device, by sorting: less than a hundredth of a training step
(docs/performance.md), and neither the loader nor the data set need to know of it.
"""

import dataclasses
import math
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from cmrjax.models.convolution import add_bias
from cmrjax.models.cpu_bfloat16 import matmul
from cmrjax.models.spade import DenseModulation, ModulationWeights

SIDE = 5  # two 3x3 convolutions
CELLS = SIDE * SIDE
# Far below any value of the first convolution: the ReLU makes it a zero.
OUTSIDE = -1e30
# For each inner position of a 5x5 neighbourhood, the cells its 3x3 window covers.
WINDOWS = np.array(
    [
        [SIDE * (row + i) + column + j for i in range(3) for j in range(3)]
        for row in range(3)
        for column in range(3)
    ],
    np.uint32,  # unsigned: JAX need not look for negative ones
)


@flax.struct.dataclass
class NeighbourhoodTable:
    """Distinct neighbourhoods of a batch of label maps.

    The b images are cut into g groups of neighbours in the batch; each has a table.

    Attributes:
      label_map: [b, h, w], the labels themselves, for the dense path.
      patches: [g, rows, 25] uint8, one neighbourhood per row; `num_classes` stands for
        "outside the image". Rows beyond the distinct ones are all outside.
      windows: [g * rows * 9, 9 k + 2] the 3x3 windows inside each neighbourhood, as the
        first convolution's input (see `_one_hot_windows`).
      index: [g, b / g * h * w] int32, the row of each pixel.
      fits: bool scalar, whether every group fits into its table.
      num_classes: k.
    """

    label_map: jax.Array
    patches: jax.Array
    windows: jax.Array
    index: jax.Array
    fits: jax.Array
    num_classes: int = flax.struct.field(pytree_node=False)


def build_table(
    label_map: jax.Array,
    *,
    num_classes: int,
    rows: int,
    groups: int = 1,
    dtype: DTypeLike = jnp.float32,
) -> NeighbourhoodTable:
    """Finds the distinct 5x5 neighbourhoods of each group of maps.

    Neighbourhoods are packed into as few 32-bit words as hold them without loss (two
    for 4 classes, three for 9), sorted, and numbered; nothing is hashed.

    Args:
      label_map: [b, h, w] integer ids below `num_classes`.
      num_classes: k.
      rows: capacity of a table.
      groups: number of tables, a divisor of b.
      dtype: of `windows`.

    Returns:
      The tables; `fits` is False where a group has more neighbourhoods than rows.
    """
    cells = _cells(label_map, num_classes, groups)
    pixels = cells[0].shape[1]
    words = _pack(cells, base=num_classes + 1)
    position = jnp.broadcast_to(jnp.arange(pixels, dtype=jnp.int32), (groups, pixels))
    *words, position = jax.lax.sort(
        (*words, position), dimension=1, num_keys=len(words)
    )
    changed = jnp.any(jnp.stack([x[:, 1:] != x[:, :-1] for x in words]), axis=0)
    is_first = jnp.pad(changed, ((0, 0), (1, 0)), constant_values=True)
    rank = jnp.cumsum(is_first, axis=1, dtype=jnp.int32) - 1

    def number_pixels(position: jax.Array, rank: jax.Array) -> jax.Array:
        return jnp.zeros_like(rank).at[position].set(rank, unique_indices=True)

    def list_patches(cells: jax.Array, position: jax.Array, rank: jax.Array):
        # Equal neighbourhoods write equal rows, so their order does not matter.
        empty = jnp.full((rows, CELLS), num_classes, jnp.uint8)
        first = jnp.zeros((rows,), jnp.int32).at[rank].set(position, mode="drop")
        used = jnp.arange(rows) <= rank[-1]
        return jnp.where(used[:, None], cells[first], empty)

    stacked = jnp.stack(cells, axis=-1)
    patches = jax.vmap(list_patches)(stacked, position, rank)
    return NeighbourhoodTable(
        label_map=label_map,
        patches=patches,
        windows=_one_hot_windows(patches, num_classes, dtype),
        index=jnp.minimum(jax.vmap(number_pixels)(position, rank), rows - 1),
        fits=jnp.all(rank[:, -1] < rows),
        num_classes=num_classes,
    )


def _cells(label_map: jax.Array, num_classes: int, groups: int) -> list[jax.Array]:
    """The 25 cells of each pixel's neighbourhood, each [groups, pixels] uint8."""
    b, h, w = label_map.shape
    padded = jnp.pad(
        label_map.astype(jnp.uint8),
        ((0, 0), (2, 2), (2, 2)),
        constant_values=num_classes,
    )
    return [
        padded[:, i : i + h, j : j + w].reshape(groups, b // groups * h * w)
        for i in range(SIDE)
        for j in range(SIDE)
    ]


def _pack(cells: list[jax.Array], *, base: int) -> list[jax.Array]:
    """Writes the cells as digits of few uint32 words."""
    per_word = int(math.log(2**32) / math.log(base))
    words = []
    for start in range(0, len(cells), per_word):
        word = jnp.zeros(cells[0].shape, jnp.uint32)
        for cell in cells[start : start + per_word]:
            word = word * np.uint32(base) + cell.astype(jnp.uint32)
        words.append(word)
    return words


def _one_hot_windows(
    patches: jax.Array, num_classes: int, dtype: DTypeLike
) -> jax.Array:
    """The nine 3x3 windows of each neighbourhood, [g * rows * 9, 9 k + 2].

    The last two columns meet the bias, and OUTSIDE where the window's centre is outside
    of the image: the second convolution pads its input, not the labels, with zeros.
    """
    windows = patches[:, :, WINDOWS].reshape(-1, 9)
    cells = jax.nn.one_hot(windows, num_classes, dtype=dtype)
    cells = cells.reshape(-1, 9 * num_classes)
    is_outside = (windows[:, 4:5] == num_classes).astype(dtype)
    columns = [cells, jnp.ones_like(is_outside), is_outside]
    return jnp.concatenate(columns, axis=-1)


def _modulate_rows(
    windows: jax.Array, weights: ModulationWeights
) -> tuple[jax.Array, jax.Array]:
    """Gamma and beta of each neighbourhood, both [g * rows, c], dtype of `windows`."""
    dtype = windows.dtype
    hidden_features = weights.shared_kernel.shape[-1]
    kernel = jnp.concatenate(
        [
            weights.shared_kernel.reshape(-1, hidden_features),
            weights.shared_bias[None],
            jnp.full((1, hidden_features), OUTSIDE),
        ]
    )
    hidden = jax.nn.relu(matmul(windows, kernel.astype(dtype)))
    kernels = jnp.concatenate([weights.gamma_kernel, weights.beta_kernel], axis=-1)
    bias = jnp.concatenate([weights.gamma_bias, weights.beta_bias])
    kernels = kernels.astype(dtype).reshape(9 * hidden_features, -1)
    both = matmul(hidden.reshape(-1, 9 * hidden_features), kernels)
    return tuple(jnp.split(add_bias(both, bias), 2, axis=-1))  # type: ignore[return-value]


def _through_table(table: NeighbourhoodTable, weights: ModulationWeights):
    groups, rows, _ = table.patches.shape

    def at_pixels(values: jax.Array) -> jax.Array:
        values = values.reshape(groups, rows, -1)
        gathered = jax.vmap(lambda rows, index: rows[index])(values, table.index)
        return gathered.reshape(*table.label_map.shape, -1)

    gamma, beta = _modulate_rows(table.windows, weights)
    return at_pixels(gamma), at_pixels(beta)


def _through_convolutions(table: NeighbourhoodTable, weights: ModulationWeights):
    dense = DenseModulation()
    dtype = table.windows.dtype
    context = dense.prepare(table.label_map, num_classes=table.num_classes, dtype=dtype)
    return dense(context, weights)


@jax.custom_vjp
def _modulate(
    table: NeighbourhoodTable, weights: ModulationWeights
) -> tuple[jax.Array, jax.Array]:
    """Chooses the path; its gradient recomputes the path that was taken.

    Without the custom gradient both branches would leave their intermediate arrays.
    """
    return jax.lax.cond(
        table.fits,
        lambda: _through_table(table, weights),
        lambda: _through_convolutions(table, weights),
    )


def _modulate_fwd(table: NeighbourhoodTable, weights: ModulationWeights):
    return _modulate(table, weights), (table, weights)


def _modulate_bwd(residuals: tuple[NeighbourhoodTable, ModulationWeights], g: tuple):
    table, weights = residuals

    def gradient(path: Callable) -> ModulationWeights:
        _, vjp = jax.vjp(lambda weights: path(table, weights), weights)
        return vjp(g)[0]

    gradients = jax.lax.cond(
        table.fits,
        lambda: gradient(_through_table),
        lambda: gradient(_through_convolutions),
    )
    return jax.tree.map(_no_gradient, table), gradients


_modulate.defvjp(_modulate_fwd, _modulate_bwd)


def _no_gradient(x: jax.Array) -> np.ndarray | jax.Array:
    if jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.zeros_like(x)
    return np.zeros(x.shape, jax.dtypes.float0)


@dataclasses.dataclass(frozen=True)
class TableModulation:
    """Gamma and beta through tables at the resolutions that have one.

    Attributes:
      rows: pairs (image height, table rows); other heights take the dense path.
      groups: tables per batch. As many as devices share a batch, so that each makes
        and reads its own; a batch that cannot be cut so has fewer.
    """

    rows: tuple[tuple[int, int], ...]
    groups: int = 1

    def prepare(
        self, label_map: jax.Array, *, num_classes: int, dtype: DTypeLike
    ) -> NeighbourhoodTable | jax.Array:
        """Returns the table, or the one-hot map of the dense path."""
        rows = dict(self.rows).get(label_map.shape[1])
        if rows is None:
            dense = DenseModulation()
            return dense.prepare(label_map, num_classes=num_classes, dtype=dtype)
        groups = math.gcd(self.groups, label_map.shape[0])
        return build_table(
            label_map, num_classes=num_classes, rows=rows, groups=groups, dtype=dtype
        )

    def __call__(
        self, context: NeighbourhoodTable | jax.Array, weights: ModulationWeights
    ) -> tuple[jax.Array, jax.Array]:
        """Returns gamma and beta, both [b, h, w, c]."""
        if isinstance(context, NeighbourhoodTable):
            return _modulate(context, weights)
        return DenseModulation()(context, weights)
