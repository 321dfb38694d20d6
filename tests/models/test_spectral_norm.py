"""Power iteration, sigma and their gradient against NumPy matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.models import cpu_convolution
from cmrjax.models.spectral_norm import (
    SpectralNormConv,
    fold_spectral_norm,
    power_iteration,
    spectral_sigma,
)
from tests.models import numpy_layers
from tests.models.numpy_layers import as_matrix, as_vector


def draw(shape=(3, 3, 5, 4), seed=0):
    rng = np.random.default_rng(seed)
    kernel, u = rng.normal(size=shape), rng.normal(size=shape[3])
    return np.float32(kernel), np.float32(u)


def numpy_iteration(matrix, u):
    v = matrix.T @ u
    v = v / max(np.linalg.norm(v), 1e-12)
    u = matrix @ v
    return u / max(np.linalg.norm(u), 1e-12), v


@pytest.fixture(scope="module")
def layer():
    """A layer with variables and an input."""
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 6, 7, 5)), jnp.float32)
    conv = SpectralNormConv(4, 3, padding=1)
    variables = jax.jit(conv.init, static_argnames="train")(
        jax.random.key(0), x, train=False
    )
    bias = jnp.linspace(-1.0, 1.0, 4)
    return conv, {**variables, "params": {**variables["params"], "bias": bias}}, x


def test_v_moves_first_and_u_follows():
    kernel, u = draw()
    new_u, new_v = power_iteration(jnp.asarray(kernel), jnp.asarray(u))
    expected_u, expected_v = numpy_iteration(as_matrix(kernel), u.astype(np.float64))
    np.testing.assert_allclose(new_u, expected_u, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(as_vector(new_v), expected_v, rtol=1e-5, atol=1e-6)
    sigma = spectral_sigma(jnp.asarray(kernel), new_u, new_v)
    np.testing.assert_allclose(
        sigma, expected_u @ as_matrix(kernel) @ expected_v, rtol=1e-5
    )


def test_norms_are_bounded_below_by_epsilon():
    kernel, u = draw()
    tiny = np.float32(1e-15) * kernel
    new_u, new_v = power_iteration(jnp.asarray(tiny), jnp.asarray(u))
    expected_u, expected_v = numpy_iteration(as_matrix(tiny), u.astype(np.float64))
    assert 0 < np.linalg.norm(expected_v) < 0.1  # epsilon acts
    np.testing.assert_allclose(as_vector(new_v), expected_v, rtol=1e-4)
    np.testing.assert_allclose(new_u, expected_u, rtol=1e-4)
    zero_u, zero_v = power_iteration(jnp.zeros_like(kernel), jnp.asarray(u))
    assert not np.any(zero_u)
    assert not np.any(zero_v)


def test_sigma_is_signed():
    kernel, u = draw()
    new_u, new_v = power_iteration(jnp.asarray(kernel), jnp.asarray(u))
    sigma = spectral_sigma(jnp.asarray(kernel), new_u, new_v)
    assert sigma > 0
    assert spectral_sigma(jnp.asarray(kernel), new_u, -new_v) == -sigma


def test_evaluation_uses_what_is_stored_and_keeps_it(layer):
    conv, variables, x = layer
    flipped = {**variables["spectral"], "v": -variables["spectral"]["v"] * 0.5}
    changed = {**variables, "spectral": flipped}
    y, after = conv.apply(changed, x, train=False, mutable=["spectral"])
    expected = numpy_layers.spectral_convolution(
        x, variables["params"], flipped, padding=1
    )
    assert numpy_layers.relative_error(y, expected) < 1e-5
    assert jax.tree.all(jax.tree.map(jnp.array_equal, after["spectral"], flipped))
    np.testing.assert_array_equal(y, conv.apply(changed, x, train=False))


def test_folded_kernels_give_the_same_evaluation_and_no_training(layer):
    conv, variables, x = layer
    nested = {
        "params": {"block": {"conv": variables["params"]}, "other": {"bias": x}},
        "spectral": {"block": {"conv": variables["spectral"]}},
    }
    folded = fold_spectral_norm(nested)
    assert folded["params"]["other"]["bias"] is x
    own = {name: folded[name]["block"]["conv"] for name in ("params", "spectral")}
    expected = conv.apply(variables, x, train=False)
    np.testing.assert_allclose(
        conv.apply(own, x, train=False), expected, rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ValueError, match="'spectral' collection"):
        conv.apply(own, x, train=True, mutable=["spectral"])


def test_a_training_forward_moves_u_and_v_once_before_it_divides(layer):
    conv, variables, x = layer
    u = jnp.asarray([1.0, 0.0, 0.0, 0.0])
    before = {**variables, "spectral": {**variables["spectral"], "u": u}}
    y, after = conv.apply(before, x, train=True, mutable=["spectral"])
    matrix = as_matrix(variables["params"]["kernel"])
    expected_u, expected_v = numpy_iteration(matrix, np.eye(4)[0])
    np.testing.assert_allclose(after["spectral"]["u"], expected_u, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        as_vector(after["spectral"]["v"]), expected_v, rtol=1e-4, atol=1e-6
    )
    expected = numpy_layers.spectral_convolution(
        x, variables["params"], after["spectral"], padding=1
    )
    assert numpy_layers.relative_error(y, expected) < 1e-5


def test_gradient_goes_through_sigma_but_not_through_u_and_v(layer):
    conv, variables, x = layer
    g = np.random.default_rng(2).normal(size=(2, 6, 7, 4)).astype(np.float32)

    def loss(kernel):
        params = {**variables["params"], "kernel": kernel}
        y, changed = conv.apply(
            {**variables, "params": params}, x, train=True, mutable=["spectral"]
        )
        return jnp.sum(y * g), changed["spectral"]

    kernel = variables["params"]["kernel"]
    gradient, spectral = jax.jit(jax.grad(loss, has_aux=True))(kernel)
    # d/dW of <G, W / sigma> with sigma = u^T W v: G / sigma - <G, W> / sigma^2 u v^T.
    _, pullback = jax.vjp(
        lambda k: jax.lax.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
        kernel,
    )
    outer = as_matrix(pullback(jnp.asarray(g))[0])
    matrix, u = as_matrix(kernel), np.asarray(spectral["u"], np.float64)
    v = as_vector(spectral["v"])
    sigma = u @ matrix @ v
    expected = outer / sigma - (outer * matrix).sum() / sigma**2 * np.outer(u, v)
    assert numpy_layers.relative_error(as_matrix(gradient), expected) < 1e-5
    # Without the second term the error would be plain.
    assert numpy_layers.relative_error(as_matrix(gradient), outer / sigma) > 1e-2


@pytest.mark.parametrize("shape", [(3, 3, 32, 16), (1, 1, 8, 16), (4, 4, 16, 32)])
def test_initial_vectors_give_nearly_the_true_norm(shape):
    size, _, c_in, c_out = shape
    conv = SpectralNormConv(c_out, size, use_bias=False)
    x = jnp.zeros((1, 8, 8, c_in))
    variables = jax.jit(conv.init, static_argnames="train")(
        jax.random.key(3), x, train=True
    )
    kernel, spectral = variables["params"]["kernel"], variables["spectral"]
    largest = np.linalg.svd(as_matrix(kernel), compute_uv=False)[0]
    sigma = float(spectral_sigma(kernel, spectral["u"], spectral["v"]))
    assert 0.93 * largest < sigma <= largest * (1 + 1e-5)
    assert list(variables["params"]) == ["kernel"]
    assert np.abs(kernel).max() <= (size * size * c_in) ** -0.5


def test_params_alone_are_refused(layer):
    conv, variables, x = layer
    with pytest.raises(ValueError, match="pass everything that `init` returned"):
        conv.apply({"params": variables["params"]}, x, train=False)


def test_a_kernel_larger_than_the_image_gives_the_same_through_the_output(monkeypatch):
    """Dividing the output by sigma: same value, gradients and state."""
    x = jnp.asarray(np.random.default_rng(2).normal(size=(1, 2, 2, 5)), jnp.float32)
    conv = SpectralNormConv(4, 3, padding=1)
    variables = conv.init(jax.random.key(1), x, train=False)

    def loss(params, x):
        y, changed = conv.apply(
            {**variables, "params": params}, x, train=True, mutable=["spectral"]
        )
        return jnp.sum(jnp.sin(y)), changed

    gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    through_kernel = gradient(variables["params"], x)
    monkeypatch.setattr(cpu_convolution, "LARGE_KERNEL", 1)
    through_output = gradient(variables["params"], x)
    for a, b in zip(
        jax.tree.leaves(through_output), jax.tree.leaves(through_kernel), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
