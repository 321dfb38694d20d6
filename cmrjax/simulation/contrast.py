"""The complex bSSFP signal of painted tissues, off resonance too."""

import numpy as np

from cmrjax.simulation.bssfp import bssfp_steady_state
from cmrjax.simulation.tissues import TISSUE_IDS

_BINS = (
    256  # steps of the precession, over two turns: the signal's phase has that period
)


def signal_table(
    tissue_values: np.ndarray,
    *,
    repetition_time: float,
    flip_angle: float,
    fat_hertz: float,
) -> np.ndarray:
    """Return the signal of each tissue over the precession of water.

    Args:
        tissue_values: [tissues, 3]: T1 ms, T2 ms, relative density.
        repetition_time: TR, ms; the echo time is half of it.
        flip_angle: Degrees.
        fat_hertz: Frequency of fat less that of water, Hz.

    Returns:
        [tissues, 256] complex64; column i is a precession of 4 pi i / 256 in one TR.
    """
    t1, t2, density = tissue_values.T[:, :, None]
    precession = np.tile(np.arange(_BINS) * (4 * np.pi / _BINS), (len(t1), 1))
    fats = [TISSUE_IDS[name] for name in ("fat", "wall_fat")]
    precession[fats] += _turn(fat_hertz, repetition_time)
    return bssfp_steady_state(
        t1,
        t2,
        density,
        repetition_time=repetition_time,
        echo_time=repetition_time / 2,
        flip_angle=flip_angle,
        precession=precession,
    ).astype(np.complex64)


def mean_signal(
    tissue: np.ndarray,
    table: np.ndarray,
    frequency: np.ndarray,
    *,
    repetition_time: float,
) -> np.ndarray:
    """Return the mean signal of the sub-slices (partial volume through the slice).

    Args:
        tissue: [d, s, h, w] uint8 tissue ids.
        table: [tissues, 256] complex64 of `signal_table`.
        frequency: [d, h, w] float32 Hz, off-resonance of water.
        repetition_time: TR, ms.

    Returns:
        [d, h, w] complex64.
    """
    steps = np.float32(_turn(1.0, repetition_time) * _BINS / (4 * np.pi))
    bins = np.rint(frequency * steps).astype(np.int32) % _BINS
    flat = table.ravel()
    signal = np.zeros(bins.shape, np.complex64)
    for index in range(tissue.shape[1]):
        signal += flat[tissue[:, index].astype(np.int32) * _BINS + bins]
    return signal / np.float32(tissue.shape[1])


def _turn(hertz: float, repetition_time: float) -> float:
    """Return the precession in one TR (ms) at a frequency, radians."""
    return 2e-3 * np.pi * hertz * repetition_time
