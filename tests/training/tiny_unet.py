"""The smallest U-Net that trains, with variables drawn in NumPy, and batches for it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cmrjax.models.unet import Unet, UnetArchitecture
from cmrjax.training.augmentation import Augmentation
from cmrjax.training.plateau import start_plateau
from cmrjax.training.segmentation_step import (
    SegmentationObjective,
    SegmentationState,
    SegmentationStep,
)
from cmrjax.training.segmentation_trainer import SegmentationTrainer
from cmrjax.training.sharding import data_parallel
from tests.models.drawn import draw_variables

NUM_CLASSES, SIDE, BATCH = 3, 16, 4
RATE = 0.01
UNCHANGED = Augmentation(0.0, 1.0, 1.0, 0.0, flip=False)


def make_trainer(
    *,
    num_devices: int = 1,
    batch_size: int = BATCH,
    dropout: float = 0.0,
    optimizer: optax.GradientTransformation | None = None,
    augmentation: Augmentation = UNCHANGED,
    prepared_size: int = SIDE,
    **objective: Any,
) -> SegmentationTrainer:
    """Trainer of one level and two features for 16 x 16 images; Adam by default."""
    arch = UnetArchitecture(NUM_CLASSES, 2, 4, levels=1, dropout=dropout)
    return SegmentationTrainer(
        step=SegmentationStep(
            network=Unet(arch),
            optimizer=optimizer or optax.scale_by_adam(),
            objective=SegmentationObjective(**objective),
            augmentation=augmentation,
        ),
        learning_rate=RATE,
        placement=data_parallel(batch_size=batch_size, num_devices=num_devices),
        image_size=SIDE,
        prepared_size=prepared_size,
        batch_size=batch_size,
    )


def draw_state(
    trainer: SegmentationTrainer, *, rate: float = RATE, seed: int = 0
) -> SegmentationState:
    """A state as after some training: no array is at its initial value."""
    image = jnp.zeros((1, SIDE, SIDE, 1))
    variables = draw_variables(trainer.step.network.init, image, train=False, seed=seed)
    state = SegmentationState(
        step=jnp.zeros((), jnp.int32),
        variables=variables,
        opt_state=trainer.step.optimizer.init(variables["params"]),
        plateau=start_plateau(rate),
    )
    return trainer.placement.replicate(jax.tree.map(jnp.copy, state))


def draw_batch(
    seed: int = 0, *, padding: int = 4, batch_size: int = BATCH
) -> dict[str, Any]:
    """Blocks of classes, an image that shows them, and padded columns on the right."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, NUM_CLASSES, (batch_size, 4, 4))
    labels = np.kron(blocks, np.ones((1, 4, 4), int)).astype(np.uint8)
    valid = np.ones((batch_size, SIDE, SIDE, 1), bool)
    valid[:, :, SIDE - padding :] = False
    image = labels[..., None] - 1.0 + 0.2 * rng.normal(size=valid.shape)
    return {
        "label_map": np.where(valid[..., 0], labels, 0).astype(np.uint8),
        "image": np.where(valid, image, -1.0).astype(np.float32),
        "valid_mask": valid,
    }
