"""A new subject out of a label phantom: drawn, deformed, cut into short-axis slices.

A sample point of an image is carried back to the phantom: slice position, then size of
the body, then a smooth elastic displacement, then the heart's new shape
(`morphing.py`). The tissue found there is what the image shows.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cmrjax.simulation.deformation import ElasticField, sample_elastic_field
from cmrjax.simulation.geometry import (
    Geometry,
    count_slices,
    heart_axes_at,
    place_slices,
)
from cmrjax.simulation.heart_profile import HeartProfile
from cmrjax.simulation.morphing import (
    HeartMorph,
    HeartTargets,
    fit_heart,
    sample_relief,
    wall_volume_ml,
)
from cmrjax.simulation.phantom import Phantom

# The heart's usual axes u, v, w in the patient.
HEART_AXES = heart_axes_at(np.deg2rad(47.0), np.deg2rad(37.0))
HEART_PLACE = np.array([40.0, -35.0, -15.0])  # in the patient, mm
_ADULT = (180.0, 115.0)  # half width and half depth of a body, mm
_RV_ANGLE, _RV_SPREAD = -188.0, 22.0  # of RV seen from LV, in M&Ms, degrees


@dataclass(frozen=True)
class PhantomAnatomy:
    """A subject made of a phantom.

    Attributes:
        geometry: The slices.
        body: Half width and half depth at which the coils are assumed, mm: those of
            an adult of this scale; the phantom's own are not measured.
        scale: (z, y, x) size over the phantom's.
        origin: [3] float64 mm, (z, y, x): the phantom's point that lies at
            ``HEART_PLACE``.
        elastic: Displacement of both phases, and that of end-systole in addition.
        targets: The heart at end-diastole and end-systole.
        morphs: How it is made.
        epicardial_fat: Mean thickness added around the heart, mm.
        skin_fat: Thickness added under the skin (negative: taken off), mm.
        lean: How far organs grow into the fat between them, mm.
        gas: Whether the bowel holds gas where the phantom has it.
    """

    geometry: Geometry
    body: tuple[float, float]
    scale: tuple[float, float, float]
    origin: np.ndarray
    elastic: tuple[ElasticField, ElasticField]
    targets: tuple[HeartTargets, HeartTargets]
    morphs: tuple[HeartMorph, HeartMorph]
    epicardial_fat: float
    skin_fat: float
    lean: float
    gas: bool

    def lv_volumes_ml(self) -> list[float]:
        """Returns the cavity's volume at both phases, ml."""
        return [t.lv_ml * float(np.prod(self.scale)) for t in self.targets]

    def walls_mm(self) -> list[float]:
        """Returns the wall's mean thickness at both phases, mm."""
        across = float(np.sqrt(self.scale[1] * self.scale[2]))
        return [t.wall_mm * across for t in self.targets]

    def parameters(self) -> dict[str, Any]:
        """Returns what was drawn, but for the fields of displacement."""
        return {
            "geometry": asdict(self.geometry),
            "body": self.body,
            "scale": self.scale,
            "origin": self.origin,
            "elastic_mm": [float(f.values.std()) for f in self.elastic],
            "hearts": [asdict(t) for t in self.targets],
            "epicardial_fat": self.epicardial_fat,
            "skin_fat": self.skin_fat,
            "lean": self.lean,
            "gas": self.gas,
        }


def sample_phantom_anatomy(
    rng: np.random.Generator,
    phantoms: tuple[Phantom, Phantom],
    *,
    image_size: int,
    spacing: float,
    slice_distance: float | None = None,
) -> PhantomAnatomy:
    """Draws one subject.

    Args:
        rng: Source of randomness.
        phantoms: The phantom at end-diastole and end-systole; the same one twice where
            it does not beat.
        image_size: Rows and columns of the images.
        spacing: Distance of pixels, mm.
        slice_distance: Distance of slices, mm; None draws 6 to 10 mm.

    Returns:
        The anatomy. Draws do not depend on ``image_size`` and ``spacing``.
    """
    common = np.exp(rng.normal(0, 0.09))
    scale = np.clip(common * np.exp(rng.normal(0, 0.045, 3)), 0.75, 1.25)
    targets, morphs = _sample_hearts(rng, phantoms, float(np.prod(scale)))
    amplitude = rng.uniform(2.0, 8.0)
    both = sample_elastic_field(rng, (0.35 * amplitude, amplitude, amplitude))
    systole = sample_elastic_field(rng, (0.4, 1.2, 1.2))
    distance = float(
        rng.choice((6.0, 7.0, 8.0, 9.0, 10.0), p=(0.1, 0.1, 0.3, 0.1, 0.4))
    )
    heart = phantoms[0].heart
    long = (heart.apex - heart.base) * targets[0].length
    middle = heart.apex - 0.5 * long
    row = round(np.clip(middle / heart.step, 0, len(heart.centre) - 1))
    geometry = _sample_geometry(
        rng,
        image_size=image_size,
        spacing=spacing,
        slice_distance=distance if slice_distance is None else slice_distance,
        half_length=0.5 * long * scale[0],
        rv_angle=_rv_angle(heart),
    )
    size = float(np.mean(scale))
    body = (_ADULT[0] * size, _ADULT[1] * size)
    return PhantomAnatomy(
        geometry=geometry,
        body=body,
        scale=(float(scale[0]), float(scale[1]), float(scale[2])),
        origin=np.array([middle, *heart.centre[row]]),
        elastic=(both, systole),
        targets=targets,
        morphs=morphs,
        epicardial_fat=float(rng.uniform(0, 8) * rng.uniform()),
        skin_fat=float(rng.triangular(-7, -2, 22)),
        lean=float(rng.uniform(0, 9) * (rng.uniform() < 0.8)),
        gas=bool(rng.uniform() < 0.5),
    )


def _sample_hearts(
    rng: np.random.Generator, phantoms: tuple[Phantom, Phantom], volume_scale: float
) -> tuple[tuple[HeartTargets, HeartTargets], tuple[HeartMorph, HeartMorph]]:
    """Draw both phases; the muscle's volume is kept, so it thickens as it shortens."""
    edv = float(np.clip(rng.lognormal(np.log(140), 0.33), 65, 280)) / volume_scale
    fraction = float(np.clip(rng.normal(0.54, 0.11), 0.25, 0.74))
    rv_edv = edv * float(rng.uniform(0.75, 1.45))
    rv_fraction = float(np.clip(fraction * rng.uniform(0.75, 1.1), 0.2, 0.7))
    wall = float(np.clip(rng.lognormal(np.log(8.3), 0.22), 5, 14))
    wall /= volume_scale ** (1 / 3)
    length = 1.13 * (edv / 140) ** 0.3 * float(rng.uniform(0.93, 1.07))
    length = float(np.clip(length, 0.85, 1.4))
    turn = float(rng.normal(0, 0.15))
    diastole = HeartTargets(edv, wall, rv_edv, length, turn)
    relief = sample_relief(rng, phantoms[0].heart, (0.05, 0.11, 0.08))
    morph = fit_heart(phantoms[0].heart, diastole, relief)
    mass = wall_volume_ml(morph) * float(rng.uniform(0.97, 1.03))
    esv, rv_esv = edv * (1 - fraction), rv_edv * (1 - rv_fraction)
    short = length * (1 - fraction * float(rng.uniform(0.18, 0.28)))
    turn += float(rng.normal(0.05, 0.03))
    relief = relief + 0.5 * (
        sample_relief(rng, phantoms[0].heart, (0.04, 0.04, 0.04)) - 1
    )
    low, high = 3.0, 24.0
    for _ in range(12):  # the wall that keeps the muscle's volume, by bisection
        thick = 0.5 * (low + high)
        systole = HeartTargets(esv, thick, rv_esv, short, turn)
        fitted = fit_heart(phantoms[1].heart, systole, _match(relief, phantoms[1]))
        low, high = (thick, high) if wall_volume_ml(fitted) < mass else (low, thick)
    return (diastole, systole), (morph, fitted)


def _match(relief: np.ndarray, phantom: Phantom) -> np.ndarray:
    """Fit a relief to the number of heights of another frame; [3, z, angles]."""
    rows = np.linspace(0, relief.shape[1] - 1, len(phantom.heart.endo)).round()
    return relief[:, rows.astype(int)]


def _rv_angle(heart: HeartProfile) -> float:
    """Direction of the right heart from the left, from columns to rows, radians."""
    angle = 2 * np.pi * np.arange(heart.right.shape[1]) / heart.right.shape[1]
    weight = heart.right[heart.sections].sum(0)
    return float(
        np.arctan2((weight * np.sin(angle)).sum(), (weight * np.cos(angle)).sum())
    )


def _sample_geometry(
    rng: np.random.Generator,
    *,
    image_size: int,
    spacing: float,
    slice_distance: float,
    half_length: float,
    rv_angle: float,
) -> Geometry:
    """Draw slices: turned as in M&Ms, tilted a little, off-centre, either order."""
    wanted = np.clip(_RV_ANGLE + rng.normal(0, _RV_SPREAD), -240, -130)
    turn = np.deg2rad(wanted) - rv_angle
    tilt = rng.normal(0, 0.03, 2).clip(-0.07, 0.07)
    u, v, w = HEART_AXES
    normal = w + tilt[0] * u + tilt[1] * v
    normal /= np.linalg.norm(normal)
    column = np.cos(turn) * u - np.sin(turn) * v
    column -= (column @ normal) * normal
    column /= np.linalg.norm(column)
    row = np.cross(column, normal)
    first = -half_length - rng.uniform(0.2, 1.4) * slice_distance
    last = half_length + rng.uniform(-0.3, 0.8) * slice_distance
    count = count_slices(
        first, last, tip=half_length, distance=slice_distance, usual=(6, 16)
    )
    shift = np.clip(rng.normal((2, -4), (14, 14)), -36, 36)
    return place_slices(
        rng,
        image_size=image_size,
        spacing=spacing,
        slice_distance=slice_distance,
        num_slices=count,
        start=HEART_PLACE + first * normal,
        shift=shift,
        axes=np.stack([column, row, normal]),
    )
