"""Reads XCAT label volumes: raw activity files and the parameter file beside them.

XCAT writes one ``*_act_N.bin`` per frame, little-endian float32, x fastest, then y,
then z. Where every organ has an activity of its own, that number is its id, and the
parameter file (``*.par``, lines ``key = value # comment``) names it: the organ of
``myoLV_act = 1`` is ``myoLV``. The volumes are licensed: read them, pass none on.
"""

import contextlib
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from cmrjax.array_files import ZIP_ERRORS, check_unpacked_size
from cmrjax.files import shorten
from cmrjax.labels import MULTI_TISSUE, LabelSchema
from cmrjax.simulation.tissues import TISSUE_IDS
from cmrjax.simulation.xcat_organs import (
    NEVER_PAINTED,
    ORGAN_CLASSES,
    Patterns,
    class_names_of_organs,
    tissue_names_of_organs,
)

_ID_LIMIT = 65535  # ids are held as uint16
_VALUE = np.dtype("<f4")
_LARGEST_PARAMETERS = 16 << 20  # bytes of a parameter file
_FRAME = re.compile(r"(.+)_act_(\d{1,9})\.bin")
_PARAMETER = re.compile(r"\s*(\w+)\s*=\s*([^\s#]+)")
_ORGAN = re.compile(r"(?:hrt_)?(\w+?)_act(?:ivity)?")
# Settings under which the values are ids, and what they would be otherwise.
_SETTINGS = {
    "mode": (0, "the files hold lesions, vectors or surfaces, not organs"),
    "activity_unit": (0, "the values are scaled by the volume of a voxel"),
    "subvoxel_index": (1, "values at borders are mixtures, which may equal other ids"),
}


@dataclass(frozen=True)
class XcatPhantom:
    """Label volumes of one XCAT run; nothing is read until a frame is asked for.

    Attributes:
        path: The zip file or folder.
        parameter_file: Name of the parameter file in it.
        files: Name of the activity file of each frame.
        shape: (d, h, w), voxels.
        spacing: (z, y, x), mm.
        organs: Organ names of each id; several where they have the same activity.
    """

    path: Path
    parameter_file: str
    files: Mapping[int, str]
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    organs: Mapping[int, tuple[str, ...]]

    @property
    def frames(self) -> tuple[int, ...]:
        """Numbers of the frames, ascending, as in the file names."""
        return tuple(sorted(self.files))

    def read_ids(self, frame: int) -> np.ndarray:
        """Reads one frame, a slice at a time.

        Args:
            frame: One of ``frames``.

        Returns:
            [d, h, w] uint16, keys of ``organs``, or 0 around the body.

        Raises:
            ValueError: If there is no such frame, the file's size is not that of
                ``shape``, or a value is no id of the parameter file.
        """
        if frame not in self.files:
            raise ValueError(f"{self.path} has no frame {frame}, only {self.frames}")
        name = self.files[frame]
        known = np.array(sorted({0, *self.organs}), np.uint16)
        depth, rows, columns = self.shape
        size = rows * columns * _VALUE.itemsize
        with _open_member(self.path, name) as (file, found):
            if found != size * depth:
                raise ValueError(
                    f"{self.path}, {name}: {found} bytes, but {self.parameter_file}"
                    f" says {' x '.join(map(str, self.shape))} float32,"
                    f" {size * depth} bytes. Copy the file anew, or mend array_size,"
                    " startslice and endslice"
                )
            ids = np.empty(self.shape, np.uint16)
            for index, target in enumerate(ids):
                content = file.read(size)
                if len(content) != size:
                    raise ValueError(
                        f"{self.path}, {name}: ends in slice {index}; copy it anew"
                    )
                values = np.frombuffer(content, _VALUE).reshape(target.shape)
                nearest = np.searchsorted(known, values).clip(max=len(known) - 1)
                target[:] = known[nearest]
                if (target != values).any():
                    raise ValueError(
                        f"{self.path}, {name}, slice {index}: holds the value"
                        f" {values[target != values][0]:g}, which is no organ's in"
                        f" {self.parameter_file}. Use the parameter file of this volume"
                        " (little-endian float32), with whole activities and"
                        " subvoxel_index = 1, and do not interpolate"
                    )
        return ids

    def read_labels(
        self,
        frame: int,
        schema: LabelSchema = MULTI_TISSUE,
        *,
        absent: Collection[str] = NEVER_PAINTED,
        organ_classes: Patterns = ORGAN_CLASSES,
    ) -> np.ndarray:
        """Reads one frame as class labels.

        XCAT paints papillary muscles as myocardium; experts draw them as cavity.

        Args:
            frame: One of ``frames``.
            schema: ``MULTI_TISSUE`` or coarser; classes that it lacks become
                background.
            absent: Organs that are not in this volume, whatever the parameter file
                says, so that others may have their ids.
            organ_classes: Pattern of organ names and class of ``MULTI_TISSUE``.

        Returns:
            [d, h, w] uint8, ids of ``schema``.

        Raises:
            ValueError: As `read_ids` and, for the ids that occur in the frame,
                `class_names_of_organs`.
        """
        ids, organs = self._read_organs(frame)
        names = class_names_of_organs(
            organs,
            absent=absent,
            organ_classes=organ_classes,
            where=f"{self.path}, {self.parameter_file}",
        )
        values = {i: MULTI_TISSUE.id_of(name) for i, name in names.items()}
        table = self._table(frame, organs, values)
        return MULTI_TISSUE.merge_table(schema)[table][ids]

    def read_tissues(
        self, frame: int, *, absent: Collection[str] = NEVER_PAINTED
    ) -> np.ndarray:
        """Reads one frame as tissues, which are finer than classes.

        Args:
            frame: One of ``frames``.
            absent: As for `read_labels`.

        Returns:
            [d, h, w] uint8, ids of `tissues.TISSUES`.

        Raises:
            ValueError: As `read_labels`.
        """
        ids, organs = self._read_organs(frame)
        where = f"{self.path}, {self.parameter_file}"
        names = tissue_names_of_organs(organs, absent=absent, where=where)
        values = {i: TISSUE_IDS[name] for i, name in names.items()}
        return self._table(frame, organs, values)[ids]

    def _read_organs(self, frame: int) -> tuple[np.ndarray, dict[int, tuple[str, ...]]]:
        """Reads the ids of a frame, and the organs of those that occur."""
        ids = self.read_ids(frame)
        present = sorted({int(i) for slice_ids in ids for i in np.unique(slice_ids)})
        return ids, {i: self.organs.get(i, ()) for i in present}

    def _table(
        self,
        frame: int,
        organs: Mapping[int, tuple[str, ...]],
        values: Mapping[int, int],
    ) -> np.ndarray:
        """What each id that occurs becomes; [ids] uint8."""
        table = np.zeros(max(organs) + 1, np.uint8)
        for i, names in organs.items():
            if i not in values:
                raise ValueError(
                    f"{self.path}, {self.files[frame]}: holds id {i}, but its organs"
                    f" ({', '.join(names)}) are said to be absent"
                )
            table[i] = values[i]
        return table


def open_xcat(path: str | Path) -> XcatPhantom:
    """Opens a zip file or folder with one parameter file and activity volumes.

    Args:
        path: The zip file or folder; folders in it are searched.

    Returns:
        The phantom; its volumes are not read yet.

    Raises:
        FileNotFoundError: If there is nothing at ``path``.
        ValueError: If it does not hold one parameter file and one series of volumes,
            or the parameters are incomplete or make values no ids.
    """
    path = Path(path)
    names = _member_names(path)
    parameter_files = [n for n in names if n.lower().endswith(".par")]
    if len(parameter_files) != 1:
        raise ValueError(
            f"{path}: expected one parameter file (*.par), found"
            f" {shorten(parameter_files)}"
        )
    volumes = [match for name in names if (match := _FRAME.fullmatch(name))]
    series = sorted({match[1] for match in volumes})
    files = {int(match[2]): match[0] for match in volumes}
    if len(series) != 1 or len(files) != len(volumes):
        raise ValueError(
            f"{path}: expected one series of activity volumes (*_act_N.bin), each"
            f" frame once, found {shorten(series)}, {len(volumes)} files"
        )
    where = f"{path}, {shorten(parameter_files[0])}"
    with _open_member(path, parameter_files[0]) as (file, size):
        if size > _LARGEST_PARAMETERS:
            raise ValueError(f"{where}: has {size} bytes, which is no parameter file")
        lines = file.read(_LARGEST_PARAMETERS).decode("latin-1").splitlines()
    matches = (_PARAMETER.match(line) for line in lines)
    parameters = {match[1]: match[2] for match in matches if match}
    for key, (expected, otherwise) in _SETTINGS.items():
        if key in parameters and _number(parameters, key, where) != expected:
            raise ValueError(
                f"{where}: {key} = {shorten(parameters[key])}, so {otherwise}; run XCAT"
                " with"
                f" {key} = {expected}"
            )
    grid, organs = _grid(parameters, where), _organs(parameters, where)
    return XcatPhantom(path, parameter_files[0], files, *grid, organs)


def _member_names(path: Path) -> list[str]:
    """Files in a zip file or folder, hidden ones left out, sorted."""
    if path.is_dir():
        found = [f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file()]
    else:
        try:
            with zipfile.ZipFile(path) as archive:
                names = [info.filename for info in archive.infolist()]
                found = [name for name in names if not name.endswith("/")]
        except FileNotFoundError:
            raise
        except (ValueError, *ZIP_ERRORS) as error:
            raise ValueError(
                f"{path} is no folder and no zip file ({shorten(error)}); copy it anew"
            ) from None
    return sorted(n for n in found if not PurePosixPath(n).name.startswith("."))


@contextlib.contextmanager
def _open_member(path: Path, name: str) -> Iterator[tuple[IO[bytes], int]]:
    """Opens a file of a zip file or folder; gives it and its size in bytes."""
    if path.is_dir():
        with open(path / name, "rb") as file:
            yield file, (path / name).stat().st_size
    else:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(name) as file:
                info = archive.getinfo(name)
                check_unpacked_size(path, info)
                yield file, info.file_size
        except ZIP_ERRORS as error:
            raise ValueError(
                f"{path}, {shorten(name)}: cannot be unpacked ({shorten(error)}); copy"
                " the file anew"
            ) from error


def _number(parameters: Mapping[str, str], key: str, where: str) -> float:
    try:
        return float(parameters[key])
    except (KeyError, ValueError):
        found = parameters.get(key)
        raise ValueError(
            f"{where}: expected '{shorten(key)} = <number>', got {shorten(found)}"
        ) from None


def _grid(
    parameters: Mapping[str, str], where: str
) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Shape (d, h, w) in voxels and spacing (z, y, x) in mm; the file has cm."""
    keys = ("array_size", "startslice", "endslice", "pixel_width", "slice_width")
    size, first, last, pixel, thick = (_number(parameters, k, where) for k in keys)
    depth = last - first + 1
    y, z = round(10 * pixel, 6), round(10 * thick, 6)
    positive = all(0 < v < np.inf for v in (size, depth, y, z))
    if not (positive and size % 1 == depth % 1 == 0):
        given = ", ".join(f"{k} = {shorten(parameters[k])}" for k in keys)
        raise ValueError(
            f"{where}: {given}; expected whole numbers of voxels and all sizes above 0"
        )
    return (int(depth), int(size), int(size)), (z, y, y)


def _organs(parameters: Mapping[str, str], where: str) -> dict[int, tuple[str, ...]]:
    organs: dict[int, tuple[str, ...]] = {}
    for key in parameters:
        if match := _ORGAN.fullmatch(key):
            value = _number(parameters, key, where)
            if not (0 <= value <= _ID_LIMIT and value == int(value)):
                raise ValueError(
                    f"{where}: {shorten(key)} = {shorten(parameters[key])};"
                    f" expected a whole number from 0 to {_ID_LIMIT}, the organ's id"
                )
            organs[int(value)] = (*organs.get(int(value), ()), match[1])
    if not organs:
        raise ValueError(f"{where}: names no organ (lines such as 'myoLV_act = 1')")
    return dict(sorted(organs.items()))
