"""Tiny generators with drawn weights, made without compiling an initialisation."""

import functools
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from cmrjax.labels import LabelSchema
from cmrjax.models.spade_generator import GeneratorArchitecture, SpadeGenerator
from cmrjax.synthesis.params import ModelOrigin, ModelParams, default_schema
from cmrjax.training.description import ModelDescription
from cmrjax.training.state import init_variables


def make_params(
    num_classes: int = 4,
    *,
    image_size: int = 32,
    base_features: int = 1,
    latent_size: int = 0,
    out_channels: int = 1,
    schema: LabelSchema | None = None,
    seed: int = 0,
    step: int = 7,
) -> ModelParams:
    """Parameters whose images vary visibly with the labels, inside of (-1, 1)."""
    architecture = GeneratorArchitecture(
        num_classes,
        base_features=base_features,
        latent_size=latent_size,
        out_channels=out_channels,
    )
    shapes = _shapes(architecture, image_size)
    description = ModelDescription(
        schema or default_schema(num_classes), architecture, image_size
    )
    variables = _fill(shapes, np.random.default_rng(seed))
    return ModelParams(variables, description, ModelOrigin("drawn", step))


@functools.cache
def _shapes(architecture: GeneratorArchitecture, image_size: int) -> dict:
    generator = SpadeGenerator(architecture)
    return jax.eval_shape(
        lambda key: init_variables(generator, key, image_size=image_size),
        jax.random.key(0),
    )


def _fill(shapes: dict, rng: np.random.Generator) -> dict:
    leaves: dict[Any, Any] = flatten_dict(shapes)  # type: ignore[assignment]
    drawn = {
        path: rng.normal(0, 0.7 / np.sqrt(max(np.prod(leaf.shape[:-1]), 4)), leaf.shape)
        for path, leaf in leaves.items()
    }
    for path, leaf in leaves.items():
        if "conv_img" in path:
            drawn[path] *= 0.8  # away from the ends of the tanh
        if path[-1] == "var":
            drawn[path] = rng.uniform(0.5, 2.0, leaf.shape)
        if path[-1] == "u":  # sigma = u^T W v is then |W^T u|, never near zero
            place = path[1:-1]
            u = drawn[path] / np.linalg.norm(drawn[path])
            v = np.einsum("hwio,o->hwi", drawn["params", *place, "kernel"], u)
            drawn[path] = u
            drawn["spectral", *place, "v"] = v / np.linalg.norm(v)
    return unflatten_dict({k: np.float32(v) for k, v in drawn.items()})
