"""The two-scale discriminator against NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrjax.models.discriminator import (
    DiscriminatorArchitecture,
    MultiscaleDiscriminator,
    average_pool,
    discriminate_pair,
    instance_norm,
)
from tests.models import numpy_layers
from tests.models.drawn import draw_variables

NUM_CLASSES = 3


@pytest.fixture(scope="module")
def built():
    """Discriminator, variables with biases, labels, two sets of images."""
    network = MultiscaleDiscriminator(DiscriminatorArchitecture(NUM_CLASSES, 2))
    rng = np.random.default_rng(0)
    labels = jnp.asarray(rng.integers(0, NUM_CLASSES, (2, 32, 40)), jnp.uint8)
    fake, real = (
        jnp.asarray(rng.uniform(-1, 1, (2, 32, 40, 1)), jnp.float32) for _ in range(2)
    )
    variables = draw_variables(network.init, labels, fake, train=False)
    return network, variables, labels, fake, real


def test_evaluation_agrees_with_numpy(built):
    network, variables, labels, image, _ = built
    outputs = jax.jit(network.apply, static_argnames="train")(
        variables, labels, image, train=False
    )
    expected = numpy_layers.discriminator(
        np.asarray(labels),
        np.asarray(image, np.float64),
        variables,
        num_classes=NUM_CLASSES,
    )
    assert [len(scale) for scale in outputs] == [5, 5]
    for scale, expected_scale in zip(outputs, expected, strict=True):
        for feature, value in zip(scale, expected_scale, strict=True):
            assert numpy_layers.relative_error(feature, value) < 1e-5


def test_sizes_and_widths_for_the_size_of_the_paper():
    network = MultiscaleDiscriminator(DiscriminatorArchitecture(9))
    outputs, variables = jax.eval_shape(
        lambda key, labels, image: network.init_with_output(
            key, labels, image, train=False
        ),
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, 256, 256), "uint8"),
        jax.ShapeDtypeStruct((1, 256, 256, 1), "float32"),
    )
    assert [[x.shape[1] for x in scale] for scale in outputs] == [
        [129, 65, 33, 34, 35],
        [65, 33, 17, 18, 19],
    ]
    for scale in outputs:
        assert [x.shape[3] for x in scale] == [64, 128, 256, 512, 1]
    biased = {
        name
        for name, layer in variables["params"]["discriminator_0"].items()
        if "bias" in layer
    }
    assert biased == {"model0", "model4"}


@pytest.mark.parametrize("real_gradient", [True, False])
def test_a_pair_equals_two_forwards_and_moves_the_state_once(built, real_gradient):
    network, variables, labels, fake, real = built
    # Away from the singular pairs, so that each iteration moves u and v.
    spectral = jax.tree.map(lambda x: x + 0.3, variables["spectral"])
    variables = {**variables, "spectral": spectral}
    pair = functools.partial(discriminate_pair, network, real_gradient=real_gradient)
    fakes, reals, changed = jax.jit(pair)(variables, labels, fake, real)
    apply = jax.jit(network.apply, static_argnames=("train", "mutable"))
    alone, once = apply(variables, labels, fake, train=True, mutable=("spectral",))
    _, twice = apply(
        {**variables, **once}, labels, real, train=True, mutable=("spectral",)
    )
    other = apply({**variables, **once}, labels, real, train=False)
    for result, expected in ((fakes, alone), (reals, other)):
        for a, b in zip(
            jax.tree.leaves(result), jax.tree.leaves(expected), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert list(changed) == ["spectral"]
    assert jax.tree.all(
        jax.tree.map(
            lambda a, b: jnp.allclose(a, b, atol=1e-6),
            changed["spectral"],
            once["spectral"],
        )
    )
    moved = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()), once["spectral"], twice["spectral"]
    )
    assert max(jax.tree.leaves(moved)) > 1e-4  # a second move would have shown


@settings(max_examples=15, deadline=None)
@given(h=st.integers(1, 9), w=st.integers(1, 9))
def test_average_pool_does_not_count_padding(h, w):
    x = np.random.default_rng(h * 10 + w).normal(size=(2, h, w, 3)).astype(np.float32)
    expected = numpy_layers.average_pool(x.astype(np.float64))
    result = average_pool(jnp.asarray(x))
    assert result.shape == (2, (h - 1) // 2 + 1, (w - 1) // 2 + 1, 3)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(average_pool(jnp.ones((1, h, w, 1))), 1.0)


def test_average_pool_has_a_gradient_that_keeps_the_sum():
    x = jnp.ones((1, 5, 6, 1))
    gradient = jax.grad(lambda x: average_pool(x).sum())(x)
    np.testing.assert_allclose(gradient.sum(), average_pool(x).size, rtol=1e-5)


def test_instance_norm_is_per_image_and_channel_with_the_biased_variance():
    rng = np.random.default_rng(0)
    x = rng.normal([0, 5], [1, 0.02], (2, 4, 5, 2)).astype(np.float32)
    x[1] += 3
    result = instance_norm(jnp.asarray(x))
    expected = numpy_layers.instance_norm(x.astype(np.float64))
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4)
    half = instance_norm(jnp.asarray(x[..., :1], jnp.bfloat16))
    assert half.dtype == jnp.bfloat16


def test_each_image_is_scored_alone(built):
    network, variables, labels, fake, real = built
    apply = jax.jit(network.apply, static_argnames="train")
    both = apply(variables, labels, fake, train=False)
    mixed = jnp.stack([fake[0], real[1]])
    other = apply(variables, labels, mixed, train=False)
    for a, b in zip(jax.tree.leaves(both), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a[0], b[0], rtol=1e-5, atol=1e-6)
        assert not np.allclose(a[1], b[1])


def test_half_precision_stays_close(built):
    network, variables, labels, image, _ = built
    half = MultiscaleDiscriminator(network.architecture, dtype=jnp.bfloat16)
    apply = jax.jit(half.apply, static_argnames="train")
    outputs = apply(variables, labels, image, train=False)
    exact = network.apply(variables, labels, image, train=False)
    for a, b in zip(jax.tree.leaves(outputs), jax.tree.leaves(exact), strict=True):
        assert a.dtype == jnp.bfloat16
        assert numpy_layers.relative_error(a.astype(jnp.float32), b) < 0.1


def test_number_of_scales_is_configurable():
    network = MultiscaleDiscriminator(DiscriminatorArchitecture(2, 1, num_scales=3))
    outputs = jax.eval_shape(
        lambda key: network.init_with_output(
            key,
            jnp.zeros((1, 64, 64), jnp.uint8),
            jnp.zeros((1, 64, 64, 1)),
            train=False,
        )[0],
        jax.random.key(0),
    )
    assert [scale[0].shape[1] for scale in outputs] == [33, 17, 9]


def test_without_real_gradient_only_the_fakes_have_one(built):
    network, variables, labels, fake, real = built

    def total(fake, real, real_gradient):
        fakes, reals, _ = discriminate_pair(
            network, variables, labels, fake, real, real_gradient=real_gradient
        )
        return sum(jnp.sum(x**2) for x in jax.tree.leaves((fakes, reals)))

    gradient = jax.jit(jax.grad(total, argnums=(0, 1)), static_argnums=2)
    to_fake, to_real = gradient(fake, real, True)
    without_fake, without_real = gradient(fake, real, False)
    np.testing.assert_allclose(without_fake, to_fake, rtol=1e-3, atol=1e-4)
    assert float(jnp.abs(to_real).max()) > 0
    assert not np.any(without_real)
