"""Pictures: coloured label maps, panels of examples, PNG files.

Panels are NumPy; Pillow is imported only to write text or PNG. All pictures are
uint8 RGB, [h, w, 3] in 0..255. Curves are in `cmrjax.evaluation.curves`.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmrjax.data.intensity import IntensityTransform, ZScoreTransform
from cmrjax.files import write_bytes
from cmrjax.labels import LabelSchema

# One colour per class name, the same in every schema. Any two are at least 30 apart in
# CIELAB, for protanopes and deuteranopes too (a test simulates both).
CLASS_COLOURS: dict[str, tuple[int, int, int]] = {
    "background": (0, 0, 0),
    "LV": (238, 87, 5),
    "MYO": (255, 247, 61),
    "RV": (102, 130, 200),
    "lung": (38, 37, 107),
    "skeletal_muscle": (185, 130, 102),
    "fat": (215, 221, 214),
    "abdomen": (50, 85, 94),
    "other_blood": (100, 80, 240),
}
SPARE_COLOURS = ((204, 121, 167), (140, 220, 160), (120, 0, 120), (190, 190, 0))
NOT_FINITE_COLOUR = (255, 0, 255)
SEPARATOR_COLOUR = (255, 255, 255)
SEPARATOR_WIDTH = 2
CAPTION_COLOUR = (255, 255, 255)


def label_colours(schema: LabelSchema) -> np.ndarray:
    """Colour of each class of a schema.

    Args:
        schema: the label schema; class names not known here take spare colours.

    Returns:
        [k, 3] uint8 RGB, row = class id.
    """
    unknown = [name for name in schema.class_names if name not in CLASS_COLOURS]
    spare = {
        name: SPARE_COLOURS[position % len(SPARE_COLOURS)]
        for position, name in enumerate(unknown)
    }
    colours = [CLASS_COLOURS.get(name) or spare[name] for name in schema.class_names]
    return np.array(colours, np.uint8)


def colourise(label_map: Any, schema: LabelSchema) -> np.ndarray:
    """Paints label ids with the colours of their classes.

    Args:
        label_map: [..., h, w] integer ids.
        schema: the schema of the ids.

    Returns:
        [..., h, w, 3] uint8 RGB.

    Raises:
        ValueError: if the map is not integer or has an id that the schema lacks.
    """
    label_map = np.asarray(label_map)
    if not np.issubdtype(label_map.dtype, np.integer):
        raise ValueError(f"label_map must be integer, got {label_map.dtype}")
    last = schema.num_classes - 1
    if label_map.size and (label_map.min() < 0 or label_map.max() > last):
        raise ValueError(
            f"label_map has ids {label_map.min()} to {label_map.max()}; schema "
            f"{schema.name!r} allows 0 to {last}"
        )
    return label_colours(schema)[label_map]


def grey_to_rgb(image: Any) -> np.ndarray:
    """Maps an image from [-1, 1] to grey; values outside are clipped.

    Args:
        image: [..., h, w, 1] floating point in [-1, 1].

    Returns:
        [..., h, w, 3] uint8 RGB; magenta where the image is not finite.

    Raises:
        ValueError: if the last axis is not 1.
    """
    image = np.asarray(image, np.float32)
    if image.ndim < 3 or image.shape[-1] != 1:
        raise ValueError(f"image must be [..., h, w, 1], got {image.shape}")
    finite = np.isfinite(image)
    scaled = np.clip((np.where(finite, image, 0.0) + 1.0) * 127.5, 0.0, 255.0)
    rgb = np.repeat(np.rint(scaled).astype(np.uint8), 3, axis=-1)
    return np.where(finite, rgb, np.array(NOT_FINITE_COLOUR, np.uint8))


def shown_range(image: Any, transform: IntensityTransform) -> np.ndarray:
    """Scales intensities to [-1, 1] for the eye; z-scores end at 2.5 deviations.

    Args:
        image: floating point, as `transform` gives it.
        transform: that made it.

    Returns:
        float32 of the same shape.
    """
    image = np.asarray(image, np.float32)
    return image / 2.5 if isinstance(transform, ZScoreTransform) else image


def panel(
    label_map: Any,
    *images: Any,
    schema: LabelSchema,
    captions: Sequence[str] = (),
    scale: int = 1,
) -> np.ndarray:
    """One picture of a batch: a row per example, columns label | image | image ...

    Args:
        label_map: [b, h, w] integer ids.
        *images: each [b, h, w, 1] floating point in [-1, 1], for instance real and
            synthetic.
        schema: the schema of the ids.
        captions: one text per column (label map first), drawn above; none by default.
        scale: whole number by which pixels are repeated, for small images.

    Returns:
        [H, W, 3] uint8 RGB.

    Raises:
        ValueError: if shapes do not fit each other, the batch is empty, ids are
            unknown, or the number of captions is not the number of columns.
    """
    label_map = np.asarray(label_map)
    if label_map.ndim != 3 or 0 in label_map.shape:
        raise ValueError(f"label_map must be [b, h, w], not empty; {label_map.shape}")
    for position, image in enumerate(images):
        if np.shape(image) != (*label_map.shape, 1):
            raise ValueError(
                f"image {position} must be [b, h, w, 1] = {(*label_map.shape, 1)} "
                f"like the label_map, got {np.shape(image)}"
            )
    if captions and len(captions) != 1 + len(images):
        raise ValueError(
            f"captions must be one per column ({1 + len(images)}: the label map and "
            f"{len(images)} images), got {len(captions)}"
        )
    columns = [colourise(label_map, schema), *(grey_to_rgb(image) for image in images)]
    columns = [column.repeat(scale, 1).repeat(scale, 2) for column in columns]
    return tiled(list(zip(*columns, strict=True)), captions=captions)


def tiled(
    rows: Sequence[Sequence[np.ndarray]], *, captions: Sequence[str] = ()
) -> np.ndarray:
    """Joins pictures of one size to a table, with thin separators.

    Args:
        rows: the table, at least one picture, each [h, w, 3] uint8 RGB.
        captions: one text per column, drawn above; none by default.

    Returns:
        [H, W, 3] uint8 RGB.
    """
    picture = _joined([_joined(row, axis=1) for row in rows], axis=0)
    if captions:
        strip = _caption_strip(captions, rows[0][0].shape[1])
        picture = np.concatenate([strip, picture], axis=0)
    return picture


def png_bytes(rgb: Any) -> bytes:
    """Encodes a picture as PNG.

    Args:
        rgb: [h, w, 3] uint8.

    Returns:
        The bytes of a PNG file without time stamp: the same picture, the same bytes.

    Raises:
        ValueError: if the array is not [h, w, 3] uint8.
    """
    from PIL import Image

    rgb = np.asarray(rgb)
    if rgb.ndim != 3 or rgb.shape[-1] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"rgb must be [h, w, 3] uint8, got {rgb.shape} {rgb.dtype}")
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def write_png(path: str | Path, rgb: Any) -> None:
    """Writes a picture as a PNG file, whole or not at all.

    Args:
        path: file to write; an existing one is replaced.
        rgb: [h, w, 3] uint8.

    Raises:
        ValueError: if the array is not [h, w, 3] uint8.
    """
    write_bytes(path, png_bytes(rgb))


def _joined(pictures: Sequence[np.ndarray], *, axis: int) -> np.ndarray:
    """Joins [h, w, 3] pictures along an axis with thin separators between them."""
    shape = list(pictures[0].shape)
    shape[axis] = SEPARATOR_WIDTH
    line = np.broadcast_to(np.array(SEPARATOR_COLOUR, np.uint8), shape)
    pieces = [piece for picture in pictures for piece in (line, picture)][1:]
    return np.concatenate(pieces, axis=axis)


def _caption_strip(captions: Sequence[str], column_width: int) -> np.ndarray:
    """A black strip with one centred text per column, [height, W, 3] uint8."""
    from PIL import Image, ImageDraw, ImageFont

    pitch = column_width + SEPARATOR_WIDTH
    size = max(8, min(16, column_width // 8))
    font = ImageFont.load_default(size)
    strip = Image.new(
        "RGB", (pitch * len(captions) - SEPARATOR_WIDTH, 2 * size), (0, 0, 0)
    )
    draw = ImageDraw.Draw(strip)
    for position, caption in enumerate(captions):
        while len(caption) > 1 and draw.textlength(caption, font) > column_width:
            caption = caption[:-1]
        centre = (position * pitch + column_width / 2, size)
        draw.text(centre, caption, CAPTION_COLOUR, font, anchor="mm")
    return np.asarray(strip)
