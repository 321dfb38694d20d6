"""The mapping file of `label_pairs`: what the ids mean, and where the files are.

A JSON object:

- ``"labels"``: ids and class names of ``MULTI_TISSUE``,
  ``{"0": "background", "1": "LV", ...}``.
- ``"image_pattern"``, ``"label_pattern"``: paths below the source folder with
  ``{subject}`` and, where each phase has its own files, ``{phase}``, for example
  ``"{subject}/{phase}_image.nii.gz"``. Not needed where the source is a CSV table with
  the columns image, label, subject, phase and, if need be, frame; its paths start from
  the table's folder.
- ``"phases"``, if they are not called ED and ES: ``{"diastole": "ED", ...}``.
- ``"frames"``, for patterns without ``{phase}``: ``{"ED": 0, "ES": 9}``. A file of
  one frame may go with a cine of several, as ``{subject}.nii.gz`` with
  ``{subject}_{phase}_gt.nii.gz``; its only frame is then used.
- ``"vendor"``, ``"vendor_name"``, ``"centre"``: what the tables say.
"""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cmrjax.data.records import PHASES
from cmrjax.files import read_json, shorten
from cmrjax.labels import MULTI_TISSUE

_LARGEST_ID = 65535


@dataclass(frozen=True)
class PairMapping:
    """What a mapping file says.

    Attributes:
        labels: Class name of each id.
        image_pattern: Path of an image, or "" for a table.
        label_pattern: Path of a label map, or "" for a table.
        phases: ED or ES by the name in paths and tables.
        frames: Frame of each phase, for files that hold several.
        vendor: Letter for the tables.
        vendor_name: Name for the tables.
        centre: Number for the tables.
    """

    labels: dict[int, str]
    image_pattern: str = ""
    label_pattern: str = ""
    phases: dict[str, str] = field(default_factory=lambda: {p: p for p in PHASES})
    frames: dict[str, int] = field(default_factory=dict)
    vendor: str = "S"
    vendor_name: str = "Imported"
    centre: str = "1"

    def to_dict(self) -> dict[str, Any]:
        """Returns the mapping as plain JSON types."""
        return {**asdict(self), "labels": {str(i): n for i, n in self.labels.items()}}


@dataclass(frozen=True)
class Pair:
    """An image and its labels.

    Attributes:
        image: NIfTI file.
        label: NIfTI file.
        phase: "ED" or "ES".
        frame: Frame in those of the files that have several; None where none has.
    """

    image: Path
    label: Path
    phase: str
    frame: int | None


def read_mapping(path: str | Path) -> PairMapping:
    """Reads a mapping file.

    Raises:
        ValueError: If it is not as described above; names file, value and fix.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such mapping file")
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object with labels and patterns")
    known = PairMapping.__dataclass_fields__
    if unknown := sorted(set(content) - set(known)):
        raise ValueError(
            f"{path}: unknown {shorten(', '.join(unknown))}; known are"
            f" {', '.join(known)}"
        )
    for key in ("labels", "phases", "frames"):
        if not isinstance(content.get(key, {}), dict):
            raise ValueError(f"{path}: {key} must be a JSON object")
    phases = content.get("phases") or {p: p for p in PHASES}
    if not all(phase in PHASES for phase in phases.values()):
        raise ValueError(
            f"{path}: phases are {shorten(list(phases.values()))}; expected"
            f" {' and '.join(PHASES)}, by their names in the file names"
        )
    frames = content.get("frames", {})
    if not all(p in PHASES and type(f) is int and f >= 0 for p, f in frames.items()):
        raise ValueError(
            f'{path}: frames are {shorten(frames)}; expected {{"ED": 0, "ES": 9}}'
            " or the like"
        )
    texts = {}
    for key in set(known) & set(content) - {"labels", "phases", "frames"}:
        value = content[key]
        short = type(value) is int or (isinstance(value, str) and len(value) <= 200)
        if not short or not str(value).isprintable():
            raise ValueError(
                f"{path}: {key} is {shorten(repr(value))}; give a short text"
            )
        texts[key] = str(value)
    return PairMapping(
        labels=_labels(path, content), phases=phases, frames=frames, **texts
    )


def _labels(path: Path, content: dict[str, Any]) -> dict[int, str]:
    """Class names by id."""
    labels: dict[int, str] = {}
    for key, name in (content.get("labels") or {}).items():
        is_id = re.fullmatch(r"\d{1,5}", key) and int(key) <= _LARGEST_ID
        if not is_id or name not in MULTI_TISSUE.class_names:
            raise ValueError(
                f"{path}: labels hold {shorten(repr(key))}: {shorten(repr(name))};"
                f" expected numbers from 0 to {_LARGEST_ID} and names among"
                f" {', '.join(MULTI_TISSUE.class_names)}"
            )
        labels[int(key)] = name
    if not labels:
        raise ValueError(f'{path}: no labels; expected "labels": {{"1": "LV", ...}}')
    return labels
