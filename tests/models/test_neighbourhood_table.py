"""The table of label neighbourhoods gives what the two convolutions give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.models.neighbourhood_table import TableModulation, build_table
from cmrjax.models.spade import DenseModulation, ModulationWeights

CHANNELS = 3


def _weights(num_classes: int) -> ModulationWeights:
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(scale=0.1, size=shape), jnp.float32)

    return ModulationWeights(
        draw(3, 3, num_classes, 128),
        draw(128),
        draw(3, 3, 128, CHANNELS),
        draw(CHANNELS),
        draw(3, 3, 128, CHANNELS),
        draw(CHANNELS),
    )


def _values_and_gradients(modulation, label_map, num_classes):
    weights = _weights(num_classes)
    target = np.random.default_rng(1).normal(size=(*label_map.shape, CHANNELS))

    def loss(weights):
        context = modulation.prepare(
            label_map, num_classes=num_classes, dtype=jnp.float32
        )
        gamma, beta = modulation(context, weights)
        return jnp.sum(gamma * target) + jnp.sum(beta * beta), (gamma, beta)

    (_, values), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(weights)
    return values, gradients


def _blocks() -> np.ndarray:
    coarse = np.random.default_rng(2).integers(0, 9, (2, 3, 4))
    return np.kron(coarse, np.ones((8, 8), int)).astype(np.uint8)


def _noise(num_classes: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.integers(0, num_classes, (2, 16, 24), np.uint8)


@pytest.mark.parametrize(
    ("label_map", "num_classes", "rows", "fits"),
    [
        (_blocks(), 9, 700, True),
        (_blocks(), 9, 20, False),
        (np.zeros((2, 16, 16), np.uint8), 4, 25, True),
        (_noise(9), 9, 384, True),
        (_noise(4), 4, 100, False),
    ],
    ids=["blocks", "blocks-over", "one-class", "noise", "noise-over"],
)
def test_table_equals_convolutions(label_map, num_classes, rows, fits):
    table = build_table(jnp.asarray(label_map), num_classes=num_classes, rows=rows)
    assert bool(table.fits) == fits
    modulation = TableModulation(((label_map.shape[1], rows),))
    values, gradients = _values_and_gradients(modulation, label_map, num_classes)
    expected = _values_and_gradients(DenseModulation(), label_map, num_classes)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=2e-5 * abs(y).max()),
        (values, gradients),
        expected,
    )


def test_rows_are_the_distinct_neighbourhoods_and_the_index_finds_them():
    label_map = _blocks()
    table = build_table(jnp.asarray(label_map), num_classes=9, rows=700)
    for image, labels in enumerate(label_map):
        padded = np.pad(labels, 2, constant_values=9)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
        windows = windows.reshape(-1, 25)
        patches = np.asarray(table.patches[image])
        np.testing.assert_array_equal(patches[np.asarray(table.index[image])], windows)
        distinct = len(np.unique(windows, axis=0))
        used = patches[patches[:, 12] != 9]  # the centre is never outside the image
        assert len(used) == len(np.unique(used, axis=0)) == distinct


def test_neighbourhoods_that_differ_in_one_far_cell_are_told_apart():
    label_map = np.zeros((1, 16, 16), np.uint8)
    label_map[0, 8, 8] = 8
    table = build_table(jnp.asarray(label_map), num_classes=9, rows=100)
    index = np.asarray(table.index[0]).reshape(16, 16)
    around = index[6:11, 6:11].ravel()
    assert len(set(around)) == 25
    assert index[5, 8] == index[5, 5]


def test_a_height_without_a_table_takes_the_dense_path():
    modulation = TableModulation(((32, 100),))
    context = modulation.prepare(
        jnp.zeros((1, 16, 16), jnp.uint8), num_classes=4, dtype=jnp.float32
    )
    assert isinstance(context, jax.Array)
    assert context.shape == (1, 16, 16, 4)
