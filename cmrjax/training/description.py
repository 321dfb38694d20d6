"""What a trained model is, stored beside its parameters and inside of them."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmrjax.data.intensity import (
    IntensityTransform,
    PercentileTransform,
    transform_from_dict,
)
from cmrjax.files import read_json, write_json
from cmrjax.labels import LabelSchema
from cmrjax.models.spade_generator import GeneratorArchitecture

MODEL_FILE = "model.json"
FORMAT = "cmrjax-model-1"
DEFAULT_TRANSFORM = PercentileTransform()


@dataclasses.dataclass(frozen=True)
class ModelDescription:
    """Static facts of a generator; hashable, so that it can be part of a jit key.

    Attributes:
      schema: the labels it takes.
      architecture: its network.
      image_size: side of the images it was trained on, in pixels.
      spacing: their pixel spacing in mm, in plane.
      transform: how native intensities became [-1, 1].

    Raises:
      ValueError: the schema and the network disagree on the number of classes.
    """

    schema: LabelSchema
    architecture: GeneratorArchitecture
    image_size: int
    spacing: float = 1.33
    transform: IntensityTransform = DEFAULT_TRANSFORM

    def __post_init__(self) -> None:
        """Checks that the parts fit each other."""
        if self.schema.num_classes != self.architecture.num_classes:
            raise ValueError(
                f"schema {self.schema.name!r} has {self.schema.num_classes} classes, "
                f"the generator {self.architecture.num_classes}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns the description as plain JSON types."""
        return {
            "schema": self.schema.to_dict(),
            "architecture": dataclasses.asdict(self.architecture),
            "image_size": self.image_size,
            "spacing": self.spacing,
            "transform": self.transform.to_dict(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ModelDescription":
        """Reads what `to_dict` wrote.

        Raises:
          ValueError, KeyError, TypeError: it is not a description.
        """
        return cls(
            schema=LabelSchema.from_dict(content["schema"]),
            architecture=GeneratorArchitecture(**content["architecture"]),
            image_size=int(content["image_size"]),
            spacing=float(content["spacing"]),
            transform=transform_from_dict(content["transform"]),
        )


def write_description(
    directory: str | Path,
    description: ModelDescription,
    *,
    provenance: Mapping[str, Any],
) -> None:
    """Writes model.json.

    Args:
      directory: the model's folder.
      description: what is described.
      provenance: data, configuration and code it comes from.
    """
    content = {
        "format": FORMAT,
        **description.to_dict(),
        "provenance": dict(provenance),
    }
    write_json(Path(directory) / MODEL_FILE, content)


def read_description(directory: str | Path) -> ModelDescription:
    """Reads model.json.

    Args:
      directory: the model's folder.

    Returns:
      The description.

    Raises:
      ValueError: the folder holds no model, or its description cannot be read.
    """
    path = Path(directory) / MODEL_FILE
    if not path.is_file():
        raise ValueError(
            f"{directory} is not a model folder: it has no {MODEL_FILE}. Expected the "
            "--workdir of `python -m experiments.train_gan`"
        )
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else content
        raise ValueError(f"{path}: format is {found!r}; this version reads {FORMAT!r}")
    try:
        return ModelDescription.from_dict(content)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a valid model description ({error})") from error
