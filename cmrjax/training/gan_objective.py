"""The losses of G and of D on features and images (SPEC 5)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from cmrjax.losses.adversarial import (
    Reduction,
    hinge_fake,
    hinge_generator,
    hinge_real,
)
from cmrjax.losses.feature_matching import feature_matching_loss
from cmrjax.losses.perceptual import (
    PAPER_LAYER_WEIGHTS,
    REFERENCE_LAYER_WEIGHTS,
    perceptual_loss,
)
from cmrjax.models.discriminator import Features
from cmrjax.models.vgg19 import vgg19_features

Terms = dict[str, jax.Array]
PERCEPTUAL_LAYERS = {"reference": REFERENCE_LAYER_WEIGHTS, "paper": PAPER_LAYER_WEIGHTS}


@dataclasses.dataclass(frozen=True)
class GanObjective:
    """Weights and variants of the loss and of the update.

    Attributes:
      feature_matching_weight: lambda of feature matching.
      perceptual_weight: lambda of the perceptual loss.
      perceptual_layers: weights of relu1_1 .. relu5_1: "reference" (1/32 .. 1) or
        "paper" (all 1).
      reduction: over the scales of D; "mean" [R] or "sum" [P].
      generator_passes: 2: D's update sees images of the updated G (reference); 1: both
        updates share one pass of G and one of D, which is faster.

    Raises:
      ValueError: another value of generator_passes or perceptual_layers.
    """

    feature_matching_weight: float = 10.0
    perceptual_weight: float = 10.0
    perceptual_layers: str = "reference"
    reduction: Reduction = "mean"
    generator_passes: int = 2

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.generator_passes not in (1, 2):
            raise ValueError(
                f"generator_passes is {self.generator_passes}; expected 1 or 2"
            )
        if self.perceptual_layers not in PERCEPTUAL_LAYERS:
            raise ValueError(
                f"perceptual_layers is {self.perceptual_layers!r}; expected one of "
                f"{sorted(PERCEPTUAL_LAYERS)}"
            )

    def judged(self, fake: Features, real: Features) -> tuple[jax.Array, Terms]:
        """Computes G's loss on D's features.

        Args:
          fake: D's features of the fakes.
          real: of the real images; they carry no gradient.

        Returns:
          (sum, its two terms), float32 scalars.
        """
        terms = {
            "g_loss_adversarial": hinge_generator(
                logits(fake), reduction=self.reduction
            ),
            "g_loss_feature_matching": self.feature_matching_weight
            * feature_matching_loss(fake, real, reduction=self.reduction),
        }
        return sum(terms.values(), jnp.float32(0.0)), terms

    def perceived(
        self, vgg: Any, fake: jax.Array, real: jax.Array
    ) -> tuple[jax.Array, Terms]:
        """Computes G's perceptual loss, as `judged`, with the weights of VGG19."""
        loss = self.perceptual_weight * perceptual_loss(
            vgg19_features(vgg, fake),
            vgg19_features(vgg, real),
            layer_weights=PERCEPTUAL_LAYERS[self.perceptual_layers],
        )
        return loss, {"g_loss_perceptual": loss}

    def told_apart(self, fake: Features, real: Features) -> tuple[jax.Array, Terms]:
        """Computes D's loss, as `judged`; its terms include the accuracies."""
        fake_logits, real_logits = logits(fake), logits(real)
        terms = {
            "d_loss_fake": hinge_fake(fake_logits, reduction=self.reduction),
            "d_loss_real": hinge_real(real_logits, reduction=self.reduction),
            "d_accuracy_fake": _share([x < 0 for x in fake_logits]),
            "d_accuracy_real": _share([x > 0 for x in real_logits]),
        }
        total = terms["d_loss_fake"] + terms["d_loss_real"]
        return total, {**terms, "d_loss": total}


def logits(features: Features) -> list[jax.Array]:
    """Returns the logits [b, h, w, 1] of each scale of D's output."""
    return [scale[-1] for scale in features]


def _share(decisions: list[jax.Array]) -> jax.Array:
    """Mean over scales of the share of patches decided right."""
    return jnp.mean(jnp.stack([jnp.mean(x.astype(jnp.float32)) for x in decisions]))
