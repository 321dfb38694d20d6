"""Tiny valid files of every kind that users hand in, from which fuzzing starts."""

import csv
import functools
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import jax
import nibabel as nib
import numpy as np
from flax.traverse_util import flatten_dict

from cmrjax.data.intensity import PercentileTransform
from cmrjax.data.manifest import ARRAYS, FORMAT, MANIFEST_FILE, VERSION
from cmrjax.files import sha256_file, write_json
from cmrjax.labels import CAVITY
from cmrjax.models.spade_generator import GeneratorArchitecture, SpadeGenerator
from cmrjax.models.unet import UnetArchitecture
from cmrjax.models.vgg19 import FORMAT as VGG_FORMAT
from cmrjax.synthesis.params import ModelOrigin, ModelParams, save_params
from cmrjax.training.description import (
    ModelDescription,
    SegmenterDescription,
    write_description,
)
from cmrjax.training.state import init_variables

Files = dict[str, bytes | None]

SIDE = 32  # pixels of the tiny generator's images
_ZOOMS = (1.33, 1.33, 10.0)
_ORGANS = {"hrt_myoLV": 7, "bldplLV": 3, "bldplRV": 12, "body": 40, "r_lung": 5}


def each(name: str, contents: list[bytes]) -> list[Files]:
    """Returns a set of one file for each of some contents."""
    return [{name: content} for content in contents]


def nifti(
    values: np.ndarray, *, kind: type = nib.Nifti1Image, order: str = "<", **header: Any
) -> bytes:
    """Returns a NIfTI file; `header` sets more fields."""
    image = kind(values, np.diag([*_ZOOMS, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    for name, value in header.items():
        image.header[name] = value
    if order == ">":
        swapped = image.header.as_byteswapped(">")
        image = kind(values, image.affine, swapped)
        image.header.set_xyzt_units("mm", "sec")
    return image.to_bytes()


def label_map(*, frames: int = 0) -> np.ndarray:
    """Returns [x, y, slice(, time)] uint8: nested boxes of LV, MYO and RV."""
    labels = np.zeros((16, 14, 3), np.uint8)
    labels[4:12, 3:11, 1:] = 2
    labels[6:10, 5:9, 1:] = 1
    labels[12:15, 5:9, 1:] = 3
    return labels if not frames else np.stack([labels] * frames, axis=-1)


def image(*, frames: int = 0) -> np.ndarray:
    """Returns [x, y, slice(, time)] int16, noise."""
    shape = (16, 14, 3, frames) if frames else (16, 14, 3)
    return np.random.default_rng(0).integers(0, 900, shape).astype(np.int16)


def images() -> list[bytes]:
    """Returns NIfTI images of every kind that is read."""
    stack = image()
    return [
        nifti(stack),
        nifti(image(frames=2).astype(np.float32)),
        nifti(stack.astype(np.uint8), kind=nib.Nifti2Image),
        nifti(stack, order=">"),
        nifti(stack, scl_slope=2.0, scl_inter=-3.0),
        nifti(stack.astype(np.float64), qform_code=1, sform_code=0),
    ]


def label_files() -> list[bytes]:
    """Returns NIfTI label maps."""
    stack = label_map()
    return [
        nifti(stack),
        nifti(stack.astype(np.float32)),
        nifti(label_map(frames=2).astype(np.int16)),
    ]


def table(rows: list[list[str]]) -> bytes:
    """Returns a CSV file."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode()


def as_json(content: Any) -> bytes:
    """Returns a JSON file."""
    return json.dumps(content).encode()


def zipped(members: Files) -> bytes:
    """Returns a zip file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content or b"")
    return stream.getvalue()


def xcat() -> Files:
    """Returns a made-up XCAT run: parameter file and two activity volumes."""
    lines = {
        "mode": 0,
        "pixel_width": 0.2,
        "slice_width": 0.5,
        "array_size": 6,
        "subvoxel_index": 1,
        "startslice": 11,
        "endslice": 13,
        "activity_unit": 0,
        **{f"{organ}_act": number for organ, number in _ORGANS.items()},
    }
    text = "".join(f"{key} = {value}\t# what it is\n" for key, value in lines.items())
    ids = np.full((3, 6, 6), 40, "<f4")
    for column, number in enumerate((0, 7, 3, 12, 5)):
        ids[:, 1:5, column] = number
    frames: Files = {f"run/scan_act_{n}.bin": ids.tobytes() for n in (1, 2)}
    return {"run/scan.par": text.encode(), **frames}


def prepared(folder: Path, *, side: int = 8, count: int = 6) -> Path:
    """Makes a prepared folder of two groups and three splits."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    arrays = {
        "images": rng.uniform(-1, 1, (count, side, side)),
        "labels": rng.integers(0, 4, (count, side, side)),
    }
    entries = {}
    for name, dtype in ARRAYS.items():
        file = folder / f"{name}.npy"
        np.save(file, arrays[name].astype(dtype))
        entries[name] = {"file": file.name, "dtype": dtype, "sha256": sha256_file(file)}
    kinds = (("A", "1", "train"), ("A", "1", "test"), ("B", "3", "development"))
    slices = [
        {
            "volume": i // 2,
            "subject": f"P{i // 2}",
            "phase": "ED",
            "slice": i % 2,
            **dict(zip(("vendor", "centre", "split"), kinds[i // 2 % 3], strict=True)),
            "valid_box": [1, side - 1, 0, side],
        }
        for i in range(count)
    ]
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "dataset": "mnms",
        "schema": CAVITY.to_dict(),
        "transform": PercentileTransform().to_dict(),
        "image_size": [side, side],
        "spacing": [1.33, 1.33],
        "arrays": entries,
        "volumes": [{"label_file": f"P{v}_sa_gt.nii.gz"} for v in range(count // 2)],
        "slices": slices,
        "provenance": {"config": {"model_fingerprint": "0"}},
    }
    write_json(folder / MANIFEST_FILE, manifest)
    return folder


@functools.cache
def generator_params(*, latent_size: int = 0) -> ModelParams:
    """Returns the smallest generator, with drawn weights, without compiling."""
    architecture = GeneratorArchitecture(4, base_features=1, latent_size=latent_size)
    generator = SpadeGenerator(architecture)
    shapes = jax.eval_shape(
        lambda key: init_variables(generator, key, image_size=SIDE), jax.random.key(0)
    )
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: np.abs(rng.normal(1, 0.1, leaf.shape)).astype(np.float32), shapes
    )
    description = ModelDescription(CAVITY, architecture, SIDE)
    return ModelParams(variables, description, ModelOrigin("drawn", 7))


def model_folder(folder: Path) -> Path:
    """Makes a model's folder with one checkpoint and all that lies beside it."""
    save_params(generator_params(), folder)
    provenance = {
        "config": {"data": {"licence": ""}, "origin": "drawn"},
        "code": {"package": "1", "commit": None},
        "data": [
            {
                "dataset": "mnms",
                "num_slices": 3,
                "num_subjects": 1,
                "groups": ["A1"],
                "fingerprint": "0",
                "labelled_by": "0" * 64,
            }
        ],
    }
    write_description(folder, generator_params().description, provenance=provenance)
    rows = [{"step": 0, "validation_ssim": 0.1}, {"step": 50, "g_loss": 1.5}]
    rows.append({"step": 100, "g_loss": None, "validation_ssim": 0.5})
    rows[1]["train_seconds"] = 60.5
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
    write_json(folder / "class_means.json", {"class_means": [-0.5, 0.5, 0.0, 0.25]})
    timing = {"batch_size": 8, "devices": ["cpu"], "peak_host_bytes": 1 << 30}
    write_json(folder / "timing.json", timing)
    return folder


def segmenter_description(folder: Path) -> bytes:
    """Returns model.json of a segmentation network."""
    folder.mkdir(parents=True)
    description = SegmenterDescription(CAVITY, UnetArchitecture(4), SIDE)
    write_description(folder, description, provenance={})
    return (folder / "model.json").read_bytes()


def spade_state() -> dict[str, np.ndarray]:
    """Returns the tiny generator under the names of the public SPADE."""
    leaves: dict[Any, Any] = flatten_dict(dict(generator_params().variables))
    state = {}
    names = {"mean": "running_mean", "var": "running_var"}
    for path, value in leaves.items():
        collection, *modules, leaf = path
        module = ".".join(modules).replace("mlp_shared", "mlp_shared.0")
        has_u = ("spectral", *modules, "u") in leaves
        array = np.asarray(value)
        if collection == "spectral":
            array = array.transpose(2, 0, 1).ravel() if leaf == "v" else array
            state[f"{module}.weight_{leaf}"] = array
        elif leaf == "kernel":
            order = (3, 2, 0, 1) if array.ndim == 4 else (1, 0)
            name = "weight_orig" if has_u else "weight"
            state[f"{module}.{name}"] = np.ascontiguousarray(array.transpose(order))
        else:
            state[f"{module}.{names.get(leaf, leaf)}"] = array
    return state


def torchvision_state() -> dict[str, np.ndarray]:
    """Returns the first layer of VGG19 under torchvision's names."""
    kernel = np.random.default_rng(0).normal(size=(64, 3, 3, 3)).astype(np.float32)
    return {"features.0.weight": kernel, "features.0.bias": np.zeros(64, np.float32)}


def keras_state() -> dict[str, np.ndarray]:
    """Returns the first layer of VGG19 under Keras's names."""
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 64)).astype(np.float32)
    layer = "block1_conv1/block1_conv1"
    return {f"{layer}_W_1:0": kernel, f"{layer}_b_1:0": np.zeros(64, np.float32)}


def ported_state() -> dict[str, np.ndarray]:
    """Returns the arrays of a file of `tools.port_vgg19`."""
    kernel = keras_state()["block1_conv1/block1_conv1_W_1:0"]
    return {
        "conv1_1.kernel": kernel,
        "conv1_1.bias": np.zeros(64, np.float32),
        "format": np.asarray(VGG_FORMAT),
        "convention": np.asarray("caffe"),
        "source_sha256": np.asarray("0" * 64),
    }


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    """Returns an .npz file."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # pyright: ignore[reportArgumentType]
    return stream.getvalue()


def safetensors(arrays: dict[str, np.ndarray]) -> bytes:
    """Returns a .safetensors file."""
    import safetensors.numpy

    return safetensors.numpy.save(arrays)


def torch_files() -> list[bytes]:
    """Returns .pth files: two of the kind that is read, and some that are odd."""
    import torch  # pyright: ignore[reportMissingImports]

    def saved(content: Any, **options: Any) -> bytes:
        stream = io.BytesIO()
        torch.save(content, stream, **options)
        return stream.getvalue()

    def tensors(state: dict[str, np.ndarray]) -> dict[str, Any]:
        return {name: torch.from_numpy(array) for name, array in state.items()}

    spade, vgg = tensors(spade_state()), tensors(torchvision_state())
    one = torch.zeros(1)
    odd = {
        "repeated": {**spade, "conv_img.weight": one.expand(1 << 40)},
        "square": {**spade, "conv_img.weight": one.expand(1 << 20, 1 << 20, 3, 3)},
        "complex": {**vgg, "features.0.bias": torch.zeros(64, dtype=torch.complex64)},
        "half": {**vgg, "features.0.bias": torch.zeros(64, dtype=torch.bfloat16)},
        "sparse": {**vgg, "features.0.bias": torch.zeros(64).to_sparse()},
        "nested": {"state_dict": vgg},
        "numbers": {1: one, "epoch": 3},
        "list": [one],
    }
    old = saved(vgg, _use_new_zipfile_serialization=False)
    return [saved(spade), saved(vgg), old, *(saved(value) for value in odd.values())]


def hdf5_files(folder: Path) -> list[bytes]:
    """Returns .h5 files: one of the kind that is read, and some that are odd."""
    import h5py

    folder.mkdir(parents=True)
    found = []
    for kind in ("plain", "packed", "huge", "text", "linked", "odd", "outside"):
        path = folder / f"{kind}.h5"
        with h5py.File(path, "w") as file:
            for name, array in keras_state().items():
                packing = {"compression": "gzip"} if kind == "packed" else {}
                file.create_dataset(name, data=array, **packing)
            if kind == "huge":
                file.create_dataset("huge", (1 << 40,), "f4", chunks=(1024,))
            if kind == "text":
                file["names"] = np.array([b"a", b"b"])
                file["objects"] = "text"
            if kind == "linked":
                file["soft"] = h5py.SoftLink("/nowhere")
                file["external"] = h5py.ExternalLink("elsewhere.h5", "/")
                file["loop"] = h5py.SoftLink("/loop")
            if kind == "odd":
                file["empty"] = h5py.Empty("f4")
                file["pairs"] = np.zeros(2, [("a", "<i4"), ("b", "<f4")])
                file["reference"] = file.ref
            if kind == "outside":
                external = [("/etc/hostname", 0, 8)]
                file.create_dataset("outside", (2,), "f4", external=external)
        found.append(path.read_bytes())
    return found


def files_below(folder: Path) -> Files:
    """Returns the files below a folder and removes it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    found: Files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}
    shutil.rmtree(folder)
    return found
