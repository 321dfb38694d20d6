"""One virtual subject's anatomy, cut into short-axis slices.

The torso stands in patient coordinates; the heart's long axis points to the left, to
the front and down; the slices lie across it. So the sections of chest wall, lungs,
diaphragm and abdomen follow from geometry, as in a scanner.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from cmrjax.simulation.geometry import Geometry, heart_axes_at, sample_geometry
from cmrjax.simulation.great_vessels import paint_great_vessels
from cmrjax.simulation.heart import HeartShape, sample_heart
from cmrjax.simulation.heart_paint import heart_coordinates, paint_ventricles
from cmrjax.simulation.shapes import SlicePlane
from cmrjax.simulation.tissues import TISSUE_IDS
from cmrjax.simulation.torso import paint_torso
from cmrjax.simulation.torso_shape import (
    TorsoParameters,
    diaphragm_height,
    sample_torso,
    wall_layers,
)


@dataclass(frozen=True)
class Anatomy:
    """A torso, its heart at both phases, and the slices through them.

    Attributes:
        torso: The torso.
        hearts: The heart at end-diastole and end-systole.
        heart_base: [3] float64 mm, patient position of the heart's origin.
        heart_axes: [3, 3] float64, unit vectors u, v, w of the heart.
        vessel_scale: Size of the vessels.
        geometry: The slices.
    """

    torso: TorsoParameters
    hearts: tuple[HeartShape, HeartShape]
    heart_base: np.ndarray
    heart_axes: np.ndarray
    vessel_scale: float
    geometry: Geometry


def sample_anatomy(
    rng: np.random.Generator,
    *,
    image_size: int,
    spacing: float,
    slice_distance: float | None = None,
) -> Anatomy:
    """Draw one subject.

    Args:
        rng: Source of randomness.
        image_size: Rows and columns of the images.
        spacing: Distance of pixels, mm.
        slice_distance: Distance of slices, mm; None draws 8 to 10 mm.

    Returns:
        The anatomy. Draws do not depend on ``image_size`` and ``spacing``: the same
        generator gives the same subject at any resolution.
    """
    torso = sample_torso(rng)
    edv_ml = float(np.clip(rng.lognormal(np.log(158), 0.34), 81, 248))
    fraction = float(np.clip(rng.normal(0.54, 0.12), 0.31, 0.69))
    hearts = sample_heart(rng, edv_ml=edv_ml, ejection_fraction=fraction)
    axes = _heart_axes(rng)
    base = _place_heart(rng, torso, hearts[0], axes)
    torso = _lift_diaphragm(rng, torso, hearts[0], base, axes)
    shape = hearts[0]
    distance = float(rng.choice((8.0, 9.0, 10.0, 10.0)))
    geometry = sample_geometry(
        rng,
        image_size=image_size,
        spacing=spacing,
        slice_distance=distance if slice_distance is None else slice_distance,
        heart_base=base,
        heart_axes=axes,
        tip=shape.length + 0.7 * shape.wall,
    )
    scale = (edv_ml / 150.0) ** (1 / 3) * float(rng.uniform(0.85, 1.15))
    return Anatomy(torso, hearts, base, axes, scale, geometry)


def _surface(heart: HeartShape, directions: tuple[float, ...]) -> np.ndarray:
    """Return [n, 3] mm, heart coordinates around the axis; directions from the RV."""
    points = []
    for t in (0.15, 0.45, 0.75):
        radius = (heart.radius + heart.wall) * np.sqrt(1.0 - (t - 0.25) ** 2 / 0.75)
        reach = radius + heart.rv_width * np.sqrt(1.0 - t**1.7)
        for turn in directions:
            angle = heart.rv_angle + turn
            out = radius + (reach - radius) * np.exp(-((turn / 0.6) ** 2))
            points.append((out * np.cos(angle), out * np.sin(angle), t * heart.length))
    points.append((0.0, 0.0, heart.apex + 0.7 * heart.wall))
    return np.asarray(points)


def _place_heart(
    rng: np.random.Generator,
    torso: TorsoParameters,
    heart: HeartShape,
    axes: np.ndarray,
) -> np.ndarray:
    """Return where the heart's origin lies, mm: as far to the front as the chest lets.

    The right ventricle and the apex lie behind sternum and ribs, with some fat between.
    """
    place = np.array([32.0, -18.0, 0.0]) + rng.normal(0, (8, 4, 6))
    gap = float(np.clip(rng.normal(5.0, 5.0), -3.0, 18.0))
    points = _surface(heart, (-0.5, 0.0, 0.5, 1.0)) @ axes + place
    forward = np.array([0.35, -0.94, 0.0])
    for step in np.arange(45.0, -60.0, -1.5):
        moved = (points + step * forward).T
        if wall_layers(torso, moved)[2].min() > gap:
            return place + step * forward
    return place - 60.0 * forward


def _lift_diaphragm(
    rng: np.random.Generator,
    torso: TorsoParameters,
    heart: HeartShape,
    base: np.ndarray,
    axes: np.ndarray,
) -> TorsoParameters:
    """Return the torso with its diaphragm under the heart."""
    points = _surface(heart, (-1.57, -1.0)) @ axes + base
    height = np.sort(diaphragm_height(torso, points.T))
    lift = float(height[len(height) // 3] - rng.normal(2.0, 7.0))
    return replace(
        torso, right_dome=torso.right_dome + lift, left_dome=torso.left_dome + lift
    )


def _heart_axes(rng: np.random.Generator) -> np.ndarray:
    """Draw the heart's axes."""
    azimuth = np.deg2rad(np.clip(rng.normal(47, 8), 28, 66))
    down = np.deg2rad(np.clip(rng.normal(37, 9), 15, 56))
    return heart_axes_at(azimuth, down)


def paint_anatomy(
    anatomy: Anatomy,
    rng: np.random.Generator,
    *,
    sub_slices: int = 3,
    oversampling: int = 1,
) -> np.ndarray:
    """Paint the tissues of both phases.

    Args:
        anatomy: The subject.
        rng: Source of the fine detail (lung vessels, trabeculae).
        sub_slices: Samples through each slice, odd.
        oversampling: Samples per pixel and axis.

    Returns:
        [2, d, s, h, w] uint8 tissue ids, end-diastole first; h and w are the image
        size times ``oversampling``.
    """
    slices = []
    planes = anatomy.geometry.planes(sub_slices=sub_slices, oversampling=oversampling)
    for plane in planes:
        torso, gap = paint_torso(anatomy.torso, plane)
        noise = rng.standard_normal((2, *plane.shape), dtype=np.float32)
        dots = _unit(ndimage.gaussian_filter(noise[0], 1.6 / plane.spacing)) > 2.3
        torso[dots & (torso == TISSUE_IDS["lung"])] = TISSUE_IDS["lung_vessel"]
        roughness = _unit(ndimage.gaussian_filter(noise[1], 2.2 / plane.spacing))
        slices.append(_paint_phases(anatomy, plane, torso, gap, roughness))
    return np.stack(slices, axis=1)


def _paint_phases(
    anatomy: Anatomy,
    plane: SlicePlane,
    torso: np.ndarray,
    gap: np.ndarray,
    roughness: np.ndarray,
) -> np.ndarray:
    """Paint the heart of both phases on to one slice; [2, s, h, w] uint8."""
    painted = np.stack([torso, torso])
    points = plane.points()
    long = anatomy.hearts[0].length
    centre = anatomy.heart_base + 0.4 * long * anatomy.heart_axes[2]
    window = plane.window(centre, long + 50.0)
    for heart, tissue in zip(anatomy.hearts, painted, strict=True):
        paint_great_vessels(
            heart,
            tissue,
            points,
            plane,
            base=anatomy.heart_base,
            axes=anatomy.heart_axes,
            scale=anatomy.vessel_scale,
        )
        if window is not None:
            near = (..., window[0], window[1])
            local = heart_coordinates(
                points[near], anatomy.heart_base, anatomy.heart_axes
            )
            paint_ventricles(heart, tissue[near], local, roughness[near], gap=gap[near])
    return painted


def _unit(noise: np.ndarray) -> np.ndarray:
    """Scale noise to unit variance."""
    return noise / max(float(noise.std()), 1e-6)
