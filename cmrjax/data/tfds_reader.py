"""A TFDS data set of prepared slices, read through TFDS's data sources.

``tfds_builder.py`` writes it. TFDS is imported when a data set is opened: it is an
extra that nothing else needs.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from cmrjax.data.manifest import ARRAYS, check_manifest
from cmrjax.data.record_array import REPAIR, RecordArray, Records

INFO_FILE = "dataset_info.json"
METADATA_KEY = "prepared"  # the manifest, in the builder's metadata
FIELDS = {"images": "image", "labels": "label_map"}  # of a record, by array
_COMMAND = "python -m tools.export_tfds PREPARED --out=DIR"


def import_tfds(purpose: str) -> Any:
    """Imports tensorflow_datasets.

    Args:
        purpose: What needs it, for the message.

    Raises:
        ValueError: If it is not installed; says which extra has it.
    """
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ValueError(
            f"{purpose} needs tensorflow_datasets, of the extra tfds: pip install -e"
            ' ".[tfds]"'
        ) from error
    return tensorflow_datasets


def is_tfds(path: Path) -> bool:
    """Whether a folder is one data set of TFDS: NAME/CONFIG/VERSION."""
    return (path / INFO_FILE).is_file()


def refuse_data_dir(path: Path) -> None:
    """Refuses a folder that holds data sets of TFDS, and names them.

    Raises:
        ValueError: If it does.
    """
    files = [file for n in (1, 2, 3) for file in path.glob("*/" * n + INFO_FILE)]
    if files:
        found = ", ".join(sorted(str(file.parent) for file in files))
        raise ValueError(f"{path}: holds TFDS data sets; name one of them: {found}")


def read_tfds(path: Path) -> tuple[dict[str, Any], dict[str, RecordArray]]:
    """Opens a data set without reading its records.

    Args:
        path: The folder of one version, DIR/NAME/CONFIG/VERSION.

    Returns:
        The manifest of the prepared folder that it was made of, and the arrays
        "images" and "labels", [n, h, w] as they were there.

    Raises:
        ValueError: If TFDS is not installed, or the data set is damaged, not of
            prepared slices or not of this version.
    """
    tfds = import_tfds(f"{path}: a TFDS data set, which")
    try:
        builder = tfds.builder_from_directory(path)
        metadata = builder.info.metadata
        content = None if metadata is None else dict(metadata.items()).get(METADATA_KEY)
        splits, features = builder.info.splits, dict(builder.info.features.items())
    except Exception as error:  # TFDS: of the JSON, the protocol or its own checks
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise ValueError(f"{path}: cannot be read ({reason}); {REPAIR}") from error
    where = str(path / "metadata.json")
    manifest = check_manifest(content, where=where, command=_COMMAND)
    _check_features(path, manifest, features)
    for file in (file for split in splits.values() for file in split.filepaths):
        if not Path(file).is_file():
            raise ValueError(f"{file}: no such file; {REPAIR}")
    sources = {name: builder.as_data_source(split=name) for name in splits}
    records = Records(path, sources, [entry["split"] for entry in manifest["slices"]])
    shape = (len(records), *manifest["image_size"])
    return manifest, {
        name: RecordArray(records, FIELDS[name], shape, dtype)
        for name, dtype in ARRAYS.items()
    }


def sha256_as_npy(array: RecordArray) -> str:
    """Returns the SHA-256 of the .npy file that would hold the array.

    It equals the one in the manifest if the records are the prepared arrays, bit for
    bit.
    """
    header = io.BytesIO()
    description = {
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": False,
        "shape": array.shape,
    }
    np.lib.format.write_array_header_1_0(header, description)
    digest = hashlib.sha256(header.getvalue())
    for index in range(len(array)):
        digest.update(np.ascontiguousarray(array[index]).tobytes())
    return digest.hexdigest()


def _check_features(
    path: Path, manifest: dict[str, Any], features: dict[str, Any]
) -> None:
    """Refuses records that are not slices as the manifest describes them."""
    rows, columns = manifest["image_size"]
    for name, shape in (("images", (rows, columns, 1)), ("labels", (rows, columns))):
        expected = f"{ARRAYS[name]} {list(shape)}"
        feature = features.get(FIELDS[name])
        found = "nothing"
        if feature is not None:
            found = f"{np.dtype(feature.np_dtype).name} {list(feature.shape)}"
        if found != expected:
            raise ValueError(
                f"{path}: its records hold {found} as {FIELDS[name]}, expected"
                f" {expected}; {REPAIR}"
            )
