"""The measurements of one run of the benchmark, in order."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from cmrjax.models.table_size import table_for_unseen_maps
from experiments.configs.base import Config
from tools.benchmark_comparison import OURS, Comparison
from tools.benchmark_maps import take_batches
from tools.benchmark_ours import (
    InferenceRunner,
    LoaderRunner,
    StepRunner,
    make_params,
    synthesis_shapes,
    tables_fit,
    with_variant,
)
from tools.benchmark_report import Report
from tools.benchmark_settings import INFERENCE, LOADER, STEP, Perceptual, Settings
from tools.benchmark_timing import Timing, alternate, warm_up
from tools.cold_start import measure_cold_start
from tools.flops import inference_flops, step_flops

NUM_BATCHES = 4
REST = 0.3  # seconds before each repeat; OpenMP's threads wait actively for 0.2


class Session:
    """One run on one configuration.

    Args:
      config: see `experiments/configs/base.py`.
      settings: the flags.
      source: the maps.
      trainer: of the configuration.
      perceptual: weights of VGG19.
      report: where results go.
    """

    def __init__(
        self,
        config: Config,
        settings: Settings,
        source: Any,
        *,
        trainer: Any,
        perceptual: Perceptual,
        report: Report,
    ) -> None:
        self._config, self._settings, self._report = config, settings, report
        self._source, self._trainer, self._perceptual = source, trainer, perceptual
        self._batches = take_batches(source, config.training.batch_size, NUM_BATCHES)
        self._state = jax.device_get(trainer.init(jax.random.key(config.seed)))
        self._comparison: Comparison | None = None
        self._steps: dict[str, StepRunner] = {}

    def run(self) -> None:
        """Measures all that was asked for."""
        params = make_params(
            self._trainer, self._source.schema, self._state.g_variables
        )
        synthesis = self._synthesis(params, "float32")
        if self._settings.compare_torch:
            self._comparison = Comparison(
                self._settings.torch_variants,
                trainer=self._trainer,
                state=self._state,
                vgg=self._perceptual.arrays,
                batches=self._batches,
                report=self._report,
            )
            self._comparison.show_images_agree(synthesis)
        if INFERENCE in self._settings.measure:
            self._measure_inference(synthesis, params)
        if STEP in self._settings.measure:
            self._measure_steps()
        if LOADER in self._settings.measure:
            self._measure_loader()
        self._report.table()

    def _synthesis(self, params: Any, dtype: str) -> InferenceRunner:
        return InferenceRunner(f"{OURS} {dtype}", params, self._batches, dtype=dtype)

    def _measure_inference(self, synthesis: InferenceRunner, params: Any) -> None:
        others = [
            self._synthesis(params, dtype)
            for dtype in self._settings.dtypes
            if dtype != synthesis.dtype
        ]
        runners = [synthesis, *others]
        timings = self._time(INFERENCE, runners)
        arch = self._trainer.generator.architecture
        shape = self._batches[0]["label_map"].shape
        parts = synthesis_shapes(shape)
        rows = table_for_unseen_maps(arch, parts[0]).rows
        maps = [batch["label_map"][: parts[0][0]] for batch in self._batches]
        more: dict[str, Any] = {
            "table_rows": {str(height): count for height, count in rows},
            "tables_fit": tables_fit(rows, 1, maps, arch.num_classes),
        }
        if self._settings.cold_start:
            self._report.note("cold start: two new processes")
            label_map = self._batches[0]["label_map"][0]
            more.update(measure_cold_start(params, label_map))
        for runner in runners:
            timing = timings[runner.label]
            self._report.measured(
                INFERENCE,
                OURS,
                f"synthesize {runner.dtype}",
                timing,
                dtype=runner.dtype,
                passes=None,
                compile_seconds=max(runner.first_seconds - timing.median, 0.0),
                flops=sum(inference_flops(arch, part, dense=False) for part in parts),
                dense_flops=sum(
                    inference_flops(arch, part, dense=True) for part in parts
                ),
                **(more if runner is synthesis else {}),
            )
        dense = inference_flops(arch, shape, dense=True)
        if self._comparison:
            self._comparison.finish(
                INFERENCE,
                timings,
                flops=dense,
                like=synthesis.label,
                ours=[runner.label for runner in runners],
            )

    def _measure_steps(self) -> None:
        dtypes = self._settings.dtypes or [self._config.model.dtype]
        ours = [
            self._step(dtype, passes)
            for dtype in dtypes
            for passes in self._settings.passes
        ]
        timings = self._time(STEP, ours)
        for runner in ours:
            self._report_step(STEP, runner, timings[runner.label])
            if not runner.is_finite():
                self._report.note(f"warning: {runner.label} has come to NaN")
        if self._comparison:
            reference = with_variant(self._trainer, dtype="float32", passes=2)
            self._comparison.finish(
                STEP,
                timings,
                flops=step_flops(reference, self._perceptual.weights, dense=True),
                like=_step_label("float32", 2),
                ours=[runner.label for runner in ours],
            )
            self._comparison.show_losses_agree(ours[0].first_losses or {})

    def _measure_loader(self) -> None:
        dtypes = self._settings.dtypes or [self._config.model.dtype]
        step = self._step(dtypes[0], self._settings.passes[0])
        runner = LoaderRunner(f"{step.label} loader", step, self._source, self._config)
        try:
            alone = runner.seconds_alone()
            timings = self._time(LOADER, [runner])
        finally:
            runner.close()
        timing = timings[runner.label]
        waits = runner.waits[-len(timing.seconds) :]
        self._report_step(
            LOADER,
            step,
            timing,
            input_wait_share=float(np.sum(waits) / np.sum(timing.seconds)),
            loader_seconds_per_batch=alone,
        )

    def _step(self, dtype: str, passes: int) -> StepRunner:
        label = _step_label(dtype, passes)
        if label not in self._steps:
            self._report.note(f"compile the step: {label}")
            self._steps[label] = StepRunner(
                label,
                with_variant(self._trainer, dtype=dtype, passes=passes),
                self._perceptual.weights,
                batches=self._batches,
                state=self._state,
                seed=self._config.seed,
            )
        return self._steps[label]

    def _time(self, measure: str, ours: Sequence[Any]) -> dict[str, Timing]:
        """Warms up and times ours, and PyTorch's variants between them."""
        seconds = self._settings.repeat_seconds
        warm = {x.label: warm_up(x, repeat_seconds=seconds) for x in ours}
        theirs: list[Any] = []
        if self._comparison and measure != LOADER:
            theirs = self._comparison.warm_up(measure, warm, repeat_seconds=seconds)
        turns = itertools.chain.from_iterable(itertools.zip_longest(ours, theirs))
        runners = [runner for runner in turns if runner is not None]
        rest = REST if theirs and jax.default_backend() == "cpu" else 0.0
        repeats = self._settings.repeats
        return alternate(runners, warm, repeats=repeats, pause=rest)

    def _report_step(
        self, measure: str, runner: StepRunner, timing: Timing, **more: Any
    ) -> None:
        trainer, vgg = runner.trainer, self._perceptual.weights
        modulation = trainer.generator.modulation
        rows, groups = getattr(modulation, "rows", ()), getattr(modulation, "groups", 1)
        classes = trainer.generator.architecture.num_classes
        maps = [batch["label_map"] for batch in self._batches]
        self._report.measured(
            measure,
            OURS,
            runner.label.removeprefix(f"{OURS} "),
            timing,
            dtype=str(np.dtype(trainer.generator.dtype)),
            passes=trainer.objective.generator_passes,
            compile_seconds=runner.compiled.compile_seconds,
            flops=step_flops(trainer, vgg, dense=False),
            dense_flops=step_flops(trainer, vgg, dense=True),
            table_rows={str(height): count for height, count in rows},
            tables_fit=tables_fit(rows, groups, maps, classes),
            temporary_bytes=runner.compiled.memory_bytes,
            program_bytes=runner.program_bytes,
            **more,
        )


def _step_label(dtype: str, passes: int) -> str:
    return f"{OURS} {dtype}, {passes} pass{'es' if passes > 1 else ''}"
