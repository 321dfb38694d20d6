"""One update of the segmentation network against its pieces put together here."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cmrjax.losses.segmentation import focal_tversky_loss
from cmrjax.training.augmentation import Augmentation, augment_batch
from cmrjax.training.segmentation_step import SegmentationObjective
from tests.models.numpy_layers import relative_error
from tests.training.tiny_unet import (
    BATCH,
    NUM_CLASSES,
    RATE,
    SIDE,
    UNCHANGED,
    draw_batch,
    draw_state,
    make_trainer,
)

SGD = optax.identity()  # the direction is the gradient: rate times it is the update


@functools.cache
def trainer(*, gradient=False, dropout=0.0, augmentation=UNCHANGED):
    optimizer = SGD if gradient else None
    return make_trainer(dropout=dropout, optimizer=optimizer, augmentation=augmentation)


@functools.cache
def step_of(**options):
    return jax.jit(trainer(**options).step)


def update(batch=None, *, seed=0, rate=RATE, step=0, **options):
    """(state before, state after, metrics) of one update."""
    state = draw_state(trainer(**options), rate=rate)
    state = dataclasses.replace(state, step=jnp.asarray(step, jnp.int32))  # type: ignore[type-var]
    batch = draw_batch() if batch is None else batch
    after, metrics = step_of(**options)(state, batch, jax.random.key(seed))
    return state, after, metrics


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def test_an_update_is_rate_times_the_gradient_of_the_loss():
    state, after, metrics = update(gradient=True)
    network, batch = trainer(gradient=True).step.network, draw_batch()

    @jax.value_and_grad
    def loss_of(params):
        logits, _ = network.apply(
            {**state.variables, "params": params},
            batch["image"],
            train=True,
            mutable=["batch_stats"],
        )
        return focal_tversky_loss(logits, batch["label_map"], batch["valid_mask"])

    loss, gradient = jax.jit(loss_of)(state.variables["params"])
    assert set(metrics) == {"loss", "learning_rate", "grad_norm"}
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["learning_rate"], RATE, rtol=1e-6)
    norm = np.linalg.norm(flat(gradient))
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-4)
    assert norm > 0.01
    moved = flat(after.variables["params"]) - flat(state.variables["params"])
    assert relative_error(moved, -RATE * flat(gradient)) < 1e-4
    assert int(after.step) == 1
    assert float(after.plateau.learning_rate) == pytest.approx(RATE)


def test_a_network_learns_a_batch_by_heart():
    """Adam at the given rate, 60 updates; padded columns have no label to learn."""
    state, step, batch = draw_state(trainer(), rate=0.03), step_of(), draw_batch()
    losses = []
    for _ in range(60):
        state, metrics = step(state, batch, jax.random.key(0))
        losses.append(float(metrics["loss"]))
    assert losses[0] > 0.6
    assert min(losses[-5:]) < 0.25
    assert int(state.step) == 60
    # Once the running statistics have caught up, evaluation has learnt the same.
    still = dataclasses.replace(
        state.plateau, learning_rate=jnp.zeros_like(state.plateau.learning_rate)
    )
    state = dataclasses.replace(state, plateau=still)
    for _ in range(60):
        state, metrics = step(state, batch, jax.random.key(0))
    network = trainer().step.network
    logits: Any = network.apply(state.variables, batch["image"], train=False)
    loss = focal_tversky_loss(logits, batch["label_map"], batch["valid_mask"])
    np.testing.assert_allclose(loss, metrics["loss"], rtol=0.02)
    right = np.asarray(logits).argmax(-1) == batch["label_map"]
    assert right[batch["valid_mask"][..., 0]].mean() > 0.9


def test_the_rate_of_the_state_scales_the_update():
    """A rate of 0 leaves the parameters, but not the statistics and the moments."""
    moved = {}
    for rate in (0.0, 0.01, 0.02):
        state, after, metrics = update(rate=rate)
        assert float(metrics["learning_rate"]) == pytest.approx(rate)
        moved[rate] = flat(after.variables["params"]) - flat(state.variables["params"])
        for part in ("batch_stats",):
            old, new = state.variables[part], after.variables[part]
            assert not np.allclose(flat(old), flat(new))
        assert not np.allclose(flat(state.opt_state), flat(after.opt_state))
    assert (moved[0.0] == 0).all()
    np.testing.assert_allclose(moved[0.02], 2 * moved[0.01], rtol=1e-3, atol=1e-6)
    # The first step of Adam is the rate for each parameter that has a gradient.
    assert np.median(np.abs(moved[0.01])) == pytest.approx(0.01, rel=1e-2)


def test_labels_of_padded_pixels_do_not_matter():
    batch = draw_batch()
    _, after, metrics = update(batch, gradient=True)
    hidden = ~batch["valid_mask"][..., 0]
    labels = np.where(hidden, 2, batch["label_map"]).astype(np.uint8)
    _, other, other_metrics = update({**batch, "label_map": labels}, gradient=True)
    jax.tree.map(np.testing.assert_array_equal, after, other)
    assert metrics["loss"] == other_metrics["loss"]
    # Nor does what the image holds there: it is padding to the network.
    image = np.where(hidden[..., None], 9.0, batch["image"]).astype(np.float32)
    _, other, _ = update({**batch, "image": image}, gradient=True)
    jax.tree.map(np.testing.assert_array_equal, after, other)
    # But those of the others do.
    labels = np.where(hidden, 0, 2 - batch["label_map"]).astype(np.uint8)
    _, other, _ = update({**batch, "label_map": labels}, gradient=True)
    assert not np.array_equal(flat(after.variables), flat(other.variables))


RANDOM = {"gradient": True, "dropout": 0.5, "augmentation": Augmentation()}


def test_dropout_and_augmentation_follow_key_and_step():
    losses = {
        (seed, step): float(update(seed=seed, step=step, **RANDOM)[2]["loss"])
        for seed, step in [(0, 0), (0, 1), (1, 0)]
    }
    assert len(set(losses.values())) == 3
    assert float(update(**RANDOM)[2]["loss"]) == losses[0, 0]


def test_without_dropout_and_augmentation_the_key_decides_nothing():
    _, first, _ = update(seed=0, gradient=True)
    _, other, _ = update(seed=1, step=0, gradient=True)
    jax.tree.map(np.testing.assert_array_equal, first, other)


def test_the_network_sees_the_augmented_batch():
    """The step's key, folded, is split: one for augmentation, one for dropout."""
    network = trainer(**RANDOM).step.network
    state, _, metrics = update(seed=5, step=3, **RANDOM)

    @jax.jit
    def loss_of(variables, batch):
        folded = jax.random.fold_in(jax.random.key(5), 3)
        augment_key, dropout_key = jax.random.split(folded)
        batch = augment_batch(
            augment_key, batch, RANDOM["augmentation"], num_classes=NUM_CLASSES
        )
        logits, _ = network.apply(
            variables,
            batch["image"],
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
        return focal_tversky_loss(logits, batch["label_map"], batch["valid_mask"])

    expected = loss_of(state.variables, draw_batch())
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)


# The objective.


def draw_logits() -> Any:
    rng = np.random.default_rng(0)
    return rng.normal(size=(BATCH, SIDE, SIDE, NUM_CLASSES)).astype(np.float32)


def test_objective_passes_its_values_on():
    logits, batch = draw_logits(), draw_batch()
    labels, valid = batch["label_map"], batch["valid_mask"]
    default = SegmentationObjective()(logits, batch)
    assert default == focal_tversky_loss(logits, labels, valid)
    values = {"alpha": 0.2, "beta": 0.6, "gamma": 2.0}
    found = SegmentationObjective(**values)(logits, batch)
    assert found == focal_tversky_loss(logits, labels, valid, **values)
    assert found != default


def test_cross_entropy_is_added_over_valid_pixels():
    logits, batch = draw_logits(), draw_batch()
    z = logits.astype(np.float64)
    share = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    of_truth = np.take_along_axis(share, batch["label_map"][..., None].astype(int), -1)
    entropy = -np.log(of_truth)[batch["valid_mask"]].mean()
    plain = SegmentationObjective()(logits, batch)
    both = SegmentationObjective(cross_entropy_weight=0.5)(logits, batch)
    np.testing.assert_allclose(both - plain, 0.5 * entropy, rtol=1e-5)
    nothing = {**batch, "valid_mask": np.zeros_like(batch["valid_mask"])}
    assert np.isfinite(SegmentationObjective(cross_entropy_weight=1.0)(logits, nothing))


def test_half_precision_keeps_state_and_loss_in_float32():
    """Activations alone are in bfloat16; a step is then near that of float32."""
    trainer = make_trainer(optimizer=optax.identity())
    start, batch = draw_state(trainer), draw_batch()
    found = {}
    for dtype in ("float32", "bfloat16"):
        network = trainer.step.network.clone(dtype=jnp.dtype(dtype))
        step = dataclasses.replace(trainer.step, network=network)
        after, metrics = jax.jit(step)(start, batch, jax.random.key(0))
        assert all(x.dtype != jnp.bfloat16 for x in jax.tree.leaves((after, metrics)))
        found[dtype] = float(metrics["loss"]), float(metrics["grad_norm"])
    assert found["bfloat16"] != found["float32"]
    np.testing.assert_allclose(found["bfloat16"], found["float32"], rtol=0.1)
