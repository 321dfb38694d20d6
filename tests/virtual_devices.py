"""CPU devices as XLA makes them on request, for tests; imports nothing."""


def xla_flags(devices: int) -> str:
    """Returns XLA_FLAGS for so many CPU devices in a process.

    XLA ends a process one of whose devices waits 40 seconds for the others, which on a
    full machine is no fault.
    """
    return (
        f"--xla_force_host_platform_device_count={devices}"
        " --xla_cpu_collective_call_terminate_timeout_seconds=600"
    )
