"""What makes a tissue's signal vary in place: its texture, and flow in blood."""

import numpy as np
from scipy import ndimage

from cmrjax.simulation.tissues import TISSUES, texture_table

_VESSELS = ("vessel", "venous_vessel")
_BLOOD = ("lv_blood", "rv_blood", *_VESSELS)


def tissue_texture(
    middle: np.ndarray,
    rng: np.random.Generator,
    spacing: float,
    *,
    strength: float = 1.0,
) -> np.ndarray:
    """Return relative signal changes inside tissues.

    Args:
        middle: [d, h, w] uint8 tissue ids.
        rng: Source of randomness.
        spacing: Distance of samples, mm.
        strength: Factor on the deviations of `tissues.texture_table`.

    Returns:
        [d, h, w] float32, about 1.
    """
    fine = smooth_noise(rng, middle.shape, 1.5 / spacing)
    coarse = smooth_noise(rng, middle.shape, 6.0 / spacing)
    deviation = np.float32(strength) * texture_table()
    gain = 1.0 + deviation[middle] * (0.7 * fine + 0.7 * coarse)
    return gain.clip(0.2, 2.0)


def blood_flow(
    middle: np.ndarray,
    rng: np.random.Generator,
    spacing: float,
    *,
    inflow: float,
    dephasing: float,
) -> np.ndarray:
    """Return relative signal changes of flowing blood, 1 in other tissues.

    Fresh spins, which have not yet met the pulses, brighten some regions. Shear and
    eddies dephase: dark streaks, along lines where smooth noise crosses zero, in
    patches which are denser near the great vessels and atria (the valves).

    Args:
        middle: [d, h, w] uint8 tissue ids.
        rng: Source of randomness.
        spacing: Distance of samples, mm.
        inflow: Strength of the bright regions, 0 to 1.
        dephasing: Part of the signal that a full streak takes, 0 to 1.

    Returns:
        [d, h, w] float32.
    """
    names = [tissue.name for tissue in TISSUES]
    vessels = [names.index(name) for name in _VESSELS]
    is_blood = np.array([name in _BLOOD for name in names])
    near_valve = np.asarray(
        ndimage.gaussian_filter(
            np.isin(middle[:, ::4, ::4], vessels).astype(np.float32),
            (0.7, 4.0 / spacing, 4.0 / spacing),
        )
    )
    valve = _repeat(near_valve, 4, middle.shape)
    lines = smooth_noise(rng, middle.shape, 6.0 / spacing)
    patch = smooth_noise(rng, middle.shape, 9.0 / spacing)
    streak = np.exp(-((lines / 0.3) ** 2))
    streak *= (0.7 * patch - 0.3 + 3.0 * valve).clip(0, 1)
    fine = smooth_noise(rng, middle.shape, 1.0 / spacing)
    slow = smooth_noise(rng, middle.shape, 11.0 / spacing)
    slices = rng.uniform(0.5, 1.5, (len(middle), 1, 1)).astype(np.float32)
    gain = (1.0 + inflow * slices * (0.8 * slow + 0.6 * fine)) * (
        1.0 - dephasing * streak
    )
    return np.where(is_blood[middle], gain.clip(0.1, 2.0), np.float32(1.0))


def smooth_noise(
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


def _repeat(coarse: np.ndarray, step: int, shape: tuple[int, ...]) -> np.ndarray:
    """Repeat samples ``step`` times in plane and cut to ``shape``."""
    return coarse.repeat(step, 1).repeat(step, 2)[:, : shape[1], : shape[2]]
