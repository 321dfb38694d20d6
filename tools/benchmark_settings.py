"""What the benchmark was asked for, checked."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmrjax.array_files import read_npz
from cmrjax.models.spade_generator import DTYPES
from cmrjax.models.vgg19 import Vgg19Weights, load_vgg19, prepare_weights
from experiments.configs.base import Config
from tools.benchmark_ours import draw_vgg19

STEP, LOADER, INFERENCE = "step", "loader", "inference"
MEASURES = (STEP, LOADER, INFERENCE)
VGG19_AUTO, VGG19_RANDOM, VGG19_NONE = "auto", "random", "none"


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags of `tools.benchmark`, see there.

    Attributes:
      config_name: file name of the configuration, without ".py".
      overrides: values given by --config.NAME=VALUE, by name.
      measure: some of MEASURES.
      maps: see `tools.benchmark_maps.open_maps`.
      repeats: timed rounds.
      repeat_seconds: least length of one.
      passes: generator passes to measure, of 1 and 2.
      dtypes: of activations; () for the configuration's.
      compare_torch: whether PyTorch is timed alongside.
      torch_variants: () for the defaults.
      vgg19: "auto", "random", "none" or a file.
      cold_start: whether new processes are timed.

    Raises:
      ValueError: a value that is not one of these.
    """

    config_name: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    measure: Sequence[str] = (STEP, INFERENCE)
    maps: str = "simulated"
    repeats: int = 5
    repeat_seconds: float = 1.0
    passes: Sequence[int] = (2, 1)
    dtypes: Sequence[str] = ()
    compare_torch: bool = False
    torch_variants: Sequence[str] = ()
    vgg19: str = VGG19_AUTO
    cold_start: bool = True

    def __post_init__(self) -> None:
        """Checks the values."""
        for flag, values, allowed in (
            ("measure", self.measure, MEASURES),
            ("passes", self.passes, (1, 2)),
            ("dtypes", self.dtypes, DTYPES),
        ):
            wrong = [value for value in values if value not in allowed]
            if wrong or len(set(values)) != len(values):
                raise ValueError(
                    f"--{flag}={','.join(map(str, values))}: expected some of "
                    f"{', '.join(map(str, allowed))}, each once, joined by commas"
                )
        if not self.measure or not self.passes:
            raise ValueError("--measure and --passes must not be empty")
        if self.repeats < 1:
            raise ValueError(f"--repeats={self.repeats}: expected at least 1")
        if not 0 <= self.repeat_seconds < 3600:
            raise ValueError(
                f"--repeat_seconds={self.repeat_seconds}: expected 0 to 3600"
            )


@dataclasses.dataclass(frozen=True)
class Perceptual:
    """Weights of the perceptual loss.

    Attributes:
      name: for the report.
      weights: for our step, None without the loss.
      arrays: the same for PyTorch, None without the loss or where it cannot take them.
    """

    name: str
    weights: Vgg19Weights | None = None
    arrays: Mapping[str, np.ndarray] | None = None


def choose_vgg19(settings: Settings, config: Config) -> Perceptual:
    """Makes or loads the weights that `--vgg19` names.

    Raises:
      ValueError, FileNotFoundError: the file is none, or PyTorch cannot use it.
    """
    name, loss = settings.vgg19, config.loss
    if name == VGG19_AUTO:
        used = loss.vgg19_weights and loss.perceptual_weight
        name = VGG19_RANDOM if used else VGG19_NONE
    if name == VGG19_NONE:
        return Perceptual(name)
    if name == VGG19_RANDOM:
        arrays = draw_vgg19()
        weights = prepare_weights(arrays, convention="torchvision")
        return Perceptual(name, weights, arrays)
    weights = load_vgg19(name)
    if settings.compare_torch and weights.convention != "torchvision":
        raise ValueError(
            f"--vgg19={name}: has the {weights.convention} convention, the PyTorch "
            "networks take torchvision's; use --vgg19=random to compare"
        )
    return Perceptual(f"file {Path(name).name}", weights, read_npz(Path(name)))
