"""Whether labels lie on the grid of their image, by what the headers say.

Labels that are stored along other axes than the image, as after a conversion, are
turned onto its grid; labels that lie elsewhere are refused. Headers that say nothing
about the position are common, and then voxels belong together by index.
"""

import dataclasses
import itertools

import nibabel as nib
import numpy as np

from cmrjax.data.geometry import with_spacing
from cmrjax.data.nifti import NiftiFile

SPACING_TOLERANCE = 0.02
"""Share by which voxel sizes may differ: less is rounding."""

ANGLE_TOLERANCE = 2.0
"""Degrees by which axes may differ."""

SHIFT_TOLERANCE = 0.75
"""Voxels by which the corners of both grids may differ along each axis; conventions of
corner and centre differ by half a voxel, labels of another slice by a whole one."""

_FIX = (
    "resample the labels onto the image's grid or, if the voxels belong together by"
    " index, give the file the image's affine"
)


def fit_labels(image: NiftiFile, labels: NiftiFile) -> tuple[NiftiFile, list[str]]:
    """Turns labels onto the grid of their image.

    Args:
        image: The image.
        labels: Its labels, of any shape.

    Returns:
        The labels, axes in the image's order and direction, with the image's affine if
        they were turned; and lines that are worth knowing.

    Raises:
        ValueError: If directions, voxel sizes or positions contradict each other; one
            line, with both values.
    """
    with np.errstate(all="ignore"):  # affines may hold numbers of any size
        return _fit(image, labels)


def with_stated_spacing(
    file: NiftiFile,
    spacing: tuple[float | None, float, float],
    *,
    image: NiftiFile | None = None,
) -> NiftiFile:
    """Gives a file the voxel size that a table tells of its image.

    The middle of the grid stays where it was, so that labels that are stored along
    other axes than their image still lie on it.

    Args:
        file: The image, or its labels.
        spacing: (slices, rows, columns) of the image, mm; None for the distance of the
            slices: that of the header.
        image: Of labels: the image, whose axes are meant.

    Returns:
        The file with that spacing and affine.
    """
    order = (0, 1, 2)
    if image is not None and image.placed and file.placed:
        with np.errstate(all="ignore"):
            nearest, _ = _alignment(image, file)
        if len(set(nearest.tolist())) == 3:  # otherwise `fit_labels` refuses them
            order = nearest.tolist()
    sizes = list(file.spacing[::-1])
    for axis, size in zip(order, spacing[::-1], strict=True):
        sizes[axis] = sizes[axis] if size is None else size
    stated = (sizes[2], sizes[1], sizes[0])
    affine = with_spacing(file.affine, file.frames.shape[1:], stated)
    return dataclasses.replace(file, affine=affine, spacing=stated, spacing_known=True)


def _alignment(image: NiftiFile, labels: NiftiFile) -> tuple[np.ndarray, np.ndarray]:
    """For each image axis (x, y, z) the label axis nearest to it, and their cosine."""
    cosines = _unit(image.affine).T @ _unit(labels.affine)
    order = np.abs(cosines).argmax(axis=1)
    return order, cosines[np.arange(3), order]


def _unit(affine: np.ndarray) -> np.ndarray:
    return affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)


def _fit(image: NiftiFile, labels: NiftiFile) -> tuple[NiftiFile, list[str]]:
    reason = ""
    if image.placed and labels.placed:
        order, signs = _image_axes(image, labels)
        turned = _turn(labels, order, signs)
        same_shape = turned.frames.shape[1:] == image.frames.shape[1:]
        if same_shape:  # otherwise the shape is what is wrong
            _check_position(image, labels, turned)
        if list(order) != [0, 1, 2] or min(signs) < 0:
            found, wanted = _letters(labels.affine), _letters(image.affine)
            line = (
                f"{labels.path}: its axes point to {found}, the image's to {wanted};"
                " the labels are turned onto the image's grid"
            )
            return dataclasses.replace(turned, affine=image.affine), [line]
    else:
        silent = " and ".join(f.path.name for f in (image, labels) if not f.placed)
        reason = f" (no position in the header of {silent})"
    if np.allclose(image.affine, labels.affine, atol=1e-2):
        return labels, []
    return labels, [
        f"{labels.path}: its affine is not the image's{reason}; voxels are paired by"
        " index and the image's affine is kept"
    ]


def _image_axes(
    image: NiftiFile, labels: NiftiFile
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """For each image axis (x, y, z) the label axis that runs along it, and its sign."""
    sizes = [np.linalg.norm(f.affine[:3, :3], axis=0) for f in (image, labels)]
    order, along = _alignment(image, labels)
    angle = float(np.degrees(np.arccos(np.clip(np.abs(along), 0, 1))).max())
    if len(set(order.tolist())) < 3 or not angle <= ANGLE_TOLERANCE:
        raise ValueError(
            f"{labels.path}: its axes ({_letters(labels.affine)}) are turned by"
            f" {angle:.3g} degrees from those of the image {image.path.name}"
            f" ({_letters(image.affine)}); {_FIX}"
        )
    if not np.allclose(sizes[1][order], sizes[0], rtol=SPACING_TOLERANCE, atol=0):
        own, other = (" x ".join(f"{v:.5g}" for v in s) for s in (sizes[1], sizes[0]))
        raise ValueError(
            f"{labels.path}: its voxels are {own} mm, those of the image"
            f" {image.path.name} {other} mm; {_FIX}"
        )
    return tuple(order.tolist()), tuple(np.sign(along).astype(int).tolist())


def _turn(
    labels: NiftiFile, order: tuple[int, ...], signs: tuple[int, ...]
) -> NiftiFile:
    """Labels with axis ``order[i]`` as axis i, backwards where the sign is -1."""
    voxels = labels.frames.transpose(0, 3, 2, 1)  # [t, x, y, z]
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1.0
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        to_old[old, new] = sign
        to_old[old, 3] = 0 if sign > 0 else voxels.shape[1 + old] - 1
    voxels = voxels.transpose(0, *(1 + old for old in order))
    voxels = voxels[:, *(slice(None, None, sign) for sign in signs)]
    spacing = [labels.spacing[2 - old] for old in order]
    return dataclasses.replace(
        labels,
        frames=voxels.transpose(0, 3, 2, 1),
        affine=labels.affine @ to_old,
        spacing=(spacing[2], spacing[1], spacing[0]),
    )


def _check_position(image: NiftiFile, labels: NiftiFile, turned: NiftiFile) -> None:
    """Both grids have their corners at one place, and so every voxel.

    ``turned`` are the labels along the image's axes.
    """
    last = [n - 1 for n in image.frames.shape[:0:-1]]
    corners = np.array(
        [
            [*corner, 1]
            for corner in itertools.product(*zip((0, 0, 0), last, strict=True))
        ]
    )
    shifts = (corners @ (np.linalg.inv(image.affine) @ turned.affine).T - corners)[
        :, :3
    ]
    shift = shifts[np.abs(shifts).max(axis=1).argmax()]
    if np.abs(shift).max() < SHIFT_TOLERANCE:
        return
    beside = " x ".join(f"{v:g}" for v in shift.round(1) + 0.0)
    own, other = (
        " x ".join(f"{v:.5g}" for v in affine[:3, 3])
        for affine in (labels.affine, image.affine)
    )
    raise ValueError(
        f"{labels.path}: its grid lies {beside} voxels beside that of the"
        f" image {image.path.name} (origins {own} and {other} mm); {_FIX}"
    )


def _letters(affine: np.ndarray) -> str:
    """Where the axes point to, for example "LPS"."""
    return "".join(str(letter) for letter in nib.orientations.aff2axcodes(affine))
