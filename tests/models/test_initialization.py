"""Distributions of initial values, and a whole network's values drawn at once."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.models.initialization import (
    draw_at_once,
    fan_in_uniform,
    he_normal,
    normal,
    uniform,
    xavier_normal,
)


def test_xavier_normal_has_gain_0_02_and_is_not_truncated():
    shape = (3, 3, 64, 128)
    kernel = np.asarray(xavier_normal(jax.random.key(1), shape))
    std = 0.02 * np.sqrt(2 / (9 * 64 + 9 * 128))
    assert abs(kernel.std() / std - 1) < 0.02
    assert abs(kernel.mean()) < 0.02 * std
    assert np.abs(kernel).max() > 3.5 * std  # a truncated normal ends at 2.3


def test_fan_in_uniform_fills_its_interval():
    shape = (4, 4, 32, 64)
    kernel = np.asarray(fan_in_uniform(jax.random.key(1), shape))
    bound = 1 / np.sqrt(4 * 4 * 32)
    assert np.abs(kernel).max() <= bound
    assert kernel.max() > 0.999 * bound
    assert kernel.min() < -0.999 * bound
    assert abs(kernel.std() / (bound / np.sqrt(3)) - 1) < 0.02


def test_he_normal_keeps_the_variance_behind_a_leaky_relu():
    slope, shape = 0.2, (3, 3, 64, 128)
    kernel = np.asarray(he_normal(slope)(jax.random.key(1), shape))
    assert abs(kernel.std() / np.sqrt(2 / (1.04 * 9 * 64)) - 1) < 0.02
    assert abs(kernel.mean()) < 0.02 * kernel.std()


def test_the_fans_of_a_matrix_are_its_sides():
    matrix = np.asarray(xavier_normal(jax.random.key(1), (300, 500)))
    assert abs(matrix.std() / (0.02 * np.sqrt(2 / 800)) - 1) < 0.02


@pytest.mark.parametrize("draw", [xavier_normal, he_normal(0.2), fan_in_uniform])
def test_the_dtype_is_the_one_asked_for(draw):
    assert draw(jax.random.key(0), (3, 3, 2, 2)).dtype == jnp.float32
    assert draw(jax.random.key(0), (3, 3, 2, 2), jnp.bfloat16).dtype == jnp.bfloat16


class Network(nn.Module):
    """Two kernels of each kind, one by a function of Flax, one constant."""

    @nn.compact
    def __call__(self):
        shape = (3, 3, 20, 30)
        for index in range(2):
            self.param(f"xavier_{index}", xavier_normal, shape)
            self.param(f"uniform_{index}", fan_in_uniform, shape)
        self.param("he", he_normal(0.2), shape)
        self.param("vector", normal, (700,))
        self.param("flax", nn.initializers.lecun_normal(), shape)
        self.param("zeros", nn.initializers.zeros, (4,))


def bare_draw(key) -> Any:
    return Network().init(key)["params"]


def draw(key) -> Any:
    return draw_at_once(bare_draw, key)


def test_at_once_each_array_has_its_own_distribution():
    together = draw(jax.random.key(3))
    apart = bare_draw(jax.random.key(3))
    assert together.keys() == apart.keys()
    for name, array in together.items():
        assert (array.shape, array.dtype) == (apart[name].shape, apart[name].dtype)
        assert abs(np.std(array) - np.std(apart[name])) <= 0.08 * np.std(apart[name])
        assert abs(np.mean(array)) <= 0.08 * np.std(apart[name])
    assert np.abs(together["xavier_0"]).max() > 3 * np.std(apart["xavier_0"])
    bound = 1 / np.sqrt(9 * 20)
    assert 0.99 * bound < np.abs(together["uniform_1"]).max() <= bound


def test_at_once_no_number_is_taken_twice():
    params = draw(jax.random.key(3))
    arrays = [params[n].ravel() for n in ("xavier_0", "xavier_1", "he", "flax")]
    arrays += [params["uniform_0"].ravel(), params["uniform_1"].ravel()]
    found = np.corrcoef(np.stack(arrays))
    assert np.abs(found - np.eye(len(arrays))).max() < 5 / np.sqrt(arrays[0].size)
    assert not np.intersect1d(params["vector"], params["he"]).size


def test_at_once_the_key_decides_compiled_or_not():
    first, other = draw(jax.random.key(0)), draw(jax.random.key(1))
    again = jax.jit(draw)(jax.random.key(0))
    for name in first.keys() - {"zeros"}:
        np.testing.assert_allclose(again[name], first[name], rtol=1e-6, atol=1e-7)
        assert not np.allclose(other[name], first[name])


def test_a_program_that_draws_at_once_holds_each_generator_once():
    def count(function):
        text = str(jax.make_jaxpr(function)(jax.random.key(0)))
        return text.count("random_bits"), text.count("erf_inv")

    def apart(key):
        return [
            (normal(k, (size,)), uniform(jax.random.fold_in(k, 0), (size,)))
            for size, k in enumerate(jax.random.split(key, 20), start=1)
        ]

    assert count(apart) == (40, 20)
    assert count(lambda key: draw_at_once(apart, key)) == (2, 1)


def test_what_asks_for_other_numbers_each_time_is_refused():
    lengths = iter((4, 3))
    with pytest.raises(RuntimeError, match=r"'normal': 3.*was to take .*'normal': 4"):
        draw_at_once(lambda key: normal(key, (next(lengths),)), jax.random.key(0))


def test_an_error_leaves_nothing_behind():
    def fail(key):
        raise KeyError("fail")

    with pytest.raises(KeyError, match="fail"):
        draw_at_once(fail, jax.random.key(0))
    expected = jax.random.normal(jax.random.key(5), (4,))
    np.testing.assert_array_equal(normal(jax.random.key(5), (4,)), expected)
