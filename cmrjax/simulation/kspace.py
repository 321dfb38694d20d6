"""Sampling of k-space: resolution, ringing, filters, ghosts and noise."""

from dataclasses import dataclass

import numpy as np
from scipy import fft


@dataclass(frozen=True)
class Readout:
    """How k-space is sampled and filtered.

    Attributes:
        resolution: Acquired resolution (rows, columns), mm.
        taper: Width of the window's soft edge, 0 (hard, Gibbs ringing) to 1.
        motion: Standard deviation of a blur by motion during the exposure, mm; it
            smooths the signal and leaves the noise.
        sharpening: Gain of the highest kept frequency less 1: above 0 edges are
            enhanced, below 0 the image is smoothed; -1 to 1.
        noise: Standard deviation of real and imaginary part of each channel, in units
            of the image.
        channels: Channels that are combined as root of squares; each beyond the first
            holds noise alone, which lifts the background. 1 gives Rician noise.
        ghost: Height of the ghosts relative to the image.
        ghost_shift: Distance of the ghosts, part of the field of view.
        phase_axis: Axis of phase encoding, 0 rows or 1 columns; ghosts lie along it.
    """

    resolution: tuple[float, float]
    taper: float
    motion: float
    sharpening: float
    noise: float
    channels: int
    ghost: float
    ghost_shift: float
    phase_axis: int


def measure(
    signal: np.ndarray,
    readout: Readout,
    rng: np.random.Generator,
    *,
    spacing: float,
    oversampling: int = 1,
) -> np.ndarray:
    """Sample k-space, cut it, add noise and return magnitudes.

    The noise in the image has the standard deviation that is asked for, whatever the
    window. Pixel (0, 0) stays at sample (0, 0).

    Args:
        signal: [d, h, w] complex64 or float32.
        readout: How to sample.
        rng: Source of noise.
        spacing: Distance of image pixels, mm.
        oversampling: Samples per image pixel and axis.

    Returns:
        [d, h / oversampling, w / oversampling] float32.
    """
    d, h, w = signal.shape
    h, w = h // oversampling, w // oversampling
    kspace = np.asarray(fft.fft2(signal, norm="forward"))
    if oversampling > 1:
        rows = np.rint(np.fft.fftfreq(h) * h).astype(int)
        columns = np.rint(np.fft.fftfreq(w) * w).astype(int)
        kspace = kspace[:, rows[:, None], columns[None, :]]
    kspace = kspace * _blur((h, w), readout.motion / spacing)
    window = _window((h, w), spacing, readout)
    if readout.ghost > 0:
        kspace = kspace * _ghost((h, w), readout, float(rng.uniform(0, 2 * np.pi)))
    scale = np.float32(readout.noise / np.sqrt(float((window**2).sum())))
    squares = np.zeros((d, h, w), np.float32)
    for channel in range(readout.channels):
        noise = rng.standard_normal((2, d, h, w), dtype=np.float32)
        content = scale * (noise[0] + 1j * noise[1])
        if channel == 0:
            content += kspace
        image = np.abs(np.asarray(fft.ifft2(content * window, norm="forward")))
        squares += image * image
    return np.sqrt(squares)


def fold_over(signal: np.ndarray, part: float, axis: int) -> np.ndarray:
    """Fold what lies beyond a border on to the other side (phase wrap-around).

    What lies beyond is not painted; its stand-in is the mirror image of the border.

    Args:
        signal: [d, h, w] complex64 or float32.
        part: Part of the field of view that folds at each border, 0 to 0.5.
        axis: 0 folds along rows, 1 along columns.

    Returns:
        Array like ``signal``.
    """
    lines = np.moveaxis(signal, axis + 1, 0)
    count = round(part * len(lines))
    if count == 0:
        return signal
    folded = lines.copy()
    folded[:count] += lines[-count:][::-1]
    folded[-count:] += lines[:count][::-1]
    return np.moveaxis(folded, 0, axis + 1)


def _window(shape: tuple[int, int], spacing: float, readout: Readout) -> np.ndarray:
    """Return the weight of each frequency, [h, w] float32."""
    window, radius = np.float32(1), np.float32(0)
    for axis in (0, 1):
        limit = 0.5 * min(1.0, spacing / readout.resolution[axis]) + 0.5 / shape[axis]
        frequency = np.abs(np.fft.fftfreq(shape[axis]))
        edge = max(readout.taper * limit, 1e-6)
        ramp = 0.5 - 0.5 * np.cos(np.pi * ((limit - frequency) / edge).clip(0, 1))
        along = (-1, 1) if axis == 0 else (1, -1)
        window = window * ramp.reshape(along)
        radius = radius + (frequency / limit).reshape(along) ** 2
    gain = 1.0 + readout.sharpening * np.minimum(radius, 1.0)
    return (window * gain).astype(np.float32)


def _blur(shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Return the spectrum of a Gaussian of ``sigma`` pixels, [h, w] float32."""
    y, x = np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :]
    return np.exp(-2 * (np.pi * sigma) ** 2 * (y * y + x * x)).astype(np.float32)


def _ghost(shape: tuple[int, int], readout: Readout, phase: float) -> np.ndarray:
    """Return the modulation of k-space by periodic motion, [h, 1] or [1, w]."""
    size = shape[readout.phase_axis]
    line = np.rint(np.fft.fftfreq(size) * size)
    turn = 2 * np.pi * readout.ghost_shift * line + phase
    modulation = (1.0 + 2.0 * readout.ghost * np.cos(turn)).astype(np.float32)
    return modulation[:, None] if readout.phase_axis == 0 else modulation[None, :]
