"""One virtual subject: images, exact labels and all that was drawn for it."""

import functools
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from cmrjax.data.records import PHASES
from cmrjax.labels import HEART_CLASSES, MULTI_TISSUE
from cmrjax.simulation.acquisition import acquire
from cmrjax.simulation.anatomy import paint_anatomy, sample_anatomy
from cmrjax.simulation.geometry import Geometry
from cmrjax.simulation.phantom_anatomy import sample_phantom_anatomy
from cmrjax.simulation.phantom_paint import paint_phantom
from cmrjax.simulation.phantom_source import PhantomSource
from cmrjax.simulation.relaxation import sample_tissue_values
from cmrjax.simulation.scanner import AcquisitionParameters, sample_acquisition
from cmrjax.simulation.tissues import TISSUES, tissue_to_class
from cmrjax.simulation.vendor_style import check_style

SIMULATION_VERSION = 3  # raise when the same seed would give other images
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
    source: PhantomSource | None = None,
    style: str | None = None,
) -> VirtualSubject:
    """Simulate one subject at end-diastole and end-systole.

    The same seed gives the same anatomy at any image size and spacing.

    Args:
        seed: Seed, one or several integers >= 0.
        image_size: Rows and columns, 16 or more.
        spacing: Distance of pixels, mm, 0.5 to 6.
        slice_distance: Distance of slices, mm, 4 to 20; None draws one.
        source: Phantom that the subject is made of; None draws a free anatomy.
        style: Vendor-like style of the scanner, one of `vendor_style.STYLES`; None
            draws one.

    Returns:
        The subject.

    Raises:
        ValueError: If an argument is out of range.
    """
    check_settings(image_size, spacing, slice_distance, style)
    streams = np.random.SeedSequence(seed).spawn(5)
    shape_rng, detail_rng, scanner_rng, *noise_rngs = map(
        np.random.default_rng, streams
    )
    sampling = {
        "image_size": image_size,
        "spacing": spacing,
        "slice_distance": slice_distance,
    }
    make = _free if source is None else functools.partial(_from_phantom, source)
    painted = make(shape_rng, detail_rng, sampling)
    values = sample_tissue_values(scanner_rng)
    scanner = sample_acquisition(scanner_rng, values, style=style)
    geometry = painted.geometry
    size = np.array([geometry.slice_distance, geometry.spacing, geometry.spacing])
    labels = painted.labels()
    return VirtualSubject(
        images=painted.images(scanner, noise_rngs),
        labels=labels,
        spacing=size,
        affine=geometry.affine(),
        metadata={
            **painted.volumes,
            "label_volume_ml": _label_volumes(labels, float(np.prod(size)) / 1000.0),
            "anatomy": _plain(painted.parameters),
            "acquisition": _plain(asdict(scanner)),
            "tissues": [tissue.name for tissue in TISSUES],
        },
    )


@dataclass(frozen=True)
class _Painted:
    """Tissues of both phases and where they lie.

    Attributes:
        tissue: [2, d, s, h, w] uint8; h and w are those of the image times ``fine``.
        geometry: The slices.
        body: Half width and half depth of the body, mm.
        fine: Samples per pixel and axis.
        volumes: Volumes of the shape as it was meant.
        parameters: What was drawn.
    """

    tissue: np.ndarray
    geometry: Geometry
    body: tuple[float, float]
    fine: int
    volumes: dict[str, Any]
    parameters: dict[str, Any]

    def images(
        self, scanner: AcquisitionParameters, noise_rngs: list[np.random.Generator]
    ) -> np.ndarray:
        """Return images of both phases, [2, d, h, w] int16."""
        planes = list(
            self.geometry.planes(sub_slices=SUB_SLICES, oversampling=self.fine)
        )
        images = [
            acquire(phase, planes, scanner, rng, body=self.body, oversampling=self.fine)
            for phase, rng in zip(self.tissue, noise_rngs, strict=True)
        ]
        return np.stack(images)

    def labels(self) -> np.ndarray:
        """Return the labels of both phases, [2, d, h, w] uint8."""
        classes = tissue_to_class()[self.tissue]
        return np.stack(
            [
                [voxel_labels(part, fine=self.fine) for part in phase]
                for phase in classes
            ]
        )


def _free(
    shape_rng: np.random.Generator,
    detail_rng: np.random.Generator,
    sampling: dict[str, Any],
) -> _Painted:
    """Paint a free anatomy."""
    anatomy = sample_anatomy(shape_rng, **sampling)
    fine = max(1, int(np.ceil(anatomy.geometry.spacing / _FINE)))
    tissue = paint_anatomy(
        anatomy, detail_rng, sub_slices=SUB_SLICES, oversampling=fine
    )
    return _Painted(
        tissue=tissue,
        geometry=anatomy.geometry,
        body=anatomy.torso.half_axes,
        fine=fine,
        volumes=_volumes(
            [heart.lv_volume_ml() for heart in anatomy.hearts],
            [heart.wall for heart in anatomy.hearts],
        ),
        parameters=asdict(anatomy),
    )


def _from_phantom(
    source: PhantomSource,
    shape_rng: np.random.Generator,
    detail_rng: np.random.Generator,
    sampling: dict[str, Any],
) -> _Painted:
    """Paint a subject made of a phantom."""
    pair = int(shape_rng.integers(len(source.pairs)))
    phantoms = source.load(pair)
    anatomy = sample_phantom_anatomy(shape_rng, phantoms, **sampling)
    fine = max(1, int(np.ceil(anatomy.geometry.spacing / _FINE)))
    tissue = paint_phantom(
        anatomy, phantoms, detail_rng, sub_slices=SUB_SLICES, oversampling=fine
    )
    return _Painted(
        tissue=tissue,
        geometry=anatomy.geometry,
        body=anatomy.body,
        fine=fine,
        volumes=_volumes(anatomy.lv_volumes_ml(), anatomy.walls_mm()),
        parameters={
            "source": source.xcat.path.name,
            "frames": source.pairs[pair],
            "phantom_beats": source.beats,
            **anatomy.parameters(),
        },
    )


def voxel_labels(classes: np.ndarray, *, fine: int) -> np.ndarray:
    """Return the class with the largest share of each voxel of one slice.

    The shares are those of the slice's thickness and, in plane, of a Gaussian of half a
    pixel, as wide as what an image resolves. Ties go to the class at its centre.

    Args:
        classes: [s, h, w] uint8 class ids of the sub-slices; h and w are those of the
            image times ``fine``.
        fine: Samples per pixel and axis.

    Returns:
        [h / fine, w / fine] uint8.
    """
    labels = classes[len(classes) // 2, ::fine, ::fine].copy()
    best = np.full(labels.shape, -1.0, np.float32)
    centre = labels.copy()
    for class_id in np.unique(classes):
        share = (classes == class_id).mean(axis=0, dtype=np.float32)
        share = ndimage.gaussian_filter(share, 0.5 * fine)[::fine, ::fine]
        share = share + np.float32(1e-3) * (centre == class_id)
        better = share > best
        best[better] = share[better]
        labels[better] = class_id
    return labels


def check_settings(
    image_size: int,
    spacing: float,
    slice_distance: float | None,
    style: str | None = None,
) -> None:
    """Raise ValueError for a grid that cannot be simulated, or an unknown style."""
    if style is not None:
        check_style(style)
    if not 16 <= image_size <= 1024:
        raise ValueError(f"image_size must be 16 to 1024 pixels, got {image_size}")
    if not 0.5 <= spacing <= 6:
        raise ValueError(f"spacing must be 0.5 to 6 mm, got {spacing}")
    if slice_distance is not None and not 4 <= slice_distance <= 20:
        raise ValueError(f"slice_distance must be 4 to 20 mm, got {slice_distance}")


def _volumes(volumes: list[float], walls: list[float]) -> dict[str, Any]:
    """Name what is known of the shape at each phase: ml, fraction, mm."""
    return {
        "lv_volume_ml": dict(zip(PHASES, volumes, strict=True)),
        "ejection_fraction": 1.0 - volumes[1] / volumes[0],
        "wall_thickness_mm": dict(zip(PHASES, walls, strict=True)),
    }


def _label_volumes(labels: np.ndarray, voxel_ml: float) -> dict[str, float]:
    """Count the volumes of the labels, ml."""
    return {
        f"{name}_{phase}": float((label_map == MULTI_TISSUE.id_of(name)).sum())
        * voxel_ml
        for phase, label_map in zip(PHASES, labels, strict=True)
        for name in HEART_CLASSES
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
