"""The U-Net against its layers in NumPy; shapes, sizes, dropout and refusals."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.models.unet import Unet, UnetArchitecture, max_pool
from tests.models.drawn import draw_variables
from tests.models.numpy_layers import (
    convolution,
    double,
    leaky,
    relative_error,
    to_numpy,
)

ARCH = UnetArchitecture(3, base_features=2, max_features=6, levels=2)
SHAPE = (2, 8, 12, 1)


@pytest.fixture(scope="module")
def variables():
    return draw_variables(Unet(ARCH).init, jnp.zeros(SHAPE), train=False)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)


@functools.cache
def apply(arch, *, train):
    """Jitted (variables, image, dropout key) -> (logits, what changed and was seen)."""

    def run(variables, image, key):
        return Unet(arch).apply(
            variables,
            image,
            train=train,
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=lambda module, _: type(module).__name__ == "Dropout",
            rngs={"dropout": key},
        )

    return jax.jit(run)


def pooled(x):
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))


def double_conv(x, params, statistics):
    for i in range(2):
        x = convolution(x, params[f"conv_{i}"]["kernel"], padding=1)
        running = statistics[f"norm_{i}"]
        x = (x - running["mean"]) / np.sqrt(running["var"] + 1e-5)
        x = leaky(x * params[f"scale_{i}"] + params[f"offset_{i}"])
    return x


def unet(image, variables, *, levels):
    """Evaluation mode: no dropout, running statistics."""
    variables = to_numpy(variables)
    params, statistics = variables["params"], variables["batch_stats"]

    def block(name, x):
        return double_conv(x, params[name], statistics[name])

    def one_by_one(name, x):
        return x @ params[name]["kernel"][0, 0] + params[name]["bias"]

    x, skips = to_numpy(image), []
    for level in range(levels):
        skips.append(block(f"down_{level}", x))
        x = pooled(skips[-1])
    x = block("bottleneck", x)
    for level in reversed(range(levels)):
        x = double(one_by_one(f"narrow_{level}", x))
        x = block(f"up_{level}", np.concatenate([x, skips[level]], axis=-1))
    return one_by_one("scores", x)


def test_evaluation_is_the_equations(variables, image):
    logits, _ = apply(ARCH, train=False)(variables, image, jax.random.key(0))
    assert logits.shape == (2, 8, 12, 3)
    assert logits.dtype == jnp.float32
    assert relative_error(logits, unet(image, variables, levels=2)) < 1e-5


def test_evaluation_of_an_image_does_not_depend_on_the_others(variables, image):
    run = apply(ARCH, train=False)
    both, changed = run(variables, image, jax.random.key(0))
    assert "batch_stats" not in changed or jax.tree.all(
        jax.tree.map(
            lambda a, b: bool((a == b).all()),
            changed["batch_stats"],
            variables["batch_stats"],
        )
    )
    swapped, _ = run(variables, image[::-1], jax.random.key(9))
    np.testing.assert_allclose(swapped[::-1], both, atol=1e-6)


def test_training_uses_and_moves_batch_statistics_and_drops(variables, image):
    run = apply(ARCH, train=True)
    logits, seen = run(variables, image, jax.random.key(1))
    same, _ = run(variables, image, jax.random.key(1))
    other, _ = run(variables, image, jax.random.key(2))
    np.testing.assert_array_equal(same, logits)
    assert not np.allclose(other, logits)
    old, new = variables["batch_stats"], seen["batch_stats"]
    assert jax.tree.structure(old) == jax.tree.structure(new)
    moved = jax.tree.map(lambda a, b: not np.allclose(a, b), old, new)
    assert all(jax.tree.leaves(moved))
    # The first normalisation by hand: momentum 0.9, unbiased variance.
    x = convolution(image, variables["params"]["down_0"]["conv_0"]["kernel"], padding=1)
    x = x.reshape(-1, 2)
    first = {
        k: v["norm_0"] for k, v in {"old": old["down_0"], "new": new["down_0"]}.items()
    }
    for name, value in (("mean", x.mean(0)), ("var", x.var(0, ddof=1))):
        expected = 0.9 * np.asarray(first["old"][name]) + 0.1 * value
        np.testing.assert_allclose(first["new"][name], expected, rtol=1e-4, atol=1e-6)


def test_dropout_is_at_the_bottleneck_and_after_each_concatenation(variables, image):
    """Half of the values are dropped, the others doubled, elsewhere each time."""
    _, seen = apply(ARCH, train=True)(variables, image, jax.random.key(1))
    (calls,) = (v["__call__"] for v in seen["intermediates"].values())
    assert [c.shape for c in calls] == [(2, 2, 3, 6), (2, 4, 6, 8), (2, 8, 12, 4)]
    for dropped in calls:
        assert 0.25 < np.mean(np.asarray(dropped) == 0) < 0.75
    _, seen = apply(ARCH, train=False)(variables, image, jax.random.key(1))
    (calls,) = (v["__call__"] for v in seen["intermediates"].values())
    assert all((np.asarray(c) != 0).all() for c in calls)


def count(arch):
    image = jnp.zeros((1, arch.size_multiple, arch.size_multiple, 1))
    init = functools.partial(Unet(arch).init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), image)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def count_by_hand(k, base, most, levels):
    f = [min(base * 2**n, most) for n in range(levels + 1)]

    def block(c_in, c):
        return 9 * c_in * c + 9 * c * c + 4 * c  # kernels; scale and offset, twice

    down = sum(block(c_in, c) for c_in, c in zip([1, *f[:-2]], f[:-1], strict=True))
    up = sum(f[n + 1] * f[n] + f[n] + block(2 * f[n], f[n]) for n in range(levels))
    return down + block(f[-2], f[-1]) + up + f[0] * k + k


def test_number_of_parameters():
    assert count(ARCH) == count_by_hand(3, 2, 6, 2) == 1469
    assert count(UnetArchitecture(9)) == count_by_hand(9, 32, 512, 5) == 19_303_721


def test_names_of_the_parts():
    """They live in checkpoints."""
    init = functools.partial(Unet(ARCH).init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros(SHAPE))
    assert set(shapes) == {"params", "batch_stats"}
    blocks = {"down_0", "down_1", "bottleneck", "up_0", "up_1"}
    assert set(shapes["batch_stats"]) == blocks
    assert set(shapes["params"]) == blocks | {"narrow_0", "narrow_1", "scores"}


def test_max_pool():
    x = np.random.default_rng(2).normal(size=(2, 6, 4, 3)).astype(np.float32)
    np.testing.assert_array_equal(max_pool(jnp.asarray(x)), pooled(x))
    gradient = np.asarray(jax.grad(lambda x: max_pool(x).sum())(jnp.asarray(x)))
    largest = x == np.asarray(double(pooled(x)), np.float32)
    np.testing.assert_array_equal(gradient, largest)


@pytest.mark.parametrize("train", [False, True])
def test_half_precision_stays_close_and_gives_float32(variables, image, train):
    def logits(dtype):
        network = Unet(dataclasses.replace(ARCH, dropout=0.0), dtype=dtype)
        found, changed = jax.jit(
            functools.partial(network.apply, train=train, mutable=["batch_stats"])
        )(variables, image)
        return found, changed

    half, changed = logits(jnp.bfloat16)
    exact, _ = logits(jnp.float32)
    assert {x.dtype.name for x in jax.tree.leaves((half, changed))} == {"float32"}
    assert 1e-4 < relative_error(half, exact) < 0.1


@pytest.mark.parametrize("size", [(10, 8), (8, 6), (1, 4)])
def test_a_size_that_cannot_be_halved_is_refused(size):
    network = Unet(ARCH)
    with pytest.raises(
        ValueError,
        match=rf"images of {size[0]} x {size[1]} pixels; .* multiples of 4: pad them",
    ):
        jax.eval_shape(
            functools.partial(network.init, train=False),
            jax.random.key(0),
            jnp.zeros((1, *size, 1)),
        )


def test_channels_double_up_to_the_largest():
    arch = UnetArchitecture(9)
    assert [arch.features(level) for level in range(6)] == [32, 64, 128, 256, 512, 512]
    assert arch.size_multiple == 32


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"num_classes": 1}, "num_classes is 1; 2 to 255"),
        ({"num_classes": 256}, "num_classes is 256"),
        ({"base_features": 0}, "base_features is 0, max_features 512; expected 1 <="),
        ({"max_features": 31}, "max_features 31"),
        ({"levels": 0}, "levels is 0, dropout 0.5; expected 1 to 12 levels"),
        ({"dropout": 1.0}, "dropout 1.0; expected"),
    ],
)
def test_values_that_make_no_network(values, text):
    with pytest.raises(ValueError, match=text):
        UnetArchitecture(**{"num_classes": 9, **values})
