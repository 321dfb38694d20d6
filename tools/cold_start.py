"""Times a new process from its start to the first synthesised image.

The process is `python -m tools.cold_start FOLDER`, with FOLDER/model and
FOLDER/labels.npy [h, w]; it does what a user of the library does.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import cmrjax
from cmrjax.files import read_json, write_json
from cmrjax.synthesis.params import ModelParams, save_params
from cmrjax.training.compilation_cache import enable_compilation_cache
from cmrjax.training.process_age import process_age


def measure_cold_start(params: ModelParams, label_map: np.ndarray) -> dict[str, Any]:
    """Times a new process from its start to the first image, twice.

    First with an empty compilation cache, then with the cache that this left.

    Args:
      params: the model; written to a temporary folder and loaded by the process.
      label_map: [h, w] uint8.

    Returns:
      cold_start_seconds and warm_start_seconds, from the start of the process to the
      first image; cold_compile_seconds, the first image's time less a later one's; all
      None where the process fails (a line on standard error says why).
    """
    with tempfile.TemporaryDirectory(prefix="cmrjax-cold-start-") as name:
        folder = Path(name)
        save_params(params, folder / "model")
        np.save(folder / "labels.npy", label_map)
        found = [_run_cold_start(folder) for _ in range(2)]
    cold, warm = found
    return {
        "cold_start_seconds": cold.get("first_image_seconds"),
        "cold_compile_seconds": cold.get("compile_seconds"),
        "warm_start_seconds": warm.get("first_image_seconds"),
    }


def _run_cold_start(folder: Path) -> dict[str, float]:
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # this process holds memory, too
    }
    command = [sys.executable, "-m", "tools.cold_start", str(folder)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        print(f"cold start not measured: {reason}", file=sys.stderr)
        return {}
    return read_json(folder / "cold_start.json")


def main(folder: Path) -> None:
    """Writes FOLDER/cold_start.json: first_image_seconds and compile_seconds."""
    enable_compilation_cache()
    params = cmrjax.load_params(folder / "model")
    label_map = np.load(folder / "labels.npy")
    start = time.perf_counter()
    cmrjax.synthesize(label_map, params)
    first, age = time.perf_counter() - start, process_age()
    start = time.perf_counter()
    cmrjax.synthesize(label_map, params)
    again = time.perf_counter() - start
    write_json(
        folder / "cold_start.json",
        {"first_image_seconds": age, "compile_seconds": max(first - again, 0.0)},
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
