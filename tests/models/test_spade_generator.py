"""The generator and its variants against one written out in NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from cmrjax.models.spade_generator import (
    GeneratorArchitecture,
    SpadeGenerator,
    downsample_labels,
)
from tests.models import numpy_layers
from tests.models.drawn import draw_variables

NUM_CLASSES = 3


def build(seed=0, *, b=2, h=64, w=32, **options):
    """Generator, variables labels, latent."""
    arch = GeneratorArchitecture(NUM_CLASSES, **{"base_features": 1, **options})
    generator = SpadeGenerator(arch)
    rng = np.random.default_rng(seed)
    labels = jnp.asarray(rng.integers(0, NUM_CLASSES, (b, h, w)), jnp.uint8)
    size = arch.latent_size
    latent = jnp.asarray(rng.normal(size=(b, size)), jnp.float32) if size else None
    variables = draw_variables(generator.init, labels, latent, train=False, seed=seed)
    return generator, variables, labels, latent


@pytest.fixture(scope="module")
def plain():
    return build()


def forward(generator, variables, labels, latent=None):
    return jax.jit(generator.apply, static_argnames="train")(
        variables, labels, latent, train=False
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"b": 1, "h": 64, "w": 128, "seed_stride": 64, "paper_equation": True},
        {"b": 1, "h": 256, "w": 128, "seed_stride": 128, "base_features": 2},
        {"latent_size": 5, "out_channels": 2},
    ],
    ids=["label seed", "stride 64, paper's equation", "stride 128", "latent"],
)
def test_evaluation_agrees_with_numpy(options):
    generator, variables, labels, latent = build(**options)
    image = forward(generator, variables, labels, latent)
    arch = generator.architecture
    expected = numpy_layers.generator(
        np.asarray(labels),
        variables,
        num_classes=NUM_CLASSES,
        seed_stride=arch.seed_stride,
        latent=latent,
        paper_equation=arch.paper_equation,
    )
    assert image.shape == (*labels.shape, arch.out_channels)
    assert image.dtype == jnp.float32
    assert expected.std() > 0.02  # neither flat nor saturated
    assert np.mean(np.abs(expected) > 0.99) < 0.5
    assert numpy_layers.relative_error(image, expected) < 1e-4


def test_training_moves_statistics_and_vectors_and_evaluation_does_not(plain):
    generator, variables, labels, _ = plain
    # Away from the singular pairs, so that an iteration moves u and v.
    spectral = jax.tree.map(lambda x: x + 0.3, variables["spectral"])
    variables = {**variables, "spectral": spectral}
    mutable = ["batch_stats", "spectral"]
    apply = jax.jit(generator.apply, static_argnames=("train", "mutable"))
    _, kept = apply(variables, labels, train=False, mutable=tuple(mutable))
    _, moved = apply(variables, labels, train=True, mutable=tuple(mutable))
    for collection in mutable:
        before: Any = flatten_dict(variables[collection])
        after: Any = flatten_dict(moved[collection])
        same: Any = flatten_dict(kept[collection])
        assert after.keys() == same.keys() == before.keys()
        for path, value in before.items():
            assert jnp.array_equal(same[path], value), path
            assert not jnp.array_equal(after[path], value), path


def test_initialisation_is_that_of_the_reference_on_a_gpu():
    """Of three modules only: what is not returned is not compiled."""
    arch = GeneratorArchitecture(NUM_CLASSES, base_features=4)
    names = ("fc", "up_3", "conv_img")

    @jax.jit
    def init(key):
        labels = jnp.zeros((1, 32, 32), jnp.uint8)
        params = SpadeGenerator(arch).init(key, labels, train=False)["params"]
        return {name: params[name] for name in names}

    checked = set()
    for path, value in flatten_dict(init(jax.random.key(0))).items():
        array = np.asarray(value)
        if path[-1] == "bias":
            assert not array.any(), path
            continue
        kh, kw, c_in, c_out = array.shape
        checked.add(path[-2])
        if path[-2] in ("conv_0", "conv_1", "conv_s"):
            bound = (kh * kw * c_in) ** -0.5
            assert np.abs(array).max() <= bound, path
            expected = bound / np.sqrt(3)
        else:
            expected = 0.02 * np.sqrt(2 / (kh * kw * (c_in + c_out)))
        tolerance = 4 / np.sqrt(2 * array.size)
        assert abs(array.std() / expected - 1) < tolerance, path
    assert checked > {"fc", "conv_img", "conv_0", "conv_s", "mlp_shared", "mlp_gamma"}


def test_half_precision_stays_close_and_gives_float32(plain):
    generator, variables, labels, _ = plain
    half = SpadeGenerator(generator.architecture, dtype=jnp.bfloat16)
    image = forward(half, variables, labels)
    assert image.dtype == jnp.float32
    exact = forward(generator, variables, labels)
    error = numpy_layers.relative_error(image, exact)
    assert 0 < error < 0.1


def test_rematerialisation_changes_no_value():
    """Image, state and gradients."""
    labels = jnp.asarray(np.random.default_rng(0).integers(0, 3, (2, 32, 32)))
    arch = GeneratorArchitecture(3, base_features=1)
    variables = draw_variables(SpadeGenerator(arch).init, labels, train=False)

    def compute(generator):
        def loss(params):
            image, changed = generator.apply(
                {**variables, "params": params},
                labels,
                train=True,
                mutable=["batch_stats", "spectral"],
            )
            return jnp.sum(image**2), changed

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])

    values = [
        compute(SpadeGenerator(arch, rematerialise=again)) for again in (False, True)
    ]
    ((plain, changed), gradients), ((other, also), others) = values
    np.testing.assert_allclose(other, plain, rtol=1e-5)
    norm = optax.tree.norm(jax.tree.map(jnp.subtract, gradients, others))
    assert norm < 1e-3 * optax.tree.norm(gradients)
    for a, b in zip(jax.tree.leaves(changed), jax.tree.leaves(also), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_label_pyramid_takes_the_first_pixel_of_each_cell():
    labels = jnp.arange(2 * 8 * 12, dtype=jnp.int32).reshape(2, 8, 12)
    small = downsample_labels(labels, 4)
    np.testing.assert_array_equal(small, np.asarray(labels)[:, ::4, ::4])
    resized = jax.image.resize(labels, (2, 2, 3), method="nearest")
    assert not np.array_equal(small, resized)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"num_classes": 4, "seed_stride": 16}, r"seed_stride is 16.*\(32, 64, 128\)"),
        ({"num_classes": 1}, "num_classes is 1; 2 to 255"),
        ({"num_classes": 256}, "num_classes is 256; 2 to 255"),
        ({"num_classes": 4, "base_features": 0}, "base_features is 0"),
        ({"num_classes": 4, "base_features": 3, "seed_stride": 128}, "even where"),
    ],
)
def test_architecture_errors(arguments, text):
    with pytest.raises(ValueError, match=text):
        GeneratorArchitecture(**arguments)


@pytest.mark.parametrize(
    ("latent_size", "labels", "latent", "text"),
    [
        (0, ((1, 33, 32), "uint8"), None, r"\(1, 33, 32\); expected.*multiples of 32"),
        (0, ((1, 32, 48), "uint8"), None, r"\(1, 32, 48\).*pad the labels"),
        (0, ((32, 32), "uint8"), None, r"\(32, 32\); expected \[b, h, w\]"),
        (0, ((1, 32, 32), "float32"), None, "label_map is float32; expected integer"),
        (0, ((1, 32, 32), "uint8"), (1, 5), "latent is given, but .* latent_size 0"),
        (5, ((1, 32, 32), "uint8"), None, r"latent has shape None; expected \(1, 5\)"),
        (5, ((1, 32, 32), "uint8"), (1, 4), r"shape \(1, 4\); expected \(1, 5\)"),
    ],
)
def test_input_errors(latent_size, labels, latent, text):
    arch = GeneratorArchitecture(3, base_features=1, latent_size=latent_size)
    shape, dtype = labels
    with pytest.raises(ValueError, match=text):
        SpadeGenerator(arch).apply(
            {"params": {}},
            jnp.zeros(shape, dtype),
            None if latent is None else jnp.zeros(latent),
            train=False,
        )
