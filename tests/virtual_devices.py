"""CPU devices as XLA makes them on request, for tests; imports nothing."""


def xla_flags(devices: int) -> str:
    """Returns XLA_FLAGS for so many CPU devices in a process.

    XLA ends a process one of whose devices waits 40 seconds for the others, which on a
    full machine is no fault. Most of the tests' time is compilation, and tiny networks
    gain nothing from LLVM's optimisation or the newer fusions, so these are off: half
    the processor time. `make demo` runs with them, as users do.
    """
    return (
        f"--xla_force_host_platform_device_count={devices}"
        " --xla_backend_optimization_level=0"
        " --xla_cpu_use_fusion_emitters=false"
        " --xla_cpu_collective_call_terminate_timeout_seconds=600"
    )
