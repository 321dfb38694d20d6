"""A corpus of malformed inputs: each ends in one clear line, in bounded memory.

The line names the file and the value and says what to do (`bad_input_lines.py`).
Further refusals are tested beside the code that makes them.
"""

import dataclasses
import gzip
import io
import json
import pathlib
import re
import sys
import tracemalloc
from collections.abc import Callable
from unittest import mock

import nibabel as nib
import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from cmrjax.data import acdc, mnms, nifti, nifti_table
from cmrjax.data.prepared import PreparedDataset
from cmrjax.data.schema_file import read_schema
from cmrjax.data.split import read_split
from cmrjax.files import shorten
from cmrjax.models.vgg19 import load_vgg19
from cmrjax.simulation.pair_mapping import read_mapping
from cmrjax.synthesis.output_values import OutputValues
from cmrjax.synthesis.params import load_params
from cmrjax.synthesis.volume import Synthesizer, synthesize_file
from cmrjax.training.description import DEFAULT_TRANSFORM
from experiments.configs import base
from experiments.training_flags import parse_flags
from tests.bad_input_lines import LINES
from tests.data.mnms_tree import make_arrays, save_nifti
from tests.synthesis.tiny_models import make_params
from tools.import_spade import import_generator

LONGEST_LINE = 700
LARGEST_PEAK = 64 << 20  # bytes
Use = Callable[[pathlib.Path], object]


@dataclasses.dataclass(frozen=True)
class Case:
    """A malformed file and who reads it."""

    name: str
    file: str
    content: bytes
    use: Use

    def __str__(self) -> str:
        return self.name


def _image(values: np.ndarray | None = None) -> bytes:
    values = np.ones((8, 8, 4), np.int16) if values is None else values
    image = nib.Nifti1Image(values, np.eye(4))
    image.header.set_xyzt_units("mm")
    return image.to_bytes()


def _patched(place: int, values: object, dtype: str, *, scale: float = 1.0) -> bytes:
    content, raw = bytearray(_image()), np.asarray(values, dtype).tobytes()
    content[place : place + len(raw)] = raw
    content[112:116] = np.float32(scale).tobytes()  # scl_slope
    return bytes(content)


def _with_extension(voxels_begin: float, size: int) -> bytes:
    content = bytearray(_patched(108, voxels_begin, "<f4"))
    content[348:360] = np.asarray([1, size, 0], "<i4").tobytes()
    return bytes(content)


def _synthesize(path: pathlib.Path) -> object:
    return synthesize_file(path, path.parent / "out", Synthesizer.create(make_params()))


def _table_row(row: str) -> bytes:
    return f"image,label,subject,phase,vendor,centre\n{row}\n".encode()


def _read_table(path: pathlib.Path) -> object:
    raise ValueError(nifti_table.find_subjects(None, table=path).problems[0])


def _read_mnms(path: pathlib.Path) -> object:
    images, labels = make_arrays()
    save_nifti(path.parent / "P0" / "P0_sa.nii.gz", images)
    save_nifti(path.parent / "P0" / "P0_sa_gt.nii.gz", labels)
    found = mnms.find_subjects(path.parent, table=path)
    raise ValueError(found.problems[0])


def _read_info(path: pathlib.Path) -> object:
    folder = path.parent / "patient001"
    folder.mkdir()
    path.rename(folder / "Info.cfg")
    raise ValueError(acdc.find_subjects(path.parent).problems[0])


def _open_prepared(path: pathlib.Path) -> object:
    return PreparedDataset.open(path.parent)


def _json(content: object) -> bytes:
    return json.dumps(content).encode()


def _schema(**changes: object) -> bytes:
    return _json({"name": "own", "class_names": ["background", "LV"], **changes})


def _npz(**shapes: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **{n: np.zeros(s, np.float32) for n, s in shapes.items()})  # type: ignore[arg-type]
    return stream.getvalue()


def _read_settings(path: pathlib.Path) -> object:
    """What train_gan does with the settings on its command line, before any data."""
    command = ["train_gan", f"--config={base.__file__}", f"--config.{path.read_text()}"]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    try:
        with mock.patch.object(sys, "argv", command):  # where overrides are looked for
            parse_flags(values, command)
    except flags.Error as error:  # the command prints it after its name
        raise ValueError(shorten(error, 600)) from None
    raise AssertionError("was accepted")


_NIFTI: dict[str, bytes] = {
    "empty file": b"",
    "text": b"this is not an image",
    "header alone, cut": _image()[:200],
    "voxels cut": _image()[:-100],
    "one axis": _patched(40, [1, 8], "<i2"),
    "five axes": _patched(40, [5, 8, 8, 2, 1, 2], "<i2"),
    "nine axes": _patched(40, [9], "<i2"),
    "an axis of length 0": _patched(40, [3, 8, 0, 4], "<i2"),
    "a negative axis": _patched(40, [3, 8, -8, 4], "<i2"),
    "huge axes": _patched(40, [3, 32767, 32767, 32767], "<i2"),
    "voxels that begin beyond the end": _patched(108, 1e9, "<f4"),
    "voxels that begin at NaN": _patched(108, np.nan, "<f4"),
    "an unknown type of voxels": _patched(70, 12345, "<i2"),
    "colours": _patched(70, [128, 24], "<i2"),
    "complex voxels": _image(np.ones((8, 8, 4), np.complex64)),
    "voxel size 0": _patched(80, [0.0, 1.0, 1.0], "<f4"),
    "voxel size NaN": _patched(80, [np.nan, 1.0, 1.0], "<f4"),
    "voxel size infinite": _patched(80, [np.inf, 1.0, 1.0], "<f4"),
    "negative voxel size": _patched(80, [-1.0, 1.0, 1.0], "<f4"),
    "an affine of zeros": _patched(280, np.zeros(12), "<f4"),
    "a header extension that is cut": _with_extension(5000.0, 1 << 20),
    "voxels of a file that goes on": _image() + bytes(16 << 20),
    "scaled voxels beyond the memory": _patched(
        40, [3, 256, 2048, 2000], "<i2", scale=2.0
    ),
}
_NIFTI_GZ: dict[str, bytes] = {
    "gzip in name only": _image(),
    "gzip, truncated": gzip.compress(_image())[:-20],
    "gzip, damaged": gzip.compress(_image())[:-6] + b"\0\0\0\0\0\0",
    "gzip bomb": gzip.compress(_image() + bytes(64 << 20), 1),
    "gzip, not NIfTI": gzip.compress(b"hello"),
}
_STACK = np.zeros((8, 8, 3))
_LABELS: dict[str, np.ndarray] = {
    "an id too large": np.full((8, 8, 3), 9, np.uint8),
    "negative ids": np.full((8, 8, 3), -1, np.int16),
    "interpolated ids": np.full((8, 8, 3), 0.5, np.float32),
    "NaN ids": np.full((8, 8, 3), np.nan, np.float32),
    "infinite ids": np.full((8, 8, 3), np.inf, np.float32),
    "ids beyond all whole numbers": np.full((8, 8, 3), 1e30, np.float32),
    "background only": _STACK.astype(np.uint8),
}
_TABLES: dict[str, bytes] = {
    "empty table": b"",
    "binary table": b"\x1f\x8b\0\0,,,",
    "a column missing": b"image,label,subject,phase,vendor\na,b,c,ED,A\n",
    "a column twice": b"image,label,subject,phase,vendor,centre,image\n",
    "a header alone": b"image,label,subject,phase,vendor,centre\n",
    "a file that is not there": _table_row("none.nii.gz,,p1,ED,A,1"),
    "a code that is the folder above": _table_row("x.nii.gz,,..,ED,A,1"),
    "a code with a slash": _table_row("x.nii.gz,,../../p1,ED,A,1"),
    "a cell of 200 kB": _table_row("x" * 200_000 + ",,p1,ED,A,1"),
    "white space of other kinds": "\x0b\u2028\n".encode(),
    "a name longer than names of files": _table_row("x" * 300 + ",,p1,ED,A,1"),
    "a code in two lines": _table_row('x.nii.gz,,"p\n1",ED,A,1'),
    "a code with a no-break space": _table_row("t.csv,t.csv,p1\u00a0x,ED,A,1"),
    "a code of 129 characters": _table_row(f"t.csv,t.csv,{'9' * 129},ED,A,1"),
    "a vendor of 201 characters": _table_row(f"t.csv,t.csv,p1,ED,{'v' * 201},1"),
    "a centre that cannot be printed": _table_row("t.csv,t.csv,p1,ED,A,Leeds\u200b"),
    "a column twice that cannot be printed": b"\x1e,\x1e,image,label,subject,phase,"
    b"vendor,centre\n",
    "a comma that is not quoted": _table_row("x.nii.gz,,p1,ED,A,1,Leeds"),
    "a spacing that is a word": b"image,label,subject,phase,vendor,centre,spacing\n"
    b"t.csv,t.csv,p1,ED,A,1,fine\n",
    "a phase of 9 kB": _table_row("x.nii.gz,,p1," + "y" * 9000 + ",A,1"),
}
_MNMS_ROWS = {
    "a frame that is a word": "P0,Maker,A,1,first,1",
    "a negative frame": "P0,Maker,A,1,-1,1",
    "a subject twice": "P0,Maker,A,1,0,1\nP0,Maker,B,1,0,1",
    "no vendor": "P0,Maker,,1,0,1",
    "a subject that is not named": "P9,Maker,A,1,0,1",
    "a code in two lines, twice": '"P\n9",Maker,A,1,0,1\n"P\n9",Maker,B,1,0,1',
    "a vendor of 201 characters": f"P0,Maker,{'v' * 201},1,0,1",
    "a centre that cannot be printed": "P0,Maker,A,1\x07,0,1",
    "a frame of 9 kB": f"P0,Maker,A,1,{'9' * 9000}x,1",
}
_SCHEMAS: dict[str, bytes] = {
    "no JSON": b"{",
    "a JSON list": b"[]",
    "unknown keys": _schema(colour="red"),
    "one class": _schema(class_names=["background"]),
    "no background": _schema(class_names=["LV", "MYO"]),
    "background last": _schema(class_names=["LV", "background"]),
    "no class": _schema(class_names=[]),
    "a class twice": _schema(class_names=["background", "LV", "LV"]),
    "no heart": _schema(class_names=["background", "kidney"]),
    "300 classes": _schema(class_names=["background", "LV", *map(str, range(298))]),
    "an id that is a word": _schema(ids={"one": "LV"}),
    "an id of 10 digits": _schema(ids={"4000000000": "LV"}),
    "an id twice": _schema(ids={"1": "LV", "01": "background"}),
    "a key twice": b'{"name": "own", "ids": {"1": "LV", "1": "RV"}}',
    "a class that is none": _schema(ids={"1": "liver"}),
    "JSON 100,000 levels deep": b"[" * 100_000,
    "a number of 5000 digits": b'{"name": ' + b"1" * 5000 + b"}",
    "a class in two lines": _schema(class_names=["background", "LV", "a\nb"]),
    "a class of 9 kB": _schema(class_names=["background", "LV", "y" * 9000]),
    "a name that is no text": _schema(name=[1]),
    "a name that cannot be printed": _schema(name="own\u200b"),
    "a name that is half a character": _schema(name="\ud800"),
}
_SPLITS = {
    "no such column": b"code,split\nP0,train\n",
    "an unknown split": b"External code,split\nP0,holdout\n",
    "two splits": b"External code,split\nP0,train\nP0,test\n",
    "a code in two lines": b'External code,split\n"P\n0",holdout\n',
    "a column of 9 kB": b"External code," + b"y" * 9000 + b"\nP0,train\n",
}
_SETTINGS = {
    "an unknown section": b"dada.path=x",
    "an unknown setting": b"model.base_featurs=8",
    "a word for a number": b"training.batch_size=many",
    "a word for yes or no": b"data.flip=perhaps",
}
_WEIGHTS: dict[str, tuple[str, bytes, Use]] = {
    "weights: text as .npz": ("w.npz", b"PK\x03\x04 no", load_vgg19),
    "weights: generator of another kind": ("g.npz", b"no zip", import_generator),
    "weights: unknown suffix": ("g.bin", b"weights", import_generator),
    "weights: another network": ("g.npz", _npz(weight=(3,)), import_generator),
    "weights: VGG19 of another shape": (
        "w.npz",
        _npz(**{"conv1_1.kernel": (3, 3, 3, 63), "conv1_1.bias": (63,)}),
        load_vgg19,
    ),
    "weights: text as .safetensors": ("g.safetensors", b"no header", import_generator),
}


def _cases() -> list[Case]:
    cases = [Case(n, "a.nii", c, nifti.read_nifti) for n, c in _NIFTI.items()]
    cases += [Case(n, "a.nii.gz", c, nifti.read_nifti) for n, c in _NIFTI_GZ.items()]
    cases += [
        Case(f"labels: {n}", "a_gt.nii", _image(v), _synthesize)
        for n, v in _LABELS.items()
    ]
    cases += [Case(f"table: {n}", "t.csv", c, _read_table) for n, c in _TABLES.items()]
    header = "External code,VendorName,Vendor,Centre,ED,ES\n"
    cases += [
        Case(f"M&Ms table: {n}", "t.csv", (header + row).encode(), _read_mnms)
        for n, row in _MNMS_ROWS.items()
    ]
    cases += [
        Case(f"schema: {n}", "s.json", c, read_schema) for n, c in _SCHEMAS.items()
    ]
    cases += [
        Case(f"split: {n}", "split.csv", c, read_split) for n, c in _SPLITS.items()
    ]
    cases += [Case(n, *rest) for n, rest in _WEIGHTS.items()]
    cases += [
        Case(f"config: {n}", "config", c, _read_settings) for n, c in _SETTINGS.items()
    ]
    cases += [
        Case("Info.cfg without frames", "Info.cfg", b"Group: NOR\n", _read_info),
        Case("mapping: no JSON", "m.json", b"labels: 1", read_mapping),
        Case("manifest: no JSON", "manifest.json", b"{,}", _open_prepared),
        Case("manifest: of something else", "manifest.json", b"{}", _open_prepared),
        Case(
            "model.json: no JSON",
            "model.json",
            b"\xff\xfe",
            lambda path: load_params(path.parent),
        ),
        Case(
            "reference: a constant image",
            "r.nii",
            _image(),
            lambda path: OutputValues.create(str(path), DEFAULT_TRANSFORM),
        ),
        Case(
            "reference: NaN",
            "r.nii",
            _image(np.full((8, 8, 4), np.nan, np.float32)),
            lambda path: OutputValues.create(str(path), DEFAULT_TRANSFORM),
        ),
    ]
    return cases


CORPUS = _cases()


def test_the_corpus_is_as_large_as_it_is_meant_to_be():
    assert len(CORPUS) >= 100
    names = [case.name for case in CORPUS]
    assert len(set(names)) == len(names)
    assert set(names) == set(LINES)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize("case", CORPUS, ids=str)
def test_malformed_input_ends_in_one_clear_line(case, tmp_path):
    path = tmp_path / case.file
    path.write_bytes(case.content)
    tracemalloc.start()
    try:
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            case.use(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    line = str(caught.value)
    assert "\n" not in line, line
    assert len(line) <= LONGEST_LINE, line
    assert case.file in line or str(tmp_path) in line, line
    assert re.search(LINES[case.name], line), line
    assert peak < LARGEST_PEAK
    assert not (tmp_path / "out").exists()
