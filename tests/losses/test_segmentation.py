"""Tversky index and Focal Tversky loss against their equations in NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrjax.losses.segmentation import focal_tversky_loss, tversky_indices

B, H, W, K = 2, 3, 5, 4
LARGE = 1e4  # a logit whose softmax is 0 or 1


def draw(seed=0, *, padding=True) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (B, H, W, K)).astype(np.float32)
    labels = rng.integers(0, K, (B, H, W)).astype(np.uint8)
    valid = rng.uniform(size=(B, H, W, 1)) > (0.3 if padding else -1)
    return logits, labels, valid


def certain(labels, *, k=K, by=LARGE) -> Any:
    """Logits that give all probability to a label map."""
    return np.float32(by) * np.eye(k, dtype=np.float32)[labels]


def by_hand(logits, labels, valid, *, alpha=0.7, beta=0.3, smoothing=1.0):
    """Pixel by pixel, class by class, in float64."""
    found = []
    for k in range(logits.shape[-1]):
        hit = missed = false = 0.0
        for where in zip(*np.nonzero(valid[..., 0]), strict=True):
            z = np.asarray(logits[where], np.float64)
            share = np.exp(z - z.max())[k] / np.exp(z - z.max()).sum()
            truth = float(labels[where] == k)
            hit += share * truth
            missed += (1 - share) * truth
            false += share * (1 - truth)
        found.append((hit + smoothing) / (hit + alpha * missed + beta * false + 1.0))
    return np.array(found)


def test_indices_are_the_equation_on_valid_pixels():
    example = draw()
    found = tversky_indices(*example)
    assert found.shape == (K,)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, by_hand(*example), rtol=1e-5)
    found = tversky_indices(*example, alpha=0.2, beta=0.9)
    np.testing.assert_allclose(found, by_hand(*example, alpha=0.2, beta=0.9), rtol=1e-5)


def test_equal_weights_are_the_dice_coefficient():
    """Of two label maps: 2 |A and B| / (|A| + |B|), here without smoothing."""
    _, first, _ = draw(1)
    _, second, valid = draw(2)
    found = tversky_indices(
        certain(first), second, valid, alpha=0.5, beta=0.5, smoothing=1e-9
    )
    for k in range(K):
        a, b = ((x == k) & valid[..., 0] for x in (first, second))
        np.testing.assert_allclose(
            found[k], 2 * (a & b).sum() / (a.sum() + b.sum()), atol=1e-6
        )


def test_alpha_weighs_misses_and_beta_false_alarms():
    """Class 1: six true pixels of which two are found, and one false alarm."""
    labels = np.zeros((1, 3, 4), np.uint8)
    labels[0, 0], labels[0, 1, :2] = 1, 1
    predicted = np.zeros_like(labels)
    predicted[0, 0, :2], predicted[0, 2, 3] = 1, 1
    found = tversky_indices(
        certain(predicted, k=2), jnp.asarray(labels), jnp.ones((1, 3, 4, 1), bool)
    )
    np.testing.assert_allclose(found[1], (2 + 1) / (2 + 0.7 * 4 + 0.3 * 1 + 1))


def test_loss_is_the_mean_power_of_what_the_indices_lack():
    example = draw(3)
    for gamma in (4 / 3, 1.0, 2.0):
        expected = np.mean((1 - by_hand(*example)) ** (1 / gamma))
        found = focal_tversky_loss(*example, gamma=gamma)
        assert found.shape == ()
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_perfect_overlap():
    _, labels, valid = draw(4)
    np.testing.assert_allclose(
        tversky_indices(certain(labels), labels, valid), np.ones(K)
    )
    # The gap is held at 1e-6, so that its power has a gradient.
    loss = focal_tversky_loss(certain(labels), labels, valid)
    np.testing.assert_allclose(loss, 1e-6**0.75, rtol=1e-5)


def test_no_overlap():
    _, labels, valid = draw(5)
    wrong = (labels + 1) % K
    n = [((labels == k) & valid[..., 0]).sum() for k in range(K)]
    m = [((wrong == k) & valid[..., 0]).sum() for k in range(K)]
    expected = [1 / (0.7 * a + 0.3 * b + 1) for a, b in zip(n, m, strict=True)]
    found = tversky_indices(certain(wrong), labels, valid)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_class_that_neither_map_has_counts_as_perfect():
    labels = jnp.zeros((1, 4, 4), jnp.uint8)
    valid = jnp.ones((1, 4, 4, 1), bool)
    found = tversky_indices(certain(labels, k=3), labels, valid)
    np.testing.assert_allclose(found, 1.0)
    # Also where nothing is valid at all.
    np.testing.assert_allclose(
        tversky_indices(certain(labels, k=3), labels + 1, ~valid), 1.0
    )


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(0.05, 0.95),
    st.floats(0.05, 0.95),
    st.floats(0.5, 3),
)
def test_bounds(seed, alpha, beta, gamma):
    example = draw(seed)
    index = np.asarray(tversky_indices(*example, alpha=alpha, beta=beta))
    assert (index > 0).all()
    assert (index <= 1 + 1e-6).all()
    loss = focal_tversky_loss(*example, alpha=alpha, beta=beta, gamma=gamma)
    assert 0 <= float(loss) <= 1


def test_pixels_that_are_not_valid_count_nowhere():
    logits, labels, valid = draw(6)
    expected = focal_tversky_loss(logits, labels, valid)
    other_logits, other_labels, _ = draw(7)
    logits = np.where(valid, logits, other_logits)
    labels = np.where(valid[..., 0], labels, other_labels)
    np.testing.assert_array_equal(focal_tversky_loss(logits, labels, valid), expected)
    gradient = jax.grad(focal_tversky_loss)(logits, labels, valid)
    assert (np.asarray(gradient)[~valid[..., 0]] == 0).all()
    assert (np.asarray(gradient)[valid[..., 0]] != 0).any()


@pytest.mark.parametrize("by", [0.0, 20.0, LARGE, -LARGE, 1e30])
def test_value_and_gradient_are_finite_at_perfection_and_extreme_logits(by):
    _, labels, valid = draw(8)
    value, gradient = jax.value_and_grad(focal_tversky_loss)(
        certain(labels, by=by), labels, valid
    )
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_the_gradient_is_that_of_the_equation():
    logits, labels, valid = draw(9)
    gradient = np.asarray(jax.grad(focal_tversky_loss)(logits, labels, valid))

    def loss(z):
        return np.mean((1 - by_hand(z, labels, valid)) ** 0.75)

    for where in [(0, 0, 0, 1), (1, 2, 4, 3), (1, 0, 2, 0)]:
        step = np.zeros_like(logits, np.float64)
        step[where] = 1e-4
        numeric = (loss(logits + step) - loss(logits - step)) / 2e-4
        np.testing.assert_allclose(gradient[where], numeric, atol=2e-6)


def test_a_step_against_the_gradient_is_better():
    logits, labels, valid = draw(10)
    value, gradient = jax.value_and_grad(focal_tversky_loss)(logits, labels, valid)
    assert focal_tversky_loss(logits - 10 * gradient, labels, valid) < value


@pytest.mark.parametrize(
    ("labels", "valid"),
    [
        ((B, H, W + 1), (B, H, W, 1)),
        ((B, H, W, 1), (B, H, W, 1)),
        ((B, H, W), (B, H, W)),
        ((1, H, W), (1, H, W, 1)),
        ((B, H, W), (B, H, W, K)),
    ],
)
def test_arrays_of_other_pixels_are_refused(labels, valid):
    with pytest.raises(
        ValueError, match=r"logits \(2, 3, 5, 4\), label_map .* the same pixels; expect"
    ):
        focal_tversky_loss(
            jnp.zeros((B, H, W, K)),
            jnp.zeros(labels, jnp.uint8),
            jnp.zeros(valid, bool),
        )


@pytest.mark.parametrize("gamma", [0.0, -1.0])
def test_a_focus_that_is_not_positive_is_refused(gamma):
    with pytest.raises(ValueError, match=f"gamma is {gamma}; expected a positive"):
        focal_tversky_loss(*draw(), gamma=gamma)


def test_jit_and_vmap():
    examples = [draw(seed) for seed in (11, 12)]
    stacked: Any = [np.stack(part) for part in zip(*examples, strict=True)]
    each = [focal_tversky_loss(*example) for example in examples]
    np.testing.assert_allclose(jax.vmap(focal_tversky_loss)(*stacked), each, rtol=1e-5)
    np.testing.assert_allclose(
        jax.jit(focal_tversky_loss)(*examples[0]), each[0], rtol=1e-5
    )


def test_bfloat16_logits_are_counted_in_float32():
    logits, labels, valid = draw(13)
    low = jnp.asarray(logits, jnp.bfloat16)
    found = tversky_indices(low, labels, valid)
    assert found.dtype == jnp.float32
    expected = by_hand(np.asarray(low, np.float64), labels, valid)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
