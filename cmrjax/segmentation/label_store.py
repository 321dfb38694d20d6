"""Labelled subjects in a work folder, so that a stopped labelling continues.

Each subject is a folder that appears at once and complete. A subject is taken from the
store only if the files that it was made from are those of then and nothing was wrong
with them.
"""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cmrjax.array_files import read_npy
from cmrjax.data.nifti import write_volume
from cmrjax.data.records import SubjectRecord
from cmrjax.data.subject import PreparedSubject, PreparedVolume
from cmrjax.files import (
    atomic_directory,
    read_json,
    sha256_json,
    shorten,
    write_bytes,
    write_json,
)
from cmrjax.segmentation.labelling import LabelledSubject

logger = logging.getLogger(__name__)

SETTINGS_FILE = "settings.json"
NATIVE_FOLDER = "nifti"  # labels on the grid of each image file
_FACTS = "subject.json"
_FOLDER = "subjects"


class LabelStore:
    """Labelled subjects on disk.

    Attributes:
        folder: The work folder.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]):
        """Opens a work folder, or makes it.

        Args:
            folder: The work folder.
            settings: All that decides the labels, JSON types.

        Raises:
            ValueError: If the folder holds labels that were made with other settings;
                names those that differ.
        """
        self.folder = Path(folder)
        path = self.folder / SETTINGS_FILE
        if path.exists():
            _check_settings(self.folder, read_json(path), dict(settings))
        else:
            write_json(path, dict(settings))

    def path(self, subject: str) -> Path:
        """Returns the folder of a subject."""
        return self.folder / _FOLDER / subject

    @property
    def subjects(self) -> list[str]:
        """Codes of the subjects that are there."""
        return sorted(p.name for p in self.folder.glob(f"{_FOLDER}/[!.]*"))

    def save(
        self,
        record: SubjectRecord,
        labelled: LabelledSubject,
        files: Mapping[str, bytes],
    ) -> None:
        """Keeps a subject.

        Args:
            record: The subject.
            labelled: What came of it.
            files: More files to keep, by name.
        """
        prepared = labelled.prepared
        with atomic_directory(self.path(record.subject), overwrite=True) as folder:
            for index, volume in enumerate(prepared.volumes):
                np.save(folder / f"images_{index}.npy", volume.images.astype("f2"))
                np.save(folder / f"labels_{index}.npy", volume.labels)
            for native in labelled.native:
                path = folder / NATIVE_FOLDER / native.name
                path.parent.mkdir(exist_ok=True)
                write_volume(path, native.labels, native.affine)
            for name, content in files.items():
                write_bytes(folder / name, content)
            facts = {
                "sources": _sources(record),
                "problems": prepared.problems,
                "notices": prepared.notices,
                "unlabelled": prepared.unlabelled,
                "volumes": [
                    {
                        "slices": volume.slices,
                        "valid_box": volume.valid_box,
                        "description": volume.description,
                    }
                    for volume in prepared.volumes
                ],
                "rows": [_with_null(row) for row in labelled.rows],
            }
            write_json(folder / _FACTS, facts)

    def load(self, record: SubjectRecord) -> PreparedSubject | None:
        """Returns a subject, None if it has to be labelled (again)."""
        folder = self.path(record.subject)
        if not (folder / _FACTS).is_file():
            return None
        try:
            facts = read_json(folder / _FACTS)
            if facts["problems"] or facts["sources"] != _sources(record):
                return None
            _check_rows(facts["rows"])
            volumes = [
                _stored_volume(folder, index, entry)
                for index, entry in enumerate(facts["volumes"])
            ]
            return PreparedSubject(
                volumes=volumes,
                notices=[str(line) for line in facts["notices"]],
                unlabelled=bool(facts["unlabelled"]),
            )
        except (KeyError, TypeError, ValueError, OSError) as error:
            logger.info("%s: damaged (%s), labelled again", folder, shorten(error))
            return None

    def rows(self, subject: str) -> list[dict[str, Any]]:
        """Returns the rows of a subject's slices."""
        rows = read_json(self.path(subject) / _FACTS)["rows"]
        return [
            {k: float("nan") if v is None else v for k, v in row.items()}
            for row in rows
        ]

    def remove(self) -> None:
        """Removes the work folder."""
        shutil.rmtree(self.folder)


def _stored_volume(folder: Path, index: int, entry: dict[str, Any]) -> PreparedVolume:
    """Reads a volume; raises ValueError where its parts do not fit each other."""
    images = read_npy(folder / f"images_{index}.npy")
    labels = read_npy(folder / f"labels_{index}.npy")
    slices, box = tuple(entry["slices"]), tuple(entry["valid_box"])
    if images.shape != labels.shape or images.ndim != 3 or len(slices) != len(images):
        raise ValueError(f"volume {index} has parts of different sizes")
    if len(box) != 4 or not all(type(i) is int for i in (*slices, *box)):
        raise ValueError(f"volume {index} has no whole numbers for slices and box")
    if images.dtype != np.float16 or labels.dtype != np.uint8:
        raise ValueError(f"volume {index} has arrays of another type")
    if not isinstance(entry["description"], dict):
        raise ValueError(f"volume {index} has no description")
    return PreparedVolume(images, labels, slices, box, entry["description"])


def _check_rows(rows: Any) -> None:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("rows are no list of objects")


def _check_settings(
    folder: Path, earlier: dict[str, Any], settings: dict[str, Any]
) -> None:
    if not isinstance(earlier, dict):
        raise ValueError(
            f"{folder / SETTINGS_FILE}: is damaged; remove that folder to start anew"
        )
    if sha256_json(earlier) == sha256_json(settings):
        return
    names = sorted(
        name
        for name in {*earlier, *settings}
        if sha256_json(earlier.get(name)) != sha256_json(settings.get(name))
    )
    changed = "; ".join(
        f"{n} was {shorten(repr(earlier.get(n)))}, is {shorten(repr(settings.get(n)))}"
        for n in names
    )
    raise ValueError(
        f"{folder} holds a labelling that was started differently: "
        f"{shorten(changed, 600)}. Restore"
        " these to continue it, or remove that folder to start anew"
    )


def _sources(record: SubjectRecord) -> dict[str, Any]:
    """What a subject is made from: files with size and time, and its frames."""
    files = []  # by place, not by name: two folders may have files of one name
    for path in (
        p for pair in record.pairs for p in (pair.image_path, pair.label_path)
    ):
        if path is not None and path.exists():
            status = os.stat(path)
            files.append([str(path.resolve()), status.st_size, status.st_mtime_ns])
    sources: dict[str, Any] = {
        "files": files,
        "phases": [list(phase) for pair in record.pairs for phase in pair.phases],
        "group": record.group,
    }
    if any(pair.spacing for pair in record.pairs):  # told by the table
        sources["spacing"] = [pair.spacing and [*pair.spacing] for pair in record.pairs]
    return sources


def _with_null(row: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and v != v else v for k, v in row.items()}
