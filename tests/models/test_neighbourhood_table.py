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


def _relative(x, y) -> float:
    """Relative norm of the difference, over all arrays of two trees."""
    x, y = (
        np.concatenate(
            [np.ravel(np.asarray(a, np.float64)) for a in jax.tree.leaves(t)]
        )
        for t in (x, y)
    )
    return float(np.linalg.norm(x - y) / np.linalg.norm(y))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("label_map", "num_classes", "rows", "fits"),
    [
        (_blocks(), 9, 1400, True),
        (_blocks(), 9, 20, False),
        (np.zeros((2, 16, 16), np.uint8), 4, 25, True),
        (_noise(9), 9, 768, True),
        (_noise(4), 4, 100, False),
    ],
    ids=["blocks", "blocks-over", "one-class", "noise", "noise-over"],
)
def test_table_equals_convolutions(label_map, num_classes, rows, fits, groups):
    table = build_table(
        jnp.asarray(label_map), num_classes=num_classes, rows=rows, groups=groups
    )
    assert bool(table.fits) == fits
    assert table.patches.shape == (groups, rows, 25)
    modulation = TableModulation(((label_map.shape[1], rows),), groups=groups)
    values, gradients = _values_and_gradients(modulation, label_map, num_classes)
    expected = _values_and_gradients(DenseModulation(), label_map, num_classes)
    assert _relative(values, expected[0]) < 1e-6
    for name in vars(gradients):
        assert _relative(getattr(gradients, name), getattr(expected[1], name)) < 1e-5


def test_in_float64_the_gradients_agree_to_rounding():
    """What is left in float32 is rounding, not another formula."""
    with jax.enable_x64(True):
        label_map, target = _blocks(), np.random.default_rng(1).normal(size=(2, 24, 32))
        weights = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), _weights(9))

        def loss(weights, modulation):
            context = modulation.prepare(label_map, num_classes=9, dtype=jnp.float64)
            gamma, beta = modulation(context, weights)
            return jnp.sum((gamma + beta**2) * target[..., None]), (gamma, beta)

        gradient = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1)
        result, expected = (
            gradient(weights, m)
            for m in (TableModulation(((24, 1400),)), DenseModulation())
        )
    assert result[1][0].dtype == np.float64
    assert _relative(result[1], expected[1]) < 1e-12
    for name in vars(result[0]):
        a, b = getattr(result[0], name), getattr(expected[0], name)
        assert _relative(a, b) < 1e-6, name


@pytest.mark.skipif(jax.device_count() < 2, reason="needs several devices")
def test_a_batch_over_devices_has_a_table_on_each():
    devices = jax.devices()[:2]
    mesh = jax.make_mesh(
        (2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=devices
    )
    split = jax.NamedSharding(mesh, jax.P("data"))
    whole = jax.NamedSharding(mesh, jax.P())
    modulation = TableModulation(((24, 700),), groups=2)
    weights = _weights(9)

    def loss(weights, label_map):
        context = modulation.prepare(label_map, num_classes=9, dtype=jnp.float32)
        gamma, beta = modulation(context, weights)
        return jnp.sum(gamma * beta)

    compiled = (
        jax.jit(jax.value_and_grad(loss), in_shardings=(whole, split))
        .lower(weights, jnp.asarray(_blocks()))
        .compile()
    )
    assert "all-gather" not in (compiled.as_text() or "")
    value, gradients = compiled(
        jax.device_put(weights, whole), jax.device_put(_blocks(), split)
    )
    expected, expected_gradients = jax.value_and_grad(loss)(weights, _blocks())
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert _relative(gradients, expected_gradients) < 1e-5


def test_a_batch_that_cannot_be_cut_has_fewer_tables():
    modulation = TableModulation(((16, 300),), groups=4)
    context = modulation.prepare(
        jnp.asarray(_noise(9)[:, :, :16]), num_classes=9, dtype=jnp.float32
    )
    assert not isinstance(context, jax.Array)
    assert context.patches.shape[0] == 2


def test_rows_are_the_distinct_neighbourhoods_and_the_index_finds_them():
    label_map = _blocks()
    table = build_table(jnp.asarray(label_map), num_classes=9, rows=700, groups=2)
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
