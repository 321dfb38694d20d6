"""A readout that leaves the signal as it is."""

from cmrjax.simulation.kspace import Readout

PLAIN_READOUT = Readout(
    resolution=(1.0, 1.0),
    taper=0.0,
    motion=0.0,
    sharpening=0.0,
    noise=0.0,
    channels=1,
    ghost=0.0,
    ghost_shift=0.5,
    phase_axis=0,
)
