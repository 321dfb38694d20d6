"""Makes a small prepared folder without reading NIfTI, for tests."""

from pathlib import Path

import numpy as np

from cmrjax.data.intensity import IntensityTransform, PercentileTransform
from cmrjax.data.manifest import ARRAYS, FORMAT, MANIFEST_FILE, VERSION
from cmrjax.files import sha256_file, write_json
from cmrjax.labels import CAVITY, LabelSchema


def make_prepared(
    folder: Path,
    *,
    count: int = 10,
    size: tuple[int, int] = (8, 8),
    schema: LabelSchema = CAVITY,
    valid_box: tuple[int, int, int, int] = (1, 7, 0, 8),
    labels: np.ndarray | None = None,
    images: np.ndarray | None = None,
    transform: IntensityTransform | None = None,
    spacing: float = 1.33,
) -> Path:
    """Writes ``count`` slices, two per subject: A1/train, A1/test, B3/evaluation."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    if labels is None:
        labels = rng.integers(0, schema.num_classes, (count, *size))
    arrays = {
        "images": rng.uniform(-1, 1, (count, *size)) if images is None else images,
        "labels": labels,
    }
    entries = {}
    for name, dtype in ARRAYS.items():
        np.save(folder / f"{name}.npy", arrays[name].astype(dtype))
        digest = sha256_file(folder / f"{name}.npy")
        entries[name] = {"file": f"{name}.npy", "dtype": dtype, "sha256": digest}
    kinds = (("A", "1", "train"), ("A", "1", "test"), ("B", "3", "evaluation"))
    slices = []
    for i in range(count):
        vendor, centre, split = kinds[(i // 2) % 3]
        slices.append(
            {
                "volume": i // 2,
                "subject": f"P{i // 2}",
                "phase": "ED",
                "slice": i % 2 + 3,
                "vendor": vendor,
                "centre": centre,
                "split": split,
                "valid_box": list(valid_box),
            }
        )
    volumes = [{"label_file": f"P{v}_sa_gt.nii.gz"} for v in range((count + 1) // 2)]
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "schema": schema.to_dict(),
        "transform": (transform or PercentileTransform()).to_dict(),
        "image_size": list(size),
        "spacing": [spacing, spacing],
        "arrays": entries,
        "volumes": volumes,
        "slices": slices,
    }
    write_json(folder / MANIFEST_FILE, manifest)
    return folder
