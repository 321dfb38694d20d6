"""What the benchmark prints: one JSON line per measurement, and a table for people."""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import jax

from cmrjax.files import code_version
from experiments.configs.base import Config
from tools.benchmark_settings import Settings
from tools.benchmark_timing import Ratio, Timing
from tools.device_facts import (
    device_facts,
    library_versions,
    peak_gflops,
    peak_memory,
)

FORMAT = "cmrjax-benchmark-1"
_COLUMNS = (
    ("measure", "{measure:<10}"),
    ("implementation", "{name:<34}"),
    ("dtype", "{dtype:<9}"),
    ("passes", "{passes:>6}"),
    ("images/s", "{images_per_second:>9.3g}"),
    ("seconds", "{seconds_median:>9.4g}"),
    ("min", "{seconds_min:>8.4g}"),
    ("max", "{seconds_max:>8.4g}"),
    ("compile", "{compile:>8}"),
    ("temporary", "{temporary:>9}"),
    ("GFLOP/s", "{achieved_gflops:>9.4g}"),
    ("peak %", "{share:>6.1f}"),
)


class Report:
    """Collects measurements; each is printed as it comes.

    Args:
      settings: the flags.
      config: the configuration that is measured.
      facts: more that all lines have.
      out: where the JSON lines go; notes and tables go to standard error.
    """

    def __init__(
        self,
        settings: Settings,
        config: Config,
        facts: Mapping[str, Any],
        *,
        out: TextIO | None = None,
    ) -> None:
        self._out = out
        self._rows: list[dict[str, Any]] = []
        cache = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
        cache = bool(cache and jax.config.jax_compilation_cache_dir)  # type: ignore
        self._common = {
            "format": FORMAT,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "code": code_version(),
            "device": device_facts(),
            "versions": library_versions(),
            "compilation_cache": cache,
            "config": settings.config_name,
            "overrides": dict(settings.overrides),
            "image_size": config.data.image_size,
            "base_features": config.model.base_features,
            "batch_size": config.training.batch_size,
            **facts,
        }

    def note(self, text: str) -> None:
        """Tells people something."""
        print(text, file=sys.stderr, flush=True)

    def measured(
        self,
        measure: str,
        implementation: str,
        variant: str,
        timing: Timing,
        *,
        dtype: str,
        passes: int | None,
        compile_seconds: float | None,
        flops: float,
        dense_flops: float,
        **more: Any,
    ) -> None:
        """Reports one measurement.

        Args:
          measure: "step", "loader" or "inference".
          implementation: "cmrjax" or "torch".
          variant: which of its kind.
          timing: of one iteration, one batch.
          dtype: of activations.
          passes: of the generator in an iteration, None for inference.
          compile_seconds: before the first iteration.
          flops: operations of an iteration, as this variant does them.
          dense_flops: the same without tables.
          **more: further keys.
        """
        images = self._common["batch_size"]
        peak, peak_source = peak_gflops(dtype)
        achieved = flops / timing.median / 1e9
        record = {
            "measure": measure,
            "implementation": implementation,
            "variant": variant,
            "dtype": dtype,
            "passes": passes,
            "repeats": len(timing.seconds),
            "iterations": timing.iterations,
            "images_per_second": images / timing.median,
            "seconds_median": timing.median,
            "seconds_min": min(timing.seconds),
            "seconds_max": max(timing.seconds),
            "compile_seconds": compile_seconds,
            "gflop_per_step": flops / 1e9,
            "gflop_per_step_dense": dense_flops / 1e9,
            "achieved_gflops": achieved,
            "peak_gflops": peak,
            "peak_source": peak_source,
            "mfu": achieved / peak,
            **peak_memory(),
            "temporary_bytes": None,
            "program_bytes": None,
            "table_rows": None,
            "tables_fit": None,
            **more,
        }
        self._rows.append(record)
        self.line(record)

    def ratio(self, of: str, name: str, ours: str, theirs: str, ratio: Ratio) -> None:
        """Reports how many times faster `ours` was than `theirs`."""
        self.note(
            f"{of:<10}{name:<24}{ratio.median:6.2f}x  [{ratio.smallest:.2f}, "
            f"{ratio.largest:.2f}]  {ours} / {theirs}"
        )
        self.line(
            {
                "measure": "ratio",
                "of": of,
                "name": name,
                "ours": ours,
                "theirs": theirs,
                "ratio_median": ratio.median,
                "ratio_min": ratio.smallest,
                "ratio_max": ratio.largest,
            }
        )

    def line(self, record: Mapping[str, Any]) -> None:
        """Prints a JSON line with the facts that all have."""
        text = json.dumps({**self._common, **record}, allow_nan=False)
        print(text, file=self._out or sys.stdout, flush=True)

    def table(self) -> None:
        """Prints all measurements so far as a table."""
        widths = [len(cell.format(**_cells(self._rows[0]))) for _, cell in _COLUMNS]
        titles = [
            f"{title:<{width}}" if ":<" in cell else f"{title:>{width}}"
            for (title, cell), width in zip(_COLUMNS, widths, strict=True)
        ]
        lines = [" ".join(titles)]
        for row in self._rows:
            cells = _cells(row)
            lines.append(" ".join(cell.format(**cells) for _, cell in _COLUMNS))
        peaks = peak_memory()
        tail = f"seconds per batch; peak of host memory {mebibytes(peaks)}"
        device = peaks["peak_device_bytes"]
        if device is not None:
            tail += f", of device memory (JAX) {device / 2**20:.0f} MiB"
        self.note("\n".join(["", *lines, tail]))


def mebibytes(peaks: Mapping[str, int | None]) -> str:
    """Writes the peak of host memory."""
    return f"{(peaks['peak_host_bytes'] or 0) / 2**20:.0f} MiB"


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    compile_seconds, temporary = row["compile_seconds"], row["temporary_bytes"]
    return {
        **row,
        "name": f"{row['implementation']} {row['variant']}"[:34],
        "passes": row["passes"] or "",
        "compile": "" if compile_seconds is None else f"{compile_seconds:.1f}",
        "temporary": "" if temporary is None else f"{temporary / 2**20:.0f} MiB",
        "share": 100 * row["mfu"],
    }
