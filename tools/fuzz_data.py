"""Readers of images, labels, tables and prepared data, for `tools.fuzz_readers`."""

import gzip
import json
from pathlib import Path

import numpy as np

from cmrjax.data import acdc, mnms, nifti_table
from cmrjax.data.nifti import read_nifti, read_volume
from cmrjax.data.prepared import PreparedDataset
from cmrjax.data.records import FilePair, SubjectRecord, Subjects
from cmrjax.data.schema_file import read_schema
from cmrjax.data.source import SliceSource
from cmrjax.data.split import read_split, resolve_splits
from cmrjax.data.subject import Recipe, prepare_subject
from cmrjax.simulation.pair_mapping import read_mapping
from cmrjax.simulation.pair_reading import read_pairs
from cmrjax.simulation.pair_search import find_pairs
from cmrjax.simulation.xcat import open_xcat
from cmrjax.synthesis.output_values import OutputValues
from cmrjax.synthesis.volume import Synthesizer
from cmrjax.training.description import (
    DEFAULT_TRANSFORM,
)
from tools import fuzz_seeds as seeds
from tools.fuzz_seeds import Files
from tools.fuzz_worker import Reader, Use

_CODE = "P0"
_TABLE_HEADER = ["External code", "VendorName", "Vendor", "Centre", "ED", "ES"]


def _image_uses(name: str) -> tuple[Use, ...]:
    def read_one(folder: Path) -> None:
        volume = read_volume(folder / name, frame=0)
        assert volume.array.ndim == 3

    def read_reference(folder: Path) -> None:
        OutputValues.create(str(folder / name), DEFAULT_TRANSFORM).describe(0)

    return (read_one, read_reference)


def _read_labels(name: str) -> Use:
    synthesizer: list[Synthesizer] = []

    def use(folder: Path) -> None:
        if not synthesizer:
            synthesizer.append(Synthesizer.create(seeds.generator_params()))
        file = read_nifti(folder / name)
        labels = synthesizer[0].label_input.read(file.frames, where=str(file.path))
        grid = synthesizer[0].grid_of(file)
        back = grid.labels_to_native(grid.labels_to_model(labels[0]))
        assert back.shape == labels[0].shape

    return use


def _record(folder: Path) -> SubjectRecord:
    pair = FilePair(
        folder / f"{_CODE}_sa.nii.gz",
        folder / f"{_CODE}_sa_gt.nii.gz",
        (("ED", 0), ("ES", 1)),
    )
    return SubjectRecord(_CODE, "A", "1", (pair,))


def _subject_files(_: Path) -> list[Files]:
    image = gzip.compress(seeds.nifti(seeds.image(frames=2)), 1)
    labels = gzip.compress(seeds.nifti(seeds.label_map(frames=2)), 1)
    return [{f"{_CODE}_sa.nii.gz": image, f"{_CODE}_sa_gt.nii.gz": labels}]


def _read_subject(folder: Path) -> list[str]:
    subject = prepare_subject(_record(folder), Recipe(image_size=(16, 16)))
    for volume in subject.volumes:
        json.dumps(volume.description, allow_nan=False)
    return subject.problems


def _acdc_files(_: Path) -> list[Files]:
    image, labels = seeds.nifti(seeds.image()), seeds.nifti(seeds.label_map())
    files: Files = {"patient001/Info.cfg": b"ED: 1\nES: 12\nGroup: NOR\nNbFrame: 30\n"}
    for frame in ("01", "12"):
        files[f"patient001/patient001_frame{frame}.nii"] = image
        files[f"patient001/patient001_frame{frame}_gt.nii"] = labels
    return [files]


def _used(found: Subjects) -> list[str]:
    resolve_splits(found.records, {}, dataset="mnms")
    return list(found.problems)


def _mnms_files(_: Path) -> list[Files]:
    rows = [_TABLE_HEADER, [_CODE, "Maker", "A", "1", "0", "1"]]
    rows.append(["P1", "Maker", "B", "2.0", "5", ""])
    files = dict(_subject_files(Path())[0])
    here: Files = {f"{_CODE}/{name}": content for name, content in files.items()}
    return [{**here, "information.csv": seeds.table(rows)}]


def _own_table_files(_: Path) -> list[Files]:
    header = ["image", "label", "subject", "phase", "vendor", "centre", "frame"]
    header.append("spacing")
    rows = [
        ["x.nii", "x_gt.nii", "p1", phase, "S", "L", frame, "1.25x1.25x8"]
        for phase, frame in (("ED", "0"), ("ES", "1.0"))
    ]
    rows.append(["x.nii", "", "p2", "ed", "S", "L", "", "1.25"])
    images: Files = {"x.nii": b"", "x_gt.nii": b""}
    return [{"cases.csv": seeds.table([header, *rows]), **images}]


def _split_files(_: Path) -> list[Files]:
    rows = [["External code", "split"], ["P0", "train"], ["P1", "test"]]
    return [{"split.csv": seeds.table([*rows, ["P2", "development"]])}]


def _schema_files(_: Path) -> list[Files]:
    own = {"name": "own", "class_names": ["background", "LV", "MYO", "kidney"]}
    ids = {"0": "background", "500": "LV", "7": "MYO", "8": "MYO"}
    return seeds.each(
        "schema.json", [seeds.as_json(own), seeds.as_json({**own, "ids": ids})]
    )


def _read_split(folder: Path) -> None:
    read_split(folder / "split.csv")


def _read_own_schema(folder: Path) -> None:
    schema, ids = read_schema(folder / "schema.json")
    schema.remap(np.full((1, 2, 2), min(ids)), ids, where=str(folder))
    json.dumps(schema.to_dict())


def _mapping_files(_: Path) -> list[Files]:
    labels = {"0": "background", "1": "LV", "2": "MYO", "3": "RV"}
    plain = {"labels": labels, "image_pattern": "{subject}_{phase}.nii"}
    plain["label_pattern"] = "{subject}_{phase}_gt.nii"
    cine = {**plain, "image_pattern": "{subject}.nii", "frames": {"ED": 0, "ES": 1}}
    named = {**plain, "phases": {"dia": "ED", "ES": "ES"}, "vendor": "S", "centre": "1"}
    one, two = seeds.nifti(seeds.image()), seeds.nifti(seeds.image(frames=2))
    gt = seeds.nifti(seeds.label_map())
    rows = [["image", "label", "subject", "phase", "frame"]]
    rows += [["p_ED.nii", "p_ED_gt.nii", "p", "ED", "0"]]
    rows += [["p.nii", "p_ES_gt.nii", "p", "ES", "1"]]
    files: Files = {"p_ED.nii": one, "p_ES.nii": one, "p.nii": two, "p_dia.nii": one}
    files |= {"p_ED_gt.nii": gt, "p_ES_gt.nii": gt, "p_dia_gt.nii": gt}
    files["pairs.csv"] = seeds.table(rows)
    return [{"map.json": seeds.as_json(m), **files} for m in (plain, cine, named)]


def _read_by(source: str) -> Use:
    def use(folder: Path) -> list[str]:
        mapping = read_mapping(folder / "map.json")
        json.dumps(mapping.to_dict())
        path = folder / source if source else folder
        subjects, problems = find_pairs(path, mapping, folder / "map.json")
        for pairs in subjects.values():
            try:
                read_pairs(pairs, mapping)
            except ValueError as error:
                problems.append(str(error))
        return problems

    return use


def _read_xcat(name: str) -> Use:
    def use(folder: Path) -> None:
        phantom = open_xcat(folder / name)
        for frame in phantom.frames[:2]:
            phantom.read_labels(frame)
            phantom.read_tissues(frame)

    return use


def _prepared_files(folder: Path) -> list[Files]:
    return [seeds.files_below(seeds.prepared(folder / "prepared"))]


def _read_prepared(folder: Path) -> None:
    dataset = PreparedDataset.open(folder)
    dataset.validate_labels()
    source = SliceSource(dataset, dataset.select(groups=("A1",)))
    json.dumps(source.facts, allow_nan=False)
    for i in range(len(source)):
        example = source[i]
        assert example["image"].shape == (*source.image_size, 1)


def _verify_prepared(folder: Path) -> None:
    PreparedDataset.open(folder, verify="full")


DATA_READERS: tuple[Reader, ...] = (
    Reader(
        "nifti",
        lambda _: seeds.each("image.nii", seeds.images()),
        _image_uses("image.nii"),
    ),
    Reader(
        "nifti_gz",
        lambda _: seeds.each(
            "image.nii.gz", [gzip.compress(c, 1) for c in seeds.images()]
        ),
        _image_uses("image.nii.gz"),
    ),
    Reader(
        "labels",
        lambda _: seeds.each("case_gt.nii", seeds.label_files()),
        (_read_labels("case_gt.nii"),),
    ),
    Reader("subject", _subject_files, (_read_subject,)),
    Reader(
        "acdc",
        _acdc_files,
        (lambda folder: _used(acdc.find_subjects(folder)),),
        ("*.cfg",),
    ),
    Reader(
        "mnms",
        _mnms_files,
        (
            lambda folder: _used(mnms.find_subjects(folder)),
            lambda folder: _used(
                mnms.find_subjects(folder, table=folder / "information.csv")
            ),
        ),
        ("*.csv",),
    ),
    Reader(
        "own_table",
        _own_table_files,
        (
            lambda folder: _used(
                nifti_table.find_subjects(None, table=folder / "cases.csv")
            ),
        ),
        ("*.csv",),
    ),
    Reader(
        "split",
        _split_files,
        (_read_split,),
    ),
    Reader("schema", _schema_files, (_read_own_schema,)),
    Reader(
        "pairs",
        _mapping_files,
        (_read_by(""), _read_by("pairs.csv")),
        ("*.json", "*.csv"),
    ),
    Reader(
        "xcat_zip",
        lambda _: [{"xcat.zip": seeds.zipped(seeds.xcat())}],
        (_read_xcat("xcat.zip"),),
    ),
    Reader(
        "xcat_folder",
        lambda _: [{f"xcat/{n}": c for n, c in seeds.xcat().items()}],
        (_read_xcat("xcat"),),
    ),
    Reader("prepared", _prepared_files, (_read_prepared, _verify_prepared)),
)
