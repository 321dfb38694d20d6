"""What a benchmark says of the machine: device, versions, memory, peak speed."""

import functools
import importlib.metadata
import os
import platform
import time
from typing import Any

import jax
import jax.numpy as jnp

from cmrjax.training.timing import PEAK_HOST, peak_host_bytes

# Dense peaks by NVIDIA's data sheets, GFLOP/s, by a part of the device's name. float32
# is TF32, which XLA and cuDNN take for float32 products unless told otherwise.
_SPECIFIED = {
    "H200": {"float32": 494.7e3, "bfloat16": 989.4e3},
    "H100": {"float32": 494.7e3, "bfloat16": 989.4e3},
    "A100": {"float32": 156e3, "bfloat16": 312e3},
}
_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "grain", "torch")
_LONG_ENOUGH = 0.03  # seconds of a product whose time is trusted


def device_facts() -> dict[str, Any]:
    """Returns platform, kind and number of the devices, and the cores of the host."""
    devices = jax.devices()
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
        "host_cores": cores,
        "host_processor": _processor(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [x for x in file if x.startswith("model name")]
        return lines[0].partition(":")[2].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def library_versions() -> dict[str, str]:
    """Returns the versions of Python and of the libraries that are installed."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def peak_memory() -> dict[str, int | None]:
    """Returns the most memory that this process has held so far.

    Returns:
      peak_host_bytes, and peak_device_bytes of the first device (None on a CPU). Both
      are of all that the process did, not of the last measurement alone.
    """
    device = jax.local_devices()[0].memory_stats() or {}
    return {
        PEAK_HOST: peak_host_bytes(),
        "peak_device_bytes": device.get("peak_bytes_in_use"),
    }


@functools.cache
def peak_gflops(dtype: str) -> tuple[float, str]:
    """Finds the arithmetic peak of all devices together.

    Args:
      dtype: "float32" or "bfloat16".

    Returns:
      GFLOP/s, and where that comes from: "data sheet" for GPUs that are known, else
      "matrix product", the best of a few large ones. On a CPU all devices share the
      cores, so the peak is counted once.
    """
    kind = jax.devices()[0].device_kind
    count = 1 if jax.default_backend() == "cpu" else jax.device_count()
    for name, peaks in _SPECIFIED.items():
        if name in kind and dtype in peaks:
            return count * peaks[dtype], "data sheet"
    return count * _measure_product(dtype), "matrix product"


def _measure_product(dtype: str) -> float:
    """GFLOP/s of square matrix products, doubled in size until they take long."""
    product = jax.jit(functools.partial(jnp.matmul, preferred_element_type=jnp.float32))
    side, best = 256, 0.0
    while True:
        x = jnp.full((side, side), 0.5, dtype)
        product(x, x).block_until_ready()
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            product(x, x).block_until_ready()
            seconds.append(time.perf_counter() - start)
        best = max(best, 2e-9 * side**3 / min(seconds))
        if min(seconds) > _LONG_ENOUGH or side >= 16384:
            return best
        side *= 2
