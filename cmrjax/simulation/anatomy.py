"""One virtual subject's anatomy, cut into short-axis slices.

The torso stands in patient coordinates; the heart's long axis points to the left, to
the front and down; the slices lie across it. So the sections of chest wall, lungs,
diaphragm and abdomen follow from geometry, as in a scanner.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cmrjax.simulation.geometry import Geometry, sample_geometry
from cmrjax.simulation.heart import HeartShape, sample_heart
from cmrjax.simulation.heart_paint import (
    heart_coordinates,
    paint_great_vessels,
    paint_ventricles,
)
from cmrjax.simulation.shapes import SlicePlane
from cmrjax.simulation.tissues import TISSUE_IDS
from cmrjax.simulation.torso import (
    TorsoParameters,
    inner_wall_scale,
    paint_torso,
    sample_torso,
)

PHASES = ("ED", "ES")


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
    edv_ml = float(np.clip(rng.lognormal(np.log(145), 0.28), 82, 245))
    fraction = float(np.clip(rng.normal(0.54, 0.1), 0.31, 0.69))
    hearts = sample_heart(rng, edv_ml=edv_ml, ejection_fraction=fraction)
    axes = _heart_axes(rng)
    shape = hearts[0]
    base = np.array([22.0, -22.0, 0.0]) + rng.normal(0, (7, 7, 6))
    reach = float(rng.uniform(0.8, 0.98))
    tip = shape.length + 0.7 * shape.wall + 9.0
    for _ in range(60):  # move the heart back until its apex lies within the chest
        if inner_wall_scale(torso, base + tip * axes[2]) < reach:
            break
        base = base - np.array([1.2, -1.2, 0.0])
    distance = float(rng.choice((8.0, 9.0, 10.0)))
    geometry = sample_geometry(
        rng,
        image_size=image_size,
        spacing=spacing,
        slice_distance=distance if slice_distance is None else slice_distance,
        heart_base=base,
        heart_axes=axes,
        tip=tip - 9.0,
    )
    scale = (edv_ml / 150.0) ** (1 / 3) * float(rng.uniform(0.88, 1.08))
    return Anatomy(torso, hearts, base, axes, scale, geometry)


def _heart_axes(rng: np.random.Generator) -> np.ndarray:
    """Draw the heart's axes: w to the left, front and down; u level; v down."""
    azimuth = np.deg2rad(np.clip(rng.normal(47, 8), 28, 66))
    down = np.deg2rad(np.clip(rng.normal(37, 9), 15, 56))
    w = np.array(
        [
            np.sin(azimuth) * np.cos(down),
            -np.cos(azimuth) * np.cos(down),
            -np.sin(down),
        ]
    )
    u = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    return np.stack([u, np.cross(u, w), w])


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
        torso = paint_torso(anatomy.torso, plane)
        noise = rng.standard_normal((2, *plane.shape), dtype=np.float32)
        dots = _unit(ndimage.gaussian_filter(noise[0], 1.6 / plane.spacing)) > 2.3
        torso[dots & (torso == TISSUE_IDS["lung"])] = TISSUE_IDS["lung_vessel"]
        roughness = _unit(ndimage.gaussian_filter(noise[1], 2.2 / plane.spacing))
        slices.append(_paint_phases(anatomy, plane, torso, roughness))
    return np.stack(slices, axis=1)


def _paint_phases(
    anatomy: Anatomy, plane: SlicePlane, torso: np.ndarray, roughness: np.ndarray
) -> np.ndarray:
    """Paint the heart of both phases on to one slice; [2, s, h, w] uint8."""
    painted = np.stack([torso, torso])
    points = plane.points()
    long = anatomy.hearts[0].length
    centre = anatomy.heart_base + 0.4 * long * anatomy.heart_axes[2]
    window = plane.window(centre, long + 40.0)
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
            paint_ventricles(heart, tissue[near], local, roughness[near])
    return painted


def _unit(noise: np.ndarray) -> np.ndarray:
    """Scale noise to unit variance."""
    return noise / max(float(noise.std()), 1e-6)
