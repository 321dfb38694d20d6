r"""Measures training step, inference and loader, alone or beside PyTorch.

    python -m tools.benchmark --config=experiments/configs/multi_a1.py \
        --config.training.batch_size=1 --measure=step,inference,loader

Needs neither data nor weights: label maps come from the built-in simulation (or from
--maps), images are painted from them, VGG19 is drawn at random in full size. Any
setting of the configuration can be changed by --config.NAME=VALUE.

Side by side with the same networks and losses in plain PyTorch, in turn (like for like
is two generator passes in float32; on a GPU both sides use TF32):

    python -m tools.benchmark --config=experiments/configs/multi_a1.py \
        --config.training.batch_size=1 --compare=torch --maps=xcat_short_axis.zip

How long a configuration will take, and what it needs (see `tools.estimate`):

    python -m tools.benchmark --config=experiments/configs/cavity_a1_cpu.py --estimate

Standard output gets one JSON line per measurement, standard error a table. Keys:

- what: measure (step, loader, inference), implementation, variant, dtype, passes,
  config, overrides, maps, num_maps, num_classes, perceptual, image_size,
  base_features, batch_size;
- time: repeats of so many iterations; images_per_second and seconds_median,
  seconds_min, seconds_max of one iteration; compile_seconds (a compilation cache
  would shorten it and is off unless --cache; compilation_cache says so);
- memory: peak_host_bytes, peak_device_bytes of the process so far (PyTorch's own
  peak in its lines); temporary_bytes, program_bytes of the compiled step, by XLA;
- arithmetic, see `tools.flops`: gflop_per_step as done, gflop_per_step_dense as the
  reference does it; achieved_gflops, peak_gflops, peak_source, mfu;
- tables: table_rows by image height; tables_fit, or else the dense path was measured;
- code, device, versions, created, format.

Loader lines add input_wait_share and loader_seconds_per_batch; inference lines
cold_start_seconds, cold_compile_seconds, warm_start_seconds (with a filled cache).
With PyTorch there are lines of measure "difference" (images, relative) and "ratio" (of,
name, ours, theirs, ratio_median, ratio_min, ratio_max: how many times faster).

Exit status: 0 all well, 2 wrong usage or not possible here (one line says why).
"""

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from absl import app, flags

# On a GPU, JAX would take three quarters of the memory, and PyTorch needs some, too.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax

from cmrjax.models.spade import DenseModulation
from cmrjax.training.compilation_cache import (
    enable_compilation_cache,
)
from cmrjax.training.console import configure_logging
from experiments.command_line import stoppable
from experiments.configs.base import Config
from experiments.gan_setup import make_trainer
from experiments.training_flags import command_of
from tools import estimate
from tools.benchmark_flags import define_flags, parse, settings_from_flags
from tools.benchmark_maps import name_of, open_maps
from tools.benchmark_report import Report
from tools.benchmark_session import Session
from tools.benchmark_settings import (
    Settings,
    choose_vgg19,
)
from tools.benchmark_torch import check_comparable, find_device, parse_variants


def run(config: Config, settings: Settings, *, out: TextIO | None = None) -> None:
    """Measures and prints.

    Args:
      config: see `experiments/configs/base.py`.
      settings: what to measure.
      out: where the JSON lines go; standard output by default.

    Raises:
      ValueError, OSError: something does not fit; one line says what.
    """
    if settings.compare_torch:  # before anything slow
        parse_variants(settings.torch_variants, find_device())
        check_comparable(config)
    source: Any = open_maps(settings.maps, config)
    perceptual = choose_vgg19(settings, config)
    trainer = make_trainer(config, source)
    modulation = trainer.generator.modulation
    facts = {
        "maps": name_of(source),
        "num_maps": len(source),
        "num_classes": source.schema.num_classes,
        "perceptual": perceptual.name,
    }
    report = Report(settings, config, facts, out=out)
    dense = isinstance(modulation, DenseModulation)
    rows = dict(getattr(modulation, "rows", ()))
    tables = "dense" if dense or not rows else f"tables of {rows} (height: rows)"
    report.note(
        f"{settings.config_name}: {config.data.image_size} pixels, nf "
        f"{config.model.base_features}, batch {config.training.batch_size}; maps: "
        f"{facts['maps']} ({len(source)}); step: {tables}; VGG19: {perceptual.name}"
    )
    Session(
        config,
        settings,
        source,
        trainer=trainer,
        perceptual=perceptual,
        report=report,
    ).run()


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> None:
    """Runs the command."""
    config = values.config
    configure_logging()
    logging.getLogger("experiments").setLevel(logging.WARNING)
    if values.cache or values.estimate:
        enable_compilation_cache()
    else:
        jax.config.update("jax_enable_compilation_cache", False)
    try:
        if len(argv) > 1:
            raise ValueError(f"not understood: {' '.join(argv[1:])}; see --help")
        if command_of(config) != "train_gan":
            raise ValueError(
                f"--config is a configuration of {command_of(config)}; this measures "
                "those of train_gan"
            )
        settings = settings_from_flags(values)
        if values.estimate:
            estimate.run(config, settings, maps=values.maps, slices=values.slices)
        else:
            run(config, settings)
    except (ValueError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        sys.exit(2)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        print(
            f"benchmark: batch_size {config.training.batch_size} at "
            f"{config.data.image_size} pixels does not fit into the device's memory; "
            "lower --config.training.batch_size",
            file=sys.stderr,
        )
        sys.exit(2)


if __name__ == "__main__":
    define_flags()
    with stoppable("benchmark"):
        app.run(main, flags_parser=parse)
