"""The perceptual loss against a NumPy sum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrjax.losses.perceptual import (
    PAPER_LAYER_WEIGHTS,
    REFERENCE_LAYER_WEIGHTS,
    perceptual_loss,
)

SHAPES = {"relu1_1": (2, 8, 6, 3), "relu2_1": (2, 4, 3, 5), "relu3_1": (2, 2, 1, 7)}


def random_features(seed: int) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray(rng.normal(size=shape), jnp.float32)
        for name, shape in SHAPES.items()
    }


def test_constants_are_those_of_the_sources():
    assert list(REFERENCE_LAYER_WEIGHTS.values()) == [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1]
    assert set(PAPER_LAYER_WEIGHTS) == set(REFERENCE_LAYER_WEIGHTS)
    assert set(PAPER_LAYER_WEIGHTS.values()) == {1.0}


@pytest.mark.parametrize("weights", [REFERENCE_LAYER_WEIGHTS, PAPER_LAYER_WEIGHTS])
def test_value_with_missing_layers_dropped_and_weights_kept(weights):
    fake, real = random_features(0), random_features(1)
    expected = sum(
        weights[name]
        * np.mean(np.abs(np.asarray(fake[name], np.float64) - np.asarray(real[name])))
        for name in SHAPES
    )
    loss = perceptual_loss(fake, real, layer_weights=weights)
    assert loss.shape == ()
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_the_default_is_the_reference():
    fake, real = random_features(0), random_features(1)
    named = perceptual_loss(fake, real, layer_weights=REFERENCE_LAYER_WEIGHTS)
    assert perceptual_loss(fake, real) == named


def test_a_layer_without_a_weight_has_no_part():
    fake, real = random_features(0), random_features(1)
    only = perceptual_loss(fake, real, layer_weights={"relu2_1": 2.0})
    expected = 2 * jnp.mean(jnp.abs(fake["relu2_1"] - real["relu2_1"]))
    np.testing.assert_allclose(only, expected, rtol=1e-6)


def test_equal_features_give_zero_and_a_finite_gradient():
    features = random_features(0)
    value, gradient = jax.value_and_grad(perceptual_loss)(features, features)
    assert value == 0
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in gradient.values())


def test_gradient_flows_to_the_fake_side_only():
    fake, real = random_features(0), random_features(1)
    to_fake, to_real = jax.grad(perceptual_loss, argnums=(0, 1))(fake, real)
    for name, shape in SHAPES.items():
        size = REFERENCE_LAYER_WEIGHTS[name] / np.prod(shape)
        expected = size * np.sign(fake[name] - real[name])
        np.testing.assert_allclose(to_fake[name], expected, rtol=1e-6)
        assert not np.any(to_real[name])


def test_half_precision_features_are_summed_in_float32():
    fake = {"relu1_1": jnp.full((1, 64, 64, 64), 1.0, jnp.bfloat16)}
    real = {"relu1_1": jnp.zeros((1, 64, 64, 64), jnp.bfloat16)}
    loss = perceptual_loss(fake, real, layer_weights={"relu1_1": 1.0})
    assert loss.dtype == jnp.float32
    assert loss == 1.0


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(0, 100), seed=st.integers(0, 9))
def test_scales_with_the_features_and_is_symmetric(scale, seed):
    fake, real = random_features(seed), random_features(seed + 1)
    loss = perceptual_loss(fake, real)
    scaled = perceptual_loss(
        {name: scale * f for name, f in fake.items()},
        {name: scale * f for name, f in real.items()},
    )
    np.testing.assert_allclose(scaled, scale * loss, rtol=1e-5)
    np.testing.assert_allclose(perceptual_loss(real, fake), loss, rtol=1e-6)


def test_jit_and_vmap():
    fake, real = random_features(0), random_features(1)
    np.testing.assert_allclose(
        jax.jit(perceptual_loss)(fake, real), perceptual_loss(fake, real), rtol=1e-6
    )
    single = jax.vmap(perceptual_loss)(fake, real)
    assert single.shape == (2,)
    np.testing.assert_allclose(single.mean(), perceptual_loss(fake, real), rtol=1e-6)


def test_errors_name_the_layers():
    fake, real = random_features(0), random_features(1)
    with pytest.raises(ValueError, match=r"layer_weights names \['relu1_2'\]"):
        perceptual_loss(fake, real, layer_weights={"relu1_2": 1.0})
    with pytest.raises(ValueError, match="both must come from the same weights"):
        perceptual_loss(fake, {"relu1_1": real["relu1_1"]})
    with pytest.raises(ValueError, match="has a weight in layer_weights"):
        perceptual_loss(fake, real, layer_weights={"relu5_1": 1.0})
    broadcastable = {**real, "relu2_1": real["relu2_1"][:1]}
    with pytest.raises(ValueError, match=r"relu2_1: .*\(2, 4, 3, 5\).*\(1, 4, 3, 5\)"):
        perceptual_loss(fake, broadcastable)
