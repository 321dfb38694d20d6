"""Generator parameters that carry their own description.

A `ModelParams` knows its labels, its network and its intensities, so that nothing can
be combined that does not belong together. On disk it is a model folder: model.json and
`checkpoints/STEP/`, as training writes them.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.struct
import jax

from cmrjax.files import atomic_directory
from cmrjax.labels import CAVITY, MULTI_TISSUE, LabelSchema
from cmrjax.models.spade_generator import GeneratorArchitecture, SpadeGenerator
from cmrjax.output_folder import check_free, holds_only
from cmrjax.training.checkpoint import CheckpointStore, holds
from cmrjax.training.description import (
    MODEL_FILE,
    ModelDescription,
    write_description,
)
from cmrjax.training.model_card import CARD_FILE, write_model_card
from cmrjax.training.model_folder import (
    CHECKPOINTS,
    hash_model,
    open_model_folder,
    restore_variables,
)
from cmrjax.training.model_record import checkpoint_record, copy_provenance
from cmrjax.training.state import Variables, abstract_variables, init_variables

_is_saved_model = holds_only(MODEL_FILE, CHECKPOINTS, CARD_FILE)
_FIELDS = {"last": "g_variables", "average": "g_average"}  # of GanState


@dataclasses.dataclass(frozen=True)
class ModelOrigin:
    """Where parameters come from.

    Left out of comparisons: parameters of two checkpoints of one model have the same
    tree structure and can be averaged.

    Attributes:
      path: the checkpoint's folder, or "untrained, seed 0".
      step: updates that the parameters have had.
      weights: "last", those of that step, or "average", the moving average.
      record: what the model's folder says of data, licence, budget and metrics; JSON
        types. A copy (`save_params`) carries it on.
    """

    path: str = dataclasses.field(compare=False)
    step: int = dataclasses.field(compare=False)
    weights: str = dataclasses.field(default="last", compare=False)
    record: Mapping[str, Any] = dataclasses.field(
        default_factory=dict, compare=False, repr=False
    )

    def __str__(self) -> str:
        """Names the checkpoint and which of its weights were taken."""
        return f"{self.path} ({self.weights} weights)"


@flax.struct.dataclass
class ModelParams:
    """A generator's variables and what they are; a pytree.

    Attributes:
      variables: collections "params", "batch_stats", "spectral".
      description: labels, network, image size, spacing, intensities; static.
      origin: where they come from; static.
    """

    variables: Variables
    description: ModelDescription = flax.struct.field(pytree_node=False)
    origin: ModelOrigin = flax.struct.field(pytree_node=False)


def init_params(
    num_classes: int | None = None,
    image_size: int = 256,
    seed: int = 0,
    *,
    schema: LabelSchema | None = None,
    base_features: int = 64,
    seed_stride: int = 32,
    latent_size: int = 0,
    spacing: float = 1.33,
) -> ModelParams:
    """Draws untrained parameters.

    Args:
      num_classes: of the labels, background included; by default the schema's, or 9.
      image_size: side of the training images in pixels, a multiple of `seed_stride`.
      seed: of the draw.
      schema: what the ids mean; by default multi-tissue for 9 classes, cavity for 4,
        and "class_1", "class_2", ... for other numbers.
      base_features: width unit nf; 64 in the paper's network.
      seed_stride: side of the image over side of the seed.
      latent_size: 0 for the label seed, else the size of z.
      spacing: pixel spacing in plane, mm.

    Returns:
      The parameters, on the default device.

    Raises:
      ValueError: values that do not fit each other.
    """
    if num_classes is None:
        num_classes = MULTI_TISSUE.num_classes if schema is None else schema.num_classes
    architecture = GeneratorArchitecture(
        num_classes=num_classes,
        base_features=base_features,
        seed_stride=seed_stride,
        latent_size=latent_size,
    )
    if image_size < 1 or image_size % architecture.size_multiple:
        raise ValueError(
            f"image_size is {image_size}; expected a positive multiple of "
            f"{architecture.size_multiple} (the network's seed_stride)"
        )
    description = ModelDescription(
        schema=schema or default_schema(num_classes),
        architecture=architecture,
        image_size=image_size,
        spacing=spacing,
    )
    variables = _draw(jax.random.key(seed), architecture, image_size)
    return ModelParams(
        variables, description, ModelOrigin(f"untrained, seed {seed}", 0)
    )


def default_schema(num_classes: int) -> LabelSchema:
    """Returns the schema that a number of classes stands for where none is given."""
    for schema in (MULTI_TISSUE, CAVITY):
        if num_classes == schema.num_classes:
            return schema
    names = [f"class_{i}" for i in range(1, num_classes)]
    return LabelSchema(f"{num_classes}_classes", ("background", *names))


def load_params(directory: str | Path, *, weights: str | None = None) -> ModelParams:
    """Loads a trained generator.

    Of a training checkpoint only the generator's part is read.

    Args:
      directory: a model's folder (the --workdir of training), whose newest checkpoint
        is taken, or the folder of one checkpoint, as in runs/multi_a1/checkpoints/1000,
        or runs/multi_a1/checkpoints/best, that with the best validation.
      weights: "average", the moving average of training
        (config.optimizer.average_decay), or "last", those of the checkpoint's step; by
        default the average where the checkpoint has one.

    Returns:
      The parameters, on the default device; `origin.weights` says which they are.

    Raises:
      ValueError: the folder is missing or holds no model, there is no checkpoint yet,
        the checkpoint does not fit the model's description, or has no average.
    """
    if weights not in (None, *_FIELDS):
        raise ValueError(f"weights is {weights!r}; expected one of {tuple(_FIELDS)}")
    description, checkpoint = open_model_folder(directory, ModelDescription)
    averaged = holds(checkpoint, _FIELDS["average"])
    if weights == "average" and not averaged:
        raise ValueError(
            f"{checkpoint} has no average of the weights; it was trained with "
            "config.optimizer.average_decay 0, or is a copy of weights without it. "
            "Take weights='last'"
        )
    if weights == "last" and averaged and not holds(checkpoint, _FIELDS["last"]):
        raise ValueError(
            f"{checkpoint} is a copy of the average alone; take weights='average', or "
            "the last weights from the run that it was copied from"
        )
    chosen = weights or ("average" if averaged else "last")
    wanted = _abstract_variables(description.architecture, description.image_size)
    variables = restore_variables(
        checkpoint, _FIELDS[chosen], wanted, _summary(description)
    )
    origin = ModelOrigin(
        str(checkpoint), int(checkpoint.name), chosen, checkpoint_record(checkpoint)
    )
    return ModelParams(variables, description, origin)


def check_model_place(directory: str | Path, *, overwrite: bool = False) -> None:
    """Refuses a folder that `save_params` would refuse, before the model is made.

    Args:
      directory: the folder to make.
      overwrite: whether a model folder of `save_params` may be replaced; one that was
        trained in never is.

    Raises:
      ValueError: the folder exists and may not be replaced, or cannot be made.
    """
    try:
        check_free(directory, overwrite=overwrite, ours=_is_saved_model)
    except OSError as error:
        raise ValueError(str(error)) from error


def save_params(
    params: ModelParams, directory: str | Path, *, overwrite: bool = False
) -> None:
    """Writes a model folder that `load_params` reads, whole or not at all.

    Args:
      params: what is written, as the checkpoint of step `params.origin.step`, with
        what is known of its data, licence, budget and metrics.
      directory: the folder to make.
      overwrite: whether an existing folder is replaced, if it is one of `save_params`.

    Raises:
      ValueError: the folder exists and may not be replaced, see `check_model_place`.
    """
    check_model_place(directory, overwrite=overwrite)
    try:
        with atomic_directory(
            directory, overwrite=overwrite, ours=_is_saved_model
        ) as folder:
            write_description(
                folder, params.description, provenance=provenance_of_copy(params)
            )
            with CheckpointStore(folder / CHECKPOINTS) as store:
                state = {_FIELDS[params.origin.weights]: params.variables}
                store.save(params.origin.step, state, position={}, facts={})
            write_model_card(folder, name=Path(directory).name)
    except FileExistsError as error:
        raise ValueError(str(error)) from error


def provenance_of_copy(params: ModelParams) -> dict[str, Any]:
    """Returns what the model.json of a copy says of where it comes from."""
    origin = params.origin
    return copy_provenance(
        origin.record,
        source=origin.path,
        step=origin.step,
        weights=origin.weights,
        sha256=hash_params(params),
    )


def hash_params(params: ModelParams) -> str:
    """Returns the SHA-256 of the description and of every array.

    Equal for equal models, wherever they are stored.
    """
    return hash_model(params.description, params.variables)


def _summary(description: ModelDescription) -> str:
    arch = description.architecture
    return (
        f"a generator of {arch.num_classes} classes, base_features "
        f"{arch.base_features}, seed_stride {arch.seed_stride}, latent_size "
        f"{arch.latent_size}"
    )


@functools.partial(jax.jit, static_argnums=(1, 2))
def _draw(
    key: jax.Array, architecture: GeneratorArchitecture, image_size: int
) -> Variables:
    return init_variables(SpadeGenerator(architecture), key, image_size=image_size)


@functools.lru_cache(maxsize=8)  # tracing takes a while
def _abstract_variables(architecture: GeneratorArchitecture, image_size: int) -> Any:
    return abstract_variables(SpadeGenerator(architecture), image_size=image_size)
