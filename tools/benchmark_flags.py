"""The flags of `tools.benchmark`."""

import os
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from tools.benchmark_maps import SIMULATED
from tools.benchmark_settings import MEASURES, Settings
from tools.benchmark_torch import OPTIONS


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the command's flags."""
    _define_what(values)
    _define_how(values)


def _define_what(values: flags.FlagValues) -> None:
    """What is measured."""
    config_flags.DEFINE_config_file(
        "config", help_string="configuration file", flag_values=values
    )
    flags.DEFINE_list(
        "measure",
        "step,inference",
        f"some of {', '.join(MEASURES)}",
        flag_values=values,
    )
    flags.DEFINE_string(
        "maps",
        None,
        "'simulated' (default; with --estimate the configuration's own data where they "
        "are there), a folder of prepare_data, or an XCAT zip file",
        flag_values=values,
    )
    flags.DEFINE_list(
        "passes",
        "2,1",
        "generator passes of an iteration, of 1 and 2",
        flag_values=values,
    )
    flags.DEFINE_list(
        "dtypes",
        "",
        "float32, bfloat16; default: the configuration's",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "compare",
        "none",
        ["none", "torch"],
        "measure PyTorch alongside",
        flag_values=values,
    )
    flags.DEFINE_list(
        "torch_variants",
        "",
        f"'reference', or options joined by +: {', '.join(OPTIONS)}; default by device",
        flag_values=values,
    )
    flags.mark_flag_as_required("config", flag_values=values)


def _define_how(values: flags.FlagValues) -> None:
    """How it is measured, and the estimate."""
    flags.DEFINE_integer("repeats", 5, "timed rounds", flag_values=values)
    flags.DEFINE_float(
        "repeat_seconds", 1.0, "least length of a round, seconds", flag_values=values
    )
    flags.DEFINE_string(
        "vgg19",
        "auto",
        "'random' weights, 'none', or a file; auto: random where the configuration has "
        "a perceptual loss",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "cold_start",
        True,
        "time new processes to their first image",
        flag_values=values,
    )
    flags.DEFINE_bool("cache", False, "use the compilation cache", flag_values=values)
    flags.DEFINE_bool(
        "estimate",
        False,
        "predict hours, memory and disk, then stop",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "slices",
        0,
        "with --estimate: training slices, if not --maps",
        flag_values=values,
    )


def settings_from_flags(values: flags.FlagValues) -> Settings:
    """Reads the flags.

    Raises:
      ValueError: a value that does not fit.
    """
    file: Any = config_flags.get_config_filename(values["config"])
    name = os.path.basename(file.partition(":")[0]).removesuffix(".py")
    try:
        passes = tuple(int(x) for x in values.passes)
    except ValueError:
        raise ValueError(
            f"--passes={','.join(values.passes)}: expected 1, 2 or both"
        ) from None
    return Settings(
        config_name=name,
        overrides=config_flags.get_override_values(values["config"]),
        measure=tuple(values.measure),
        maps=values.maps or SIMULATED,
        repeats=values.repeats,
        repeat_seconds=values.repeat_seconds,
        passes=passes,
        dtypes=tuple(values.dtypes),
        compare_torch=values.compare == "torch",
        torch_variants=tuple(values.torch_variants),
        vgg19=values.vgg19,
        cold_start=values.cold_start,
    )


def parse(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Parses the command line; a name that the configuration lacks is said clearly."""
    for value in argv:
        name, _, path = value.partition("=")
        if name.lstrip("-") == "config" and path and not os.path.isfile(path):
            print(
                f"benchmark: --config: no file {path}; see experiments/configs",
                file=sys.stderr,
            )
            sys.exit(2)
    try:
        return values(argv)
    except flags.Error as error:
        print(f"benchmark: {error}", file=sys.stderr)
        sys.exit(2)
    except (AttributeError, KeyError, TypeError) as error:
        print(
            f"benchmark: the configuration has no such setting: {error}",
            file=sys.stderr,
        )
        sys.exit(2)
