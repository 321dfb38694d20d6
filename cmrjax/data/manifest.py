"""The manifest of a prepared folder: reading, checks, fingerprint.

A prepared folder holds ``images.npy`` (float16, [-1, 1]) and ``labels.npy`` (uint8),
both [n, h, w] with n slices of all volumes in a row, and ``manifest.json``, which
says what each slice is, where it came from and how it was prepared.
"""

from pathlib import Path
from typing import Any

from cmrjax.data.intensity import transform_from_dict
from cmrjax.data.records import is_name
from cmrjax.files import read_json, sha256_json
from cmrjax.labels import LabelSchema

FORMAT = "cmrjax.prepared"
VERSION = 1
MANIFEST_FILE = "manifest.json"
ARRAYS = {"images": "float16", "labels": "uint8"}
SLICE_KEYS = (
    "volume",
    "subject",
    "phase",
    "slice",
    "vendor",
    "centre",
    "split",
    "valid_box",
)
_KINDS = {
    "schema": dict,
    "transform": dict,
    "image_size": list,
    "spacing": list,
    "arrays": dict,
    "volumes": list,
    "slices": list,
}
_LARGEST_SPACING = 1000.0  # mm
_LARGEST_INDEX = 1 << 31
_TEXTS = ("subject", "phase", "vendor", "centre", "split")
_COMMAND = (
    "python -m experiments.prepare_data --dataset=mnms --source=DOWNLOAD --out={out}"
)


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Reads the manifest of a prepared folder and checks its form.

    Raises:
        ValueError: If the folder is missing or not a prepared one, or was written by
            another version; says which command makes it.
    """
    folder = Path(folder)
    command = _COMMAND.format(out=folder)
    path = folder / MANIFEST_FILE
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; make it with: {command}")
    if not path.is_file():
        raise ValueError(
            f"{folder}: not a prepared folder (no {MANIFEST_FILE}); make one with:"
            f" {command}"
        )
    return check_manifest(read_json(path), where=str(path), command=command)


def check_manifest(manifest: Any, *, where: str, command: str) -> dict[str, Any]:
    """Checks the form of a manifest and returns it.

    Args:
        manifest: What a JSON file held.
        where: Its name, for messages.
        command: What makes it, for messages; with --overwrite, again.

    Raises:
        ValueError: If it is not a manifest, of another version or lacks something.
    """
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(
            f"{where}: not the manifest of a prepared folder; make one with: {command}"
        )
    if manifest.get("version") != VERSION:
        raise ValueError(
            f"{where}: has version {manifest.get('version')}, this code reads version"
            f" {VERSION}; prepare the data again with: {command} --overwrite"
        )
    if missing := faults(manifest):
        raise ValueError(
            f"{where}: is damaged, {', '.join(missing)} is missing or of another kind;"
            f" prepare the data again with: {command} --overwrite"
        )
    return manifest


def fingerprint(manifest: dict[str, Any]) -> str:
    """Returns a hash of all that training sees, not of when or where it was made.

    Two folders with the same fingerprint hold the same arrays, schema, transform,
    grid, slices and split; a model and its resumed run must have the same one.
    """
    names = ("version", "schema", "transform", "image_size", "spacing")
    content = {name: manifest[name] for name in names}
    content["arrays"] = {k: v["sha256"] for k, v in manifest["arrays"].items()}
    content["slices"] = [[s[key] for key in SLICE_KEYS] for s in manifest["slices"]]
    return sha256_json(content)


def faults(manifest: dict[str, Any]) -> list[str]:
    """Names what a manifest lacks, or has of a kind that it cannot have."""
    missing = [
        key for key, kind in _KINDS.items() if not isinstance(manifest.get(key), kind)
    ]
    if not missing:
        missing = [key for key in ARRAYS if key not in manifest["arrays"]]
    if not missing:
        entries = manifest["slices"]
        found = [s if isinstance(s, dict) else {} for s in entries]
        missing = sorted({k for s in found for k in SLICE_KEYS if k not in s})
    return missing or _unfit(manifest)


def _unfit(manifest: dict[str, Any]) -> list[str]:
    """Names what has a value that it cannot have, in order of appearance."""
    found = _unfit_record(manifest)
    try:
        LabelSchema.from_dict(manifest["schema"])
    except (KeyError, TypeError, ValueError):
        found.append("schema")
    try:
        transform_from_dict(manifest["transform"])
    except (KeyError, TypeError, ValueError, OverflowError):
        found.append("transform")
    size, spacing = manifest["image_size"], manifest["spacing"]
    if len(size) != 2 or not all(_is_index(n) and n for n in size):
        return [*found, "image_size"]
    if len(spacing) != 2 or not all(
        type(s) in (int, float) and 0.0 < s < _LARGEST_SPACING for s in spacing
    ):
        found.append("spacing")
    for name in ARRAYS:
        entry = manifest["arrays"][name]
        if not isinstance(entry, dict) or entry.get("file") != f"{name}.npy":
            found.append(f"file of {name}")
        elif not isinstance(entry.get("sha256"), str):
            found.append(f"sha256 of {name}")
    if not all(isinstance(volume, dict) for volume in manifest["volumes"]):
        found.append("volumes")
    num_volumes = len(manifest["volumes"])
    names = {
        name
        for entry in manifest["slices"]
        for name in _unfit_in_slice(entry, size, num_volumes)
    }
    return found + sorted(names)


def _unfit_record(manifest: dict[str, Any]) -> list[str]:
    """Names what is wrong with the record of how the data were made."""
    found = []
    if not is_name(manifest.get("dataset", "")):
        found.append("dataset")
    provenance = manifest.get("provenance", {})
    config = provenance.get("config", {}) if isinstance(provenance, dict) else None
    if not isinstance(config, dict):
        found.append("provenance")
    elif not is_name(config.get("model_fingerprint", "")):
        found.append("model_fingerprint")
    return found


def _unfit_in_slice(
    entry: dict[str, Any], size: list[int], num_volumes: int
) -> list[str]:
    found = [name for name in _TEXTS if not is_name(entry[name])]
    if not _is_index(entry["slice"]):
        found.append("slice")
    if not _is_index(entry["volume"]) or entry["volume"] >= num_volumes:
        found.append("volume")
    box = entry["valid_box"]
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_index, box)):
        return [*found, "valid_box"]
    r0, r1, c0, c1 = box
    if not (r0 <= r1 <= size[0] and c0 <= c1 <= size[1]):
        found.append("valid_box")
    return found


def _is_index(value: Any) -> bool:
    return type(value) is int and 0 <= value < _LARGEST_INDEX
