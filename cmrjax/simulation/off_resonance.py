"""Deviation of the main field: what the shim leaves, and air beside tissue."""

import numpy as np
from scipy import ndimage
from scipy.fft import fftn, ifftn

from cmrjax.simulation.shapes import SlicePlane
from cmrjax.simulation.tissues import TISSUE_IDS, TISSUES

PROTON_MHZ_PER_TESLA = 42.577
_GRID = 5.0  # mm, grid of the susceptibility computation
# Volume susceptibility of tissue less that of air, ppm (SI): water -9.05, air +0.36.
_TISSUE_LESS_AIR = -9.4
_AIR_PART = {"air": 1.0, "gas": 1.0, "lung": 0.75}
_BODY_WEIGHT = 0.1  # of the body beside the heart when the field is shimmed
# The stack is short and its surroundings are guessed, so far from the heart the field
# comes out too strong; it is bent off here, ppm (64 Hz is one of 1.5 T).
_LIMIT = 1.3
_HEART = ("lv_blood", "papillary", "myocardium", "rv_blood", "trabecula", "rv_wall")


def frequency_map(
    tissue: np.ndarray,
    planes: list[SlicePlane],
    *,
    field_strength: float,
    shim: np.ndarray,
    susceptibility: float,
) -> np.ndarray:
    """Return the off-resonance frequency of water.

    Args:
        tissue: [d, s, h, w] uint8 tissue ids.
        planes: The d slices.
        field_strength: Tesla.
        shim: [6] float64 Hz, coefficients (1, x, y, xx, xy, yy) of what the shim
            leaves; x and y run from -1 to 1 over the image.
        susceptibility: Factor on the field of air beside tissue; 0 leaves it out.

    Returns:
        [d, h, w] float32, Hz.
    """
    h, w = tissue.shape[-2:]
    y = np.linspace(-1, 1, h, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, w, dtype=np.float32)[None, :]
    terms = (1.0, x, y, x * x, x * y, y * y)
    smooth = sum(np.float32(c) * t for c, t in zip(shim, terms, strict=True))
    frequency = np.broadcast_to(smooth, (len(tissue), h, w)).astype(np.float32)
    if susceptibility == 0:
        return frequency
    hertz_per_ppm = np.float32(susceptibility * field_strength * PROTON_MHZ_PER_TESLA)
    return frequency + hertz_per_ppm * _susceptibility_field(tissue, planes)


def _susceptibility_field(tissue: np.ndarray, planes: list[SlicePlane]) -> np.ndarray:
    """Return the field of the tissues' susceptibility, shimmed on the heart, in ppm.

    The field is the convolution with a dipole: D(k) = 1/3 - (k b)^2 / k^2, b the main
    field's direction (Salomir et al., Concepts Magn Reson B 19:26, 2003). Beyond the
    image its border goes on.

    Returns:
        [d, h, w] float32.
    """
    plane = planes[0]
    step = max(1, round(_GRID / plane.spacing))
    middle = tissue[:, tissue.shape[1] // 2]
    part = np.array([1.0 - _AIR_PART.get(t.name, 0.0) for t in TISSUES], np.float32)
    matter = _block_mean(part[middle], step)
    distance = _slice_distance(planes)
    d, h, w = matter.shape
    pad = ((6, 6), (h // 2, h // 2), (w // 2, w // 2))
    wide = np.pad(matter, pad, mode="edge")
    spectrum = fftn(wide) * _dipole(
        wide.shape, (distance, step * plane.spacing, step * plane.spacing), plane
    )
    field = np.real(np.asarray(ifftn(spectrum)))[6 : 6 + d, h // 2 :, w // 2 :]
    field = (_TISSUE_LESS_AIR * field[:, :h, :w]).astype(np.float32)
    is_heart = np.isin(np.arange(len(TISSUES)), [TISSUE_IDS[n] for n in _HEART])
    heart = _block_mean(is_heart[middle].astype(np.float32), step)
    field -= _shim_fit(field, heart + _BODY_WEIGHT * matter)
    field = _LIMIT * np.tanh(field / _LIMIT)
    full = ndimage.zoom(field, (1, step, step), order=1, grid_mode=True, mode="nearest")
    return np.asarray(full)[:, : tissue.shape[2], : tissue.shape[3]]


def _block_mean(values: np.ndarray, step: int) -> np.ndarray:
    """Return the mean of step x step blocks; borders are repeated to fill them."""
    _, h, w = values.shape
    values = np.pad(values, ((0, 0), (0, -h % step), (0, -w % step)), mode="edge")
    d, h, w = values.shape
    return values.reshape(d, h // step, step, w // step, step).mean((2, 4))


def _slice_distance(planes: list[SlicePlane]) -> float:
    """Return the distance of neighbouring slices, mm; signed along the normal."""
    if len(planes) < 2:
        return 10.0
    return float((planes[1].origin - planes[0].origin) @ planes[0].normal)


def _dipole(
    shape: tuple[int, ...], steps: tuple[float, ...], plane: SlicePlane
) -> np.ndarray:
    """Return the dipole's spectrum on the grid of the slices; float32 of ``shape``."""
    k = np.meshgrid(
        *(np.fft.fftfreq(n, s) for n, s in zip(shape, steps, strict=True)),
        indexing="ij",
        sparse=True,
    )
    axes = (plane.normal, plane.row_axis, plane.column_axis)
    along = sum(float(axis[2]) * part for axis, part in zip(axes, k, strict=True))
    squared = np.asarray(sum(part**2 for part in k))
    is_mean = squared == 0  # no field comes of it: what the demodulation takes out
    kernel = 1 / 3 - along**2 / np.where(is_mean, 1.0, squared)
    return np.where(is_mean, 0.0, kernel).astype(np.float32)


def _shim_fit(field: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the quadratic field nearest to ``field``; arrays are [d, h, w]."""
    grid = [np.linspace(-1, 1, n, dtype=np.float32) for n in field.shape]
    z, y, x = np.meshgrid(*grid, indexing="ij")
    terms = np.stack([z * 0 + 1, z, y, x, y * y, x * x, x * y, y * z, x * z], axis=-1)
    root = np.sqrt(weight + 1e-6)
    flat = (terms * root[..., None]).reshape(-1, terms.shape[-1])
    solution = np.linalg.lstsq(flat, (field * root).ravel(), rcond=None)[0]
    return (terms @ solution).astype(np.float32)
