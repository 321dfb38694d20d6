"""The smallest real GAN, with variables drawn in NumPy, and batches for it."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cmrjax.models.convolution import Conv, leaky_relu, upsample_nearest
from cmrjax.models.discriminator import (
    DiscriminatorArchitecture,
    MultiscaleDiscriminator,
)
from cmrjax.models.spade import DenseModulation, Modulation, SpadeResidualBlock
from cmrjax.models.spade_generator import (
    GeneratorArchitecture,
    downsample_labels,
)
from cmrjax.training.gan_objective import GanObjective
from cmrjax.training.gan_trainer import GanTrainer
from cmrjax.training.sharding import data_parallel
from cmrjax.training.state import GanState
from tests.models.drawn import draw_variables

NUM_CLASSES, SIDE, BATCH = 3, 64, 2
DENSE = DenseModulation()


class ShortGenerator(nn.Module):
    """Seed, one block with a shortcut, one without, output: quick to compile."""

    architecture: GeneratorArchitecture
    modulation: Modulation = DENSE

    @nn.compact
    def __call__(self, label_map, latent=None, *, train):
        arch = self.architecture
        x = None
        for name, stride, features in (("", 4, 4), ("up_0", 2, 4), ("up_1", 1, 2)):
            modulation = self.modulation if name else DENSE
            context = modulation.prepare(
                downsample_labels(label_map, stride),
                num_classes=arch.num_classes,
                dtype=jnp.float32,
            )
            if x is None:
                x = Conv(features, 3, padding=1, name="fc")(context)
                continue
            block = SpadeResidualBlock(
                features, arch.num_classes, modulation=modulation, name=name
            )
            x = block(upsample_nearest(x), context, train=train)
        return jnp.tanh(Conv(1, 3, padding=1, name="conv_img")(leaky_relu(x)))


def make_trainer(
    *,
    num_devices: int = 1,
    batch_size: int = BATCH,
    modulation: Modulation = DENSE,
    optimizer: optax.GradientTransformation | None = None,
    average_decay: float = 0.0,
    **objective: Any,
) -> GanTrainer:
    """Trainer for 64 x 64 images; momentum as its optimiser."""
    arch = GeneratorArchitecture(NUM_CLASSES, 1)
    optimizer = optimizer or optax.sgd(1e-3, momentum=0.9)
    return GanTrainer(
        generator=ShortGenerator(arch, modulation=modulation),  # type: ignore[arg-type]
        discriminator=MultiscaleDiscriminator(
            DiscriminatorArchitecture(NUM_CLASSES, 1)
        ),
        g_optimizer=optimizer,
        d_optimizer=optimizer,
        objective=GanObjective(**objective),
        placement=data_parallel(batch_size=batch_size, num_devices=num_devices),
        image_size=SIDE,
        batch_size=batch_size,
        average_decay=average_decay,
    )


def draw_state(trainer: GanTrainer, seed: int = 0) -> GanState:
    """A state as after some training: no array is at its initial value."""
    labels = jnp.zeros((1, SIDE, SIDE), jnp.uint8)
    image = jnp.zeros((1, SIDE, SIDE, 1))
    g = draw_variables(trainer.generator.init, labels, train=False, seed=seed)
    d = draw_variables(
        trainer.discriminator.init, labels, image, train=False, seed=seed + 1
    )
    g, d = ({**v, "spectral": _disturbed(v["spectral"])} for v in (g, d))
    state = GanState(
        step=jnp.zeros((), jnp.int32),
        g_variables=g,
        d_variables=d,
        g_opt_state=trainer.g_optimizer.init(g["params"]),
        d_opt_state=trainer.d_optimizer.init(d["params"]),
        g_average=copy_of(g) if trainer.average_decay else {},
    )
    return trainer.placement.replicate(state)


def _disturbed(spectral: Any) -> Any:
    """Moves u and v off the singular pairs a little, so that an iteration shows."""
    return jax.tree.map(lambda x: x + 0.02, spectral)


def copy_of(state: Any) -> Any:
    """New buffers: a compiled step takes those it is given."""
    return jax.tree.map(jnp.copy, state)


def draw_batch(
    seed: int = 0, *, padding: int = 8, batch_size: int = BATCH
) -> dict[str, np.ndarray]:
    """Labels, images, and a mask with padded columns on the right."""
    rng = np.random.default_rng(seed)
    shape = (batch_size, SIDE, SIDE)
    valid = np.ones((*shape, 1), bool)
    valid[:, :, SIDE - padding :] = False
    return {
        "label_map": rng.integers(0, NUM_CLASSES, shape).astype(np.uint8),
        "image": rng.uniform(-1, 1, (*shape, 1)).astype(np.float32),
        "valid_mask": valid,
    }


@dataclasses.dataclass(frozen=True)
class RandomSource:
    """An in-memory source of labelled images for the Grain pipeline."""

    count: int = 5

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {k: v[0] for k, v in draw_batch(100 + int(index)).items()}
