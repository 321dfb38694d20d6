"""Paints the tissues of a deformed phantom on to short-axis slices."""

import numpy as np
from scipy import ndimage

from cmrjax.simulation.morphing import MorphedPoints, fade, morph_points
from cmrjax.simulation.phantom import SKIN_UNIT, Phantom
from cmrjax.simulation.phantom_anatomy import (
    HEART_AXES,
    HEART_PLACE,
    PhantomAnatomy,
)
from cmrjax.simulation.tissues import TISSUE_IDS, TISSUES

_STRIDE = 4  # pixels between points at which the smooth displacement is computed
_CAP = 7.0  # height of the rounded tip that ends a cut ventricle, mm
_LEFT = ("lv_blood", "papillary", "myocardium")
_RIGHT = ("rv_blood", "trabecula", "rv_wall")
_VESSELS = ("vessel", "venous_vessel")
# What epicardial fat does not cover.
_FIRM = (*_LEFT, *_RIGHT, *_VESSELS, "muscle", "diaphragm", "bone", "air")


def paint_phantom(
    anatomy: PhantomAnatomy,
    phantoms: tuple[Phantom, Phantom],
    rng: np.random.Generator,
    *,
    sub_slices: int = 3,
    oversampling: int = 1,
) -> np.ndarray:
    """Paints the tissues of both phases.

    Args:
        anatomy: The subject.
        phantoms: The phantom at end-diastole and end-systole.
        rng: Source of the fine detail (lung vessels, trabeculae, fat).
        sub_slices: Samples through each slice, odd.
        oversampling: Samples per pixel and axis.

    Returns:
        [2, d, s, h, w] uint8 tissue ids, end-diastole first; h and w are the image
        size times ``oversampling``.
    """
    geometry = anatomy.geometry
    size = geometry.image_size * oversampling
    coarse = _heart_positions(anatomy, sub_slices, oversampling)
    scale = np.array(anatomy.scale, np.float32)[:, None, None, None]
    origin = anatomy.origin.astype(np.float32)[:, None, None, None]
    both, systole = anatomy.elastic
    rigid = 0.75 * fade((np.hypot(coarse[1], coarse[2]) - 25.0) / 60.0)
    moved_by = both(coarse)
    moved_by += rigid * (both(np.zeros((3, 1, 1, 1), np.float32)) - moved_by)
    there = origin + coarse / scale + moved_by
    step = geometry.spacing / oversampling
    shape = (geometry.num_slices, 1, size, size)
    noise = [_noise(rng, shape, sigma / step) for sigma in (1.6, 1.9, 14.0)]
    painted = []
    for phase, phantom in enumerate(phantoms):
        points = there if phase == 0 else there + systole(coarse)
        moved = morph_points(anatomy.morphs[phase], _refine(points, size))
        tissue = look_up(phantom, moved, skin_fat=anatomy.skin_fat, lean=anatomy.lean)
        _add_epicardial_fat(tissue, moved, anatomy, phantom, noise[2])
        _add_detail(tissue, moved, noise, anatomy.gas, sub_slices)
        painted.append(tissue.reshape(geometry.num_slices, sub_slices, size, size))
    return np.stack(painted)


def look_up(
    phantom: Phantom, moved: MorphedPoints, *, skin_fat: float, lean: float
) -> np.ndarray:
    """Finds the tissue at points, nearest sample.

    Beside the phantom its border goes on. Above and below it the ventricles end: what
    would be ventricle above the base is atrium, below the last slice the left one is
    rounded off.

    Args:
        phantom: The phantom.
        moved: The points.
        skin_fat: Thickness of fat added under the skin, or taken off, mm.
        lean: How far organs grow into the fat between them, mm.

    Returns:
        [...] uint8 tissue ids.
    """
    index = [
        np.rint(p / np.float32(s)).clip(0, n - 1).astype(np.int32)
        for p, s, n in zip(
            moved.source, phantom.spacing, phantom.tissue.shape, strict=True
        )
    ]
    _, h, w = phantom.tissue.shape
    flat = (index[0] * h + index[1]) * w + index[2]
    tissue, skin = phantom.tissue.ravel()[flat], phantom.skin.ravel()[flat]
    fat, air = TISSUE_IDS["fat"], TISSUE_IDS["air"]
    if lean > 0:
        grown = (tissue == fat) & (phantom.gap.ravel()[flat] < lean / SKIN_UNIT)
        tissue[grown] = phantom.beside.ravel()[flat[grown]]
    change = skin_fat / SKIN_UNIT
    if change > 0:
        tissue[(tissue == air) & (skin < change)] = fat
    else:
        tissue[(tissue == fat) & (skin > change)] = air
    _end_ventricles(tissue, phantom, moved)
    return tissue


def _end_ventricles(tissue: np.ndarray, phantom: Phantom, moved: MorphedPoints) -> None:
    """End the ventricles where the phantom ends; changes ``tissue``."""
    z = moved.source[0]
    above = z < phantom.heart.base - 1.0
    if above.any():
        ring = moved.radius > 0.5 * (moved.borders[0] + moved.borders[1])
        outside = above & ring & _ids(*_LEFT)[tissue]
        tissue[_ids(*_LEFT)[tissue] & above] = TISSUE_IDS["vessel"]
        tissue[_ids(*_RIGHT)[tissue] & above] = TISSUE_IDS["venous_vessel"]
        tissue[outside] = TISSUE_IDS["fat"]
    beyond = z - (len(phantom.tissue) - 1) * np.float32(phantom.spacing[0])
    far = beyond > 0
    if far.any():
        share = moved.radius / np.maximum(moved.borders[1], 1.0)
        cut = far & ((beyond / _CAP) ** 2 + share**2 > 1)
        tissue[_ids(*_LEFT, *_RIGHT)[tissue] & cut] = TISSUE_IDS["fat"]
        tissue[_ids("lv_blood", "papillary")[tissue] & far] = TISSUE_IDS["myocardium"]


def _heart_positions(
    anatomy: PhantomAnatomy, sub_slices: int, oversampling: int
) -> np.ndarray:
    """Positions of every fourth sample along the heart's axes; [3, d * s, m, m] mm.

    The components are (w, v, u), from ``HEART_PLACE``: (z, y, x) as in the phantom.
    """
    planes = anatomy.geometry.planes(sub_slices=sub_slices, oversampling=oversampling)
    result = []
    for plane in planes:
        count = -(-plane.shape[0] // _STRIDE) + 1
        along = np.arange(count) * _STRIDE * plane.spacing
        rows = along[None, :, None, None] * plane.row_axis
        columns = along[None, None, :, None] * plane.column_axis
        across = np.asarray(plane.offsets)[:, None, None, None] * plane.normal
        points = plane.origin - HEART_PLACE + rows + columns + across
        result.append(points @ HEART_AXES[::-1].T)
    return np.concatenate(result).transpose(3, 0, 1, 2).astype(np.float32)


def _refine(points: np.ndarray, size: int) -> np.ndarray:
    """Interpolate positions to every sample; [3, n, size, size] float32."""
    place = np.arange(size) / _STRIDE
    low = np.floor(place).astype(int)
    weights = np.zeros((size, points.shape[-1]), np.float32)
    weights[np.arange(size), low] = 1 - (place - low)
    weights[np.arange(size), low + 1] += (place - low).astype(np.float32)
    return weights @ points @ weights.T


def _add_epicardial_fat(
    tissue: np.ndarray,
    moved: MorphedPoints,
    anatomy: PhantomAnatomy,
    phantom: Phantom,
    noise: np.ndarray,
) -> None:
    """Add fat around the heart; changes ``tissue``."""
    thickness = anatomy.epicardial_fat * (1 + 0.7 * noise).clip(0, 2.5)
    outer = moved.borders[2].reshape(noise.shape[0], -1, *noise.shape[2:])
    beyond = moved.radius.reshape(outer.shape) - outer
    shell = (beyond < thickness * (outer / 20.0).clip(0, 1)).reshape(tissue.shape)
    shell &= (moved.source[0] < phantom.heart.apex) & ~_ids(*_FIRM)[tissue]
    tissue[shell] = TISSUE_IDS["fat"]


def _add_detail(
    tissue: np.ndarray,
    moved: MorphedPoints,
    noise: list[np.ndarray],
    gas: bool,
    sub_slices: int,
) -> None:
    """Paint vessels in the lung and trabeculae; changes ``tissue``."""
    fine, rough = (
        np.repeat(n, sub_slices, axis=1).reshape(tissue.shape) for n in noise[:2]
    )
    tissue[(fine > 2.3) & (tissue == TISSUE_IDS["lung"])] = TISSUE_IDS["lung_vessel"]
    endo, epi, outer = moved.borders
    share = (moved.radius - epi) / np.maximum(outer - epi, 1.0)
    rv = (tissue == TISSUE_IDS["rv_blood"]) & (rough > 2.3 - 1.2 * share)
    tissue[rv & (share > 0.6)] = TISSUE_IDS["trabecula"]
    lv = (tissue == TISSUE_IDS["lv_blood"]) & (moved.radius > 0.78 * endo)
    tissue[lv & (rough > 1.4)] = TISSUE_IDS["papillary"]
    if not gas:
        tissue[tissue == TISSUE_IDS["gas"]] = TISSUE_IDS["bowel"]


def _noise(
    rng: np.random.Generator, shape: tuple[int, ...], sigma: float
) -> np.ndarray:
    """Noise of unit variance, smooth in plane; [d, 1, h, w] float32."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise = np.asarray(ndimage.gaussian_filter(noise, (0, 0, sigma, sigma)))
    return noise / max(float(noise.std()), 1e-6)


def _ids(*names: str) -> np.ndarray:
    """Table that says of each tissue id whether it is one of the names; bool."""
    return np.array([tissue.name in names for tissue in TISSUES])
