"""Compilation of a step that is a line, with and without constants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.training.compiled_step import compile_step, replicated_shapes
from cmrjax.training.sharding import data_parallel

KEY = jax.random.key(0)


def init(key):
    return {"weight": jax.random.normal(key, (3, 2)), "step": jnp.zeros((), jnp.int32)}


def by_constant(state, factor, batch, key):
    return plain({**state, "weight": factor * state["weight"]}, batch, key)


def plain(state, batch, key):
    mean = jnp.mean(batch["x"] @ state["weight"], axis=0)
    new = {"weight": state["weight"] - mean[None], "step": state["step"] + 1}
    return new, {"mean": mean}


@pytest.mark.parametrize("num_devices", [1, jax.device_count()])
@pytest.mark.parametrize("constants", [(), (np.float32(2.0),)])
def test_the_compiled_step_computes_the_step(num_devices, constants):
    placement = data_parallel(batch_size=4, num_devices=num_devices)
    split = jax.ShapeDtypeStruct((4, 3), np.float32, sharding=placement.split)
    compiled = compile_step(
        by_constant if constants else plain,
        placement,
        replicated_shapes(init, placement),
        constants,
        {"x": split},
        placement.replicate(KEY),
    )
    assert compiled.compile_seconds > 0
    assert compiled.flops >= 0
    assert compiled.memory_bytes >= 0
    weight = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    state = placement.replicate({"weight": weight.copy(), "step": np.int32(0)})
    batch = {"x": np.arange(12.0, dtype=np.float32).reshape(4, 3)}
    placed = placement.put_batch(batch)
    after, metrics = compiled.function(
        state, *placement.replicate(constants), placed, placement.replicate(KEY)
    )
    scaled = weight * (constants[0] if constants else 1.0)
    mean = (batch["x"] @ scaled).mean(axis=0)
    np.testing.assert_allclose(metrics["mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(after["weight"], scaled - mean, rtol=1e-6)
    assert int(after["step"]) == 1
    assert after["weight"].sharding == placement.replicated


def test_shapes_are_those_of_what_would_be_drawn():
    placement = data_parallel(batch_size=2)
    shapes = replicated_shapes(init, placement)
    assert (shapes["weight"].shape, shapes["weight"].dtype) == ((3, 2), np.float32)
    assert (shapes["step"].shape, shapes["step"].dtype) == ((), np.int32)
    assert all(x.sharding == placement.replicated for x in shapes.values())
