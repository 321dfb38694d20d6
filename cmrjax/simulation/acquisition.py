"""From tissues to a magnitude image: contrast, coils, k-space, noise."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cmrjax.simulation.bssfp import bssfp_signal
from cmrjax.simulation.shapes import SlicePlane
from cmrjax.simulation.tissues import TISSUE_IDS, TISSUES, texture_table

_BINS = 64  # steps of the off-resonance precession in the signal table


@dataclass(frozen=True)
class AcquisitionParameters:
    """Settings of the virtual scanner for one subject.

    Attributes:
        flip_angle: Degrees.
        repetition_time: TR, ms; the echo time is half of it.
        tissue_values: [tissues, 3]: T1 ms, T2 ms, relative density.
        blood_level: Intensity of blood at the image's centre, in stored units.
        snr: Blood signal over the noise of one channel.
        resolution: Acquired resolution (rows, columns), mm.
        taper: Width of the k-space window's soft edge, 0 (hard, Gibbs ringing) to 1.
        coil_weights: Weights of three coils: front, back, left.
        coil_reach: How far a coil sees, mm.
        uniform: Part of the sensitivity that is equal everywhere, 0 to 1.
        off_resonance: [6] coefficients (1, x, y, xx, xy, yy) of the precession in one
            TR, radians; x and y run from -1 to 1 over the image.
        flow: Relative standard deviation of slow changes in the blood's signal.
    """

    flip_angle: float
    repetition_time: float
    tissue_values: np.ndarray
    blood_level: float
    snr: float
    resolution: tuple[float, float]
    taper: float
    coil_weights: tuple[float, ...]
    coil_reach: float
    uniform: float
    off_resonance: np.ndarray
    flow: float


def sample_acquisition(
    rng: np.random.Generator, tissue_values: np.ndarray
) -> AcquisitionParameters:
    """Draw the settings of a scanner.

    Args:
        rng: Source of randomness.
        tissue_values: [tissues, 3]: T1 ms, T2 ms, relative density.

    Returns:
        The settings; flip angle 40 to 60 degrees and TR about 3 ms as in clinical cine.
    """
    columns = rng.uniform(1.3, 1.9)
    spread = np.array((0.35, 0.5, 0.5, 0.35, 0.35, 0.35)) * rng.uniform(0.3, 1.3)
    return AcquisitionParameters(
        flip_angle=float(rng.uniform(40, 60)),
        repetition_time=float(rng.uniform(2.7, 3.4)),
        tissue_values=tissue_values,
        blood_level=float(np.exp(rng.uniform(np.log(130), np.log(1700)))),
        snr=float(np.exp(rng.uniform(np.log(25), np.log(90)))),
        resolution=(float(columns * rng.uniform(1.0, 1.35)), float(columns)),
        taper=float(rng.uniform(0.05, 0.6)),
        coil_weights=(1.0, *(float(w) for w in rng.uniform(0.2, 1.0, 2))),
        coil_reach=float(rng.uniform(95, 170)),
        uniform=float(rng.uniform(0.05, 0.8)),
        off_resonance=rng.normal(0, spread),
        flow=float(rng.uniform(0.02, 0.12)),
    )


def acquire(
    tissue: np.ndarray,
    planes: list[SlicePlane],
    parameters: AcquisitionParameters,
    rng: np.random.Generator,
    *,
    body: tuple[float, float],
    oversampling: int = 1,
) -> np.ndarray:
    """Simulate the magnitude images of one phase.

    Args:
        tissue: [d, s, h, w] uint8 tissue ids.
        planes: The d slices that ``tissue`` was painted on.
        parameters: Settings of the scanner.
        rng: Source of texture and noise.
        body: Half width and half depth of the body, mm: where the coils lie.
        oversampling: Samples of ``tissue`` per image pixel and axis.

    Returns:
        [d, h / oversampling, w / oversampling] int16, in stored units.
    """
    _, sub_slices, h, w = tissue.shape
    table = _signal_table(parameters)
    bins = _precession_bins(parameters, h, w)
    signal = np.zeros((len(tissue), h, w), dtype=np.float32)
    flat = table.ravel()
    for index in range(sub_slices):
        signal += flat[tissue[:, index].astype(np.int32) * _BINS + bins]
    signal /= sub_slices
    middle = tissue[:, sub_slices // 2]
    signal *= _texture(middle, parameters, rng, planes[0].spacing)
    signal *= np.stack([_sensitivity(parameters, plane, body) for plane in planes])
    blood = float(table[TISSUE_IDS["lv_blood"], _BINS // 2])
    image = _measure(
        signal * (parameters.blood_level / blood),
        parameters,
        rng,
        spacing=planes[0].spacing * oversampling,
        oversampling=oversampling,
    )
    return np.clip(np.rint(image), 0, np.iinfo(np.int16).max).astype(np.int16)


def _signal_table(parameters: AcquisitionParameters) -> np.ndarray:
    """Return the signal of each tissue over the precession; [tissues, bins] float32."""
    t1, t2, density = parameters.tissue_values.T[:, :, None]
    precession = (np.arange(_BINS) - _BINS // 2) * (2 * np.pi / _BINS)
    return bssfp_signal(
        t1,
        t2,
        density,
        repetition_time=parameters.repetition_time,
        echo_time=parameters.repetition_time / 2,
        flip_angle=parameters.flip_angle,
        precession=precession[None],
    ).astype(np.float32)


def _precession_bins(parameters: AcquisitionParameters, h: int, w: int) -> np.ndarray:
    """Return the column of the signal table at each sample; [h, w] int32."""
    y, x = np.linspace(-1, 1, h)[:, None], np.linspace(-1, 1, w)[None, :]
    terms = (1.0, x, y, x * x, x * y, y * y)
    angle = sum(c * t for c, t in zip(parameters.off_resonance, terms, strict=True))
    return (np.rint(angle * (_BINS / (2 * np.pi))) + _BINS // 2).astype(
        np.int32
    ) % _BINS


def _texture(
    middle: np.ndarray,
    parameters: AcquisitionParameters,
    rng: np.random.Generator,
    spacing: float,
) -> np.ndarray:
    """Return relative signal changes inside tissues and flowing blood; [d, h, w]."""
    fine = _smooth_noise(rng, middle.shape, 1.5 / spacing)
    coarse = _smooth_noise(rng, middle.shape, 6.0 / spacing)
    gain = 1.0 + texture_table()[middle] * (0.7 * fine + 0.7 * coarse)
    is_blood = np.array([t.name in ("lv_blood", "rv_blood", "vessel") for t in TISSUES])
    gain *= 1.0 + parameters.flow * is_blood[middle] * _smooth_noise(
        rng, middle.shape, 11.0 / spacing
    )
    return gain.clip(0.2, 2.0).astype(np.float32)


def _smooth_noise(
    rng: np.random.Generator, shape: tuple[int, ...], sigma: float
) -> np.ndarray:
    """Return noise of unit variance, smooth in plane; drawn coarse where it can be.

    Args:
        rng: Source of randomness.
        shape: (d, h, w).
        sigma: Standard deviation of the Gaussian filter, samples.

    Returns:
        [d, h, w] float32.
    """
    step = max(1, int(sigma / 2))
    d, h, w = shape
    small = rng.standard_normal((d, h // step + 4, w // step + 4), dtype=np.float32)
    small = np.asarray(ndimage.gaussian_filter(small, (0, sigma / step, sigma / step)))
    small /= small.std()
    if step > 1:
        small = np.asarray(ndimage.zoom(small, (1, step, step), order=1))
    return small[:, :h, :w]


def _sensitivity(
    parameters: AcquisitionParameters, plane: SlicePlane, body: tuple[float, float]
) -> np.ndarray:
    """Return the coils' combined sensitivity on a slice, 1 at its centre; [h, w]."""
    points = plane.points()[:, len(plane.offsets) // 2]
    width, depth = body
    places = ((30.0, -depth, 0.0), (10.0, depth, 0.0), (width, 0.0, 0.0))
    total = np.zeros(plane.shape, dtype=np.float32)
    for weight, place in zip(parameters.coil_weights, places, strict=True):
        squared = sum((points[i] - np.float32(place[i])) ** 2 for i in range(3))
        total += weight**2 * np.exp(squared * np.float32(-1 / parameters.coil_reach**2))
    combined = np.sqrt(total)
    combined /= combined[plane.shape[0] // 2, plane.shape[1] // 2] + 1e-3
    return parameters.uniform + (1 - parameters.uniform) * combined.clip(0, 4.0)


def _measure(
    signal: np.ndarray,
    parameters: AcquisitionParameters,
    rng: np.random.Generator,
    *,
    spacing: float,
    oversampling: int,
) -> np.ndarray:
    """Sample k-space, cut it, add noise and return magnitudes (Rician noise).

    The noise of real and imaginary part has the standard deviation blood_level / snr in
    the image. Pixel (0, 0) stays at sample (0, 0).

    Args:
        signal: [d, h, w] float32, in stored units.
        parameters: Settings of the scanner.
        rng: Source of noise.
        spacing: Distance of image pixels, mm.
        oversampling: Samples per image pixel and axis.

    Returns:
        [d, h / oversampling, w / oversampling] float32.
    """
    d, h, w = signal.shape
    h, w = h // oversampling, w // oversampling
    kspace = np.fft.fft2(signal, norm="forward")
    if oversampling > 1:
        rows = np.rint(np.fft.fftfreq(h) * h).astype(int)
        columns = np.rint(np.fft.fftfreq(w) * w).astype(int)
        kspace = kspace[:, rows[:, None], columns[None, :]]
    window = np.outer(
        _window(h, spacing, parameters.resolution[0], parameters.taper),
        _window(w, spacing, parameters.resolution[1], parameters.taper),
    ).astype(np.float32)
    noise = rng.standard_normal((2, d, h, w), dtype=np.float32)
    power = np.sqrt(float((window**2).sum()))
    scale = np.float32(parameters.blood_level / parameters.snr / power)
    kspace = (kspace + scale * (noise[0] + 1j * noise[1])) * window
    return np.abs(np.fft.ifft2(kspace, norm="forward")).astype(np.float32)


def _window(size: int, spacing: float, resolution: float, taper: float) -> np.ndarray:
    """Return the part of k-space that is measured, with a cosine edge; [size]."""
    limit = 0.5 * min(1.0, spacing / resolution)
    frequency = np.abs(np.fft.fftfreq(size))
    edge = max(taper * limit, 1e-6)
    ramp = ((limit - frequency) / edge).clip(0, 1)
    return 0.5 - 0.5 * np.cos(np.pi * ramp)
