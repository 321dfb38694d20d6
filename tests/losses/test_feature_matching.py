"""Feature matching against a NumPy sum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.losses.feature_matching import feature_matching_loss

SHAPES = ((2, 8, 8, 2), (2, 4, 4, 3), (2, 2, 2, 5), (2, 3, 3, 4), (2, 4, 4, 1))


def draw(seed: int) -> list[list[jax.Array]]:
    rng = np.random.default_rng(seed)
    return [
        [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in SHAPES]
        for _ in range(2)
    ]


@pytest.mark.parametrize(("reduction", "divisor"), [("mean", 2), ("sum", 1)])
def test_value_leaves_the_logits_out_and_does_not_divide_by_layers(reduction, divisor):
    fake, real = draw(0), draw(1)
    total = 0.0
    for fake_scale, real_scale in zip(fake, real, strict=True):
        for layer in range(4):
            a, b = np.float64(fake_scale[layer]), np.float64(real_scale[layer])
            total += np.abs(a - b).mean()
    result = feature_matching_loss(fake, real, reduction=reduction)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, total / divisor, rtol=1e-6)
    if reduction == "mean":
        np.testing.assert_allclose(feature_matching_loss(fake, real), result)


def test_logits_have_no_part():
    fake, real = draw(0), draw(1)
    changed = [[*scale[:-1], scale[-1] + 100] for scale in fake]
    assert feature_matching_loss(changed, real) == feature_matching_loss(fake, real)


def test_the_real_side_has_no_gradient():
    fake, real = draw(0), draw(1)
    to_fake, to_real = jax.grad(feature_matching_loss, argnums=(0, 1))(fake, real)
    assert not any(np.any(x) for x in jax.tree.leaves(to_real))
    for scale in range(2):
        for layer, shape in enumerate(SHAPES[:-1]):
            sign = np.sign(fake[scale][layer] - real[scale][layer])
            np.testing.assert_allclose(
                to_fake[scale][layer], sign / np.prod(shape) / 2, rtol=1e-6
            )
        assert not np.any(to_fake[scale][-1])


def test_equal_features_give_zero():
    value, gradient = jax.value_and_grad(feature_matching_loss)(draw(0), draw(0))
    assert value == 0
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


def test_half_precision_is_summed_in_float32():
    fake = [[jnp.ones((1, 64, 64, 8), jnp.bfloat16), jnp.zeros((1, 1, 1, 1))]]
    real = [[jnp.zeros((1, 64, 64, 8), jnp.bfloat16), jnp.zeros((1, 1, 1, 1))]]
    loss = feature_matching_loss(fake, real)
    assert loss.dtype == jnp.float32
    assert loss == 1.0


def test_shapes_and_numbers_of_features_must_agree():
    fake, real = draw(0), draw(1)
    real[1][0] = real[1][0][:1]  # would broadcast
    with pytest.raises(
        ValueError, match=r"\(2, 8, 8, 2\) and real ones \(1, 8, 8, 2\)"
    ):
        feature_matching_loss(fake, real)
    with pytest.raises(ValueError, match="shorter"):
        feature_matching_loss(draw(0), draw(1)[:1])
    with pytest.raises(ValueError, match="reduction is 'none'"):
        feature_matching_loss(draw(0), draw(1), reduction="none")  # type: ignore[arg-type]
