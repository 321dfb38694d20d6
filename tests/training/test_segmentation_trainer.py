"""The segmentation's trainer: shapes, placement, its compiled step on two devices."""

import jax
import numpy as np
import optax
import pytest

from cmrjax.training.augmentation import Augmentation
from tests.models.numpy_layers import relative_error
from tests.training.tiny_unet import (
    BATCH,
    RATE,
    SIDE,
    draw_batch,
    draw_state,
    make_trainer,
)

KEY = jax.random.key(7)
needs_two = pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")


def shapes_of(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def test_abstract_state_is_that_of_a_real_one():
    trainer = make_trainer()
    abstract, state = trainer.abstract_state(), draw_state(trainer)
    assert jax.tree.structure(abstract) == jax.tree.structure(state)
    assert shapes_of(abstract) == shapes_of(state)
    assert shapes_of(jax.eval_shape(trainer.init, jax.random.key(0))) == shapes_of(
        state
    )
    for leaf in jax.tree.leaves(abstract):
        assert leaf.sharding == trainer.placement.replicated


def test_init_draws_kernels_of_he_and_is_decided_by_the_key():
    trainer = make_trainer()
    first, same, other = (trainer.init(jax.random.key(s)) for s in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, same)
    kernel = first.variables["params"]["bottleneck"]["conv_1"]["kernel"]
    assert not np.array_equal(
        kernel, other.variables["params"]["bottleneck"]["conv_1"]["kernel"]
    )
    # Variance 2 / (1.04 fan_in), 144 values.
    assert 0.75 < np.std(kernel) / np.sqrt(2 / 1.04 / 36) < 1.25
    assert float(first.plateau.learning_rate) == pytest.approx(RATE)
    assert int(first.step) == 0


def run(num_devices, **options):
    """State before, state after, metrics: host arrays; and the compiled step."""
    trainer = make_trainer(
        num_devices=num_devices, optimizer=optax.identity(), **options
    )
    state = draw_state(trainer)
    before = jax.tree.map(np.array, state)  # copies: a view would keep the buffers
    compiled = trainer.compile(trainer.placement.replicate(KEY))
    batch = trainer.placement.put_batch(draw_batch())
    after, metrics = compiled.function(state, batch, KEY)
    assert state.variables["params"]["scores"]["bias"].is_deleted()  # donated
    return before, jax.device_get(after), jax.device_get(metrics), compiled


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@needs_two
def test_two_devices_compute_what_one_does():
    """With augmentation: its random numbers do not depend on the devices either."""
    augmentation = Augmentation(rotation=90.0)
    before, one, one_metrics, compiled = run(1, augmentation=augmentation)
    _, two, two_metrics, _ = run(2, augmentation=augmentation)
    for name, value in one_metrics.items():
        np.testing.assert_allclose(two_metrics[name], value, rtol=1e-4, err_msg=name)
    statistics = [state.variables["batch_stats"] for state in (two, one)]
    assert relative_error(*map(flat, statistics)) < 1e-5
    start = flat(before.variables["params"])
    updates = [flat(state.variables["params"]) - start for state in (two, one)]
    assert np.linalg.norm(updates[1]) > 1e-3
    assert relative_error(*updates) < 1e-3
    assert int(two.step) == int(one.step) == 1
    # What the compiled step says of itself.
    assert compiled.compile_seconds > 0
    assert compiled.flops > 1e5
    assert compiled.memory_bytes > 0


def test_examples_are_larger_than_what_the_network_sees():
    trainer = make_trainer(prepared_size=24, augmentation=Augmentation(size=SIDE))
    shapes = trainer._batch_shapes()
    assert shapes["image"].shape == (BATCH, 24, 24, 1)
    assert shapes["label_map"].shape == (BATCH, 24, 24)
    state, metrics = jax.eval_shape(trainer.step, trainer.abstract_state(), shapes, KEY)
    assert shapes_of(state) == shapes_of(trainer.abstract_state())
    assert set(metrics) == {"loss", "learning_rate", "grad_norm"}
