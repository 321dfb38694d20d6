"""PyTorch beside ours in one run: the same values, then how many times faster."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from cmrjax.training.gan_trainer import GanTrainer
from tools import benchmark_torch
from tools.benchmark_ours import InferenceRunner
from tools.benchmark_report import Report
from tools.benchmark_settings import STEP
from tools.benchmark_timing import Ratio, Timing, warm_up
from tools.benchmark_torch import REFERENCE, TorchRunner, TorchVariant

OURS, TORCH = "cmrjax", "torch"
LARGEST_DIFFERENCE = 1e-4  # of images in float32, relative norm


class Comparison:
    """The variants of PyTorch that take part.

    Args:
      names: of the variants, () for the defaults.
      trainer: ours.
      state: ours at step 0, on the host; PyTorch gets the same parameters.
      vgg: arrays of VGG19, or None.
      batches: on the host.
      report: where results go.

    Raises:
      ValueError: PyTorch is not there, or a name is not known.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        trainer: GanTrainer,
        state: Any,
        vgg: Mapping[str, np.ndarray] | None,
        batches: list[dict],
        report: Report,
    ) -> None:
        self._report, self._batches = report, batches
        self._variants: list[TorchVariant] = []
        device = benchmark_torch.find_device()
        benchmark_torch.prepare_torch()
        for name, options in benchmark_torch.parse_variants(names, device).items():
            try:
                variant = TorchVariant(
                    name,
                    options,
                    trainer=trainer,
                    state=state,
                    vgg=vgg,
                    device=device,
                    batches=batches,
                )
            except RuntimeError as error:
                self._skip(name, error)
                continue
            self._variants.append(variant)
        self._runners: list[TorchRunner] = []

    def show_images_agree(self, synthesis: InferenceRunner) -> None:
        """Compares the images of both; to be called before any step.

        Raises:
          ValueError: they differ by more than rounding.
        """
        label_map = self._batches[0]["label_map"]
        if not all(batch["valid_mask"].all() for batch in self._batches):
            self._report.note("images have padding: ours masks it, PyTorch does not")
        if jax.default_backend() == "cpu":
            ours = synthesis.images(label_map)
        else:
            with jax.default_matmul_precision("highest"):  # no TF32
                ours = synthesis.images(label_map)
        theirs = self._variants[0].exact_images(label_map)
        difference = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
        self._report.note(
            f"same parameters, same labels: images of {OURS} and {TORCH} differ by "
            f"{difference:.1e} (relative, float32)"
        )
        self._report.line({"measure": "difference", "images": difference})
        if not difference < LARGEST_DIFFERENCE:
            raise ValueError(
                f"images of {OURS} and {TORCH} differ by {difference:.1e}, more than "
                f"{LARGEST_DIFFERENCE:.0e}: the two do not compute the same"
            )

    def warm_up(
        self,
        measure: str,
        warm: dict[str, tuple[float, int]],
        *,
        repeat_seconds: float,
    ) -> list[TorchRunner]:
        """Warms up all variants; those that fail are skipped with a line.

        Args:
          measure: "step" or "inference".
          warm: gets what `tools.benchmark_timing.warm_up` returns, by label.
          repeat_seconds: as there.

        Returns:
          What is to be timed, the reference first.
        """
        self._runners = []
        for variant in list(self._variants):
            runner = TorchRunner(f"{TORCH} {variant.name}", variant, measure)
            try:
                warm[runner.label] = warm_up(runner, repeat_seconds=repeat_seconds)
            except Exception as error:  # torch.compile raises many kinds
                if variant.name == REFERENCE:
                    raise
                self._skip(variant.name, error)
                self._variants.remove(variant)
                continue
            self._runners.append(runner)
        return self._runners

    def finish(
        self,
        measure: str,
        timings: Mapping[str, Timing],
        *,
        flops: float,
        like: str,
        ours: Sequence[str],
    ) -> None:
        """Reports PyTorch's measurements and the ratios.

        Args:
          measure: "step" or "inference".
          timings: of ours and PyTorch's, by label.
          flops: of PyTorch's iteration.
          like: label of ours that does the same as the reference.
          ours: all labels of ours.
        """
        for runner in self._runners:
            variant, timing = runner.variant, timings[runner.label]
            self._report.measured(
                measure,
                TORCH,
                variant.name,
                timing,
                dtype=variant.dtype,
                passes=2 if measure == STEP else None,
                compile_seconds=max(timing.first_seconds - timing.median, 0.0)
                if "compile" in variant.name
                else None,
                flops=flops,
                dense_flops=flops,
                peak_device_bytes=variant.peak_device_bytes,
            )
        reference, theirs = self._runners[0].label, [r.label for r in self._runners]
        best = min(ours, key=lambda label: timings[label].median)
        best_torch = min(theirs, key=lambda label: timings[label].median)
        for name, a, b in (
            ("like_for_like", like, reference),
            ("best_against_best", best, best_torch),
            ("best_against_reference", best, reference),
        ):
            if a not in timings:
                self._report.note(f"no ratio {name}: {a} was not measured")
                continue
            ratio = Ratio.of(timings[a], timings[b])
            self._report.ratio(measure, name, a, b, ratio)

    def show_losses_agree(self, losses: Mapping[str, float]) -> None:
        """Says how far G's loss of the first step is from the reference's."""
        theirs = self._variants[0].first_losses
        if theirs and "g_loss" in losses:
            difference = abs(losses["g_loss"] / theirs["g_loss"] - 1)
            self._report.note(f"G's loss of the first step differs by {difference:.1e}")

    def _skip(self, name: str, error: Exception) -> None:
        if name == REFERENCE:
            raise error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        self._report.note(f"skipped {TORCH} {name}: {reason[:200]}")
