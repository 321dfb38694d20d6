"""Files that `tools.fuzz_readers` found to end in something else than a named error."""

import io
import json
import pathlib
import pickle
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from cmrjax.array_files import read_npy, read_npz
from cmrjax.data.nifti import read_nifti
from cmrjax.data.nifti_table import find_subjects as find_own_subjects
from cmrjax.data.prepared import PreparedDataset
from cmrjax.data.records import FilePair, SubjectRecord
from cmrjax.evaluation.curves import metric_series
from cmrjax.files import read_json
from cmrjax.segmentation.label_store import LabelStore
from cmrjax.simulation.pair_mapping import read_mapping
from cmrjax.simulation.pair_search import find_pairs
from cmrjax.simulation.population_folder import claim_folder
from cmrjax.simulation.xcat import open_xcat
from cmrjax.synthesis.params import load_params, save_params
from cmrjax.training.checkpoint import CheckpointStore
from cmrjax.training.checkpoint_folder import best_checkpoint
from cmrjax.training.description import ModelDescription, read_description
from cmrjax.training.model_card import model_card
from cmrjax.training.writers import read_metrics
from experiments.evaluate_gan import read_class_means
from experiments.run_folder import open_run
from tests.data.mnms_tree import save_nifti
from tests.data.prepared_folder import make_prepared
from tests.synthesis.tiny_models import make_params
from tools.weight_files import read_arrays

Use = Callable[[pathlib.Path], object]


def _refused(use: Callable[[], object], name: str) -> str:
    """The one line of a named error."""
    with pytest.raises((ValueError, OSError)) as caught:
        use()
    line = str(caught.value)
    assert len(line.splitlines()) == 1, line
    assert len(line) < 1000
    assert name in line
    return line


def _changed(content: Any, path: tuple, value: Any) -> str:
    """JSON in which the value at a path is another one."""
    tree = json.loads(json.dumps(content))
    node = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return json.dumps(tree)


def _npy(shape: object, descr: object = "<f4") -> bytes:
    """A .npy file without values."""
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    text = repr(header).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _zip(members: dict[str, bytes], *, flag: int = 0) -> bytes:
    """A zip file; `flag` is set for every member (1 says encrypted)."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    content = bytearray(stream.getvalue())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(mark)
        while start >= 0:
            content[start + place] |= flag
            start = content.find(mark, start + 4)
    return bytes(content)


def test_images_of_a_name_in_two_lines(tmp_path):
    _refused(lambda: read_nifti(tmp_path / "a\x0bb.nii"), "a b.nii: cannot be read")


def test_images_of_a_very_long_name(tmp_path):
    for suffix in ("", ".nii"):
        _refused(lambda s=suffix: read_nifti(tmp_path / ("9" * 9000 + s)), "999...")


def test_images_whose_header_is_odd(tmp_path):
    def image(name: str, values: np.ndarray, place: int, number: object) -> Any:
        path = save_nifti(tmp_path / name, values)
        content = bytearray(path.read_bytes())
        field = np.asarray(number).tobytes()
        content[place : place + len(field)] = field
        path.write_bytes(content)
        return path

    zeros = np.zeros((12, 14, 3), np.int16)
    # A grid of the model's pixels over it would not fit in memory.
    far = image("far.nii", zeros, 80, np.float32(2.2e7))  # pixdim[1]
    assert "2.64e+08 x 18.62 x 30 mm" in _refused(lambda: read_nifti(far), "far.nii")
    # nibabel warns about the rest, and names no file.
    signalling = np.full((12, 14, 3), 0x7F800001, np.uint32).view(np.float32)
    scaled = image("scaled.nii", signalling, 112, np.float32(2))  # scl_slope
    turned = tmp_path / "turned.nii"
    content = bytearray(nib.Nifti2Image(zeros, np.eye(4)).to_bytes())
    rows = np.array([[2e-314] * 4, [0.0] * 4, [5e-210, 1e-309, 10.0, 0.0]])
    content[400 : 400 + rows.nbytes] = rows.tobytes()  # srow_x, srow_y, srow_z
    turned.write_bytes(content)
    extended = tmp_path / "extended.nii"
    content = bytearray(save_nifti(extended, zeros).read_bytes())
    content[348] = 1  # an extension follows, of 20 bytes, which is no multiple of 16
    content[108:112] = np.float32(352 + 32).tobytes()  # vox_offset
    extension = struct.pack("<ii", 20, 6) + bytes(24)
    extended.write_bytes(content[:352] + extension + content[352:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(read_nifti(scaled).frames).all()
        _refused(lambda: read_nifti(turned), "affine is not invertible")
        assert read_nifti(extended).frames.shape == (1, 3, 14, 12)


_DESCRIPTION_CHANGES = {
    "infinite size": (("image_size",), float("inf")),
    "size as text": (("image_size",), "32"),
    "size that does not fit": (("image_size",), 33),
    "spacing NaN": (("spacing",), float("nan")),
    "spacing 0": (("spacing",), 0),
    "transform as list": (("transform",), ["percentile"]),
    "percentile infinite": (("transform", "low"), 10**400),
    "schema without names": (("schema", "class_names"), "abcd"),
    "class in two lines": (("schema", "class_names", 1), "a\nb"),
    "schema of lists": (("schema", "class_names"), [[], [], [], []]),
    "width NaN": (("architecture", "base_features"), float("nan")),
    "width of 9 digits": (("architecture", "base_features"), 10**9),
    "latent below 0": (("architecture", "latent_size"), -1),
    "no channel": (("architecture", "out_channels"), 0),
    "equation as text": (("architecture", "paper_equation"), "no"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    save_params(make_params(), folder)
    return folder


@pytest.mark.parametrize("change", _DESCRIPTION_CHANGES)
def test_description_of_a_model(tmp_path, model, change):
    content = json.loads((model / "model.json").read_text())
    text = _changed(content, *_DESCRIPTION_CHANGES[change])
    (tmp_path / "model.json").write_text(text)
    _refused(lambda: read_description(tmp_path, ModelDescription), "model.json")


def test_a_unet_of_a_million_levels_is_refused(tmp_path):
    from cmrjax.models.unet import UnetArchitecture

    with pytest.raises(ValueError, match="levels is 1000000"):
        UnetArchitecture(4, levels=1_000_000)


@pytest.mark.parametrize("file", ["_METADATA", "manifest.ocdbt"])
def test_checkpoint_with_a_damaged_file(tmp_path, model, file):
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    found = [p for p in folder.rglob(file) if p.parent.name == "state"]
    for path in found:
        path.write_bytes(b"{")
    assert found
    _refused(lambda: load_params(folder), str(folder))


@pytest.mark.parametrize("content", ["", "[]", '{"score": "x"}', '{"score": [1]}'])
def test_score_of_a_checkpoint(tmp_path, content):
    file = tmp_path / "7" / "metrics" / "metrics"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    _refused(lambda: CheckpointStore(tmp_path), str(tmp_path / "7"))
    _refused(lambda: best_checkpoint(tmp_path), str(tmp_path / "7"))


@pytest.mark.parametrize(
    "change",
    [(("architecture",), None), (("spacing",), ""), (("provenance",), "x")],
    ids=["no architecture", "spacing of text", "provenance of text"],
)
def test_model_card_of_a_damaged_folder(tmp_path, model, change):
    content = json.loads((model / "model.json").read_text())
    (tmp_path / "model.json").write_text(_changed(content, *change))
    _refused(lambda: model_card(tmp_path), "model.json")


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        '{"class_means": "x"}',
        '{"class_means": [NaN]}',
        '{"class_means": [1e300]}',
        "[[[[",
    ],
)
def test_class_means(tmp_path, content):
    (tmp_path / "class_means.json").write_text(content)
    _refused(lambda: read_class_means(tmp_path), "class_means.json")


def test_metrics(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for line in ("[" * 100_000, '{"step": ' + "1" * 5000 + "}"):
        path.write_text(line + "\n{}\n")
        _refused(lambda: read_metrics(path), "metrics.jsonl, line 1")
    rows = [{"step": [1], "a": 1}, {"step": "x", "a": 1}, {"step": 1, "a": 10**400}]
    steps, values = metric_series([*rows, {"step": 2, "a": 0.5}], "a")
    assert steps == [1.0, 2.0]
    assert np.isnan(values[0])
    assert values[1] == 0.5


_MANIFEST_CHANGES = {
    "slices as object": (("slices",), {"a": 1}),
    "slices of numbers": (("slices",), [1]),
    "no class": (("schema", "class_names"), []),
    "transform of numbers": (("transform", "low"), "x"),
    "one side": (("image_size",), [8]),
    "sides as text": (("image_size",), ["8", "8"]),
    "spacing NaN": (("spacing",), [float("nan"), 1.0]),
    "another file": (("arrays", "images", "file"), "../images.npy"),
    "arrays of text": (("arrays", "images"), "images.npy"),
    "hash as number": (("arrays", "labels", "sha256"), 3),
    "volumes of text": (("volumes",), ["a"]),
    "a subject as list": (("slices", 0, "subject"), []),
    "a subject in two lines": (("slices", 0, "subject"), "a\nb"),
    "a class in two lines": (("schema", "class_names", 1), "a\nb"),
    "a volume too far": (("slices", 0, "volume"), 99),
    "a box outside": (("slices", 0, "valid_box"), [0, 99, 0, 8]),
    "a box of texts": (("slices", 0, "valid_box"), ["a", 1, 2, 3]),
    "a slice of 30 digits": (("slices", 0, "slice"), 10**30),
    "a record as number": (("provenance",), 3),
    "settings as list": (("provenance",), {"config": []}),
    "a network as list": (("provenance",), {"config": {"model_fingerprint": []}}),
    "a data set in two lines": (("dataset",), "a\nb"),
}


@pytest.mark.parametrize("change", _MANIFEST_CHANGES)
def test_manifest(tmp_path, change):
    folder = make_prepared(tmp_path / "prepared")
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(_changed(content, *_MANIFEST_CHANGES[change]))
    _refused(lambda: PreparedDataset.open(folder), "manifest.json")


_HEADERS = {
    "huge": _npy((1 << 62, 4)),
    "negative": _npy((-1, 4)),
    "objects": _npy((2,), "|O"),
    "text": _npy((2,), "<U3"),
    "nested": b"\x93NUMPY\x01\x00\x88\x13" + b"(" * 5000,
    "of another version": b"\x93NUMPY\x09\x00" + bytes(20),
}


@pytest.mark.parametrize("kind", _HEADERS)
@pytest.mark.parametrize("mmap", [False, True], ids=["read", "mapped"])
def test_npy(tmp_path, kind, mmap):
    path = tmp_path / "images.npy"
    path.write_bytes(_HEADERS[kind])
    _refused(lambda: read_npy(path, mmap=mmap), "")


def test_npz(tmp_path):
    path = tmp_path / "w.npz"
    good = io.BytesIO()
    np.save(good, np.zeros(3))
    for content in (
        *(_zip({"a.npy": header}) for header in _HEADERS.values()),
        _zip({"a.npy": good.getvalue()}, flag=1),
        _zip({"a.txt": b"text"}),
        _zip({"a.npy": _npy((), "<U1") + b"\xff\xff\xff\x7f"}),
    ):
        path.write_bytes(content)
        _refused(lambda: read_npz(path), "npz")


def test_a_zip_member_cannot_be_larger_than_deflate_makes_it(tmp_path):
    path = tmp_path / "w.npz"
    content = bytearray(_zip({"a.npy": _npy((1 << 28,))}))
    place = content.find(b"PK\x01\x02") + 24
    content[place : place + 4] = struct.pack("<I", (1 << 30) + 200)
    path.write_bytes(content)
    line = _refused(lambda: read_npz(path), "npz")
    assert "cannot hold" in line


@pytest.mark.torch
def test_torch_weights(tmp_path):
    import torch  # pyright: ignore[reportMissingImports]

    path = tmp_path / "w.pth"
    one = torch.zeros(1)
    odd = ({"a": one.expand(1 << 40)}, {1: one}, {"a": 3}, [one], {"a": one * 1j})
    for content in odd:
        torch.save(content, path)
        _refused(lambda: read_arrays(path), "state dictionary")
    for version in (True, False):
        torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=version)
        np.testing.assert_array_equal(read_arrays(path)["a"], np.ones(3))
        assert "it calls" in _calling(path, bytearray, 1 << 33)
        assert "it says" in _calling(path, _Plain, 1 << 50)
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    names = content.rindex(b"\x80\x02]")  # the last pickle: names of the storages
    longest = b"\x80\x02X" + struct.pack("<I", (1 << 32) - 1)  # BINUNICODE, so many
    path.write_bytes(content[:names] + longest + content[names + 3 :])
    line = _refused(lambda: read_arrays(path), "state dictionary")
    assert "expected 4294967295 bytes" in line  # found before they are asked for
    path.write_bytes(b"\x8e" + struct.pack("<Q", 1 << 40))  # BINBYTES8, so many
    line = _refused(lambda: read_arrays(path), "state dictionary")
    assert "()" not in line  # as of a MemoryError, which has no text
    path.write_bytes(pickle.dumps({"a": _Folder(tmp_path / "made")}, protocol=2))
    _refused(lambda: read_arrays(path), "state dictionary")
    assert not (tmp_path / "made").exists()


class _Plain:
    """Stands for a state dictionary."""


def _calling(path: pathlib.Path, function: Any, number: int) -> str:
    """The refusal of a state dictionary that calls a function, or has a number."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = next(name for name in members if name.endswith("data.pkl"))
        path.write_bytes(_zip({**members, name: _call(function, number)}))
    else:
        first = pickle.dumps(1, protocol=2)
        path.write_bytes(first * 3 + _call(function, number))
    return _refused(lambda: read_arrays(path), "state dictionary")


def _call(function: Any, number: int) -> bytes:
    if function is _Plain:
        return pickle.dumps({"a": number}, protocol=2)
    return pickle.dumps({"a": _Calls(function, number)}, protocol=2)


class _Calls:
    """Calls a function where it is unpickled."""

    def __init__(self, function: Any, number: int) -> None:
        self._call = (function, (number,))

    def __reduce__(self) -> tuple:
        return self._call


class _Folder:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple:
        import os

        return os.mkdir, (str(self._path),)


def test_hdf5_weights(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("huge", (1 << 40,), "f4", chunks=(1024,))
    assert "more values" in _refused(lambda: read_arrays(path), "HDF5")
    with h5py.File(path, "w") as file:
        file.create_dataset("out", (2,), "f4", external=[("/etc/hostname", 0, 8)])
    assert "more values" in _refused(lambda: read_arrays(path), "HDF5")
    with h5py.File(path, "w") as file:
        file[b"a\xff"] = np.zeros(2)
    assert "an entry b'a" in _refused(lambda: read_arrays(path), "HDF5")
    with h5py.File(path, "w") as file:
        file["text"] = "no numbers"
        file["numbers"] = np.zeros(2)
    assert list(read_arrays(path)) == ["numbers"]


def test_safetensors_weights(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "w.safetensors"
    entry = {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}
    header = json.dumps({"a": entry}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    _refused(lambda: read_arrays(path), "safetensors")


_PARAMETERS = {
    "array_size": 2,
    "startslice": 1,
    "endslice": 1,
    "pixel_width": 0.2,
    "slice_width": 0.5,
    "body_act": 40,
}


def _xcat(**changes: Any) -> bytes:
    lines = {**_PARAMETERS, **changes}
    return "".join(f"{key} = {value}\n" for key, value in lines.items()).encode()


_VOLUME = np.full(4, 40, "<f4").tobytes()
_XCAT = {
    "encrypted": _zip({"a.par": _xcat(), "a_act_1.bin": _VOLUME}, flag=1),
    "huge grid": _zip({"a.par": _xcat(array_size=10**9), "a_act_1.bin": _VOLUME}),
    "no width": _zip({"a.par": _xcat(pixel_width=1e-30), "a_act_1.bin": _VOLUME}),
    "frame of 5000 digits": _zip({"a.par": _xcat(), f"a_act_{'1' * 5000}.bin": b""}),
    "name in two lines": _zip({"a\nb.par": b"", "a_act_1.bin": _VOLUME}),
    "organs of 9 kB": _zip({"a.par": _xcat(**{f"{'o' * 9000}_act": 3})}),
    "cut": _zip({"a.par": _xcat(), "a_act_1.bin": _VOLUME})[:-9],
}


@pytest.mark.parametrize("kind", _XCAT)
def test_xcat(tmp_path, kind):
    path = tmp_path / "xcat.zip"
    path.write_bytes(_XCAT[kind])
    _refused(lambda: open_xcat(path).read_labels(1), "xcat.zip")


def test_xcat_with_a_member_without_a_name(tmp_path):
    path = tmp_path / "xcat.zip"
    content = _zip({"Q": b"", "a.par": b""})
    path.write_bytes(content.replace(b"Q", b"\0"))  # where a name ends
    _refused(lambda: open_xcat(path), "xcat.zip")


def test_xcat_with_a_member_whose_second_name_is_no_text(tmp_path):
    """A zip file has each name twice: in its table, and before the content."""
    path = tmp_path / "xcat.zip"
    content = bytearray(_zip({"a_act_1.bin": _VOLUME, "a.par": _xcat()}))
    for place in range(len(content)):
        if content[place : place + 4] == b"PK\3\4":
            content[place + 7] |= 0x08  # names are UTF-8
            content[place + 30] = 0xC0  # and this is not
    path.write_bytes(content)
    _refused(lambda: open_xcat(path).read_labels(1), "xcat.zip")


def test_xcat_with_damaged_members(tmp_path):
    path = tmp_path / "xcat.zip"
    content = bytearray(_zip({"a_act_1.bin": _VOLUME, "a.par": _xcat()}))
    for place in range(40, len(content) - 60):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        try:
            open_xcat(path).read_labels(1)
        except (ValueError, OSError) as error:
            assert "xcat.zip" in str(error)  # noqa: PT017
            assert len(str(error).splitlines()) == 1  # noqa: PT017


_MAPPING = {"labels": {"0": "background", "1": "LV"}}
_MAPPINGS = {
    "an id of 5000 digits": {"labels": {"1" * 5000: "LV"}},
    "an id of 10 digits": {"labels": {"4000000000": "LV"}},
    "phases of lists": {**_MAPPING, "phases": {"a": []}},
    "a pattern that is a list": {**_MAPPING, "image_pattern": []},
    "a vendor in two lines": {**_MAPPING, "vendor": "a\nb"},
    "a key of 9 kB": {**_MAPPING, "y" * 9000: 1},
    "a class of 9 kB": {"labels": {"1": "y" * 9000}},
}


@pytest.mark.parametrize("kind", _MAPPINGS)
def test_mapping(tmp_path, kind):
    path = tmp_path / "map.json"
    path.write_text(json.dumps(_MAPPINGS[kind]))
    _refused(lambda: read_mapping(path), "map.json")


@pytest.mark.parametrize(
    "row",
    [
        'a.nii,b.nii,p,"E\nD",',
        "a.nii,b.nii,p,ED," + "9" * 5000,
        ",,,,",
        "/,/,p,ED,",
    ],
    ids=["two lines", "frame of 5000 digits", "empty", "the root folder"],
)
def test_table_of_pairs(tmp_path, row):
    path = tmp_path / "pairs.csv"
    path.write_text(f"image,label,subject,phase,frame\n{row}\n")
    (tmp_path / "map.json").write_text(json.dumps(_MAPPING))
    mapping = read_mapping(tmp_path / "map.json")
    _refused(lambda: find_pairs(path, mapping, tmp_path / "map.json"), "pairs.csv")


def test_a_label_map_with_a_name_that_is_too_long_is_not_there(tmp_path):
    (tmp_path / f"{'p' * 119}q.nii").write_bytes(b"")
    patterns = {"image_pattern": "{subject}.nii", "frames": {"ED": 0}}
    patterns["label_pattern"] = "{subject}{subject}{subject}.nii"
    path = tmp_path / "map.json"
    path.write_text(json.dumps({**_MAPPING, **patterns}))
    line = _refused(lambda: find_pairs(tmp_path, read_mapping(path), path), "ppq.nii")
    assert "has no label map" in line


@pytest.mark.parametrize("content", ["[]", '{"config": []}', '{"inputs": {}}', "{}"])
def test_record_of_a_run(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    _refused(lambda: open_run(tmp_path, {}, {}, has_checkpoint=True), "run.json")


@pytest.mark.parametrize("content", ['{"settings": [1]}', '{"subjects": "x"}', "[]"])
def test_record_of_a_population(tmp_path, content):
    (tmp_path / "simulation.json").write_text(content)
    (tmp_path / "P0").mkdir()
    _refused(lambda: claim_folder(tmp_path, 3, {"seed": 0}), str(tmp_path))


def test_a_damaged_store_of_labels_is_labelled_again(tmp_path):
    store = LabelStore(tmp_path, {"seed": 0})
    record = SubjectRecord("P0", "A", "1", (FilePair(tmp_path / "x", None, ()),))
    folder = tmp_path / "subjects" / "P0"
    folder.mkdir(parents=True)
    facts = {
        "sources": {"files": [], "phases": [], "group": "A1"},
        "problems": [],
        "notices": [],
        "unlabelled": False,
        "rows": [],
        "volumes": [{"slices": [0], "valid_box": [0, 2, 0, 2], "description": {}}],
    }
    np.save(folder / "images_0.npy", np.zeros((1, 2, 2), np.float16))
    np.save(folder / "labels_0.npy", np.zeros((1, 2, 2), np.uint8))
    path = folder / "subject.json"
    path.write_text(json.dumps(facts))
    assert store.load(record) is not None
    for change in (
        (("volumes", 0, "slices"), 3),
        (("volumes", 0, "slices"), [0, 1]),
        (("volumes", 0, "valid_box"), ["a"]),
        (("volumes", 0), []),
        (("rows",), [1]),
        (("rows",), None),
    ):
        path.write_text(_changed(facts, *change))
        assert store.load(record) is None
    path.write_text("[")
    assert store.load(record) is None
    (tmp_path / "settings.json").write_text('{"seed": Infinity}')
    _refused(lambda: LabelStore(tmp_path, {"seed": 0}), "settings.json")
    (tmp_path / "settings.json").write_text("[]")
    _refused(lambda: LabelStore(tmp_path, {"seed": 0}), "settings.json")


def test_many_names_take_no_time_of_their_square(tmp_path):
    """100,000 names, compared with each other, would take minutes."""
    names = [f"c{i}" for i in range(100_000)]
    path = tmp_path / "cases.csv"
    header = (
        "image",
        "label",
        "subject",
        "phase",
        "vendor",
        "centre",
        *names,
        names[-1],
    )
    path.write_text(",".join(header) + "\na,b,c,ED,V,1\n")
    line = _refused(lambda: find_own_subjects(None, table=path), "cases.csv")
    assert "has two columns c99999; keep one" in line
    path = tmp_path / "a.json"
    path.write_text("{" + ",".join(f'"{n}":1' for n in (*names, names[-1])) + "}")
    line = _refused(lambda: read_json(path), "a.json")
    assert "the key 'c99999' is there twice" in line
