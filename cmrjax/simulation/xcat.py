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

from cmrjax.data.resample import interpolate_labels
from cmrjax.labels import MULTI_TISSUE, LabelSchema

# Pattern of the organ's whole name (either case) and its class; no organ fits two.
# Where the class is a choice:
# - Bone, marrow and cartilage are skeletal_muscle, as in `tissues.TISSUES`: a rib is
#   then part of the chest wall, not a ring of two classes. So is the wall of the right
#   ventricle, which has the contrast of muscle and which no expert draws, and other
#   soft tissue of neck and mediastinum, nearest to muscle in contrast.
# - `body` is what belongs to no organ: mostly fat under the skin and between organs.
#   The pericardium is a shell that holds the heart's fat; an adult's thymus is fat.
# - Atrial walls are thin and belong to the rest of the heart: other_blood.
# - Airways look like lung; gas in the bowel is part of the bowel; the great vessels
#   are `body`, so fat, unless XCAT ran with `vessel_flag = 1`.
ORGAN_CLASSES: tuple[tuple[str, str], ...] = (
    (r"bldplLV", "LV"),
    (r"myoLV", "MYO"),
    (r"bldplRV", "RV"),
    (r"myoRV|muscle|diaphragm|rib|spine|cortical_bone|bone_marrow", "skeletal_muscle"),
    (r"cartilage|spinal_cord|brain|eye|lens|pituitary|salivary", "skeletal_muscle"),
    (r"(para)?thyroid|lymph(_abnormal)?|esophagus(_cont)?", "skeletal_muscle"),
    (r"(myo|bldpl)(LA|RA)|aorta|((inferior|superior)_)?vena_cava", "other_blood"),
    (r"(cor_|coronary_|pulm_|pulmonary_)?(art|artery|vein)", "other_blood"),
    (r"((r|l|right|left)_)?lung|airway|trach_bronch|laryngopharynx", "lung"),
    (r"sinus", "background"),
    (r"body|skin|fat|pericardium|thymus|breast", "fat"),
    (r"liver|gall_bladder|st_wall|st_cnts|pancreas|spleen|adrenal|sem", "abdomen"),
    (r"((r|l|right|left)_)?(kidney.*|renal_pelvis|ovary)|fallopian_tubes", "abdomen"),
    (r"(asc|trans|desc)_li|sm_intest|intest_air|rectum|uterus|bladder", "abdomen"),
    (r"ureter|urethra|prostate|vas_def|epididymus|ejac_duct|test|vagina", "abdomen"),
)
NEVER_PAINTED = ("lesn",)  # lesions are written in modes of their own only

_ID_LIMIT = 65535  # ids are held as uint16
_VALUE = np.dtype("<f4")
_FRAME = re.compile(r"(.+)_act_(\d+)\.bin")
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
        ids = np.empty(self.shape, np.uint16)
        size = ids[0].size * _VALUE.itemsize
        with _open_member(self.path, name) as (file, found):
            if found != size * len(ids):
                raise ValueError(
                    f"{self.path}, {name}: {found} bytes, but {self.parameter_file}"
                    f" says {' x '.join(map(str, self.shape))} float32,"
                    f" {size * len(ids)} bytes. Copy the file anew, or mend array_size,"
                    " startslice and endslice"
                )
            for index, target in enumerate(ids):
                content = file.read(size)
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
        organ_classes: tuple[tuple[str, str], ...] = ORGAN_CLASSES,
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
        ids = self.read_ids(frame)
        present = sorted({int(i) for slice_ids in ids for i in np.unique(slice_ids)})
        names = class_names_of_organs(
            {i: self.organs.get(i, ()) for i in present},
            absent=absent,
            organ_classes=organ_classes,
            where=f"{self.path}, {self.parameter_file}",
        )
        table = np.zeros(present[-1] + 1, np.uint8)
        for i in present:
            if i not in names:
                raise ValueError(
                    f"{self.path}, {self.files[frame]}: holds id {i}, but its organs"
                    f" ({', '.join(self.organs[i])}) are said to be absent"
                )
            table[i] = MULTI_TISSUE.id_of(names[i])
        return MULTI_TISSUE.merge_table(schema)[table][ids]


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
            f"{path}: expected one parameter file (*.par), found {parameter_files}"
        )
    volumes = [match for name in names if (match := _FRAME.fullmatch(name))]
    series = sorted({match[1] for match in volumes})
    files = {int(match[2]): match[0] for match in volumes}
    if len(series) != 1 or len(files) != len(volumes):
        raise ValueError(
            f"{path}: expected one series of activity volumes (*_act_N.bin), each"
            f" frame once, found {series}, {len(volumes)} files"
        )
    where = f"{path}, {parameter_files[0]}"
    with _open_member(path, parameter_files[0]) as (file, _):
        lines = file.read().decode("latin-1").splitlines()
    matches = (_PARAMETER.match(line) for line in lines)
    parameters = {match[1]: match[2] for match in matches if match}
    for key, (expected, otherwise) in _SETTINGS.items():
        if key in parameters and _number(parameters, key, where) != expected:
            raise ValueError(
                f"{where}: {key} = {parameters[key]}, so {otherwise}; run XCAT with"
                f" {key} = {expected}"
            )
    grid, organs = _grid(parameters, where), _organs(parameters, where)
    return XcatPhantom(path, parameter_files[0], files, *grid, organs)


def class_names_of_organs(
    organs: Mapping[int, tuple[str, ...]],
    *,
    absent: Collection[str] = NEVER_PAINTED,
    organ_classes: tuple[tuple[str, str], ...] = ORGAN_CLASSES,
    where: str = "organs",
) -> dict[int, str]:
    """Finds the class of each id, by the names of its organs.

    An id may be shared by organs of one class. Id 0 is also the air around the body.

    Args:
        organs: Organ names of each id.
        absent: Organs that are left out.
        organ_classes: Pattern of organ names and class of ``MULTI_TISSUE``.
        where: What is looked at, usually a file; errors begin with it.

    Returns:
        The class name of each id, ids left out whose organs are all absent.

    Raises:
        ValueError: If an organ fits no pattern or those of several classes, or an id
            is shared by organs of different classes; all of them are listed.
    """
    names: dict[int, str] = {}
    unknown, shared = [], []
    for organ_id, all_organs in organs.items():
        found = {
            organ: {c for p, c in organ_classes if re.fullmatch(p, organ, re.I)}
            for organ in all_organs
            if organ not in absent
        }
        unknown += [organ for organ, classes in found.items() if len(classes) != 1]
        classes = set().union(*found.values(), {"background"} if organ_id == 0 else ())
        if len(classes) > 1:
            shared.append(f"{organ_id} ({', '.join(found)})")
        if classes:
            names[organ_id] = min(classes)
    if unknown:
        raise ValueError(
            f"{where}: no single class is known for {', '.join(unknown)}. Give each a"
            " pattern in organ_classes or, if not in the volume, name it in absent"
        )
    if shared:
        raise ValueError(
            f"{where}: organs of different classes share an id: {', '.join(shared)};"
            " 0 is air, too. Run XCAT with one activity per organ, or name the organs"
            " that are not in the volume in absent"
        )
    return names


def resample_short_axis(
    labels: np.ndarray,
    spacing: tuple[float, float, float],
    *,
    target_spacing: float = 1.33,
    image_size: int = 256,
    centre: tuple[float, float] | None = None,
    schema: LabelSchema = MULTI_TISSUE,
) -> np.ndarray:
    """Resamples labels in plane and cuts a square around the heart.

    The largest linearly interpolated share wins, as for real labels. The square is
    moved as far as it must to stay in the field of view; beyond that is background.

    Args:
        labels: [d, h, w] integers, ids of ``schema``.
        spacing: (z, y, x), mm.
        target_spacing: Distance of the new pixels, mm.
        image_size: Rows and columns of the result.
        centre: (row, column) in pixels of ``labels``; by default the mean position of
            LV, MYO and RV in all slices.
        schema: The schema of the ids.

    Returns:
        [d, image_size, image_size], the type of ``labels``.

    Raises:
        ValueError: If there is no heart and no ``centre``, or a size is not positive.
    """
    if labels.ndim != 3 or not min(*spacing, target_spacing, image_size) > 0:
        raise ValueError(
            "expected labels [d, h, w], positive spacings and image_size; got shape"
            f" {labels.shape}, {spacing} and {target_spacing} mm, {image_size}"
        )
    middle = _heart_centre(labels, schema) if centre is None else centre
    (rows, rows_inside), (columns, columns_inside) = (
        _square_side(middle[i], labels.shape[i + 1], step, image_size)
        for i, step in enumerate(
            (target_spacing / spacing[1], target_spacing / spacing[2])
        )
    )
    cut = [interpolate_labels(part[None], rows, columns) for part in labels]
    return np.where(rows_inside[:, None] & columns_inside, np.concatenate(cut), 0)


def _square_side(
    middle: float, size: int, step: float, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Native index of each new pixel along an axis, and whether it lies inside."""
    slack = (size - count * step) / 2  # how far the middle may be off, native pixels
    native_centre = (size - 1) / 2
    shift = np.clip(middle - native_centre, -max(slack, 0), max(slack, 0))
    index = native_centre + shift + (np.arange(count) - (count - 1) / 2) * step
    return index, np.abs(index - native_centre) <= size / 2


def _heart_centre(labels: np.ndarray, schema: LabelSchema) -> tuple[float, float]:
    """Mean (row, column) of the heart in all slices, pixels."""
    _, rows, columns = np.nonzero(np.isin(labels, schema.heart_ids))
    if not len(rows):
        raise ValueError("the labels hold no LV, MYO or RV to centre on; give centre")
    return float(rows.mean()), float(columns.mean())


def _member_names(path: Path) -> list[str]:
    """Files in a zip file or folder, hidden ones left out, sorted."""
    if path.is_dir():
        found = [f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file()]
    else:
        try:
            with zipfile.ZipFile(path) as archive:
                found = [i.filename for i in archive.infolist() if not i.is_dir()]
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path} is no folder and no zip file ({error})") from None
    return sorted(n for n in found if not PurePosixPath(n).name.startswith("."))


@contextlib.contextmanager
def _open_member(path: Path, name: str) -> Iterator[tuple[IO[bytes], int]]:
    """Opens a file of a zip file or folder; gives it and its size in bytes."""
    if path.is_dir():
        with open(path / name, "rb") as file:
            yield file, (path / name).stat().st_size
    else:
        with zipfile.ZipFile(path) as archive, archive.open(name) as file:
            yield file, archive.getinfo(name).file_size


def _number(parameters: Mapping[str, str], key: str, where: str) -> float:
    try:
        return float(parameters[key])
    except (KeyError, ValueError):
        found = parameters.get(key)
        raise ValueError(f"{where}: expected '{key} = <number>', got {found}") from None


def _grid(
    parameters: Mapping[str, str], where: str
) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Shape (d, h, w) in voxels and spacing (z, y, x) in mm; the file has cm."""
    keys = ("array_size", "startslice", "endslice", "pixel_width", "slice_width")
    size, first, last, pixel, thick = (_number(parameters, k, where) for k in keys)
    depth = last - first + 1
    positive = all(0 < v < np.inf for v in (size, depth, pixel, thick))
    if not (positive and size % 1 == depth % 1 == 0):
        given = ", ".join(f"{k} = {parameters[k]}" for k in keys)
        raise ValueError(
            f"{where}: {given}; expected whole numbers of voxels and all sizes above 0"
        )
    y, z = round(10 * pixel, 6), round(10 * thick, 6)
    return (int(depth), int(size), int(size)), (z, y, y)


def _organs(parameters: Mapping[str, str], where: str) -> dict[int, tuple[str, ...]]:
    organs: dict[int, tuple[str, ...]] = {}
    for key in parameters:
        if match := _ORGAN.fullmatch(key):
            value = _number(parameters, key, where)
            if not (0 <= value <= _ID_LIMIT and value == int(value)):
                raise ValueError(
                    f"{where}: {key} = {parameters[key]}; expected a whole number from"
                    f" 0 to {_ID_LIMIT}, the organ's id"
                )
            organs[int(value)] = (*organs.get(int(value), ()), match[1])
    if not organs:
        raise ValueError(f"{where}: names no organ (lines such as 'myoLV_act = 1')")
    return dict(sorted(organs.items()))
