"""A trained segmentation network, read from its folder."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from cmrjax.models.unet import Unet, UnetArchitecture
from cmrjax.training.description import SegmenterDescription
from cmrjax.training.model_folder import (
    hash_model,
    open_model_folder,
    restore_variables,
)

_VARIABLES = "variables"  # the field of SegmentationState


@dataclasses.dataclass(frozen=True)
class SegmenterParams:
    """A network's variables and what they are.

    Attributes:
      variables: collections "params" and "batch_stats".
      description: labels, network, spacing, intensities.
      path: the checkpoint's folder.
    """

    variables: dict[str, Any]
    description: SegmenterDescription
    path: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the description and the variables."""
        return hash_model(self.description, self.variables)


def load_segmenter(directory: str | Path) -> SegmenterParams:
    """Loads a trained segmentation network.

    Args:
      directory: the --workdir of training, or the folder of one of its checkpoints.

    Returns:
      Its parameters, on the default device.

    Raises:
      ValueError: the folder holds no such model, or no checkpoint yet, or one that does
        not fit the description.
    """
    description, checkpoint = open_model_folder(directory, SegmenterDescription)
    arch = description.architecture
    summary = f"a U-Net of {arch.num_classes} classes, {arch.base_features} features"
    variables = restore_variables(
        checkpoint, _VARIABLES, _abstract_variables(arch), summary
    )
    return SegmenterParams(variables, description, str(checkpoint))


def _abstract_variables(architecture: UnetArchitecture) -> Any:
    side = architecture.size_multiple
    image = jax.ShapeDtypeStruct((1, side, side, 1), jnp.float32)
    init = functools.partial(Unet(architecture).init, train=False)
    return dict(jax.eval_shape(init, jax.random.key(0), image))
