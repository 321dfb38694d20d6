"""One update of G and one of D (SPEC 5, optimisation)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

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
from cmrjax.models.discriminator import (
    Features,
    MultiscaleDiscriminator,
    discriminate_pair,
)
from cmrjax.models.spade_generator import SpadeGenerator
from cmrjax.models.vgg19 import vgg19_features
from cmrjax.training.state import GanState, Variables

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
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
        updates share one pass of G, which is faster.

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


def logits(features: Features) -> list[jax.Array]:
    """Returns the logits [b, h, w, 1] of each scale of D's output."""
    return [scale[-1] for scale in features]


@dataclasses.dataclass(frozen=True)
class GanStep:
    """The update of G, then of D, on one batch; a pure function to be compiled.

    Padded pixels of the fake are replaced by those of the real image: they carry no
    gradient, and both discriminators and VGG19 see the same there, so that patches of
    padding alone add nothing to tell real from fake.

    Attributes:
      generator: G.
      discriminator: D.
      g_optimizer: of G.
      d_optimizer: of D.
      objective: losses and order of updates.
    """

    generator: SpadeGenerator
    discriminator: MultiscaleDiscriminator
    g_optimizer: optax.GradientTransformation
    d_optimizer: optax.GradientTransformation
    objective: GanObjective

    def __call__(
        self, state: GanState, vgg: Any, batch: Batch, key: jax.Array
    ) -> tuple[GanState, Metrics]:
        """Updates both networks once.

        Args:
          state: before the update.
          vgg: weights from `load_vgg19`, or None for no perceptual loss.
          batch: label_map [b, h, w] uint8, image [b, h, w, c] float32 in [-1, 1],
            valid_mask [b, h, w, 1] bool.
          key: of the run; folded with the step. Draws z where G has a latent.

        Returns:
          (state after the update, float32 scalars by name).
        """
        g_key, d_key = jax.random.split(jax.random.fold_in(key, state.step))
        (_, (g_metrics, fake, g_changed, d_changed)), g_grads = jax.value_and_grad(
            self._g_loss, has_aux=True
        )(state.g_variables["params"], state, vgg, batch, g_key)
        g_params, g_opt_state = _update(
            self.g_optimizer, g_grads, state.g_opt_state, state.g_variables["params"]
        )
        g_variables = {**state.g_variables, **g_changed, "params": g_params}
        d_variables = {**state.d_variables, **d_changed}
        if self.objective.generator_passes == 2:
            fake, g_changed = self._generate(g_variables, batch, d_key)
            g_variables = {**g_variables, **g_changed}
        (_, (d_metrics, d_changed)), d_grads = jax.value_and_grad(
            self._d_loss, has_aux=True
        )(d_variables["params"], d_variables, batch, jax.lax.stop_gradient(fake))
        d_params, d_opt_state = _update(
            self.d_optimizer, d_grads, state.d_opt_state, d_variables["params"]
        )
        new_state = GanState(
            step=state.step + 1,
            g_variables=g_variables,
            d_variables={**d_variables, **d_changed, "params": d_params},
            g_opt_state=g_opt_state,
            d_opt_state=d_opt_state,
        )
        norms = {
            "g_grad_norm": optax.tree.norm(g_grads),
            "d_grad_norm": optax.tree.norm(d_grads),
        }
        return new_state, {**g_metrics, **d_metrics, **norms}

    def _generate(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple:
        """Returns fakes with the real padding, and G's changed state."""
        latent_size = self.generator.architecture.latent_size
        b = batch["label_map"].shape[0]
        latent = jax.random.normal(key, (b, latent_size)) if latent_size else None
        fake, changed = self.generator.apply(
            variables,
            batch["label_map"],
            latent,
            train=True,
            mutable=["batch_stats", "spectral"],
        )
        return jnp.where(batch["valid_mask"], fake, batch["image"]), dict(changed)

    def _g_loss(
        self, params: Any, state: GanState, vgg: Any, batch: Batch, key: jax.Array
    ) -> tuple:
        objective = self.objective
        variables = {**state.g_variables, "params": params}
        fake, g_changed = self._generate(variables, batch, key)
        fake_features, real_features, d_changed = discriminate_pair(
            self.discriminator,
            state.d_variables,
            batch["label_map"],
            fake,
            batch["image"],
            real_gradient=False,
        )
        terms = {
            "g_loss_adversarial": hinge_generator(
                logits(fake_features), reduction=objective.reduction
            ),
            "g_loss_feature_matching": objective.feature_matching_weight
            * feature_matching_loss(
                fake_features, real_features, reduction=objective.reduction
            ),
        }
        if vgg is not None:
            terms["g_loss_perceptual"] = objective.perceptual_weight * perceptual_loss(
                vgg19_features(vgg, fake),
                vgg19_features(vgg, batch["image"]),
                layer_weights=PERCEPTUAL_LAYERS[objective.perceptual_layers],
            )
        total = sum(terms.values(), jnp.float32(0.0))
        return total, ({**terms, "g_loss": total}, fake, g_changed, d_changed)

    def _d_loss(
        self, params: Any, variables: Variables, batch: Batch, fake: jax.Array
    ) -> tuple:
        reduction = self.objective.reduction
        fake_features, real_features, changed = discriminate_pair(
            self.discriminator,
            {**variables, "params": params},
            batch["label_map"],
            fake,
            batch["image"],
            real_gradient=True,
        )
        fake_logits, real_logits = logits(fake_features), logits(real_features)
        terms = {
            "d_loss_fake": hinge_fake(fake_logits, reduction=reduction),
            "d_loss_real": hinge_real(real_logits, reduction=reduction),
            "d_accuracy_fake": _share([x < 0 for x in fake_logits]),
            "d_accuracy_real": _share([x > 0 for x in real_logits]),
        }
        total = terms["d_loss_fake"] + terms["d_loss_real"]
        return total, ({**terms, "d_loss": total}, changed)


def _update(
    optimizer: optax.GradientTransformation, grads: Any, opt_state: Any, params: Any
) -> tuple[Any, optax.OptState]:
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def _share(decisions: list[jax.Array]) -> jax.Array:
    """Mean over scales of the share of patches decided right."""
    return jnp.mean(jnp.stack([jnp.mean(x.astype(jnp.float32)) for x in decisions]))
