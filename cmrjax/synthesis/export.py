"""A trained generator as one file that needs JAX alone, no cmrjax, Flax or Orbax.

    data = bytearray(Path("generator.jaxexport").read_bytes())
    function = jax.export.deserialize(data)
    images = function.call(labels)  # [b, h, w] uint8 -> [b, h, w, c] float32

The weights are constants inside of it, the batch size is free. Source:
https://docs.jax.dev/en/latest/export/export.html
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import export as jax_export

from cmrjax.models.spade_generator import SpadeGenerator
from cmrjax.models.spectral_norm import fold_spectral_norm
from cmrjax.synthesis.params import ModelParams

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export_generator(
    params: ModelParams,
    *,
    image_size: tuple[int, int] | None = None,
    platforms: Sequence[str] = ("cpu", "cuda"),
) -> bytes:
    """Serialises a generator in evaluation mode.

    Args:
      params: the model.
      image_size: rows and columns of the labels, multiples of the network's stride; by
        default those of the training.
      platforms: kinds of devices it is to run on; they need not be here.

    Returns:
      What `jax.export.deserialize` takes. Its function maps label_map [b, h, w] uint8
      to images [b, h, w, c] float32 in [-1, 1]; for a model with z a second argument is
      z [b, latent_size] float32. Ids are not checked inside.

    Raises:
      ValueError: a size or platform that cannot be.
    """
    description = params.description
    architecture = description.architecture
    size = image_size or (description.image_size, description.image_size)
    multiple = architecture.size_multiple
    if min(size) < 1 or size[0] % multiple or size[1] % multiple:
        raise ValueError(
            f"image_size is {size}; expected positive multiples of {multiple}"
        )
    if architecture.latent_size and size != (description.image_size,) * 2:
        raise ValueError(
            f"image_size is {size}; a model with z works at {description.image_size} "
            "pixels a side"
        )
    unknown = sorted(set(platforms) - set(PLATFORMS))
    if unknown or not platforms:
        raise ValueError(f"platforms are {tuple(platforms)}; expected of {PLATFORMS}")
    variables = fold_spectral_norm(params.variables)
    generator = SpadeGenerator(architecture)

    def generate(label_map: jax.Array, *latent: jax.Array) -> jax.Array:
        return generator.apply(variables, label_map, *latent, train=False)  # type: ignore[return-value]

    (b,) = jax_export.symbolic_shape("b")
    shapes = [jax.ShapeDtypeStruct((b, *size), jnp.uint8)]
    if architecture.latent_size:
        shapes.append(jax.ShapeDtypeStruct((b, architecture.latent_size), jnp.float32))
    exported = jax_export.export(jax.jit(generate), platforms=list(platforms))(*shapes)
    return bytes(exported.serialize())
