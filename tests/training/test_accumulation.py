"""Parts of a batch in turn: their means, what goes from part to part, their order."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.training.accumulation import accumulate, check_accumulation
from tests.training import tiny_gan, tiny_unet

KEY = jax.random.key(3)


def weighted(changing, batch, key):
    """Gradient: the sum of x. It counts its calls and keeps what it saw last."""
    total = jnp.sum(batch["x"])
    count, _ = changing
    scalars = {"sum": total, "draw": jax.random.uniform(key)}
    return {"w": total}, (count + 1, batch["x"]), scalars


def run(parts):
    x = jnp.arange(6.0)
    start = (jnp.int32(0), jnp.zeros(6 // parts))
    return jax.jit(functools.partial(accumulate, weighted, parts=parts))(
        start, {"x": x}, jax.random.key(3)
    )


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_gradients_and_scalars_are_means_over_the_parts(parts):
    grads, (count, seen), scalars = run(parts)
    np.testing.assert_allclose(grads["w"], 15 / parts, rtol=1e-6)
    np.testing.assert_allclose(scalars["sum"], 15 / parts, rtol=1e-6)
    assert int(count) == parts
    # The last part has every parts-th example, from number parts - 1.
    np.testing.assert_array_equal(seen, np.arange(6.0)[parts - 1 :: parts])


def test_each_part_draws_with_a_key_of_its_own():
    key = jax.random.key(3)
    draws = [jax.random.uniform(jax.random.fold_in(key, i)) for i in range(3)]
    np.testing.assert_allclose(run(3)[2]["draw"], np.mean(draws), rtol=1e-6)
    whole = run(1)[2]["draw"]
    np.testing.assert_allclose(whole, jax.random.uniform(jax.random.key(3)), rtol=1e-6)


def test_parts_that_do_not_divide_the_batch_are_refused():
    check_accumulation(2, batch_size=8, num_devices=4)
    for parts in (0, -1, 3, 16):
        with pytest.raises(ValueError, match=rf"accumulation is {parts}: .* 8 "):
            check_accumulation(parts, batch_size=8, num_devices=1)
    with pytest.raises(ValueError, match=r"4 device\(s\); expected a divisor of 2"):
        check_accumulation(4, batch_size=8, num_devices=4)
    with pytest.raises(ValueError, match="accumulation is 3"):
        dataclasses.replace(tiny_gan.make_trainer(), accumulation=3)
    trainer = tiny_unet.make_trainer()
    with pytest.raises(ValueError, match="accumulation is 3"):
        dataclasses.replace(
            trainer, step=dataclasses.replace(trainer.step, accumulation=3)
        )


def test_a_gan_step_of_two_parts_is_two_forwards_and_one_update():
    """SGD with a new trace moves by rate times the gradient: means of moves."""
    trainer = tiny_gan.make_trainer(generator_passes=1)
    start, batch = tiny_gan.draw_state(trainer), tiny_gan.draw_batch()
    divided = dataclasses.replace(trainer, accumulation=2)
    after, metrics = divided.compile(None, KEY).function(
        tiny_gan.copy_of(start), None, trainer.placement.put_batch(batch), KEY
    )
    single = jax.jit(trainer.step)
    states, found, state = [], [], start
    for i in (0, 1):
        part = {name: jnp.asarray(x[i : i + 1]) for name, x in batch.items()}
        moved, scalars = single(state, None, part, KEY)
        states.append(moved)
        found.append(scalars)
        state = dataclasses.replace(  # the parameters of the start, the rest goes on
            start,
            g_variables={**moved.g_variables, "params": start.g_variables["params"]},
            d_variables={**moved.d_variables, "params": start.d_variables["params"]},
        )
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    for field in ("g_variables", "d_variables"):
        first, second = (getattr(x, field) for x in states)
        expected = jax.tree.map(
            lambda a, b: (a + b) / 2, first["params"], second["params"]
        )
        end = getattr(after, field)
        jax.tree.map(close, end, {**second, "params": expected})
    for name in set(metrics) - {"g_grad_norm", "d_grad_norm"}:
        mean = (found[0][name] + found[1][name]) / 2
        np.testing.assert_allclose(metrics[name], mean, rtol=1e-4, err_msg=name)
    assert int(after.step) == 1


def test_a_segmentation_step_of_two_parts_has_the_mean_gradient():
    trainer = tiny_unet.make_trainer(optimizer=tiny_unet.optax.identity())
    start, batch = tiny_unet.draw_state(trainer), tiny_unet.draw_batch()
    step = jax.jit(trainer.step)
    parts = [{k: x[i::2] for k, x in batch.items()} for i in (0, 1)]
    moved, losses, state = [], [], start
    for part in parts:
        after, metrics = step(state, part, KEY)
        moved.append(after.variables["params"])
        losses.append(float(metrics["loss"]))
        state = dataclasses.replace(
            start,
            variables={**after.variables, "params": start.variables["params"]},
        )
    divided = jax.jit(dataclasses.replace(trainer.step, accumulation=2))
    after, metrics = divided(start, batch, KEY)
    np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-5)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    expected = jax.tree.map(lambda a, b: (a + b) / 2, *moved)
    jax.tree.map(close, after.variables["params"], expected)
    jax.tree.map(close, after.variables["batch_stats"], state.variables["batch_stats"])


@pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")
@pytest.mark.parametrize(
    "network", ["segmentation", pytest.param("gan", marks=pytest.mark.slow)]
)
def test_two_devices_take_the_parts_that_one_takes(network):
    """Each part is split over the devices; its statistics are those of the part."""
    found = {}
    for count in (1, 2):
        trainer, constants, draw_state, batch = _accumulating(network, count)
        step = trainer.compile(*constants, trainer.placement.replicate(KEY)).function
        placed = trainer.placement.put_batch(batch)
        after, metrics = step(draw_state(trainer), *constants, placed, KEY)
        networks = {k: v for k, v in vars(after).items() if k.endswith("variables")}
        found[count] = jax.device_get((networks, metrics))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, found[2], found[1])
    trainer, constants, draw_state, batch = _accumulating(network, 1, parts=1)
    step = trainer.compile(*constants, KEY).function
    whole, _ = step(draw_state(trainer), *constants, batch, KEY)
    (name,) = [k for k in found[1][0] if k in ("variables", "g_variables")]
    ours = found[1][0][name]["batch_stats"]
    others = jax.device_get(getattr(whole, name)["batch_stats"])
    differences = jax.tree.map(lambda a, b: np.abs(a - b).max(), ours, others)
    assert max(jax.tree.leaves(differences)) > 1e-3  # parts are not the whole


def _accumulating(
    network: str, num_devices: int, *, parts: int = 2
) -> tuple[Any, tuple, Any, dict]:
    """Trainer, constants of its step, what draws its state, and a batch of four."""
    if network == "gan":
        trainer = tiny_gan.make_trainer(
            num_devices=num_devices, batch_size=4, generator_passes=1
        )
        trainer = dataclasses.replace(trainer, accumulation=parts)
        return trainer, (None,), tiny_gan.draw_state, tiny_gan.draw_batch(batch_size=4)
    # SGD: what rounding makes of a gradient that is zero stays small.
    trainer = tiny_unet.make_trainer(
        num_devices=num_devices, optimizer=tiny_unet.optax.identity()
    )
    step = dataclasses.replace(trainer.step, accumulation=parts)
    trainer = dataclasses.replace(trainer, step=step)
    return trainer, (), tiny_unet.draw_state, tiny_unet.draw_batch()
