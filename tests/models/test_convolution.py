"""Convolutions, their gradients and their initialisation against NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrjax.models import cpu_bfloat16, cpu_convolution
from cmrjax.models.convolution import (
    Conv,
    ConvWeights,
    convolve,
    leaky_relu,
    upsample_nearest,
)
from cmrjax.models.cpu_convolution import kernel_gradient_by_taps
from tests.models import numpy_layers

# (input shape, kernel shape, stride, padding); see PATHS for what the wide ones take.
CASES = [
    ((2, 6, 5, 3), (3, 3, 3, 4), 1, 1),
    ((1, 9, 7, 3), (4, 4, 3, 5), 2, 2),
    ((2, 8, 6, 2), (4, 4, 2, 3), 1, 2),
    ((2, 5, 4, 3), (1, 1, 3, 6), 1, 0),
    ((2, 6, 5, 64), (3, 3, 64, 4), 1, 1),
    ((1, 7, 6, 64), (4, 4, 64, 3), 1, 2),
    ((1, 6, 6, 65), (3, 3, 65, 2), 1, 0),
    ((1, 8, 8, 64), (4, 4, 64, 2), 2, 2),
    ((1, 5, 5, 64), (3, 3, 64, 1), 1, 1),
    ((1, 3, 3, 4), (3, 3, 4, 20), 1, 1),
    ((1, 5, 4, 8), (3, 3, 8, 12), 1, 1),
    ((2, 9, 4, 64), (3, 3, 64, 16), 1, 1),
    ((1, 7, 7, 3), (4, 4, 3, 5), 2, 0),
]
# Index in CASES: functions of cpu_convolution that it must reach.
PATHS = {
    0: (),
    1: ("to_blocks",),
    4: ("_by_strips",),
    5: ("kernel_gradient_by_taps",),
    8: ("_by_shifted_gradient",),
    9: ("forward_by_columns", "input_gradient_by_columns"),
    10: ("input_gradient_by_columns",),
    11: ("_by_strips",),
    7: ("to_blocks", "kernel_gradient_by_taps"),
    12: ("to_blocks", "input_gradient_by_columns"),
}


def draw(case, seed=0):
    """Input, kernel and the gradient of the output."""
    x_shape, kernel_shape, stride, padding = case
    rng = np.random.default_rng(seed)
    x, kernel = rng.normal(size=x_shape), rng.normal(size=kernel_shape)
    y = numpy_layers.convolution(x, kernel, stride=stride, padding=padding)
    g = rng.normal(size=y.shape)
    return tuple(np.asarray(a, np.float32) for a in (x, kernel, g))


def numpy_gradients(x, kernel, g, stride, padding):
    """Gradients of sum(g * y) in float64, one kernel position after the other."""
    kh, kw, _, _ = kernel.shape
    _, h, w, _ = g.shape
    border = (padding, padding)
    padded = np.pad(x.astype(np.float64), ((0, 0), border, border, (0, 0)))
    to_padded, to_kernel = np.zeros_like(padded), np.zeros(kernel.shape)
    for i in range(kh):
        for j in range(kw):
            rows = slice(i, i + stride * (h - 1) + 1, stride)
            columns = slice(j, j + stride * (w - 1) + 1, stride)
            to_kernel[i, j] = np.einsum("bhwi,bhwo->io", padded[:, rows, columns], g)
            to_padded[:, rows, columns] += g @ kernel[i, j].T.astype(np.float64)
    _, height, width, _ = x.shape
    inside = (slice(padding, padding + height), slice(padding, padding + width))
    return to_padded[:, inside[0], inside[1]], to_kernel


@pytest.mark.parametrize("case", CASES, ids=str)
def test_value_and_gradients_agree_with_numpy(case, small_strips):
    x, kernel, g = draw(case)
    _, _, stride, padding = case
    bias = np.linspace(-1, 1, kernel.shape[3], dtype=np.float32)

    @jax.jit
    def value_and_gradients(x, kernel, bias):
        y, pullback = jax.vjp(
            lambda *a: convolve(*a, stride=stride, padding=padding), x, kernel, bias
        )
        return y, pullback(jnp.asarray(g))

    y, (to_x, to_kernel, to_bias) = value_and_gradients(x, kernel, bias)
    expected = numpy_layers.convolution(x, kernel, bias, stride=stride, padding=padding)
    assert y.dtype == jnp.float32
    assert numpy_layers.relative_error(y, expected) < 1e-6
    expected_x, expected_kernel = numpy_gradients(x, kernel, g, stride, padding)
    assert numpy_layers.relative_error(to_x, expected_x) < 1e-6
    assert numpy_layers.relative_error(to_kernel, expected_kernel) < 1e-6
    assert numpy_layers.relative_error(to_bias, g.sum(axis=(0, 1, 2))) < 1e-6


@settings(max_examples=12, deadline=None)
@given(
    size=st.sampled_from([1, 2, 3, 4]),
    padding=st.integers(0, 2),
    height=st.integers(4, 6),
    width=st.integers(4, 6),
    seed=st.integers(0, 99),
)
def test_taps_agree_with_the_gradient_of_xla(size, padding, height, width, seed):
    case = ((2, height, width, 3), (size, size, 3, 2), 1, padding)
    x, kernel, g = draw(case, seed)

    def plain(kernel):
        return jax.lax.conv_general_dilated(
            jnp.asarray(x),
            kernel,
            (1, 1),
            ((padding, padding),) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    _, pullback = jax.vjp(plain, jnp.asarray(kernel))
    (expected,) = pullback(jnp.asarray(g))
    result = kernel_gradient_by_taps(
        jnp.asarray(x), jnp.asarray(g), kernel.shape, padding
    )
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture
def small_strips(monkeypatch):
    """Cuts strips of the tests' small images; small kernels count as large."""
    monkeypatch.setattr(cpu_convolution, "LARGE_KERNEL", 1)
    monkeypatch.setattr(cpu_convolution, "STRIP_PIXELS", 24)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="paths of the CPU")
@pytest.mark.parametrize("index", PATHS)
def test_each_case_takes_its_path(index, small_strips, monkeypatch):
    """Without this the comparisons might never see the other paths."""
    called = []
    for name in set().union(*PATHS.values()):
        original = getattr(cpu_convolution, name)

        def note(*args, name=name, original=original):
            called.append(name)
            return original(*args)

        monkeypatch.setattr(cpu_convolution, name, note)
    x, kernel, _ = draw(CASES[index])
    _, _, stride, padding = CASES[index]

    def loss(x, kernel):
        return convolve(x, kernel, stride=stride, padding=padding).sum()

    jax.eval_shape(jax.grad(loss, argnums=(0, 1)), x, kernel)
    assert sorted(set(called) - set(PATHS[index])) == []
    assert sorted(set(PATHS[index]) - set(called)) == []


def test_strips_divide_the_rows_and_stay_small():
    assert cpu_convolution.strip_rows(1, 256, 256) == 4
    assert cpu_convolution.strip_rows(8, 256, 256) == 1
    assert cpu_convolution.strip_rows(1, 33, 33) == 11
    assert cpu_convolution.strip_rows(2, 8, 8) == 8


def test_the_sum_of_pixels_is_as_exact_as_numpys():
    x = np.random.default_rng(0).uniform(size=(3, 64, 50, 7)).astype(np.float32)
    expected = x.sum(axis=(0, 1, 2), dtype=np.float64)
    result = cpu_convolution.sum_of_pixels(jnp.asarray(x))
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_gradient_of_upsampling_sums_each_block():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    g = np.random.default_rng(1).normal(size=(2, 6, 10, 4)).astype(np.float32)
    y, pullback = jax.vjp(upsample_nearest, jnp.asarray(x))
    np.testing.assert_array_equal(y, x.repeat(2, axis=1).repeat(2, axis=2))
    expected = g.reshape(2, 3, 2, 5, 2, 4).sum(axis=(2, 4))
    result = pullback(jnp.asarray(g))[0]
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_gradient_under_vmap_is_the_gradient_of_each():
    case = CASES[4]
    x, kernel, _ = draw(case)
    kernels = np.stack([kernel, 2 * kernel + 1])

    def loss(kernel, x):
        return jnp.sum(convolve(x, kernel, padding=1) ** 2)

    gradient = jax.grad(loss)
    many = jax.jit(jax.vmap(gradient, in_axes=(0, None)))(kernels, x)
    per_image = jax.vmap(gradient, in_axes=(None, 0))(jnp.asarray(kernel), x[:, None])
    for result, k in zip(many, kernels, strict=True):
        np.testing.assert_allclose(result, gradient(jnp.asarray(k), x), rtol=1e-4)
    whole = gradient(jnp.asarray(kernel), x)
    np.testing.assert_allclose(per_image.sum(axis=0), whole, rtol=1e-3, atol=1e-2)


def test_half_precision_input_gives_half_precision_and_close_gradients():
    x, kernel, g = draw(CASES[4])
    y, pullback = jax.vjp(
        lambda x, kernel: convolve(x, kernel, padding=1),
        jnp.asarray(x, jnp.bfloat16),
        jnp.asarray(kernel),
    )
    to_x, to_kernel = pullback(jnp.asarray(g, jnp.bfloat16))
    assert (y.dtype, to_x.dtype, to_kernel.dtype) == ("bfloat16", "bfloat16", "float32")
    _, expected = numpy_gradients(x, kernel, g, 1, 1)
    assert numpy_layers.relative_error(to_kernel, expected) < 1e-2


def test_conv_has_the_reference_names_and_zero_biases():
    x = jnp.zeros((1, 8, 8, 3))
    conv = Conv(5, 4, stride=2, padding=2)
    params: Any = conv.init(jax.random.key(0), x)["params"]
    assert {k: v.shape for k, v in params.items()} == {
        "kernel": (4, 4, 3, 5),
        "bias": (5,),
    }
    assert not np.any(params["bias"])
    y: Any = conv.apply({"params": params}, x)
    assert y.shape == (1, 5, 5, 5)


def test_weights_without_a_bias():
    weights = ConvWeights(3, 4, 1, use_bias=False)
    (kernel, bias), variables = weights.init_with_output(jax.random.key(0))
    assert kernel.shape == (1, 1, 3, 4)
    assert bias is None
    assert list(variables["params"]) == ["kernel"]


def test_upsampling_repeats_pixels_as_nearest_does():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    result = upsample_nearest(jnp.asarray(x))
    np.testing.assert_array_equal(result, x.repeat(2, axis=1).repeat(2, axis=2))
    np.testing.assert_array_equal(
        result, jax.image.resize(x, (2, 6, 8, 5), method="nearest")
    )


def test_leaky_relu():
    x = jnp.asarray([-10.0, -1.0, 0.0, 2.0])
    np.testing.assert_allclose(leaky_relu(x), [-2.0, -0.2, 0.0, 2.0], rtol=1e-7)
    assert leaky_relu(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def _loops(monkeypatch, processes: int) -> tuple[bool, np.ndarray]:
    """Whether a kernel's gradient holds a loop, and the gradient."""
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    monkeypatch.setattr(cpu_convolution, "STRIP_PIXELS", 24)
    rng = np.random.default_rng(0)
    x, g = (rng.normal(size=(2, 9, 4, 64)).astype(np.float32) for _ in range(2))
    shape = (3, 3, 64, 64)

    def gradient(x, g):
        found = cpu_convolution.kernel_gradient(x, g, shape, 1)
        assert found is not None
        return found

    text = str(jax.make_jaxpr(gradient)(x, g))
    return "scan" in text, np.asarray(jax.jit(gradient)(x, g))


def test_several_cpu_processes_have_no_sum_over_the_batch_in_a_loop(monkeypatch):
    """There it would meet other sums in an order of its own."""
    alone, expected = _loops(monkeypatch, 1)
    together, found = _loops(monkeypatch, 2)
    assert (alone, together) == (True, False)
    assert numpy_layers.relative_error(found, expected) < 1e-5
    assert not cpu_bfloat16.applies(jnp.bfloat16)
