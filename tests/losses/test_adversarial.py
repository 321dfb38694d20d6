"""Hinge losses against their formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrjax.losses.adversarial import hinge_fake, hinge_generator, hinge_real

# Logits on both sides of the clips at +1 and -1; the scales differ in size.
LOGITS = (
    np.array([[-3.0, -1.0, -0.5], [0.5, 1.0, 4.0]], np.float32).reshape(2, 3, 1, 1),
    np.array([0.25, -2.0], np.float32).reshape(2, 1, 1, 1),
)
LOSSES = {
    hinge_real: lambda x: np.mean(np.maximum(0, 1 - x)),
    hinge_fake: lambda x: np.mean(np.maximum(0, 1 + x)),
    hinge_generator: lambda x: -np.mean(x),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_values_with_an_active_clip(loss):
    logits = [jnp.asarray(x) for x in LOGITS]
    per_scale = [LOSSES[loss](x.astype(np.float64)) for x in LOGITS]
    result = loss(logits)
    assert result.dtype == jnp.float32
    assert result.shape == ()
    np.testing.assert_allclose(result, np.mean(per_scale), rtol=1e-6)
    np.testing.assert_allclose(loss(logits, reduction="mean"), result)
    np.testing.assert_allclose(
        loss(logits, reduction="sum"), np.sum(per_scale), rtol=1e-6
    )


def test_numbers_by_hand():
    logits = [jnp.asarray(LOGITS[0])]
    assert hinge_real(logits) == (4 + 2 + 1.5 + 0.5) / 6
    assert hinge_fake(logits) == (0.5 + 1.5 + 2 + 5) / 6
    np.testing.assert_allclose(hinge_generator(logits), -1 / 6, rtol=1e-6)


def test_gradient_stops_beyond_the_clip():
    x = jnp.asarray([-3.0, 0.0, 3.0]).reshape(1, 3, 1, 1)
    third = 1 / 3
    for loss, expected in (
        (hinge_real, [-third, -third, 0]),
        (hinge_fake, [0, third, third]),
        (hinge_generator, [-third, -third, -third]),
    ):
        gradient = jax.grad(lambda x, loss=loss: loss([x]))(x)
        np.testing.assert_allclose(gradient.ravel(), expected, rtol=1e-6)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999), scale=st.floats(0, 1e6))
def test_bounds_symmetry_and_extreme_logits(seed, scale):
    x = jnp.asarray(scale * np.random.default_rng(seed).normal(size=(2, 3, 3, 1)))
    real, fake = hinge_real([x]), hinge_fake([x])
    assert real >= 0
    assert fake >= 0
    np.testing.assert_allclose(fake, hinge_real([-x]), rtol=1e-6)
    # max(0, 1 - x) - max(0, 1 + x) >= -2 |x| with equality beyond the clips
    assert real + fake >= 2 * (1 - 1e-6)


def test_half_precision_logits_are_averaged_in_float32():
    x = jnp.ones((1, 64, 64, 1), jnp.bfloat16)
    assert hinge_fake([x]).dtype == jnp.float32
    assert hinge_fake([x]) == 2.0


def test_jit_and_vmap():
    x = jnp.asarray(LOGITS[0])
    np.testing.assert_allclose(jax.jit(hinge_real)([x]), hinge_real([x]))
    each = jax.vmap(lambda x: hinge_real([x]))(x)
    np.testing.assert_allclose(each.mean(), hinge_real([x]), rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_unknown_reduction(loss):
    with pytest.raises(
        ValueError, match="reduction is 'max'; expected 'mean' or 'sum'"
    ):
        loss([jnp.zeros((1, 1, 1, 1))], reduction="max")
