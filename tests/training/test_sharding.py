"""Placement, and that two devices compute what one does."""

import jax
import numpy as np
import pytest

from cmrjax.training.sharding import data_parallel
from tests.models.numpy_layers import relative_error
from tests.training.tiny_gan import copy_of, draw_batch, draw_state, make_trainer

KEY = jax.random.key(7)

needs_two = pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")


@needs_two
def test_batches_are_split_and_the_state_is_copied():
    placement = data_parallel(batch_size=4, num_devices=2)
    assert placement.num_devices == 2
    batch = placement.put_batch({"x": np.arange(8.0, dtype=np.float32).reshape(4, 2)})
    assert [s.data.shape for s in batch["x"].addressable_shards] == [(2, 2), (2, 2)]
    np.testing.assert_array_equal(batch["x"], np.arange(8.0).reshape(4, 2))
    tree = placement.replicate({"w": np.ones(3, np.float32)})
    assert [s.data.shape for s in tree["w"].addressable_shards] == [(3,), (3,)]


@needs_two
@pytest.mark.parametrize("batch_size", [3, 0, -2])
def test_a_batch_that_does_not_divide_is_refused(batch_size):
    with pytest.raises(
        ValueError, match=rf"batch_size is {batch_size}, .* 2 devices; use a multiple"
    ):
        data_parallel(batch_size=batch_size, num_devices=2)


def test_all_devices_by_default():
    placement = data_parallel(batch_size=2 * jax.device_count())
    assert placement.num_devices == jax.device_count()


@needs_two
def test_two_devices_compute_what_one_does():
    """Gradients (through SGD) and batch statistics over the global batch."""
    results = []
    for num_devices in (1, 2):
        trainer = make_trainer(num_devices=num_devices)
        state = copy_of(draw_state(trainer))
        before = jax.device_get(state)
        compiled = trainer.compile(None, KEY)
        batch = trainer.placement.put_batch(draw_batch(0))
        after, metrics = compiled.function(state, None, batch, KEY)
        results.append((before, jax.device_get(after), jax.device_get(metrics)))
    (before, one, one_metrics), (_, two, two_metrics) = results
    for name, value in one_metrics.items():
        np.testing.assert_allclose(two_metrics[name], value, rtol=1e-4, err_msg=name)
    for a, b in zip(
        jax.tree.leaves(one.g_variables["batch_stats"]),
        jax.tree.leaves(two.g_variables["batch_stats"]),
        strict=True,
    ):
        assert relative_error(b, a) < 1e-5
    for network in ("g_variables", "d_variables"):
        start = jax.tree.leaves(getattr(before, network)["params"])
        first = jax.tree.leaves(getattr(one, network)["params"])
        second = jax.tree.leaves(getattr(two, network)["params"])
        update = [np.ravel(a - s) for a, s in zip(first, start, strict=True)]
        other = [np.ravel(b - s) for b, s in zip(second, start, strict=True)]
        assert relative_error(np.concatenate(other), np.concatenate(update)) < 1e-3
