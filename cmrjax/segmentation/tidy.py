"""Removal of pieces that are too small, or in the wrong place, to be what they say.

A network leaves specks of vessel, and takes dark parts of liver or bowel for lung. A
reader sees at once that they are not; here are the three rules by which he does, slice
by slice, since slices are too far apart to connect pieces.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cmrjax.labels import LabelSchema

SMALLEST_AREA: Mapping[str, float] = {
    "background": 100.0,
    "lung": 250.0,
    "skeletal_muscle": 50.0,
    "fat": 30.0,
    "abdomen": 250.0,
    "other_blood": 80.0,
}
"""Smallest piece of a class in a slice, mm^2: the vessels that the class is for are
wider than 10 mm, fat and muscle have thin layers, lung and abdomen are large. Classes
that are not named here keep all their pieces. Our choice, by eye on M&Ms subjects, most
of which have nominal pixels of 1 to 1.5 mm."""

ENCLOSED_SHARE = 0.6
"""Lung with this share of its rim in the abdomen is a part of the abdomen."""

BRIGHT_SHARE = 0.4
"""Lung that is brighter than the subject's lung by this share of the way to his abdomen
is no lung: lung gives next to no signal on any scanner, a dark liver some. The
difference has to stand out from the lung's noise, too (twice its deviation)."""

NEIGHBOUR_SHARE = 0.1
"""A class at the rim counts as a neighbour from this share of the largest one on."""

_PASSES = 2  # what one pass joins may still be small, or be large enough now
_EIGHT = np.ones((3, 3), bool)


def tidy_tissues(
    labels: np.ndarray,
    probabilities: np.ndarray,
    volume: np.ndarray,
    schema: LabelSchema,
    *,
    spacing: tuple[float, float],
) -> np.ndarray:
    """Gives pieces that cannot be right to a tissue that they touch.

    A piece is a set of connected pixels (diagonals too) of one class in one slice. It
    becomes, as a whole, that one of its neighbours (``NEIGHBOUR_SHARE``) which is
    likeliest in it, if it is smaller than ``SMALLEST_AREA``, or if it is lung, not the
    largest of its slice, and lies in the abdomen (``ENCLOSED_SHARE`` of the pixels
    around it, those beyond the image included) or is too bright (``BRIGHT_SHARE``, by
    medians). Heart neither changes nor grows, and a piece that touches only heart
    stays.

    Args:
        labels: [d, h, w] ids of the schema.
        probabilities: [d, h, w, k] float of the schema's classes.
        volume: [d, h, w] intensities, in any unit.
        schema: The schema.
        spacing: (row, column) pixel size, mm.

    Returns:
        [d, h, w], as ``labels``.
    """
    tidied = labels.copy()
    fewest = {
        schema.id_of(name): area / (spacing[0] * spacing[1])
        for name, area in SMALLEST_AREA.items()
        if name in schema.class_names
    }
    brightest = _brightest_lung(labels, volume, schema)
    for own, likely, image in zip(tidied, probabilities, volume, strict=True):
        for _ in range(_PASSES):
            before = own.copy()
            for class_id, pixels in fewest.items():
                wrong = _no_lung(image, schema, brightest)
                is_lung = schema.class_names[class_id] == "lung"
                _tidy_class(
                    own, likely, schema, class_id, pixels, wrong if is_lung else None
                )
            if np.array_equal(before, own):
                break
    return tidied


@dataclass(frozen=True)
class _Piece:
    """A piece in its bounding box with a border of one pixel.

    Attributes:
        box: Rows and columns of the slice.
        mask: [r, c] bool.
        around: [k] pixels of each class that touch it by a side.
        cut: Pixels of it at the image's edge.
        largest: Whether the slice has no larger one of its class.
    """

    box: tuple[slice, slice]
    mask: np.ndarray
    around: np.ndarray
    cut: int
    largest: bool


def _tidy_class(
    labels: np.ndarray,
    probabilities: np.ndarray,
    schema: LabelSchema,
    class_id: int,
    fewest: float,
    wrong: Callable[[_Piece], bool] | None,
) -> None:
    """Gives away the pieces of one class in a slice [h, w], in place."""
    pieces, count = ndimage.label(labels == class_id, _EIGHT)  # pyright: ignore[reportGeneralTypeIssues]
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1):
        small = sizes[number] < fewest
        if not small and wrong is None:
            continue
        box = (
            slice(max(rows.start - 1, 0), rows.stop + 1),
            slice(max(columns.start - 1, 0), columns.stop + 1),
        )
        mask = pieces[box] == number
        rim = ndimage.binary_dilation(mask) & ~mask
        around = np.bincount(labels[box][rim], minlength=schema.num_classes)
        cut = _edge_pixels(pieces == number) if not small else 0
        largest = bool(sizes[number] == sizes[1:].max())
        piece = _Piece(box, mask, around, cut, largest)
        if not small and not (wrong and wrong(piece)):
            continue
        around[list(schema.heart_ids)] = 0
        if around.any():
            near = around >= NEIGHBOUR_SHARE * around.max()
            likely = np.where(near, probabilities[box][mask].mean(axis=0), -1.0)
            labels[box][mask] = np.argmax(likely)


def _edge_pixels(mask: np.ndarray) -> int:
    """Counts the sides of a mask's pixels that lie at the image's edge."""
    sides = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    return sum(int(side.sum()) for side in sides)


def _brightest_lung(
    labels: np.ndarray, volume: np.ndarray, schema: LabelSchema
) -> float:
    """Median signal up to which a piece of a phase can be lung; inf if it has none."""
    if not {"lung", "abdomen"} <= set(schema.class_names):
        return np.inf
    lung, abdomen = (
        volume[labels == schema.id_of(name)] for name in ("lung", "abdomen")
    )
    if not len(lung) or not len(abdomen):
        return np.inf
    dark, bright = np.median(lung), np.median(abdomen)
    spread = 1.4826 * np.median(np.abs(lung - dark))  # of a normal distribution
    return float(dark + max(BRIGHT_SHARE * (bright - dark), 2 * spread))


def _no_lung(
    image: np.ndarray, schema: LabelSchema, brightest: float
) -> Callable[[_Piece], bool] | None:
    """Returns what tells of a piece in a slice [h, w] that it is not lung."""
    if not np.isfinite(brightest):
        return None
    abdomen = schema.id_of("abdomen")

    def no_lung(piece: _Piece) -> bool:
        if piece.largest:
            return False
        rim = piece.around.sum() + piece.cut
        enclosed = piece.around[abdomen] >= ENCLOSED_SHARE * rim
        return enclosed or bool(np.median(image[piece.box][piece.mask]) > brightest)

    return no_lung
