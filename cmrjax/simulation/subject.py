"""One virtual subject: images, exact labels and all that was drawn for it."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cmrjax.labels import MULTI_TISSUE
from cmrjax.simulation.acquisition import (
    AcquisitionParameters,
    acquire,
    sample_acquisition,
)
from cmrjax.simulation.anatomy import PHASES, Anatomy, paint_anatomy, sample_anatomy
from cmrjax.simulation.tissues import TISSUES, sample_tissue_values, tissue_to_class

SIMULATION_VERSION = 1  # raise when the same seed would give other images
SUB_SLICES = 3
_FINE = 1.5  # coarsest sampling of the anatomy, mm


@dataclass(frozen=True)
class VirtualSubject:
    """Images and exact labels of one virtual subject.

    Attributes:
        images: [2, d, h, w] int16, magnitude at end-diastole and end-systole.
        labels: [2, d, h, w] uint8, ids of ``MULTI_TISSUE``.
        spacing: [3] float64 mm, (z, y, x).
        affine: [4, 4] float64, NIfTI affine of arrays indexed [x, y, z].
        metadata: Plain JSON types: the volumes in ml, the ejection fraction and all
            parameters drawn.
    """

    images: np.ndarray
    labels: np.ndarray
    spacing: np.ndarray
    affine: np.ndarray
    metadata: dict[str, Any]


def simulate_subject(
    seed: int | tuple[int, ...],
    *,
    image_size: int = 192,
    spacing: float = 1.33,
    slice_distance: float | None = None,
) -> VirtualSubject:
    """Simulate one subject at end-diastole and end-systole.

    The same seed gives the same anatomy at any image size and spacing.

    Args:
        seed: Seed, one or several integers >= 0.
        image_size: Rows and columns, 16 or more.
        spacing: Distance of pixels, mm, 0.5 to 6.
        slice_distance: Distance of slices, mm, 4 to 20; None draws 8, 9 or 10.

    Returns:
        The subject.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_sampling(image_size, spacing, slice_distance)
    streams = np.random.SeedSequence(seed).spawn(5)
    shape_rng, detail_rng, scanner_rng, *noise_rngs = map(
        np.random.default_rng, streams
    )
    anatomy = sample_anatomy(
        shape_rng,
        image_size=image_size,
        spacing=spacing,
        slice_distance=slice_distance,
    )
    scanner = sample_acquisition(scanner_rng, sample_tissue_values(scanner_rng))
    images, labels = _render(anatomy, scanner, detail_rng, noise_rngs)
    geometry = anatomy.geometry
    size = np.array([geometry.slice_distance, geometry.spacing, geometry.spacing])
    return VirtualSubject(
        images=images,
        labels=labels,
        spacing=size,
        affine=geometry.affine(),
        metadata={
            **_volumes(anatomy, labels, float(np.prod(size)) / 1000.0),
            "anatomy": _plain(asdict(anatomy)),
            "acquisition": _plain(asdict(scanner)),
            "tissues": [tissue.name for tissue in TISSUES],
        },
    )


def _render(
    anatomy: Anatomy,
    scanner: AcquisitionParameters,
    detail_rng: np.random.Generator,
    noise_rngs: list[np.random.Generator],
) -> tuple[np.ndarray, np.ndarray]:
    """Return images (int16) and labels (uint8) of both phases, [2, d, h, w] each."""
    fine = max(1, int(np.ceil(anatomy.geometry.spacing / _FINE)))
    tissue = paint_anatomy(
        anatomy, detail_rng, sub_slices=SUB_SLICES, oversampling=fine
    )
    planes = list(anatomy.geometry.planes(sub_slices=SUB_SLICES, oversampling=fine))
    body = anatomy.torso.half_axes
    images = [
        acquire(phase, planes, scanner, rng, body=body, oversampling=fine)
        for phase, rng in zip(tissue, noise_rngs, strict=True)
    ]
    labels = tissue_to_class()[tissue[:, :, SUB_SLICES // 2, ::fine, ::fine]]
    return np.stack(images), labels


def check_sampling(
    image_size: int, spacing: float, slice_distance: float | None
) -> None:
    """Raise ValueError for a grid that cannot be simulated."""
    if not 16 <= image_size <= 1024:
        raise ValueError(f"image_size must be 16 to 1024 pixels, got {image_size}")
    if not 0.5 <= spacing <= 6:
        raise ValueError(f"spacing must be 0.5 to 6 mm, got {spacing}")
    if slice_distance is not None and not 4 <= slice_distance <= 20:
        raise ValueError(f"slice_distance must be 4 to 20 mm, got {slice_distance}")


def _volumes(
    anatomy: Anatomy, labels: np.ndarray, voxel_ml: float
) -> dict[str, dict[str, float] | float]:
    """Return volumes of the shape and of its labels, ml, and the ejection fraction."""
    shape = {
        phase: heart.lv_volume_ml()
        for phase, heart in zip(PHASES, anatomy.hearts, strict=True)
    }
    counted = {
        f"{name}_{phase}": float((label_map == MULTI_TISSUE.id_of(name)).sum())
        * voxel_ml
        for phase, label_map in zip(PHASES, labels, strict=True)
        for name in ("LV", "MYO", "RV")
    }
    return {
        "lv_volume_ml": shape,
        "ejection_fraction": 1.0 - shape["ES"] / shape["ED"],
        "wall_thickness_mm": {
            phase: heart.wall
            for phase, heart in zip(PHASES, anatomy.hearts, strict=True)
        },
        "label_volume_ml": counted,
    }


def _plain(value: Any) -> Any:
    """Turn arrays, tuples and NumPy numbers into lists and numbers."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value
