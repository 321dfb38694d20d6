"""The manifest of a prepared folder: reading, checks, fingerprint.

A prepared folder holds ``images.npy`` (float16, [-1, 1]) and ``labels.npy`` (uint8),
both [n, h, w] with n slices of all volumes in a row, and ``manifest.json``, which
says what each slice is, where it came from and how it was prepared.
"""

from pathlib import Path
from typing import Any

from cmrjax.files import read_json, sha256_json

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
    _check_keys(where, manifest, command)
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


def _check_keys(where: str, manifest: dict[str, Any], command: str) -> None:
    needed = ("schema", "transform", "image_size", "spacing", "arrays", "volumes")
    missing = [key for key in (*needed, "slices") if key not in manifest]
    if not missing:
        missing = [key for key in ARRAYS if key not in manifest["arrays"]]
    if not missing:
        entries = manifest["slices"]
        missing = sorted({k for s in entries for k in SLICE_KEYS if k not in s})
    if missing:
        raise ValueError(
            f"{where}: is damaged, {', '.join(missing)} is missing; prepare the data"
            f" again with: {command} --overwrite"
        )
