"""Counts of arithmetic against SPEC's figures, hand counts and XLA's own analysis."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.models.discriminator import (
    DiscriminatorArchitecture,
    MultiscaleDiscriminator,
)
from cmrjax.models.neighbourhood_table import TableModulation
from cmrjax.models.spade_generator import GeneratorArchitecture, SpadeGenerator
from cmrjax.models.table_size import table_for_unseen_maps
from cmrjax.models.vgg19 import LAYER_WIDTHS, prepare_weights, vgg19_features
from cmrjax.training.gan_objective import GanObjective
from cmrjax.training.gan_step import GanStep
from cmrjax.training.gan_trainer import GanTrainer
from cmrjax.training.optimizer import adam
from cmrjax.training.sharding import data_parallel
from tools.flops import (
    CONVOLUTION,
    MODULATION,
    discriminator_layers,
    forward,
    generator_layers,
    inference_flops,
    iteration_flops,
    parameter_gradient,
    step_flops,
    vgg19_layers,
)

FULL = GeneratorArchitecture(9)
SHAPE = (1, 256, 256)
SMALL = GeneratorArchitecture(9, base_features=16)
# XLA leaves out the products with padding (nearly all of 4 x 4 pixels' border) and adds
# what is elementwise.
TOLERANCE = 0.08


def giga(layers, kind, heights) -> float:
    chosen = [x for x in layers if x.kind == kind and x.height in heights]
    return forward(chosen) / 1e9


def test_generator_by_resolution_as_in_the_published_count():
    layers = generator_layers(FULL, SHAPE)
    below = (32, 16, 8)
    heights = ((256,), (128,), (64,), below)
    modulation = [round(giga(layers, MODULATION, h)) for h in heights]
    others = [round(giga(layers, CONVOLUTION, h)) for h in heights]
    assert modulation == [50, 25, 12, 9]
    assert others == [8, 8, 8, 19]
    assert forward(layers) / 1e9 == pytest.approx(138, abs=1)


def test_counts_grow_with_the_batch_and_the_area():
    once = forward(generator_layers(FULL, SHAPE))
    assert forward(generator_layers(FULL, (3, 256, 512))) == 6 * once


@pytest.mark.parametrize("stride", [32, 64, 128])
def test_generator_parameters_follow_from_the_layers(stride):
    """Multiply-adds over pixels are the kernels' elements."""
    arch = GeneratorArchitecture(5, base_features=4, seed_stride=stride)
    shapes = jax.eval_shape(
        lambda k: SpadeGenerator(arch).init(
            k, jnp.zeros((1, stride, stride), jnp.uint8), train=False
        ),
        jax.random.key(0),
    )
    kernels = [
        np.prod(leaf.shape)
        for leaf in jax.tree.leaves(shapes["params"])
        if len(leaf.shape) == 4
    ]
    layers = generator_layers(arch, (1, stride, stride))
    assert sum(x.madds / x.height**2 for x in layers) == sum(kernels)


def test_latent_seed_is_a_dense_layer():
    arch = GeneratorArchitecture(9, base_features=4, latent_size=256)
    first = generator_layers(arch, (2, 64, 64))[0]
    assert first.madds == 2 * 256 * (16 * 4 * 2 * 2)


def test_a_table_counts_its_rows():
    k, c, rows = 9, 128 + 64 + 128, 4096
    dense = generator_layers(FULL, SHAPE)
    table = generator_layers(FULL, SHAPE, table_rows=[(256, rows)], groups=2)
    by_hand = 2 * rows * (3 * 9 * 9 * k * 128 + 9 * 128 * 2 * c)
    assert giga(table, MODULATION, (256,)) == pytest.approx(by_hand / 1e9)
    for height in (128, 64, 8):
        assert giga(table, MODULATION, (height,)) == giga(dense, MODULATION, (height,))
    assert giga(table, CONVOLUTION, (256,)) == giga(dense, CONVOLUTION, (256,))


def test_discriminator_outputs_have_the_published_sizes():
    layers = discriminator_layers(DiscriminatorArchitecture(9), SHAPE)
    sizes = [layer.height for layer in layers]
    assert sizes == [129, 65, 33, 34, 35, 65, 33, 17, 18, 19]
    kernels = sum(layer.madds / layer.height**2 for layer in layers)
    # Of the 5,542,018 parameters, a bias of 64 and one of 1 per scale are no kernels.
    assert kernels == 5_542_018 - 2 * 65


def test_vgg19_by_hand():
    layers = vgg19_layers(("conv1_1", "conv1_2", "conv2_1"), (2, 9, 8), in_channels=1)
    pixels = 9 * 2 * np.array([9 * 8, 9 * 8, 4 * 4])
    assert [x.madds for x in layers] == list(pixels * [64, 64 * 64, 64 * 128])


def test_iteration_adds_up():
    g, d = (
        generator_layers(SMALL, SHAPE),
        discriminator_layers(DiscriminatorArchitecture(9), SHAPE),
    )
    v = vgg19_layers(tuple(LAYER_WIDTHS), SHAPE)
    two = iteration_flops(g, d, v)
    one = iteration_flops(g, d, v, generator_passes=1)
    assert two - one == 2 * forward(g) + 4 * forward(d)
    assert two - iteration_flops(g, d) == 6 * forward(v)
    d_first = d[0].madds + d[5].madds
    d_gradient = 2 * (2 * forward(d) - d_first)
    assert two == 2 * (
        2 * forward(g)
        + parameter_gradient(g)
        + 5 * forward(d)
        + d_gradient
        + 3 * forward(v)
    )


def make_trainer(side: int, passes: int = 2) -> GanTrainer:
    return GanTrainer(
        SpadeGenerator(SMALL),
        MultiscaleDiscriminator(DiscriminatorArchitecture(9, 16)),
        adam(1e-4),
        adam(4e-4),
        GanObjective(generator_passes=passes),
        data_parallel(batch_size=1, num_devices=1),
        image_size=side,
        batch_size=1,
    )


def draw_vgg():
    arrays = {}
    for name, (c_in, c_out) in LAYER_WIDTHS.items():
        arrays[f"{name}.kernel"] = np.ones((3, 3, c_in, c_out), np.float32)
        arrays[f"{name}.bias"] = np.zeros(c_out, np.float32)
    return prepare_weights(arrays, convention="torchvision")


@pytest.fixture
def without_cpu_kernels(monkeypatch):
    """Plain convolutions: the CPU's products in loops are counted once by XLA."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.mark.parametrize("passes", [1, 2])
def test_a_dense_iteration_is_what_xla_counts(without_cpu_kernels, passes):
    trainer, vgg = make_trainer(128, passes), draw_vgg()
    counted = xla_flops(trainer, vgg)
    assert step_flops(trainer, vgg, dense=True) == pytest.approx(counted, rel=TOLERANCE)


def xla_flops(trainer, vgg) -> float:
    """What XLA counts in the program as it is handed over, not compiled."""
    step = GanStep(
        trainer.generator,
        trainer.discriminator,
        trainer.g_optimizer,
        trainer.d_optimizer,
        trainer.objective,
    )
    side = trainer.image_size
    batch = {
        "label_map": jax.ShapeDtypeStruct((1, side, side), np.uint8),
        "image": jax.ShapeDtypeStruct((1, side, side, 1), np.float32),
        "valid_mask": jax.ShapeDtypeStruct((1, side, side, 1), np.bool_),
    }
    key = jax.random.key(0)
    lowered = jax.jit(step).lower(trainer.abstract_state(), vgg, batch, key)
    return float(lowered.cost_analysis()["flops"])  # type: ignore[index]


def test_inference_is_what_xla_counts(without_cpu_kernels):
    generator = SpadeGenerator(SMALL)
    labels = jax.ShapeDtypeStruct((1, 128, 128), np.uint8)
    variables = jax.eval_shape(
        lambda k, x: generator.init(k, x, train=False), jax.random.key(0), labels
    )
    lowered = jax.jit(lambda v, x: generator.apply(v, x, train=False)).lower(
        variables, labels
    )
    counted = float(lowered.cost_analysis()["flops"])  # type: ignore[index]
    dense = inference_flops(SMALL, (1, 128, 128), dense=True)
    assert dense == pytest.approx(counted, rel=TOLERANCE)


def test_vgg19_is_what_xla_counts(without_cpu_kernels):
    vgg = draw_vgg()
    image = jax.ShapeDtypeStruct((1, 128, 128, 1), np.float32)
    lowered = jax.jit(vgg19_features).lower(vgg, image)
    counted = float(lowered.cost_analysis()["flops"])  # type: ignore[index]
    layers = vgg19_layers(vgg.layers, (1, 128, 128), in_channels=1)
    assert 2 * forward(layers) == pytest.approx(counted, rel=TOLERANCE)


def test_tables_lower_the_count_of_step_and_inference():
    trainer = make_trainer(128)
    rows = ((128, 2000),)
    generator = trainer.generator.clone(modulation=TableModulation(rows))
    tabled = dataclasses.replace(trainer, generator=generator)
    dense = step_flops(tabled, None, dense=True)
    assert dense == step_flops(trainer, None, dense=False)
    assert step_flops(tabled, None, dense=False) < dense
    assert table_for_unseen_maps(FULL, SHAPE).rows
    assert inference_flops(FULL, SHAPE, dense=False) < inference_flops(
        FULL, SHAPE, dense=True
    )
