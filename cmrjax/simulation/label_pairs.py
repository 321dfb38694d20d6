"""Imports pairs of NIfTI images and label maps made elsewhere, simulated or not.

A mapping file says what the ids mean and where the files are, so any set of pairs can
be read, for example the public simulated data of openGTN. The result is the folder that
`population.py` writes: images as they are, ids of ``MULTI_TISSUE``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cmrjax.files import sha256_file
from cmrjax.labels import HEART_CLASSES, MULTI_TISSUE
from cmrjax.output_folder import check_apart
from cmrjax.simulation.pair_mapping import Pair, PairMapping, read_mapping
from cmrjax.simulation.pair_reading import read_pairs
from cmrjax.simulation.pair_search import find_pairs
from cmrjax.simulation.population_folder import (
    TableRow,
    claim_folder,
    is_complete,
    split_by_code,
    write_subject,
    write_tables,
)

VERSION = 2  # raise when the same files would be imported otherwise
_STORED = ("uint8", "int16", "int32", "float32", "float64")


@dataclass(frozen=True)
class ImportSummary:
    """What was imported.

    Attributes:
        imported: Subjects written now.
        kept: Subjects that were there already.
        problems: One line per subject that could not be used.
    """

    imported: int
    kept: int
    problems: tuple[str, ...]


def import_pairs(
    source: str | Path,
    mapping: str | Path,
    out: str | Path,
    *,
    say: Callable[[str], None] = print,
    progress: Callable[[Iterable], Iterable] = iter,
) -> ImportSummary:
    """Imports pairs into a folder as the M&Ms challenge's; run again, it continues.

    About 60 % of the subjects are for training, 20 % each for development and test, by
    a hash of their codes; what split.csv says already, or is changed to, stays.

    Args:
        source: Folder that the mapping's patterns start from, or the CSV table of the
            pairs (see `pair_mapping`).
        mapping: The mapping file.
        out: The folder; made if need be.
        say: Takes each problem as it comes up.
        progress: Wraps the sequence of subjects.

    Returns:
        What was imported. A subject that cannot be used does not stop the others.

    Raises:
        ValueError: If the mapping or the table cannot be used, nothing is found,
            ``out`` holds something else, or it overlaps with what is read.
    """
    source, mapping, out = Path(source), Path(mapping), Path(out)
    meaning = read_mapping(mapping)
    subjects, problems = find_pairs(source, meaning, mapping)
    files = [p.image for pairs in subjects.values() for p in pairs]
    files += [p.label for pairs in subjects.values() for p in pairs]
    check_apart(out, [source.parent if source.is_file() else source, *files])
    for line in problems:
        say(line)
    settings = {
        "version": VERSION,
        "anatomy": "pairs",
        "mapping": meaning.to_dict(),
        "source": str(source.resolve()),
    }
    claim_folder(out, None, settings, what="set of pairs")
    rows, imported = [], 0
    for code, pairs in progress(sorted(subjects.items())):
        try:
            imported += _import_subject(out, code, pairs, meaning, settings)
        except ValueError as error:
            problems.append(str(error))
            say(problems[-1])
            continue
        found = {pair.phase: str(index) for index, pair in enumerate(pairs)}
        frames = (found.get("ED", ""), found.get("ES", ""))
        name, vendor, centre = meaning.vendor_name, meaning.vendor, meaning.centre
        rows.append(TableRow(code, name, vendor, centre, frames))
    if not rows:
        raise ValueError(f"{source}: no pair could be imported, see the lines above")
    write_tables(out, rows, split_by_code(out, [row.code for row in rows]))
    return ImportSummary(imported, len(rows) - imported, tuple(problems))


def _import_subject(
    out: Path,
    code: str,
    pairs: list[Pair],
    meaning: PairMapping,
    settings: dict[str, Any],
) -> bool:
    """Import one subject; return False if it was there already."""
    hashes = {
        pair.phase: {
            "image": _hash(pair.image),
            "label": _hash(pair.label),
        }
        for pair in pairs
    }
    own = {**settings, "sha256": hashes}
    if is_complete(out, code, own):
        return False
    read = read_pairs(pairs, meaning)
    first = read[0].file
    images = np.stack([found.image for found in read])
    labels = np.stack([found.labels for found in read])
    voxel_ml = float(np.prod(first.spacing)) / 1000
    volumes = {
        f"{name}_{pair.phase}": float((label == MULTI_TISSUE.id_of(name)).sum())
        * voxel_ml
        for pair, label in zip(pairs, labels, strict=True)
        for name in HEART_CLASSES
    }
    write_subject(
        out,
        code,
        _storable(images),
        labels,
        first.affine,
        description={
            "settings": own,
            "files": {p.phase: [str(p.image), str(p.label)] for p in pairs},
            "spacing": list(first.spacing),
            "label_volume_ml": volumes,
            "ejection_fraction": _ejection_fraction(volumes),
        },
    )
    return True


def _hash(path: Path) -> str:
    """Return a file's hash."""
    try:
        return sha256_file(path)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); correct the mapping or the"
            " table, or fetch the file"
        ) from error


def _storable(images: np.ndarray) -> np.ndarray:
    """Return images in a type that is written as it is; no value changes."""
    if images.dtype.name in _STORED:
        return images
    wide = images.dtype.kind in "iu" and images.dtype.itemsize <= 2
    return images.astype(np.int32 if wide else np.float64)


def _ejection_fraction(volumes: dict[str, float]) -> float | None:
    """Return the ejection fraction by the labels, None with one phase only."""
    diastole, systole = volumes.get("LV_ED"), volumes.get("LV_ES")
    if not diastole or systole is None:
        return None
    return 1.0 - systole / diastole
