"""What the state holds, and that its initialisation is one of the key alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cmrjax.models.discriminator import (
    DiscriminatorArchitecture,
    MultiscaleDiscriminator,
)
from cmrjax.models.spade_generator import GeneratorArchitecture, SpadeGenerator
from cmrjax.training.optimizer import adam
from cmrjax.training.state import init_state, init_variables


def build(key, **options):
    generator = SpadeGenerator(GeneratorArchitecture(3, 1, **options))
    discriminator = MultiscaleDiscriminator(DiscriminatorArchitecture(3, 1))
    return init_state(
        generator, discriminator, adam(1e-4), optax.sgd(1e-3), key, image_size=64
    )


def test_collections_and_optimiser_states():
    state = jax.eval_shape(build, jax.random.key(0))
    assert (state.step.shape, state.step.dtype) == ((), jnp.int32)
    assert set(state.g_variables) == {"params", "batch_stats", "spectral"}
    assert set(state.d_variables) == {"params", "spectral"}
    moments = [x for x in jax.tree.leaves(state.g_opt_state) if x.shape]
    params = jax.tree.leaves(state.g_variables["params"])
    assert len(moments) == len(params)  # with b1 = 0 there are only second moments
    assert {x.dtype.name for x in jax.tree.leaves(state)} == {"float32", "int32"}


def test_the_networks_draw_from_different_keys_and_the_key_decides():
    @jax.jit
    def draw(key):
        state = build(key)
        d = state.d_variables["params"]
        scales = [d[f"discriminator_{i}"]["model4"]["kernel"] for i in (0, 1)]
        return state.step, state.g_variables["params"]["conv_img"]["kernel"], *scales

    first, again, other = (draw(jax.random.key(i)) for i in (0, 0, 1))
    assert first[0] == 0
    for a, b, c in zip(first[1:], again[1:], other[1:], strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.allclose(a, c)
    assert not np.allclose(first[2], first[3])


def test_size_matters_only_for_the_latent():
    def shapes(latent_size, image_size):
        arch = GeneratorArchitecture(3, 1, latent_size=latent_size)
        variables = jax.eval_shape(
            lambda key: init_variables(
                SpadeGenerator(arch), key, image_size=image_size
            ),
            jax.random.key(0),
        )
        return jax.tree.map(lambda x: x.shape, variables)

    assert shapes(0, 32) == shapes(0, 128)
    assert shapes(5, 32)["params"]["fc"]["kernel"] == (5, 16)
    assert shapes(5, 128)["params"]["fc"]["kernel"] == (5, 16 * 4 * 4)
