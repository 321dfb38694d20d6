"""Reading and writing NIfTI files, with every header fact checked.

Arrays come out as [slice, row, column]: the file's (x, y, z) axes transposed, nothing
flipped or reoriented. Affines map (column, row, slice) = (x, y, z) indices to mm.
"""

import gzip
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.imageglobals import LoggingOutputSuppressor

from cmrjax.data.geometry import LARGEST_FIELD
from cmrjax.data.nifti_bytes import SUFFIXES, one_line, parse_header, read_bounded
from cmrjax.files import write_bytes

_UNIT_TO_MM = {"mm": 1.0, "micron": 1e-3, "meter": 1e3, "unknown": 1.0}
WRITTEN_TYPES = ("uint8", "int16", "uint16", "int32", "float32", "float64")
"""Types of voxels that files are written with."""
_GEOMETRY = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
    "xyzt_units",
)


def split_suffix(path: str | Path) -> tuple[str, str]:
    """Splits the name of a file: ("case", ".nii.gz") of "folder/case.nii.gz"."""
    name = Path(path).name
    suffix = next((s for s in SUFFIXES if name.endswith(s)), "")
    return name.removesuffix(suffix), suffix


@dataclass(frozen=True)
class NiftiFile:
    """A NIfTI file in memory.

    Attributes:
        path: Where it was read.
        frames: [t, d, h, w] as stored (scaled if the header says so); t is 1 for a
            file with three axes, and so is d for one with two.
        affine: [4, 4] float64 from (x, y, z) indices to mm.
        spacing: (z, y, x) in mm, from the header's voxel size and unit.
        sha256: Hash of the file's bytes.
        spacing_known: Whether the header tells the voxel size; False where it has 1 x 1
            x 1 with neither a unit nor an affine, as converters write it that know
            nothing.
        looks_unset: Whether the header looks as if the voxel size was lost: 1 x 1 x 1
            mm and no affine or, up to signs, the identity, as ``Nifti1Image(array,
            np.eye(4))`` writes it, and other libraries where nothing is set.
        placed: Whether the header says where the voxels lie: sform or qform are set,
            and the affine is not the identity.
        header: The file's header as it is.
    """

    path: Path
    frames: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, float, float]
    sha256: str
    spacing_known: bool = True
    looks_unset: bool = False
    placed: bool = True
    header: nib.Nifti1Header | None = None


@dataclass(frozen=True)
class Volume:
    """One frame of a NIfTI file.

    Attributes:
        array: [d, h, w] as stored: slices, rows (y), columns (x).
        affine: [4, 4] float64 from (column, row, slice) indices to mm.
        spacing: (z, y, x) in mm.
        path: Where it was read.
    """

    array: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, float, float]
    path: Path


def read_nifti(path: str | Path) -> NiftiFile:
    """Reads and checks a whole NIfTI-1 or -2 file, plain or gzipped.

    The file is read once, so that its hash, its gzip check sum and its values belong
    to the same bytes.

    Raises:
        ValueError: If it is missing, unreadable, truncated, empty, has not 2 to 4
            axes (further ones of length 1 aside), or has a voxel size or affine that
            cannot be. One line that begins with the file and says what to do.
    """
    path = Path(path)
    content, digest = read_bounded(path)
    image_class, header = parse_header(path, content)
    shape = tuple(int(n) for n in header.get_data_shape())
    if not 2 <= len(shape) or min(shape) < 1 or any(n > 1 for n in shape[4:]):
        raise ValueError(
            f"{path}: has shape {shape}, expected two to four non-empty axes"
            " (x, y[, slice[, time]]); convert the file or leave it out"
        )
    spacing, unit = _spacing(path, header)
    _check_kind(path, header)
    image, values = _decoded(path, content, image_class, shape)
    affine = _affine(path, image, unit)
    frames = values.reshape((*shape, 1, 1)[:4])
    known, unset, placed = _what_is_told(image.header, spacing, affine)
    return NiftiFile(
        path,
        frames.transpose(3, 2, 1, 0),
        affine,
        spacing,
        digest,
        spacing_known=known,
        looks_unset=unset,
        placed=placed,
        header=image.header,
    )


def _decoded(
    path: Path, content: bytes, image_class: Any, shape: tuple[int, ...]
) -> tuple[Any, np.ndarray]:
    """Returns nibabel's image of a file's bytes, and its values."""
    try:
        # What nibabel has to say names no file; ours does, or the values are refused.
        with (
            LoggingOutputSuppressor(),
            warnings.catch_warnings(),
            np.errstate(all="ignore"),
        ):
            warnings.simplefilter("ignore")
            image = image_class.from_bytes(content)
            return image, np.asanyarray(image.dataobj)
    except MemoryError as error:
        raise ValueError(
            f"{path}: {' x '.join(map(str, shape))} voxels do not fit into the memory;"
            " crop the file"
        ) from error
    except Exception as error:  # nibabel raises many kinds for damaged files
        raise ValueError(
            f"{path}: cannot be read, the file is shorter than its header says or"
            f" damaged ({one_line(error)}); fetch it again"
        ) from error


def _affine(path: Path, image: Any, unit: float) -> np.ndarray:
    """Returns an image's affine in mm, [4, 4] float64; `unit`: mm of one of its own."""
    with np.errstate(all="ignore"):  # numbers too large for their product
        affine = np.asarray(image.affine, np.float64).copy()
        affine[:3] *= unit
        volume = abs(np.linalg.det(affine[:3, :3]))
    if not np.isfinite(affine).all() or not 1e-12 <= volume < np.inf:
        raise ValueError(
            f"{path}: affine is not invertible or not finite; repair the header's"
            " sform or qform"
        )
    return affine


def read_volume(path: str | Path, *, frame: int | None = None) -> Volume:
    """Reads one volume of a NIfTI file.

    Args:
        path: A .nii or .nii.gz file with axes (x, y[, slice[, time]]).
        frame: Which time frame; needed only if there is more than one.

    Returns:
        The volume, [d, h, w].

    Raises:
        ValueError: If the file is not usable (see ``read_nifti``) or the frame is
            missing or out of range.
    """
    file = read_nifti(path)
    count = len(file.frames)
    if frame is None and count > 1:
        raise ValueError(f"{path}: has {count} time frames; say which one with frame=")
    frame = 0 if frame is None else frame
    if not 0 <= frame < count:
        raise ValueError(f"{path}: has no frame {frame}; it has 0 to {count - 1}")
    return Volume(file.frames[frame], file.affine, file.spacing, file.path)


def write_volume(
    path: str | Path,
    array: np.ndarray,
    affine: np.ndarray,
    *,
    header: nib.Nifti1Header | None = None,
) -> None:
    """Writes a volume as NIfTI-1, under a temporary name first.

    The file depends on its arguments only (the gzip time stamp is zero).

    Args:
        path: A .nii or .nii.gz file.
        array: [d, h, w], or [t, d, h, w], slices, rows (y), columns (x), of a type in
            ``WRITTEN_TYPES``.
        affine: [4, 4] from (column, row, slice) indices to mm; both qform and sform.
        header: Of a file on the same grid, whose geometry is kept as it is (voxel size,
            qform, sform, units), so that the two lie on each other in any program. Not
            used where it has neither qform nor sform.

    Raises:
        ValueError: If the name, the number of axes or the type is not usable.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"{path}: the name must end in .nii.gz or .nii")
    if array.ndim not in (3, 4):
        raise ValueError(
            f"{path}: expected [d, h, w] or [t, d, h, w], got shape {array.shape}"
        )
    axes = (2, 1, 0) if array.ndim == 3 else (3, 2, 1, 0)
    if array.dtype.name not in WRITTEN_TYPES:
        kinds = ", ".join(WRITTEN_TYPES)
        raise ValueError(
            f"{path}: values are {array.dtype}; convert them to one of {kinds}"
        )
    affine = np.asarray(affine, np.float64)
    kept = _kept_geometry(header, array.dtype)
    image = nib.Nifti1Image(array.transpose(axes), None if kept else affine, kept)
    if kept is None:
        image.set_sform(affine, "aligned")
        if _is_rigid(affine):
            image.set_qform(affine, "aligned")
        image.header.set_xyzt_units("mm", "sec")
    content = image.to_bytes()
    if path.name.endswith(".gz"):
        content = gzip.compress(content, compresslevel=4, mtime=0)
    write_bytes(path, content)


def _kept_geometry(
    header: nib.Nifti1Header | None, dtype: np.dtype
) -> nib.Nifti1Header | None:
    """A new header with the geometry of another one; None where that has none."""
    if header is None or not (header["qform_code"] or header["sform_code"]):
        return None
    kept = nib.Nifti1Header()
    for name in _GEOMETRY:
        kept[name] = header[name]
    kept["pixdim"][:4] = header["pixdim"][:4]
    if not int(header["xyzt_units"]) & 7:  # no unit of length, which is read as mm
        kept.set_xyzt_units("mm", "sec")
    kept.set_data_dtype(dtype)
    return kept


def _is_rigid(affine: np.ndarray) -> bool:
    """Whether the axes are at right angles, as a qform needs them."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() < 1e-4)


def _check_kind(path: Path, header: nib.Nifti1Header) -> None:
    """Refuses voxels that are no real numbers: colours, complex or unknown ones."""
    code = int(header["datatype"])
    try:
        dtype = np.dtype(header.get_data_dtype())
    except KeyError:
        dtype = np.dtype("V")
    if dtype.kind not in "iuf":
        kind = "colours" if dtype.names else "unknown" if dtype.kind == "V" else dtype
        raise ValueError(
            f"{path}: its voxels are of type {code} ({kind}), expected real numbers;"
            " convert it to grey values"
        )


def _spacing(
    path: Path, header: nib.Nifti1Header
) -> tuple[tuple[float, float, float], float]:
    """Voxel size (z, y, x) in mm, and the factor from the file's unit to mm."""
    try:
        unit = str(header.get_xyzt_units()[0])
    except KeyError:
        unit = "unknown"
    factor = _UNIT_TO_MM[unit]
    # float32 in the header: 1.33 is stored as 1.33000004
    x, y, z = (round(float(v) * factor, 6) for v in header["pixdim"][1:4])
    if len(header.get_data_shape()) < 3 and z == 0:
        z = 1.0  # of a slice without thickness
    if not all(np.isfinite(v) and v > 0 for v in (x, y, z)):
        raise ValueError(
            f"{path}: voxel size in the header is {x:g} x {y:g} x {z:g} mm, expected"
            " positive numbers; repair the header's pixdim"
        )
    field = [n * v for n, v in zip(header.get_data_shape(), (x, y, z), strict=False)]
    if max(field) > LARGEST_FIELD:
        raise ValueError(
            f"{path}: voxel size in the header is {x:g} x {y:g} x {z:g} mm, which makes"
            f" a field of {' x '.join(f'{v:g}' for v in field)} mm, expected at most"
            f" {LARGEST_FIELD:g} mm; repair the header's pixdim or its unit"
        )
    return (z, y, x), factor


def _what_is_told(
    header: nib.Nifti1Header, spacing: tuple[float, ...], affine: np.ndarray
) -> tuple[bool, bool, bool]:
    """``spacing_known``, ``looks_unset`` and ``placed`` of ``NiftiFile``.

    The header is nibabel's, in which codes that cannot be are 0, as for its affine.
    """
    unit_cubes = all(v == 1.0 for v in spacing)
    coded = bool(int(header["qform_code"]) or int(header["sform_code"]))
    blank = not coded or np.array_equal(np.abs(affine), np.eye(4))
    known = not unit_cubes or coded or bool(int(header["xyzt_units"]) & 7)
    return known, unit_cubes and blank, not blank
