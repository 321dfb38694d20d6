"""Montages of labelled subjects: image, the network's own label, the final label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cmrjax.evaluation.figures import (
    CAPTION_COLOUR,
    colourise,
    grey_to_rgb,
    label_colours,
    png_bytes,
    tiled,
)
from cmrjax.labels import LabelSchema
from cmrjax.segmentation.agreement import LEVELS
from cmrjax.segmentation.labelling import LabelledSubject

_COLUMNS = ("image", "network", "final", "borders")


@dataclass(frozen=True)
class SlicePicture:
    """What is shown of one slice.

    Attributes:
        image: [h, w] float in [-1, 1].
        own: [h, w] ids, the network's own labels.
        final: [h, w] ids, what is kept.
        level: "basal", "mid" or "apical".
    """

    image: np.ndarray
    own: np.ndarray
    final: np.ndarray
    level: str


def slice_pictures(labelled: LabelledSubject) -> dict[tuple[str, int], SlicePicture]:
    """Collects the kept slices of a subject, by phase and index, without padding."""
    levels = {(row["phase"], row["slice"]): row["level"] for row in labelled.rows}
    pictures = {}
    for volume in labelled.prepared.volumes:
        phase = volume.description["phase"]
        r0, r1, c0, c1 = volume.valid_box
        box = (slice(r0, r1), slice(c0, c1))
        own = labelled.phases[phase].own
        for position, index in enumerate(volume.slices):
            pictures[phase, index] = SlicePicture(
                volume.images[position][box],
                own[index][box],
                volume.labels[position][box],
                levels[phase, index],
            )
    return pictures


def montage(
    pictures: Mapping[tuple[str, int], SlicePicture],
    schema: LabelSchema,
    *,
    slices: Sequence[int] | None = None,
) -> np.ndarray:
    """Draws a subject: a row per slice; per phase image, network, final, borders.

    Args:
        pictures: See ``slice_pictures``; not empty.
        schema: Schema of the labels.
        slices: Which slices; all by default.

    Returns:
        [H, W, 3] uint8 RGB; black where a phase has no such slice.
    """
    phases = sorted({phase for phase, _ in pictures})
    if slices is None:
        slices = sorted({index for _, index in pictures})
    shape = next(iter(pictures.values())).image.shape
    empty = np.zeros((*shape, 3), np.uint8)
    rows = []
    for index in slices:
        row = []
        for phase in phases:
            picture = pictures.get((phase, index))
            if picture is None:
                row += [empty] * len(_COLUMNS)
            else:
                row += _tiles(picture, f"{index} {picture.level}", schema)
        rows.append(row)
    captions = [f"{phase} {name}" for phase in phases for name in _COLUMNS]
    return tiled(rows, captions=captions)


def level_slices(pictures: Mapping[tuple[str, int], SlicePicture]) -> list[int]:
    """Chooses the slice in the middle of each level, ascending; for an excerpt."""
    chosen = set()
    for level in LEVELS:
        members = sorted({k[1] for k, p in pictures.items() if p.level == level})
        if members:
            chosen.add(members[len(members) // 2])
    return sorted(chosen)


def montage_files(labelled: LabelledSubject, schema: LabelSchema) -> dict[str, bytes]:
    """Draws the pictures that are kept of a subject.

    Returns:
        PNG files: "montage.png" of all slices and "excerpt.png" of one slice per level;
        empty if nothing was prepared.
    """
    pictures = slice_pictures(labelled)
    if not pictures:
        return {}
    excerpt = montage(pictures, schema, slices=level_slices(pictures))
    return {
        "montage.png": png_bytes(montage(pictures, schema)),
        "excerpt.png": png_bytes(excerpt),
    }


def borders(image: np.ndarray, labels: np.ndarray, schema: LabelSchema) -> np.ndarray:
    """Draws the borders of labels over the image they belong to.

    Args:
        image: [h, w] float in [-1, 1].
        labels: [h, w] ids.
        schema: Schema of the labels.

    Returns:
        [h, w, 3] uint8 RGB: in the colour of its class each pixel whose right or lower
        neighbour has another class, unless it is background (then the neighbour's).
    """
    rgb = grey_to_rgb(image[..., None])
    for axis in (0, 1):
        neighbour = np.roll(labels, -1, axis)
        edge = labels != neighbour
        edge[(slice(None),) * axis + (-1,)] = False  # no neighbour beyond the image
        shown = np.where(labels == 0, neighbour, labels)
        rgb[edge] = label_colours(schema)[shown[edge]]
    return rgb


def _tiles(picture: SlicePicture, text: str, schema: LabelSchema) -> list[np.ndarray]:
    return [
        _with_text(grey_to_rgb(picture.image[..., None]), text),
        colourise(picture.own, schema),
        colourise(picture.final, schema),
        borders(picture.image, picture.final, schema),
    ]


def _with_text(rgb: np.ndarray, text: str) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(rgb)
    font = ImageFont.load_default(max(8, min(14, rgb.shape[1] // 14)))
    draw = ImageDraw.Draw(image)
    draw.text((2, 1), text, CAPTION_COLOUR, font, stroke_width=1, stroke_fill=(0, 0, 0))
    return np.asarray(image)
