"""A label phantom made ready to be deformed: turned, fine, with its heart measured."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cmrjax.labels import MULTI_TISSUE
from cmrjax.simulation.heart_profile import HeartProfile, measure_heart
from cmrjax.simulation.tissues import TISSUE_IDS, tissue_to_class
from cmrjax.simulation.xcat_short_axis import fill_papillary, short_axis_pose

REACH = 235.0  # in plane around the heart; further out is cut off, mm
_FINE_PLANE, _FINE_ACROSS = 1.0, 1.25  # wanted distance of fine samples, mm
_SHELL = 12.0  # distances beyond this do not matter where tissues meet, mm
_UNDER_SKIN = 22.0  # fat this deep or deeper lies between organs, mm
# Tissues that grow into the fat between organs where a subject is lean.
_GROWING = (
    "lung",
    "liver",
    "spleen",
    "stomach_wall",
    "kidney",
    "bowel",
    "muscle",
    "diaphragm",
)
_STOMACH_WALL = 4.0  # mm; deeper is its content
SKIN_UNIT = 0.25  # unit of `Phantom.skin`, mm


@dataclass(frozen=True)
class Phantom:
    """Tissues of one frame: slices from base to apex, RV left of LV, abdomen below.

    Attributes:
        tissue: [z, y, x] uint8 tissue ids on a fine grid.
        skin: [z, y, x] int8, in-plane distance from the skin in units of
            ``SKIN_UNIT``, negative inside the body, cut off at +-127.
        beside: [z, y, x] uint8, the tissue nearest to what is fat.
        gap: [z, y, x] uint8, its distance in units of ``SKIN_UNIT``, cut off at 255;
            255 too where the fat lies under the skin or beside the heart.
        spacing: (z, y, x) of the fine grid, mm.
        heart: The measured heart; positions in mm from sample (0, 0, 0).
    """

    tissue: np.ndarray
    skin: np.ndarray
    beside: np.ndarray
    gap: np.ndarray
    spacing: tuple[float, float, float]
    heart: HeartProfile


def prepare_phantom(tissue: np.ndarray, spacing: tuple[float, float, float]) -> Phantom:
    """Turns, refines and measures a volume of tissues.

    Args:
        tissue: [d, h, w] uint8 tissue ids with LV, RV and abdomen, slices across the
            heart; rows and columns equally spaced.
        spacing: (z, y, x), mm.

    Returns:
        The phantom.

    Raises:
        ValueError: If LV, RV or abdomen is in no slice.
    """
    labels = tissue_to_class()[tissue]
    pose = short_axis_pose(labels)
    tissue, labels = pose.turn(tissue), pose.turn(labels)
    if apex_first(labels):
        tissue, labels = tissue[::-1], labels[::-1]
    rows, columns = (_near_heart(labels, axis, spacing[axis]) for axis in (1, 2))
    tissue = np.ascontiguousarray(tissue[:, rows, columns])
    labels = np.ascontiguousarray(labels[:, rows, columns])
    filled = fill_papillary(labels)
    lv = MULTI_TISSUE.id_of("LV")
    tissue[(filled == lv) & (labels != lv)] = TISSUE_IDS["papillary"]
    _fill_stomach(tissue, spacing)
    factors = (
        max(1, round(spacing[0] / _FINE_ACROSS)),
        max(1, round(spacing[1] / _FINE_PLANE)),
        max(1, round(spacing[2] / _FINE_PLANE)),
    )
    fine = refine(tissue, spacing, factors)
    skin = _distance(tissue == TISSUE_IDS["air"], spacing, 127 * SKIN_UNIT)
    skin = np.rint(upsample(skin, factors) / SKIN_UNIT).astype(np.int8)
    beside, gap = _beside_fat(tissue, spacing)
    gap = np.rint(upsample(gap, factors) / SKIN_UNIT).astype(np.uint8)
    for axis, factor in enumerate(factors):
        nearest = (np.arange(fine.shape[axis]) + factor // 2) // factor
        beside = beside.take(nearest, axis)
    steps = (
        spacing[0] / factors[0],
        spacing[1] / factors[1],
        spacing[2] / factors[2],
    )
    return Phantom(fine, skin, beside, gap, steps, measure_heart(fine, steps))


def refine(
    tissue: np.ndarray,
    spacing: tuple[float, float, float],
    factors: tuple[int, int, int],
) -> np.ndarray:
    """Samples tissues more finely, with smooth borders instead of steps.

    Each tissue's distance to its border within its slice is interpolated between
    slices (shape-based interpolation; Raya and Udupa, IEEE Trans Med Imaging 9:32,
    1990); the tissue that is deepest inside its border wins.

    Args:
        tissue: [d, h, w] uint8.
        spacing: (z, y, x), mm.
        factors: New samples per old one along each axis; old samples are kept.

    Returns:
        [(d - 1) * f + 1, ...] uint8, f the factor of each axis.
    """
    shape = [(n - 1) * f + 1 for n, f in zip(tissue.shape, factors, strict=True)]
    best = np.full(shape, -np.inf, np.float32)
    fine = np.zeros(shape, np.uint8)
    margin = [int(np.ceil(_SHELL / s)) + 1 for s in spacing]
    for tissue_id in np.unique(tissue):
        mask = tissue == tissue_id
        boxes = [np.flatnonzero(mask.any(axis=a)) for a in ((1, 2), (0, 2), (0, 1))]
        first = [max(0, int(b[0]) - m) for b, m in zip(boxes, margin, strict=True)]
        last = [
            min(n, int(b[-1]) + m + 1)
            for b, m, n in zip(boxes, margin, tissue.shape, strict=True)
        ]
        near = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        depth = _distance(mask[near], spacing, _SHELL)
        sigma = (0.0, 1.4 / spacing[1], 1.4 / spacing[2])
        depth = upsample(ndimage.gaussian_filter(depth, sigma), factors)
        target = tuple(
            slice(a * f, (b - 1) * f + 1)
            for a, b, f in zip(first, last, factors, strict=True)
        )
        wins = depth > best[target]
        best[target][wins] = depth[wins]
        fine[target][wins] = tissue_id
    return fine


def upsample(values: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """Interpolates linearly between the samples of a volume, which are kept.

    Args:
        values: [d, h, w] float32.
        factors: New samples per old one along each axis.

    Returns:
        [(d - 1) * f + 1, ...] float32, f the factor of each axis.
    """
    for axis, factor in enumerate(factors):
        values = np.moveaxis(values, axis, 0)
        fine = np.empty(((len(values) - 1) * factor + 1, *values.shape[1:]), np.float32)
        fine[::factor] = values
        for part in range(1, factor):
            share = np.float32(part / factor)
            fine[part::factor] = values[:-1] * (1 - share) + values[1:] * share
        values = np.moveaxis(fine, 0, axis)
    return values


def _distance(
    mask: np.ndarray, spacing: tuple[float, float, float], limit: float
) -> np.ndarray:
    """Distance to the mask's border within each slice, positive inside, mm."""
    steps = (1e6, *spacing[1:])  # other slices are out of reach
    half = spacing[1] / 2
    inside, outside = (
        np.asarray(ndimage.distance_transform_edt(m, sampling=steps))
        if not m.all()
        else np.full(m.shape, limit + half)
        for m in (mask, ~mask)
    )
    depth = np.where(mask, inside - half, half - outside)
    return depth.clip(-limit, limit).astype(np.float32)


def _beside_fat(
    tissue: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest organ within the slice and its distance in mm, see `Phantom`."""
    limit = 255 * SKIN_UNIT
    firm = ~np.isin(tissue, [TISSUE_IDS["fat"], TISSUE_IDS["air"]])
    steps = (1e6, *spacing[1:])
    place = np.empty((3, *tissue.shape), np.int32)
    gap = np.empty(tissue.shape)
    ndimage.distance_transform_edt(
        ~firm, sampling=steps, return_indices=True, distances=gap, indices=place
    )
    beside = tissue[tuple(place)]
    depth = _distance(tissue != TISSUE_IDS["air"], spacing, _UNDER_SKIN)
    grows = np.isin(beside, [TISSUE_IDS[name] for name in _GROWING])
    grows &= depth >= _UNDER_SKIN - spacing[1]
    return beside, np.where(grows, gap, limit).clip(0, limit).astype(np.float32)


def apex_first(labels: np.ndarray) -> bool:
    """Returns whether the first slices show less cavity than the last ones.

    Args:
        labels: [d, h, w] ids of ``MULTI_TISSUE``.
    """
    area = (labels == MULTI_TISSUE.id_of("LV")).sum(axis=(1, 2))
    found = area[area > 0]
    third = max(1, len(found) // 3)
    return bool(found[:third].sum() < found[-third:].sum())


def _near_heart(labels: np.ndarray, axis: int, step: float) -> slice:
    """The part of an axis within ``REACH`` of the cavity."""
    places = np.nonzero(labels == MULTI_TISSUE.id_of("LV"))[axis]
    middle, reach = float(places.mean()), REACH / step
    return slice(max(0, int(middle - reach)), int(middle + reach) + 2)


def _fill_stomach(tissue: np.ndarray, spacing: tuple[float, float, float]) -> None:
    """Makes content of what lies deep in a solid stomach; changes ``tissue``."""
    wall = tissue == TISSUE_IDS["stomach_wall"]
    if wall.any() and not (tissue == TISSUE_IDS["stomach"]).any():
        deep = _distance(wall, spacing, 2 * _STOMACH_WALL) > _STOMACH_WALL
        tissue[deep] = TISSUE_IDS["stomach"]
