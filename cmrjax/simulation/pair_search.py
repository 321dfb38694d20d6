"""Finds the pairs of image and label map that a mapping file describes."""

import re
from pathlib import Path

from cmrjax.data.records import PHASES, read_rows
from cmrjax.files import shorten
from cmrjax.simulation.pair_mapping import Pair, PairMapping

_COLUMNS = ("image", "label", "subject", "phase")
_SUBJECT, _PHASE = "{" + "subject" + "}", "{" + "phase" + "}"  # in patterns
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


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
                f"{_text(pair.image)}: {_text(code)} has another image for"
                f" {pair.phase}, {_text(same[0].image)}; keep one"
            )
        elif not _CODE.fullmatch(code):
            problems.append(
                f"{_text(pair.image)}: the subject is called {_text(repr(code))}; use"
                " letters, digits, _, - and . only"
            )
        else:
            subjects.setdefault(code, []).append(pair)
    if not subjects:
        lines = "".join(f"; {line}" for line in problems[:2])
        raise ValueError(
            f"{source}: no pair of image and label map found{lines}; correct the"
            " mapping or the table"
        )
    for pairs in subjects.values():
        pairs.sort(key=lambda pair: PHASES.index(pair.phase))
    return subjects, problems


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
                f"{source}, line {line}: phase {_text(repr(row['phase']))} of subject"
                f" {_text(repr(row['subject']))}; fill in"
                f" {', '.join(_COLUMNS)}, with a phase among"
                f" {_text(', '.join(mapping.phases))}"
            )
        elif not re.fullmatch(r"\d{0,6}", frame):
            problems.append(
                f"{source}, line {line}: frame {_text(repr(frame))}; expected 0, 1, ..."
                " or nothing"
            )
        elif absent := [
            row[name]
            for name in ("image", "label")
            if not _is_file(source.parent / row[name])
        ]:
            problems.append(
                f"{source}, line {line}: {_text(repr(absent[0]))}: no such file;"
                f" correct it (relative to {source.parent})"
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
            f"{mapping_path}: image_pattern {_text(repr(patterns[0]))} and"
            f" label_pattern {_text(repr(patterns[1]))} must both have"
            " {subject}; a CSV table as source needs none"
        )
    if not all(per_phase) and not mapping.frames:
        raise ValueError(
            f"{mapping_path}: a pattern has no {{phase}}, so the phases lie in one"
            ' file; say where with frames, for example {"ED": 0, "ES": 9}'
        )
    named = [
        name
        for name, phase in mapping.phases.items()
        if all(per_phase) or phase in mapping.frames
    ]
    image, label = (_expression(pattern) for pattern in patterns)
    found, problems = [], []
    for file in sorted(p for p in source.rglob("*") if p.is_file()):
        name = file.relative_to(source).as_posix()
        match = image.fullmatch(name)
        if match is None or label.fullmatch(name):
            continue
        names = match.groupdict()
        for name in named:
            if names.get("phase", name) != name:
                continue
            phase = mapping.phases[name]
            values = {_SUBJECT: names["subject"], _PHASE: name}
            beside = source / re.sub(
                f"{re.escape(_SUBJECT)}|{re.escape(_PHASE)}",
                lambda hole, values=values: values[hole[0]],
                mapping.label_pattern,
            )
            frame = mapping.frames.get(phase)
            if _is_file(beside):
                found.append((names["subject"], Pair(file, beside, phase, frame)))
            else:
                problems.append(f"{file}: has no label map, expected {_text(beside)}")
    return found, problems


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # as of a name that is too long
        return False


def _text(value: object) -> str:
    return shorten(value, 150)


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
