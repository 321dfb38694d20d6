"""SPADE and its residual block against NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.models.spade import (
    BatchStatisticsNorm,
    DenseModulation,
    Spade,
    SpadeResidualBlock,
)
from tests.models import numpy_layers
from tests.models.drawn import draw_variables

NUM_CLASSES = 4


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(5)
    x = np.asarray(rng.normal(1.0, 2.0, (2, 5, 6, 3)), np.float32)
    labels = rng.integers(0, NUM_CLASSES, (2, 5, 6)).astype(np.uint8)
    context = DenseModulation().prepare(
        jnp.asarray(labels), num_classes=NUM_CLASSES, dtype=jnp.float32
    )
    np.testing.assert_array_equal(context, numpy_layers.one_hot(labels, NUM_CLASSES))
    return x, labels, context


def test_batch_statistics_normalise_and_move_the_running_ones(inputs):
    x, _, _ = inputs
    norm = BatchStatisticsNorm()
    before = {"mean": jnp.asarray([1.0, 2.0, 3.0]), "var": jnp.asarray([4.0, 5.0, 6.0])}
    y, after = norm.apply({"batch_stats": before}, x, train=True, mutable="batch_stats")
    flat = np.asarray(x, np.float64).reshape(-1, 3)
    expected = (x - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    mean = 0.9 * np.asarray(before["mean"]) + 0.1 * flat.mean(0)
    var = 0.9 * np.asarray(before["var"]) + 0.1 * flat.var(0, ddof=1)
    found: Any = after["batch_stats"]
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(found["var"], var, rtol=1e-6)
    biased = 0.9 * np.asarray(before["var"]) + 0.1 * flat.var(0)
    assert np.abs(var - biased).max() > 1e-4 * var.max()  # the test sees the factor


def test_a_mask_takes_the_statistics_of_its_pixels_and_keeps_the_running_ones(inputs):
    x, _, _ = inputs
    mask = np.random.default_rng(1).random(x.shape[:3]) < 0.6
    stats = {"mean": jnp.ones(3), "var": jnp.ones(3)}
    y, after = BatchStatisticsNorm().apply(
        {"batch_stats": stats}, x, train=False, mask=mask, mutable="batch_stats"
    )
    inside = np.asarray(x, np.float64)[mask]
    expected = (x - inside.mean(0)) / np.sqrt(inside.var(0) + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, after["batch_stats"], stats)


@pytest.mark.parametrize("outside", [False, True])
def test_evaluation_uses_the_running_statistics_and_keeps_them(inputs, outside):
    x, _, _ = inputs
    stats = {
        "mean": jnp.asarray([1.0, 2.0, 3.0]),
        "var": jnp.asarray([1e-6, 1e-4, 6.0]),  # small: epsilon's place shows
    }
    y, after = BatchStatisticsNorm(epsilon_outside=outside).apply(
        {"batch_stats": stats}, x, train=False, mutable="batch_stats"
    )
    var = np.asarray(stats["var"], np.float64)
    sigma = np.sqrt(var) + 1e-5 if outside else np.sqrt(var + 1e-5)
    np.testing.assert_allclose(
        y,
        (x.astype(np.float64) - np.asarray(stats["mean"])) / sigma,
        rtol=1e-4,
        atol=1e-3,
    )
    assert jax.tree.all(jax.tree.map(jnp.array_equal, after["batch_stats"], stats))


def test_initial_statistics_are_zero_and_one(inputs):
    norm = BatchStatisticsNorm()
    variables: Any = norm.init(jax.random.key(0), inputs[0], train=True)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(3))
    np.testing.assert_array_equal(variables["batch_stats"]["var"], np.ones(3))


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("train", [False, True])
def test_spade_agrees_with_numpy(inputs, paper, train):
    x, _, context = inputs
    layer = Spade(NUM_CLASSES, paper_equation=paper)
    variables = draw_variables(layer.init, x, context, train=False)
    y, _ = layer.apply(variables, x, context, train=train, mutable=["batch_stats"])
    flat = np.asarray(x, np.float64).reshape(-1, 3)
    running = variables["batch_stats"]["param_free_norm"]
    mean, var = (flat.mean(0), flat.var(0)) if train else running.values()
    expected = numpy_layers.spade(
        x, context, variables["params"], mean, var, paper_equation=paper
    )
    assert numpy_layers.relative_error(y, expected) < 1e-5


def test_the_paper_switch_takes_the_one_away(inputs):
    x, _, context = inputs
    plain, paper = Spade(NUM_CLASSES), Spade(NUM_CLASSES, paper_equation=True)
    variables = draw_variables(plain.init, x, context, train=False)
    with_one: Any = plain.apply(variables, x, context, train=False)
    without: Any = paper.apply(variables, x, context, train=False)
    difference = with_one - without
    stats = variables["batch_stats"]["param_free_norm"]
    expected = (x - np.asarray(stats["mean"])) / np.sqrt(np.asarray(stats["var"]))
    np.testing.assert_allclose(difference, expected, rtol=1e-3, atol=1e-3)


def test_dense_modulation_keeps_gamma_and_beta_apart(inputs):
    """Zero gamma weights and a known beta bias: only a shift remains."""
    x, _, context = inputs
    layer = Spade(NUM_CLASSES)
    variables = layer.init(jax.random.key(0), x, context, train=False)
    params = jax.tree.map(jnp.zeros_like, variables["params"])
    params["mlp_beta"]["bias"] = jnp.asarray([1.0, 2.0, 3.0])
    y: Any = layer.apply({**variables, "params": params}, x, context, train=False)
    np.testing.assert_allclose(
        y, x + np.array([1, 2, 3], np.float32), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("features", "paper"), [(3, False), (2, False), (5, True)])
def test_residual_block_agrees_with_numpy(inputs, features, paper):
    x, _, context = inputs
    block = SpadeResidualBlock(features, NUM_CLASSES, paper_equation=paper)
    variables = draw_variables(block.init, x, context, train=False)
    y = jax.jit(block.apply, static_argnames="train")(
        variables, x, context, train=False
    )
    expected = numpy_layers.residual_block(x, context, variables, paper_equation=paper)
    assert y.shape == (2, 5, 6, features)
    assert numpy_layers.relative_error(y, expected) < 1e-5
    assert ("conv_s" in variables["params"]) == (features != 3)
    assert variables["params"]["conv_0"]["kernel"].shape[3] == min(3, features)


def test_half_precision_input_keeps_float32_statistics(inputs):
    x, _, context = inputs
    layer = Spade(NUM_CLASSES)
    variables = layer.init(jax.random.key(0), x, context, train=False)
    half = jnp.asarray(x, jnp.bfloat16)
    y, after = layer.apply(
        variables, half, context.astype(jnp.bfloat16), train=True, mutable="batch_stats"
    )
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(after)} == {jnp.dtype("float32")}
    exact = layer.apply(variables, x, context, train=True, mutable="batch_stats")[0]
    assert numpy_layers.relative_error(y, exact) < 2e-2
