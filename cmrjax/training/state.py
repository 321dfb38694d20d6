"""What changes from step to step, as one pytree."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from cmrjax.models.discriminator import MultiscaleDiscriminator
from cmrjax.models.initialization import draw_at_once
from cmrjax.models.spade_generator import SpadeGenerator

Variables = dict[str, Any]


@flax.struct.dataclass
class GanState:
    """A snapshot of the training of both networks.

    Attributes:
      step: int32 scalar, updates done.
      g_variables: of G: "params", "batch_stats", "spectral".
      d_variables: of D: "params", "spectral".
      g_opt_state: optimiser state of G.
      d_opt_state: optimiser state of D.
      g_average: of G, with the moving average of "params" and a state that fits it
        once it was settled (`cmrjax.training.averaging`); empty where none is kept.
    """

    step: jax.Array
    g_variables: Variables
    d_variables: Variables
    g_opt_state: optax.OptState
    d_opt_state: optax.OptState
    g_average: Variables = flax.struct.field(default_factory=dict)

    @property
    def g_evaluated(self) -> Variables:
        """Variables of G as they are evaluated: the average where one is kept."""
        return self.g_average or self.g_variables


def init_variables(
    generator: SpadeGenerator, key: jax.Array, *, image_size: int
) -> Variables:
    """Draws the variables of a generator.

    Args:
      generator: the module.
      key: PRNG key.
      image_size: side in pixels; matters only where the generator has a latent.

    Returns:
      Collections "params", "batch_stats", "spectral".
    """
    return draw_at_once(_generator_init(generator, image_size), key)


def abstract_variables(generator: SpadeGenerator, *, image_size: int) -> Any:
    """Returns the shapes and dtypes that `init_variables` gives, without drawing."""
    return jax.eval_shape(_generator_init(generator, image_size), jax.random.key(0))


def _generator_init(
    generator: SpadeGenerator, image_size: int
) -> Callable[[jax.Array], Variables]:
    arch = generator.architecture
    side = image_size if arch.latent_size else arch.size_multiple
    labels = jnp.zeros((1, side, side), jnp.uint8)
    latent = jnp.zeros((1, arch.latent_size)) if arch.latent_size else None
    return lambda key: dict(generator.init(key, labels, latent, train=False))


def init_state(
    generator: SpadeGenerator,
    discriminator: MultiscaleDiscriminator,
    g_optimizer: optax.GradientTransformation,
    d_optimizer: optax.GradientTransformation,
    key: jax.Array,
    *,
    image_size: int,
    averaged: bool = False,
) -> GanState:
    """Draws the state at step 0.

    Args:
      generator: G.
      discriminator: D.
      g_optimizer: of G.
      d_optimizer: of D.
      key: PRNG key.
      image_size: side of the training images in pixels.
      averaged: whether an average of G is kept.

    Returns:
      The state.
    """
    g_key, d_key = jax.random.split(key)
    g_variables = init_variables(generator, g_key, image_size=image_size)
    labels = jnp.zeros((1, image_size, image_size), jnp.uint8)
    channels = generator.architecture.out_channels
    image = jnp.zeros((1, image_size, image_size, channels))
    d_variables = draw_at_once(
        lambda key: dict(discriminator.init(key, labels, image, train=False)), d_key
    )
    return GanState(
        step=jnp.zeros((), jnp.int32),
        g_variables=g_variables,
        d_variables=d_variables,
        g_opt_state=g_optimizer.init(g_variables["params"]),
        d_opt_state=d_optimizer.init(d_variables["params"]),
        # Copies: a state is donated, and a buffer can be given away only once.
        g_average=jax.tree.map(jnp.copy, g_variables) if averaged else {},
    )
