"""Sensitivity of a surface coil array and what a scanner's correction leaves of it."""

import numpy as np

from cmrjax.simulation.shapes import SlicePlane

_STEP = 4  # samples between the points where sensitivity is computed; it is smooth
_GAP = 12.0  # distance of the loops from the skin, mm


def array_sensitivity(
    planes: list[SlicePlane],
    *,
    body: tuple[float, float],
    weights: tuple[float, ...],
    loop_radius: float,
    uniform: float,
) -> np.ndarray:
    """Return the combined sensitivity of a coil array on all slices.

    Loops lie on the chest (4 x 3), the back (2 x 2) and the left side (2). The field of
    a loop of radius R on its axis falls as (1 + r^2/R^2)^(-3/2) (Biot and Savart),
    taken here in every direction; loops add as root of squares. To this comes a part
    that is equal everywhere, as of the many distant elements of an array.

    Args:
        planes: The d slices.
        body: Half width and half depth of the body, mm.
        weights: Weights of front, back and left side.
        loop_radius: R, mm; larger sees deeper.
        uniform: Part of the sensitivity at the image centre that is equal everywhere,
            0 to 1.

    Returns:
        [d, h, w] float32, 1 at the image centre of the middle slice.
    """
    loops = [
        (weight, place)
        for weight, places in zip(weights, _places(*body), strict=True)
        for place in places
    ]
    squares = [
        sum(w**2 * _loop(plane, place, loop_radius) ** 2 for w, place in loops)
        for plane in planes
    ]
    combined = np.sqrt(np.stack([np.asarray(s, np.float32) for s in squares]))
    full = _enlarge(combined, planes[0].shape)
    _, h, w = full.shape
    full /= full[len(planes) // 2, h // 2, w // 2]
    return np.float32(uniform) + np.float32(1 - uniform) * full


def _places(width: float, depth: float) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Return the loops' centres on front, back and left side, mm (left, back, up)."""
    chest = tuple(
        (x, -depth * np.sqrt(max(0.0, 1 - (x / width) ** 2)) - _GAP, z)
        for x in (-70.0, -15.0, 40.0, 95.0)
        for z in (-60.0, 0.0, 60.0)
    )
    back = tuple((x, depth + _GAP, z) for x in (-50.0, 60.0) for z in (-45.0, 45.0))
    side = tuple((width + _GAP, 0.0, z) for z in (-45.0, 45.0))
    return chest, back, side


def _loop(plane: SlicePlane, place: tuple[float, ...], radius: float) -> np.ndarray:
    """Return the sensitivity of one loop on a coarse grid of a slice, float32."""
    offset = plane.origin - np.asarray(place)
    h, w = plane.shape
    y = np.arange(0, h + _STEP, _STEP) * plane.spacing
    x = np.arange(0, w + _STEP, _STEP) * plane.spacing
    across = float(offset @ plane.normal)
    squared = (
        (y + offset @ plane.row_axis)[:, None] ** 2
        + (x + offset @ plane.column_axis)[None, :] ** 2
        + across**2
    )
    return (1.0 + squared.astype(np.float32) / radius**2) ** -1.5


def _enlarge(coarse: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Interpolate [d, h', w'] linearly to every sample; [d, h, w] float32."""
    full = coarse
    for axis, size in ((1, shape[0]), (2, shape[1])):
        place = np.arange(size) / _STEP
        low = place.astype(np.intp)
        part = (place - low).astype(np.float32)
        part = part[:, None] if axis == 1 else part
        full = (
            np.take(full, low, axis) * (1 - part) + np.take(full, low + 1, axis) * part
        )
    return full
