"""One update of the segmentation network (SPEC 3)."""

import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from cmrjax.losses.segmentation import focal_tversky_loss
from cmrjax.models.initialization import draw_at_once
from cmrjax.models.unet import Unet
from cmrjax.training.accumulation import accumulate
from cmrjax.training.augmentation import Augmentation, augment_batch
from cmrjax.training.plateau import Plateau, start_plateau

Batch = dict[str, jax.Array]
Variables = dict[str, Any]


@flax.struct.dataclass
class SegmentationState:
    """A snapshot of the training.

    Attributes:
      step: int32 scalar, updates done.
      variables: "params" and "batch_stats".
      opt_state: of the optimiser.
      plateau: the learning rate and what it follows.
    """

    step: jax.Array
    variables: Variables
    opt_state: optax.OptState
    plateau: Plateau


@dataclasses.dataclass(frozen=True)
class SegmentationObjective:
    """The loss; see `cmrjax.losses.segmentation.focal_tversky_loss`.

    Attributes:
      alpha: weight of false negatives.
      beta: weight of false positives.
      gamma: focus.
      cross_entropy_weight: of a mean cross-entropy added to it; 0 in the paper.
    """

    alpha: float = 0.7
    beta: float = 0.3
    gamma: float = 4.0 / 3.0
    cross_entropy_weight: float = 0.0

    def __call__(self, logits: jax.Array, batch: Batch) -> jax.Array:
        """Returns the loss of [b, h, w, k] logits, a float32 scalar."""
        labels, valid = batch["label_map"], batch["valid_mask"]
        loss = focal_tversky_loss(
            logits,
            labels,
            valid,
            alpha=self.alpha,
            beta=self.beta,
            gamma=self.gamma,
        )
        if self.cross_entropy_weight == 0:
            return loss
        entropy = optax.softmax_cross_entropy_with_integer_labels(
            logits, labels.astype(jnp.int32)
        )
        weights = valid[..., 0].astype(jnp.float32)
        mean = jnp.sum(entropy * weights) / jnp.maximum(jnp.sum(weights), 1.0)
        return loss + self.cross_entropy_weight * mean


@dataclasses.dataclass(frozen=True)
class SegmentationStep:
    """Augment, predict, update; a pure function to be compiled.

    Attributes:
      network: the U-Net.
      optimizer: makes a direction of unit rate; the state's rate scales it.
      objective: the loss.
      augmentation: of the examples.
      accumulation: parts of the batch, one after the other; loss and batch statistics
        are over a part (`cmrjax.training.accumulation`).
    """

    network: Unet
    optimizer: optax.GradientTransformation
    objective: SegmentationObjective
    augmentation: Augmentation
    accumulation: int = 1

    def init(
        self, key: jax.Array, *, image_size: int, learning_rate: float
    ) -> SegmentationState:
        """Draws the state at step 0."""
        image = jnp.zeros((1, image_size, image_size, 1))
        variables = draw_at_once(
            lambda key: dict(self.network.init(key, image, train=False)), key
        )
        return SegmentationState(
            step=jnp.zeros((), jnp.int32),
            variables=variables,
            opt_state=self.optimizer.init(variables["params"]),
            plateau=start_plateau(learning_rate),
        )

    def __call__(
        self, state: SegmentationState, batch: Batch, key: jax.Array
    ) -> tuple[SegmentationState, dict[str, jax.Array]]:
        """Updates the network once.

        Args:
          state: before the update.
          batch: label_map [b, h, w] uint8, image [b, h, w, 1] float32 z-scores,
            valid_mask [b, h, w, 1] bool.
          key: of the run; folded with the step.

        Returns:
          (state after the update, float32 scalars: loss, learning_rate, grad_norm).
        """
        params = state.variables["params"]
        changing = {k: x for k, x in state.variables.items() if k != "params"}
        grads, changing, metrics = accumulate(
            functools.partial(self._gradients, params),
            changing,
            batch,
            jax.random.fold_in(key, state.step),
            parts=self.accumulation,
        )
        updates, opt_state = self.optimizer.update(grads, state.opt_state, params)
        rate = state.plateau.learning_rate
        params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
        metrics = {
            **metrics,
            "learning_rate": rate,
            "grad_norm": optax.tree.norm(grads),
        }
        new_state = SegmentationState(
            step=state.step + 1,
            variables={**changing, "params": params},
            opt_state=opt_state,
            plateau=state.plateau,
        )
        return new_state, metrics

    def _gradients(
        self, params: Any, changing: Variables, batch: Batch, key: jax.Array
    ) -> tuple[Any, Variables, dict[str, jax.Array]]:
        """Augments a part of the batch; gradients of the loss on it."""
        augment_key, dropout_key = jax.random.split(key)
        batch = augment_batch(
            augment_key,
            batch,
            self.augmentation,
            num_classes=self.network.architecture.num_classes,
        )

        def loss_of(params: Any) -> tuple[jax.Array, dict]:
            logits, changed = self.network.apply(
                {**changing, "params": params},
                batch["image"],
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": dropout_key},
            )
            return self.objective(logits, batch), dict(changed)

        (loss, changed), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        return grads, {**changing, **changed}, {"loss": loss}
