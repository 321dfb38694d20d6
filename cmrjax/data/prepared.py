"""A prepared folder as a data set: memory-mapped arrays and what each slice is.

The same slices as a TFDS data set (``tools.export_tfds``) are opened alike.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cmrjax.array_files import read_npy
from cmrjax.data.intensity import IntensityTransform, transform_from_dict
from cmrjax.data.manifest import ARRAYS, MANIFEST_FILE, fingerprint, read_manifest
from cmrjax.data.record_array import RecordArray
from cmrjax.data.tfds_reader import is_tfds, read_tfds, refuse_data_dir, sha256_as_npy
from cmrjax.files import sha256_file, shorten
from cmrjax.labels import LabelSchema

_CHUNK = 64  # slices held in memory while checking
_AGAIN = "prepare the data again with --overwrite"


@dataclass(frozen=True)
class SliceInfo:
    """What one prepared slice is.

    Attributes:
        index: Position in the arrays.
        subject: Code of the subject.
        phase: "ED" or "ES".
        slice: Index of the slice in its file.
        vendor: Letter of the vendor.
        centre: Number of the centre, as text.
        group: Vendor and centre, for example "A1".
        split: "train", "test", "development" or "evaluation".
        valid_box: (r0, r1, c0, c1), the part that is not padding, in pixels.
        volume: Position in ``PreparedDataset.volumes``.
    """

    index: int
    subject: str
    phase: str
    slice: int
    vendor: str
    centre: str
    group: str
    split: str
    valid_box: tuple[int, int, int, int]
    volume: int


@dataclass(frozen=True, eq=False)
class PreparedDataset:
    """A prepared folder: memory-mapped arrays and what each slice is.

    Make it with ``PreparedDataset.open``.

    Attributes:
        path: The folder, or that of a TFDS data set.
        manifest: Content of its manifest.
        schema: Schema of the labels.
        transform: The intensity transform that was applied.
        image_size: Rows and columns, pixels.
        spacing: Pixel size (y, x), mm; see a volume's ``nominal_spacing``.
        images: [n, h, w] float16 as ``transform`` gives them ([-1, 1], or z-scores),
            read only, memory-mapped or read from records when indexed.
        labels: [n, h, w] uint8, likewise.
        slices: What each of the n slices is.
        fingerprint: Hash of arrays, schema, transform, grid, slices and split.
    """

    path: Path
    manifest: dict[str, Any]
    schema: LabelSchema
    transform: IntensityTransform
    image_size: tuple[int, int]
    spacing: tuple[float, float]
    images: np.ndarray | RecordArray
    labels: np.ndarray | RecordArray
    slices: tuple[SliceInfo, ...]
    fingerprint: str

    @classmethod
    def open(
        cls, path: str | Path, *, verify: Literal["shapes", "full"] = "shapes"
    ) -> "PreparedDataset":
        """Opens a prepared folder, or the same as TFDS, without reading its arrays.

        Args:
            path: What ``prepare_data`` wrote, or ``tools.export_tfds``:
                DIR/cardiac_slices/NAME/VERSION.
            verify: "shapes" checks that manifest and arrays belong together; "full"
                also reads the arrays and compares their hashes.

        Raises:
            ValueError: If it is neither, another version, or damaged, or if it is of
                TFDS, which is not installed.
        """
        path = Path(path)
        if verify not in ("shapes", "full"):
            raise ValueError(f"verify must be 'shapes' or 'full', got {verify!r}")
        full = verify == "full"
        arrays: dict[str, Any]
        if is_tfds(path):
            manifest, arrays = read_tfds(path)
            for name in ARRAYS if full else ():
                _check_hash(path, manifest, name, sha256_as_npy(arrays[name]))
        else:
            if not (path / MANIFEST_FILE).is_file():
                refuse_data_dir(path)
            manifest = read_manifest(path)
            arrays = {name: _open_array(path, manifest, name) for name in ARRAYS}
            for name in ARRAYS if full else ():
                file = path / manifest["arrays"][name]["file"]
                _check_hash(file, manifest, name, sha256_file(file))
        rows, columns = manifest["image_size"]
        spacing_y, spacing_x = manifest["spacing"]
        slices = tuple(_slice_info(i, s) for i, s in enumerate(manifest["slices"]))
        return cls(
            path=path,
            manifest=manifest,
            schema=LabelSchema.from_dict(manifest["schema"]),
            transform=transform_from_dict(manifest["transform"]),
            image_size=(int(rows), int(columns)),
            spacing=(float(spacing_y), float(spacing_x)),
            slices=slices,
            fingerprint=fingerprint(manifest),
            **arrays,
        )

    @property
    def volumes(self) -> list[dict[str, Any]]:
        """The manifest's entries of the volumes: files, affine, spacing."""
        return self.manifest["volumes"]

    def __len__(self) -> int:
        """Number of slices."""
        return len(self.slices)

    def select(
        self,
        *,
        groups: Iterable[str] | None = None,
        splits: Iterable[str] | None = None,
        subjects: Iterable[str] | None = None,
    ) -> np.ndarray:
        """Finds slices by group, split and subject; all that are given must hold.

        Args:
            groups: For example ("A1", "B2").
            splits: For example ("train",).
            subjects: Codes of subjects.

        Returns:
            [n] int64, ascending positions.

        Raises:
            ValueError: If a value does not occur or nothing matches all; names what
                exists.
        """
        wanted = {"group": groups, "split": splits, "subject": subjects}
        mask = np.ones(len(self.slices), bool)
        for name, values in wanted.items():
            if values is None:
                continue
            chosen = {values} if isinstance(values, str) else set(map(str, values))
            have = [getattr(info, name) for info in self.slices]
            unknown = sorted(chosen - set(have))
            if unknown or not chosen:
                raise ValueError(
                    f"{self.path}: has no {name} {', '.join(unknown) or '(none given)'}"
                    f"; it has {_listing(have)}"
                )
            mask &= np.isin(have, sorted(chosen))
        if not mask.any():
            pairs = _listing(f"{info.group}/{info.split}" for info in self.slices)
            given = {k: sorted(map(str, v)) for k, v in wanted.items() if v is not None}
            raise ValueError(
                f"{self.path}: no slice matches {given}; group/split pairs that exist"
                f" are {pairs}"
            )
        return np.flatnonzero(mask)

    def validate_labels(self) -> None:
        """Checks every label of the data set against the schema, in chunks.

        Raises:
            ValueError: At the first slice with a bad id: names file, subject, phase,
                slice, id and the allowed ids.
        """
        for start in range(0, len(self.slices), _CHUNK):
            chunk = np.asarray(self.labels[start : start + _CHUNK])
            if chunk.max() < self.schema.num_classes:
                continue
            for offset, label_map in enumerate(chunk):
                info = self.slices[start + offset]
                file = shorten(self.volumes[info.volume].get("label_file", "unknown"))
                where = (
                    f"{self.path}: labels[{info.index}] (subject"
                    f" {info.subject}, {info.phase}, slice {info.slice}, from {file})"
                )
                self.schema.validate(label_map, where=where)


def _open_array(path: Path, manifest: dict[str, Any], name: str) -> np.ndarray:
    file = path / manifest["arrays"][name]["file"]
    try:
        array = read_npy(file, mmap=True)
    except ValueError as error:
        raise ValueError(f"{file}: cannot be read ({error}); {_AGAIN}") from error
    expected = (len(manifest["slices"]), *manifest["image_size"])
    if array.shape != expected or array.dtype != np.dtype(ARRAYS[name]):
        raise ValueError(
            f"{file}: is {array.dtype} {list(array.shape)}, the manifest says"
            f" {ARRAYS[name]} {list(expected)}; {_AGAIN}"
        )
    return array


def _check_hash(where: Path, manifest: dict[str, Any], name: str, found: str) -> None:
    if found != manifest["arrays"][name]["sha256"]:
        raise ValueError(
            f"{where}: was changed, the hash of its {name} is not the manifest's;"
            f" {_AGAIN}"
        )


def _slice_info(index: int, entry: dict[str, Any]) -> SliceInfo:
    r0, r1, c0, c1 = entry["valid_box"]
    return SliceInfo(
        index=index,
        subject=entry["subject"],
        phase=entry["phase"],
        slice=int(entry["slice"]),
        vendor=entry["vendor"],
        centre=entry["centre"],
        group=f"{entry['vendor']}{entry['centre']}",
        split=entry["split"],
        valid_box=(int(r0), int(r1), int(c0), int(c1)),
        volume=int(entry["volume"]),
    )


def _listing(values: Iterable[str], limit: int = 12) -> str:
    unique = sorted(set(values))
    more = f" and {len(unique) - limit} more" if len(unique) > limit else ""
    return ", ".join(unique[:limit]) + more
