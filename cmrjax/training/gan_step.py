"""One update of G and one of D (SPEC 5, optimisation)."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cmrjax.models.discriminator import MultiscaleDiscriminator, discriminate_pair
from cmrjax.models.spade_generator import SpadeGenerator
from cmrjax.training.averaging import move_average
from cmrjax.training.gan_objective import GanObjective, Terms
from cmrjax.training.state import GanState, Variables

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class GanStep:
    """The update of G, then of D, on one batch; a pure function to be compiled.

    With `objective.generator_passes` 1 both are of the networks as they stand before.

    Padded pixels of the fake are replaced by those of the real image: they carry no
    gradient, and both discriminators and VGG19 see the same there, so that patches of
    padding alone add nothing to tell real from fake.

    Attributes:
      generator: G.
      discriminator: D.
      g_optimizer: of G.
      d_optimizer: of D.
      objective: losses and order of updates.
      average_decay: share that the average of G keeps in a step, where the state has
        one.
    """

    generator: SpadeGenerator
    discriminator: MultiscaleDiscriminator
    g_optimizer: optax.GradientTransformation
    d_optimizer: optax.GradientTransformation
    objective: GanObjective
    average_decay: float = 0.0

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
        if self.objective.generator_passes == 1:
            return self._update_together(state, vgg, batch, g_key)
        (_, (g_metrics, g_changed, d_changed)), g_grads = jax.value_and_grad(
            self._g_loss, has_aux=True
        )(state.g_variables["params"], state, vgg, batch, g_key)
        g_variables, g_opt_state = _update(
            self.g_optimizer,
            g_grads,
            state.g_opt_state,
            {**state.g_variables, **g_changed},
        )
        fake, g_changed = self._generate(g_variables, batch, d_key)
        d_variables = {**state.d_variables, **d_changed}
        (_, (d_metrics, d_changed)), d_grads = jax.value_and_grad(
            self._d_loss, has_aux=True
        )(d_variables["params"], d_variables, batch, jax.lax.stop_gradient(fake))
        d_variables, d_opt_state = _update(
            self.d_optimizer, d_grads, state.d_opt_state, {**d_variables, **d_changed}
        )
        new_state = GanState(
            step=state.step + 1,
            g_variables={**g_variables, **g_changed},
            d_variables=d_variables,
            g_opt_state=g_opt_state,
            d_opt_state=d_opt_state,
            g_average=self._average(state, g_variables),
        )
        return new_state, {**g_metrics, **d_metrics, **_norms(g_grads, d_grads)}

    def _update_together(
        self, state: GanState, vgg: Any, batch: Batch, key: jax.Array
    ) -> tuple[GanState, Metrics]:
        """Both updates from one forward of G and of D, as they stand before."""
        labels, real = batch["label_map"], batch["image"]

        def generate(params: Any) -> tuple[jax.Array, dict]:
            variables = {**state.g_variables, "params": params}
            return self._generate(variables, batch, key)

        def judge_fake(params: Any, fake: jax.Array) -> tuple[Any, dict]:
            variables = {**state.d_variables, "params": params}
            features, changed = self.discriminator.apply(
                variables, labels, fake, train=True, mutable=["spectral"]
            )
            return features, dict(changed)

        def judge_real(params: Any) -> Any:
            variables = {**state.d_variables, **d_changed, "params": params}
            return self.discriminator.apply(variables, labels, real, train=False)

        g_params, d_params = state.g_variables["params"], state.d_variables["params"]
        fake, from_fake, g_changed = jax.vjp(generate, g_params, has_aux=True)
        fake_features, from_judged, d_changed = jax.vjp(
            judge_fake, d_params, fake, has_aux=True
        )
        real_features, from_real = jax.vjp(judge_real, d_params)

        gradient = functools.partial(jax.value_and_grad, has_aux=True)
        (g_loss, g_terms), to_features = gradient(self.objective.judged)(
            fake_features, real_features
        )
        (perceived, more), to_fake = gradient(self._perceived)(fake, vgg, real)
        (g_grads,) = from_fake(to_fake + from_judged(to_features)[1])
        (_, d_metrics), to_both = gradient(self.objective.told_apart, argnums=(0, 1))(
            fake_features, real_features
        )
        d_grads = jax.tree.map(
            jnp.add, from_judged(to_both[0])[0], from_real(to_both[1])[0]
        )
        g_variables, g_opt_state = _update(
            self.g_optimizer,
            g_grads,
            state.g_opt_state,
            {**state.g_variables, **g_changed},
        )
        d_variables, d_opt_state = _update(
            self.d_optimizer,
            d_grads,
            state.d_opt_state,
            {**state.d_variables, **d_changed},
        )
        new_state = GanState(
            step=state.step + 1,
            g_variables=g_variables,
            d_variables=d_variables,
            g_opt_state=g_opt_state,
            d_opt_state=d_opt_state,
            g_average=self._average(state, g_variables),
        )
        g_metrics = {**g_terms, **more, "g_loss": g_loss + perceived}
        return new_state, {**g_metrics, **d_metrics, **_norms(g_grads, d_grads)}

    def _average(self, state: GanState, g_variables: Variables) -> Variables:
        """The average of G after this update; it keeps its batch statistics, u, v."""
        if not state.g_average:
            return {}
        params = move_average(
            state.g_average["params"],
            g_variables["params"],
            step=state.step,
            decay=self.average_decay,
        )
        return {**state.g_average, "params": params}

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
        loss, terms = self.objective.judged(fake_features, real_features)
        perceived, more = self._perceived(fake, vgg, batch["image"])
        total = loss + perceived
        return total, ({**terms, **more, "g_loss": total}, g_changed, d_changed)

    def _perceived(
        self, fake: jax.Array, vgg: Any, real: jax.Array
    ) -> tuple[jax.Array, Terms]:
        """The perceptual loss, in the dtype of the networks."""
        if vgg is None:
            return jnp.float32(0.0), {}
        dtype = self.generator.dtype
        return self.objective.perceived(vgg, fake.astype(dtype), real.astype(dtype))

    def _d_loss(
        self, params: Any, variables: Variables, batch: Batch, fake: jax.Array
    ) -> tuple:
        fake_features, real_features, changed = discriminate_pair(
            self.discriminator,
            {**variables, "params": params},
            batch["label_map"],
            fake,
            batch["image"],
            real_gradient=True,
        )
        total, terms = self.objective.told_apart(fake_features, real_features)
        return total, (terms, changed)


def _update(
    optimizer: optax.GradientTransformation,
    grads: Any,
    opt_state: Any,
    variables: Variables,
) -> tuple[Variables, optax.OptState]:
    params = variables["params"]
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return {**variables, "params": optax.apply_updates(params, updates)}, opt_state


def _norms(g_grads: Any, d_grads: Any) -> Metrics:
    return {"g_grad_norm": _norm(g_grads), "d_grad_norm": _norm(d_grads)}


def _norm(grads: Any) -> jax.Array:
    """The Euclidean norm. A product reads each gradient once and writes nothing."""
    flat = [x.astype(jnp.float32).reshape(-1) for x in jax.tree.leaves(grads)]
    squares = [jnp.vdot(x, x, precision=jax.lax.Precision.HIGHEST) for x in flat]
    return jnp.sqrt(jnp.sum(jnp.stack(squares)))
