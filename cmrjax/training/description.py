"""What a trained model is, stored beside its parameters and inside of them."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from cmrjax.data.intensity import (
    IntensityTransform,
    PercentileTransform,
    transform_from_dict,
)
from cmrjax.files import read_json, shorten, write_json
from cmrjax.labels import LabelSchema
from cmrjax.models.spade_generator import GeneratorArchitecture
from cmrjax.models.unet import UnetArchitecture

MODEL_FILE = "model.json"
DEFAULT_TRANSFORM = PercentileTransform()
_LARGEST_VALUE = 65536  # of the numbers in a description
# What a description raises that is none of ours.
_UNFIT = (AttributeError, KeyError, OverflowError, TypeError, ValueError)

Architecture = TypeVar("Architecture", GeneratorArchitecture, UnetArchitecture)


@dataclasses.dataclass(frozen=True)
class NetworkDescription(Generic[Architecture]):
    """Static facts of a network; hashable, so that it can be part of a jit key.

    Attributes:
      schema: the labels it takes or gives.
      architecture: its network.
      image_size: side of the images it was trained on, in pixels.
      spacing: their pixel spacing in mm, in plane.
      transform: of native intensities.

    Raises:
      ValueError: the schema and the network disagree on the number of classes.
    """

    FORMAT: ClassVar[str]
    COMMAND: ClassVar[str]
    NOUN: ClassVar[str]
    ARCHITECTURE: ClassVar[type]
    SIZE_IS_MULTIPLE: ClassVar[bool] = False

    schema: LabelSchema
    architecture: Architecture
    image_size: int
    spacing: float = 1.33
    transform: IntensityTransform = DEFAULT_TRANSFORM

    def __post_init__(self) -> None:
        """Checks that the parts fit each other."""
        if self.schema.num_classes != self.architecture.num_classes:
            raise ValueError(
                f"schema {self.schema.name!r} has {self.schema.num_classes} classes, "
                f"the {self.NOUN} {self.architecture.num_classes}"
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
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Reads what `to_dict` wrote.

        Raises:
          ValueError, KeyError, TypeError: it is not a description.
        """
        sizes = content["architecture"]
        for field in dataclasses.fields(cls.ARCHITECTURE):
            if field.name in sizes:  # an older model lacks the newer ones
                _check_value(field.name, sizes[field.name], field.type)
        _check_value("image_size", content["image_size"], int)
        _check_value("spacing", content["spacing"], float)
        architecture = cls.ARCHITECTURE(**sizes)
        image_size, spacing = content["image_size"], float(content["spacing"])
        multiple = architecture.size_multiple
        if image_size < 1 or (cls.SIZE_IS_MULTIPLE and image_size % multiple):
            raise ValueError(f"image_size {image_size} is no multiple of {multiple}")
        if not spacing > 0.0:
            raise ValueError(f"spacing is {spacing}")
        return cls(
            schema=LabelSchema.from_dict(content["schema"]),
            architecture=architecture,
            image_size=image_size,
            spacing=spacing,
            transform=transform_from_dict(content["transform"]),
        )


def _check_value(name: str, value: Any, kind: Any) -> None:
    """Refuses a value that is not of a kind, or so large that no network has it."""
    name_of_kind = kind if isinstance(kind, str) else kind.__name__
    kinds = {"int": (int,), "bool": (bool,), "float": (int, float)}[name_of_kind]
    if type(value) not in kinds or not abs(value) <= _LARGEST_VALUE:
        raise ValueError(f"{name} is {value!r}")


class ModelDescription(NetworkDescription[GeneratorArchitecture]):
    """Of a generator."""

    FORMAT = "cmrjax-model-1"
    COMMAND = "experiments.train_gan"
    NOUN = "generator"
    SIZE_IS_MULTIPLE = True
    ARCHITECTURE = GeneratorArchitecture


@dataclasses.dataclass(frozen=True)
class SegmenterDescription(NetworkDescription[UnetArchitecture]):
    """Of a segmentation network.

    Attributes:
      mirrored: whether it learned mirrored images, so that it may be shown them.
    """

    mirrored: bool = False

    FORMAT = "cmrjax-segmenter-1"
    COMMAND = "experiments.train_segmentation"
    NOUN = "segmentation network"
    ARCHITECTURE = UnetArchitecture

    def to_dict(self) -> dict[str, Any]:
        """Returns the description as plain JSON types."""
        return {**super().to_dict(), "mirrored": self.mirrored}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Reads what `to_dict` wrote; raises as its base does."""
        mirrored = content["mirrored"]
        _check_value("mirrored", mirrored, bool)
        return dataclasses.replace(super().from_dict(content), mirrored=mirrored)


Description = TypeVar("Description", bound=NetworkDescription[Any])


def write_description(
    directory: str | Path,
    description: NetworkDescription,
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
        "format": description.FORMAT,
        **description.to_dict(),
        "provenance": dict(provenance),
    }
    write_json(Path(directory) / MODEL_FILE, content)


def read_description(directory: str | Path, kind: type[Description]) -> Description:
    """Reads model.json.

    Args:
      directory: the model's folder.
      kind: of network that is expected.

    Returns:
      The description.

    Raises:
      ValueError: the folder holds no such model, or its description cannot be read.
    """
    path = Path(directory) / MODEL_FILE
    if not path.is_file():
        raise ValueError(
            f"{directory} is not a model folder: it has no {MODEL_FILE}. Expected the "
            f"--workdir of `python -m {kind.COMMAND}`"
        )
    content = read_json(path)
    found = content.get("format") if isinstance(content, dict) else content
    if found != kind.FORMAT:
        raise ValueError(
            f"{path}: format is {shorten(repr(found))}; expected {kind.FORMAT!r}, a "
            f"{kind.NOUN} of `python -m {kind.COMMAND}`"
        )
    try:
        return kind.from_dict(content)
    except _UNFIT as error:
        raise ValueError(
            f"{path}: not a valid model description ({shorten(error)}); fetch the model"
            " again"
        ) from error
