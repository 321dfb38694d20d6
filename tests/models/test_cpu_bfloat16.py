"""Products and convolutions in bfloat16 against NumPy in float64.

Values are rounded to bfloat16 first, so that what is left is the rounding of results
(2^-9 of each) and the order of sums.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.models import cpu_bfloat16
from cmrjax.models.convolution import convolve
from tests.models import numpy_layers
from tests.models.test_convolution import numpy_gradients

pytestmark = pytest.mark.skipif(
    jax.default_backend() != "cpu", reason="how a CPU computes in bfloat16"
)
ROUNDING = 2.0**-8
# (input shape, kernel shape, stride, padding)
CASES = [
    ((1, 16, 16, 64), (3, 3, 64, 32), 1, 1),
    ((2, 17, 8, 32), (4, 4, 32, 48), 1, 2),
    ((1, 40, 64, 33), (3, 3, 33, 32), 1, 1),
    ((2, 9, 9, 32), (4, 4, 32, 32), 2, 2),
    ((1, 6, 5, 40), (1, 1, 40, 32), 1, 0),
    ((1, 12, 12, 10), (3, 3, 10, 64), 1, 1),
    ((1, 12, 12, 64), (3, 3, 64, 1), 1, 1),
]


def rounded(*shape: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=shape)
    return np.asarray(jnp.asarray(x, jnp.bfloat16), np.float32)


@pytest.fixture(params=["one strip", "many strips"])
def strips(request, monkeypatch):
    """Small images are one strip; here they are cut as large ones are."""
    if request.param == "many strips":
        monkeypatch.setattr(cpu_bfloat16, "FEWEST_PIXELS", 1)
        monkeypatch.setattr(cpu_bfloat16, "FEWEST_FEATURES", 32)
        monkeypatch.setattr(cpu_bfloat16, "STRIP", 48)
        monkeypatch.setattr(cpu_bfloat16, "WIDE_STRIP", 200)
        monkeypatch.setattr(cpu_bfloat16, "_transposed_rows", lambda _: 40)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution_and_its_gradients(case, strips):
    x_shape, kernel_shape, stride, padding = case
    x, kernel = rounded(*x_shape, seed=0), rounded(*kernel_shape, seed=1)
    expected = numpy_layers.convolution(x, kernel, stride=stride, padding=padding)
    g = rounded(*expected.shape, seed=2)

    @jax.jit
    def value_and_gradients(x, kernel):
        y, pullback = jax.vjp(
            lambda *a: convolve(*a, stride=stride, padding=padding), x, kernel
        )
        return y, *pullback(jnp.asarray(g, y.dtype))

    y, to_x, to_kernel = value_and_gradients(jnp.asarray(x, jnp.bfloat16), kernel)
    assert (y.dtype, to_x.dtype, to_kernel.dtype) == ("bfloat16", "bfloat16", "float32")
    expected_x, expected_kernel = numpy_gradients(x, kernel, g, stride, padding)
    for result, value in ((y, expected), (to_x, expected_x)):
        result = np.asarray(result, np.float32)
        assert numpy_layers.relative_error(result, value) < ROUNDING
    assert numpy_layers.relative_error(to_kernel, expected_kernel) < ROUNDING


@pytest.mark.parametrize("rows", [7, 96, 100])
def test_product_and_its_gradients(rows, strips):
    a, b = rounded(rows, 40, seed=0), rounded(40, 24, seed=1)
    g = rounded(rows, 24, seed=2)

    @jax.jit
    def value_and_gradients(a, b):
        y, pullback = jax.vjp(cpu_bfloat16.matmul, a, b)
        return y, *pullback(jnp.asarray(g, jnp.bfloat16))

    results = value_and_gradients(*(jnp.asarray(x, jnp.bfloat16) for x in (a, b)))
    expected = (a @ b, g @ b.T, a.T @ g)
    for result, value in zip(results, expected, strict=True):
        assert result.dtype == jnp.bfloat16
        result = np.asarray(result, np.float32)
        assert numpy_layers.relative_error(result, value) < ROUNDING


def test_sums_are_kept_in_float32():
    """4096 ones and small ones: a sum in bfloat16 would stop at 256."""
    a = jnp.ones((2, 4096), jnp.bfloat16)
    np.testing.assert_array_equal(cpu_bfloat16.matmul(a, a.T), 4096.0)


def test_float32_is_left_to_the_ordinary_product():
    a = jnp.asarray(np.random.default_rng(0).normal(size=(5, 6)), jnp.float32)
    np.testing.assert_array_equal(cpu_bfloat16.matmul(a, a.T), a @ a.T)


@pytest.mark.parametrize(
    ("rows", "wanted", "expected"),
    [(128, 8, 8), (34, 15, 17), (33, 8, 11), (7, 100, 7), (13, 2, 1)],
)
def test_strips_are_near_the_wanted_size(rows, wanted, expected):
    assert cpu_bfloat16._strip_rows(1, rows, 10, 10 * wanted) == expected
