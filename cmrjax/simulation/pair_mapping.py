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
- ``"frames"``, for patterns without ``{phase}``: ``{"ED": 0, "ES": 9}``.
- ``"vendor"``, ``"vendor_name"``, ``"centre"``: what the tables say.
"""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cmrjax.data.records import PHASES, read_rows
from cmrjax.files import read_json
from cmrjax.labels import MULTI_TISSUE

_COLUMNS = ("image", "label", "subject", "phase")
_SUBJECT, _PHASE = "{" + "subject" + "}", "{" + "phase" + "}"  # in patterns
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


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
        frame: Frame in both files; None where they have one only.
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
            f"{path}: unknown {', '.join(unknown)}; known are {', '.join(known)}"
        )
    for key in ("labels", "phases", "frames"):
        if not isinstance(content.get(key, {}), dict):
            raise ValueError(f"{path}: {key} must be a JSON object")
    phases = content.get("phases") or {p: p for p in PHASES}
    if not set(phases.values()) <= set(PHASES):
        raise ValueError(
            f"{path}: phases are {sorted(map(str, phases.values()))}; expected"
            f" {' and '.join(PHASES)}, by their names in the file names"
        )
    frames = content.get("frames", {})
    if not all(p in PHASES and type(f) is int and f >= 0 for p, f in frames.items()):
        raise ValueError(
            f'{path}: frames are {frames}; expected {{"ED": 0, "ES": 9}} or the like'
        )
    texts = {
        key: str(content[key])
        for key in known
        if key in content and key not in ("labels", "phases", "frames")
    }
    return PairMapping(
        labels=_labels(path, content), phases=phases, frames=frames, **texts
    )


def find_pairs(
    source: Path, mapping: PairMapping, mapping_path: Path
) -> tuple[dict[str, list[Pair]], list[str]]:
    """Finds the pairs of each subject, end-diastole first.

    Args:
        source: Folder, or CSV table.
        mapping: The mapping.
        mapping_path: Where it was read, for errors.

    Returns:
        Pairs by subject, and one line per file or row that is of no use.

    Raises:
        ValueError: If there is no such source, the mapping does not fit it, or nothing
            is found.
    """
    if source.is_file():
        found, problems = _from_table(source, mapping)
    elif source.is_dir():
        found, problems = _from_patterns(source, mapping, mapping_path)
    else:
        raise ValueError(f"{source}: no such folder or table")
    subjects: dict[str, list[Pair]] = {}
    for code, pair in found:
        same = [p for p in subjects.get(code, []) if p.phase == pair.phase]
        if same:
            problems.append(
                f"{pair.image}: {code} has another image for {pair.phase},"
                f" {same[0].image}; keep one"
            )
        elif not _CODE.fullmatch(code):
            problems.append(
                f"{pair.image}: the subject is called {code!r}; use letters, digits,"
                " _, - and . only"
            )
        else:
            subjects.setdefault(code, []).append(pair)
    if not subjects:
        lines = "".join(f"\n  {line}" for line in problems[:5])
        raise ValueError(f"{source}: no pair of image and label map found{lines}")
    for pairs in subjects.values():
        pairs.sort(key=lambda pair: PHASES.index(pair.phase))
    return subjects, problems


def _labels(path: Path, content: dict[str, Any]) -> dict[int, str]:
    """Class names by id."""
    labels: dict[int, str] = {}
    for key, name in (content.get("labels") or {}).items():
        if not re.fullmatch(r"\d+", key) or name not in MULTI_TISSUE.class_names:
            raise ValueError(
                f"{path}: labels hold {key!r}: {name!r}; expected whole numbers and"
                f" names among {', '.join(MULTI_TISSUE.class_names)}"
            )
        labels[int(key)] = name
    if not labels:
        raise ValueError(f'{path}: no labels; expected "labels": {{"1": "LV", ...}}')
    return labels


def _from_table(
    source: Path, mapping: PairMapping
) -> tuple[list[tuple[str, Pair]], list[str]]:
    """Read the pairs of a CSV table."""
    rows = read_rows(source)
    header = rows[0][1]
    if missing := [name for name in _COLUMNS if name not in header]:
        raise ValueError(
            f"{source}: the table has no column {', '.join(missing)}; expected"
            f" {', '.join(_COLUMNS)} and, if need be, frame"
        )
    found, problems = [], []
    for line, cells in rows[1:]:
        row = dict.fromkeys(header, "") | dict(zip(header, cells, strict=False))
        phase, frame = mapping.phases.get(row["phase"]), row.get("frame", "")
        if phase is None or not all(row[name] for name in _COLUMNS):
            problems.append(
                f"{source}, line {line}: phase {row['phase']!r} of subject"
                f" {row['subject']!r}; fill in {', '.join(_COLUMNS)}, with a phase"
                f" among {', '.join(mapping.phases)}"
            )
        elif frame and not frame.isdecimal():
            problems.append(
                f"{source}, line {line}: frame {frame!r}; expected 0, 1, ... or nothing"
            )
        else:
            image, label = (source.parent / row[name] for name in ("image", "label"))
            number = int(frame) if frame else mapping.frames.get(phase)
            found.append((row["subject"], Pair(image, label, phase, number)))
    return found, problems


def _from_patterns(
    source: Path, mapping: PairMapping, mapping_path: Path
) -> tuple[list[tuple[str, Pair]], list[str]]:
    """Find the files that fit the patterns."""
    patterns = (mapping.image_pattern, mapping.label_pattern)
    per_phase = [_PHASE in pattern for pattern in patterns]
    if not all(_SUBJECT in pattern for pattern in patterns):
        raise ValueError(
            f"{mapping_path}: image_pattern {patterns[0]!r} and label_pattern"
            f" {patterns[1]!r} must both have {{subject}}; a CSV table as source needs"
            " none"
        )
    if not all(per_phase) and not mapping.frames:
        raise ValueError(
            f"{mapping_path}: a pattern has no {{phase}}, so the phases lie in one"
            ' file; say where with frames, for example {"ED": 0, "ES": 9}'
        )
    image, label = (_expression(pattern) for pattern in patterns)
    found, problems = [], []
    for file in sorted(p for p in source.rglob("*") if p.is_file()):
        name = file.relative_to(source).as_posix()
        match = image.fullmatch(name)
        if match is None or label.fullmatch(name):
            continue
        names = match.groupdict()
        if all(per_phase):
            named = [names["phase"]] if names["phase"] in mapping.phases else []
        else:
            named = [n for n, p in mapping.phases.items() if p in mapping.frames]
        for name in named:
            phase = mapping.phases[name]
            values = {_SUBJECT: names["subject"], _PHASE: name}
            beside = source / re.sub(
                f"{re.escape(_SUBJECT)}|{re.escape(_PHASE)}",
                lambda hole, values=values: values[hole[0]],
                mapping.label_pattern,
            )
            frame = mapping.frames.get(phase)
            if beside.is_file():
                found.append((names["subject"], Pair(file, beside, phase, frame)))
            else:
                problems.append(f"{file}: has no label map, expected {beside}")
    return found, problems


def _expression(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression; a name given twice must be the same."""
    parts, seen = [], set()
    for part in re.split(r"(\{\w+\})", pattern):
        name = part[1:-1]
        if part not in (_SUBJECT, _PHASE):
            parts.append(re.escape(part))
        elif name in seen:
            parts.append(f"(?P={name})")
        else:
            seen.add(name)
            parts.append(f"(?P<{name}>[^/]+?)")
    return re.compile("".join(parts))
