"""One update of G and one of D (SPEC 5, optimisation)."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cmrjax.models.discriminator import MultiscaleDiscriminator, discriminate_pair
from cmrjax.models.spade_generator import SpadeGenerator
from cmrjax.training.accumulation import accumulate
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
      accumulation: parts of the batch, one after the other; batch statistics are over
        a part (`cmrjax.training.accumulation`).
    """

    generator: SpadeGenerator
    discriminator: MultiscaleDiscriminator
    g_optimizer: optax.GradientTransformation
    d_optimizer: optax.GradientTransformation
    objective: GanObjective
    average_decay: float = 0.0
    accumulation: int = 1

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
        g_params, g_changing = _divide(state.g_variables)
        d_params, d_changing = _divide(state.d_variables)
        mean = functools.partial(accumulate, parts=self.accumulation)
        if self.objective.generator_passes == 1:
            (g_grads, d_grads), (g_changing, d_changing), metrics = mean(
                functools.partial(self._both_gradients, g_params, d_params, vgg),
                (g_changing, d_changing),
                batch,
                g_key,
            )
            g_params, g_opt_state = _update(
                self.g_optimizer, g_grads, state.g_opt_state, g_params
            )
        else:
            g_grads, (g_changing, d_changing), metrics = mean(
                functools.partial(self._g_gradients, g_params, d_params, vgg),
                (g_changing, d_changing),
                batch,
                g_key,
            )
            g_params, g_opt_state = _update(
                self.g_optimizer, g_grads, state.g_opt_state, g_params
            )
            d_grads, (g_changing, d_changing), d_metrics = mean(
                functools.partial(self._d_gradients, g_params, d_params),
                (g_changing, d_changing),
                batch,
                d_key,
            )
            metrics = {**metrics, **d_metrics}
        d_params, d_opt_state = _update(
            self.d_optimizer, d_grads, state.d_opt_state, d_params
        )
        new_state = GanState(
            step=state.step + 1,
            g_variables={**g_changing, "params": g_params},
            d_variables={**d_changing, "params": d_params},
            g_opt_state=g_opt_state,
            d_opt_state=d_opt_state,
            g_average=self._average(state, g_params),
        )
        return new_state, {**metrics, **_norms(g_grads, d_grads)}

    def _both_gradients(
        self,
        g_params: Any,
        d_params: Any,
        vgg: Any,
        changing: tuple[Variables, Variables],
        batch: Batch,
        key: jax.Array,
    ) -> tuple:
        """Of G and of D, from one forward of each as they stand before."""
        g_changing, d_changing = changing
        labels, real = batch["label_map"], batch["image"]

        def generate(params: Any) -> tuple[jax.Array, dict]:
            return self._generate({**g_changing, "params": params}, batch, key)

        def judge_fake(params: Any, fake: jax.Array) -> tuple[Any, dict]:
            features, changed = self.discriminator.apply(
                {**d_changing, "params": params},
                labels,
                fake,
                train=True,
                mutable=["spectral"],
            )
            return features, dict(changed)

        def judge_real(params: Any) -> Any:
            variables = {**d_changing, **d_changed, "params": params}
            return self.discriminator.apply(variables, labels, real, train=False)

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
        metrics = {**g_terms, **more, "g_loss": g_loss + perceived, **d_metrics}
        changed = ({**g_changing, **g_changed}, {**d_changing, **d_changed})
        return (g_grads, d_grads), changed, metrics

    def _average(self, state: GanState, g_params: Any) -> Variables:
        """The average of G after this update; it keeps its batch statistics, u, v."""
        if not state.g_average:
            return {}
        params = move_average(
            state.g_average["params"],
            g_params,
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

    def _g_gradients(
        self,
        g_params: Any,
        d_params: Any,
        vgg: Any,
        changing: tuple[Variables, Variables],
        batch: Batch,
        key: jax.Array,
    ) -> tuple:
        """Of G alone; D's forward changes D's state too."""
        g_changing, d_changing = changing

        def loss(params: Any) -> tuple:
            variables = {**g_changing, "params": params}
            fake, g_changed = self._generate(variables, batch, key)
            fake_features, real_features, d_changed = discriminate_pair(
                self.discriminator,
                {**d_changing, "params": d_params},
                batch["label_map"],
                fake,
                batch["image"],
                real_gradient=False,
            )
            loss, terms = self.objective.judged(fake_features, real_features)
            perceived, more = self._perceived(fake, vgg, batch["image"])
            total = loss + perceived
            changed = ({**g_changing, **g_changed}, {**d_changing, **d_changed})
            return total, (changed, {**terms, **more, "g_loss": total})

        (_, (changed, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(
            g_params
        )
        return grads, changed, metrics

    def _d_gradients(
        self,
        g_params: Any,
        d_params: Any,
        changing: tuple[Variables, Variables],
        batch: Batch,
        key: jax.Array,
    ) -> tuple:
        """Of D, on new images of G, whose state its forward changes."""
        g_changing, d_changing = changing
        variables = {**g_changing, "params": g_params}
        fake, g_changed = self._generate(variables, batch, key)
        fake = jax.lax.stop_gradient(fake)

        def loss(params: Any) -> tuple:
            fake_features, real_features, d_changed = discriminate_pair(
                self.discriminator,
                {**d_changing, "params": params},
                batch["label_map"],
                fake,
                batch["image"],
                real_gradient=True,
            )
            total, terms = self.objective.told_apart(fake_features, real_features)
            return total, ({**d_changing, **d_changed}, terms)

        (_, (d_changed, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(
            d_params
        )
        return grads, ({**g_changing, **g_changed}, d_changed), metrics

    def _perceived(
        self, fake: jax.Array, vgg: Any, real: jax.Array
    ) -> tuple[jax.Array, Terms]:
        """The perceptual loss, in the dtype of the networks."""
        if vgg is None:
            return jnp.float32(0.0), {}
        dtype = self.generator.dtype
        return self.objective.perceived(vgg, fake.astype(dtype), real.astype(dtype))


def _divide(variables: Variables) -> tuple[Any, Variables]:
    """Returns the parameters, and what a forward changes."""
    return variables["params"], {k: x for k, x in variables.items() if k != "params"}


def _update(
    optimizer: optax.GradientTransformation,
    grads: Any,
    opt_state: Any,
    params: Any,
) -> tuple[Any, optax.OptState]:
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def _norms(g_grads: Any, d_grads: Any) -> Metrics:
    return {"g_grad_norm": _norm(g_grads), "d_grad_norm": _norm(d_grads)}


def _norm(grads: Any) -> jax.Array:
    """The Euclidean norm. A product reads each gradient once and writes nothing."""
    flat = [x.astype(jnp.float32).reshape(-1) for x in jax.tree.leaves(grads)]
    squares = [jnp.vdot(x, x, precision=jax.lax.Precision.HIGHEST) for x in flat]
    return jnp.sqrt(jnp.sum(jnp.stack(squares)))
