"""Computes a training step on one device and on eight, and what differs.

Run in a process of its own with eight CPU devices; prints JSON, relative errors by
quantity:

    XLA_FLAGS=--xla_force_host_platform_device_count=8 \
        python -m tests.training.eight_devices FOLDER CASE
"""

import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cmrjax.models.neighbourhood_table import TableModulation, build_table
from cmrjax.models.spade import DenseModulation
from cmrjax.training.augmentation import Augmentation
from cmrjax.training.checkpoint import CheckpointStore
from tests.training import tiny_gan, tiny_unet

BATCH = 8
KEY = jax.random.key(7)
ROWS = 600  # of each table: what the blocks below need
TABLES = tuple((tiny_gan.SIDE // stride, ROWS) for stride in (2, 1))
GAN_CASES: dict[str, dict[str, Any]] = {
    "two passes": {},
    "one pass": {"passes": 1},
    "table": {"table": True},
}
SMALLEST = 1e-2  # of the largest number of a tree: what a leaf is measured by
# Keeps the gradients as they are in its state, and moves the parameters a little.
KEEP_GRADIENTS = optax.chain(optax.trace(decay=0.0), optax.scale(-1e-3))


def worst_leaf(one: Any, other: Any) -> float:
    """Largest error of a leaf, relative to that leaf's largest number.

    Or to a share of the largest number of all leaves: what is zero but for rounding,
    as the gradient of a bias before a normalisation, has no size of its own.
    """
    pairs = [
        (np.asarray(a, float), np.asarray(b, float))
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    ]
    floor = SMALLEST * max(np.abs(a).max(initial=0) for a, _ in pairs)
    return max(
        float(np.abs(a - b).max() / max(np.abs(a).max(), floor)) for a, b in pairs
    )


def gan_quantities(state: Any) -> dict[str, Any]:
    """What must not depend on the devices."""
    return {
        "g_gradients": state.g_opt_state[0].trace,
        "d_gradients": state.d_opt_state[0].trace,
        "batch_statistics": state.g_variables["batch_stats"],
        "g_spectral": state.g_variables["spectral"],
        "d_spectral": state.d_variables["spectral"],
    }


def segmentation_quantities(state: Any) -> dict[str, Any]:
    """What must not depend on the devices."""
    return {
        "gradients": state.opt_state[0].trace,
        "batch_statistics": state.variables["batch_stats"],
    }


def gan_batch() -> dict[str, np.ndarray]:
    """Blocks of labels, whose neighbourhoods fit into tables."""
    batch = tiny_gan.draw_batch(batch_size=BATCH)
    blocks = np.random.default_rng(1).integers(0, tiny_gan.NUM_CLASSES, (BATCH, 2, 2))
    side = tiny_gan.SIDE // 2
    batch["label_map"] = np.kron(blocks, np.ones((1, side, side))).astype(np.uint8)
    return batch


def gan_trainer(num_devices: int, *, table: bool = False, passes: int = 2) -> Any:
    """The smallest GAN; eight devices have eight tables."""
    modulation = TableModulation(TABLES, groups=num_devices)
    return tiny_gan.make_trainer(
        num_devices=num_devices,
        batch_size=BATCH,
        modulation=modulation if table else DenseModulation(),
        optimizer=KEEP_GRADIENTS,
        average_decay=0.5,
        generator_passes=passes,
    )


def segmentation_trainer(num_devices: int) -> Any:
    """The smallest U-Net, with augmentation and dropout."""
    return tiny_unet.make_trainer(
        num_devices=num_devices,
        batch_size=BATCH,
        dropout=0.2,
        optimizer=KEEP_GRADIENTS,
        augmentation=Augmentation(rotation=90.0),
    )


class Training:
    """A compiled step on some devices.

    Args:
      trainer: whose step it is.
      constants: what the step takes besides state, batch and key.
    """

    def __init__(self, trainer: Any, *constants: Any) -> None:
        self.trainer, self._constants = trainer, constants
        key = trainer.placement.replicate(KEY)
        self._step = trainer.compile(*constants, key).function

    def __call__(self, state: Any, batch: dict[str, np.ndarray]) -> tuple[Any, Any]:
        placed = self.trainer.placement.put_batch(batch)
        return self._step(state, *self._constants, placed, KEY)


def errors(one: Any, other: Any) -> dict[str, float]:
    """Relative errors of quantities by name, each of its worst leaf."""
    return {name: worst_leaf(one[name], other[name]) for name in one}


def compare(
    make: Callable[[int], Training],
    draw: Callable[[Any], Any],
    batch: dict[str, np.ndarray],
    quantities: Callable[[Any], dict[str, Any]],
    folder: pathlib.Path,
) -> dict[str, dict[str, float]]:
    """Steps on one device and on eight; then each goes on from the other's checkpoint.

    Returns:
      Errors of the step, of a step on an eighth of the batch (which must be large), and
      of the steps after the change of devices.
    """
    trainings = {count: make(count) for count in (1, 8)}
    found, losses, after_change = {}, {}, {}
    for count, training in trainings.items():
        state, metrics = training(draw(training.trainer), batch)
        found[count], losses[count] = jax.device_get((quantities(state), metrics))
        with CheckpointStore(folder / str(count)) as store:
            store.save(1, state, position={}, facts={})
    for count, other in ((1, 8), (8, 1)):
        training = trainings[other]
        with CheckpointStore(folder / str(count)) as store:
            state, _, _ = store.restore(1, training.trainer.abstract_state())
        state, metrics = training(state, batch)
        after_change[other] = jax.device_get((quantities(state), metrics))
    eighth = {k: np.repeat(v[:1], BATCH, axis=0) for k, v in batch.items()}
    training = trainings[1]
    state, _ = training(draw(training.trainer), eighth)
    return {
        "step": {**errors(found[1], found[8]), **errors(losses[1], losses[8])},
        "eighth": errors(found[1], jax.device_get(quantities(state))),
        "changed": errors(after_change[1][0], after_change[8][0])
        | errors(after_change[1][1], after_change[8][1]),
    }


def settled_average() -> dict[str, float]:
    """Batch statistics of the average of G, over all devices."""
    maps = np.stack([gan_batch()["label_map"], gan_batch()["label_map"][:, ::-1]])
    found = {}
    for count in (1, 8):
        trainer = gan_trainer(count)
        state = trainer.settle(maps)(tiny_gan.draw_state(trainer))
        found[count] = {"average": jax.device_get(state.g_average["batch_stats"])}
    return errors(found[1], found[8])


def check_tables(batch: dict[str, np.ndarray]) -> None:
    """Asserts that no map falls back to the dense path."""
    for height, rows in TABLES:
        stride = tiny_gan.SIDE // height
        labels = jnp.asarray(batch["label_map"][:, ::stride, ::stride])
        table = build_table(labels, num_classes=tiny_gan.NUM_CLASSES, rows=rows)
        assert table.fits


def main(folder: pathlib.Path, case: str) -> None:
    """Prints the errors of a case."""
    assert jax.device_count() == 8, jax.devices()
    if case == "settled average":
        found: Any = settled_average()
    elif case == "segmentation":
        found = compare(
            lambda count: Training(segmentation_trainer(count)),
            tiny_unet.draw_state,
            tiny_unet.draw_batch(batch_size=BATCH),
            segmentation_quantities,
            folder,
        )
    else:
        batch, options = gan_batch(), GAN_CASES[case]
        check_tables(batch)
        found = compare(
            lambda count: Training(gan_trainer(count, **options), None),
            tiny_gan.draw_state,
            batch,
            gan_quantities,
            folder,
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2])
