"""The readers of files that users hand in, as `tools.fuzz_readers` tries them."""

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
from absl import flags
from ml_collections import config_flags

from cmrjax.data import acdc, mnms, nifti_table
from cmrjax.data.nifti import read_nifti, read_volume
from cmrjax.data.prepared import PreparedDataset
from cmrjax.data.records import FilePair, SubjectRecord, Subjects
from cmrjax.data.schema_file import read_schema
from cmrjax.data.source import SliceSource
from cmrjax.data.split import read_split, resolve_splits
from cmrjax.data.subject import Recipe, prepare_subject
from cmrjax.evaluation.curves import metric_series
from cmrjax.files import shorten
from cmrjax.models.vgg19 import load_vgg19
from cmrjax.segmentation.label_store import LabelStore
from cmrjax.simulation.pair_mapping import read_mapping
from cmrjax.simulation.pair_reading import read_pairs
from cmrjax.simulation.pair_search import find_pairs
from cmrjax.simulation.population_folder import claim_folder
from cmrjax.simulation.xcat import open_xcat
from cmrjax.synthesis.output_values import OutputValues
from cmrjax.synthesis.params import load_params
from cmrjax.synthesis.volume import Synthesizer, is_finished
from cmrjax.training.checkpoint import CheckpointStore
from cmrjax.training.description import (
    DEFAULT_TRANSFORM,
    ModelDescription,
    SegmenterDescription,
    read_description,
)
from cmrjax.training.model_card import model_card
from cmrjax.training.writers import read_metrics
from experiments.evaluate_gan import read_class_means
from experiments.gan_data import make_iterator, open_gan_data
from experiments.gan_setup import make_trainer, num_steps
from experiments.run_folder import open_run
from experiments.training_flags import parse_flags
from tools import fuzz_seeds as seeds
from tools.fuzz_seeds import Files
from tools.fuzz_worker import Reader, Use
from tools.import_spade import import_generator
from tools.port_vgg19 import port

_CODE = "P0"
_CONFIG = Path(__file__).parents[1] / "experiments" / "configs" / "base.py"
_TABLE_HEADER = ["External code", "VendorName", "Vendor", "Centre", "ED", "ES"]
_SETTINGS = {"seed": 0, "schema": "cavity", "nested": {"a": [1, 2]}}


def _each(name: str, contents: list[bytes]) -> list[Files]:
    return [{name: content} for content in contents]


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
    rows = [["x.nii", "x_gt.nii", "p1", phase, "S", "L", "0"] for phase in ("ED", "ES")]
    rows.append(["x.nii", "", "p2", "ed", "S", "L", ""])
    images: Files = {"x.nii": b"", "x_gt.nii": b""}
    return [{"cases.csv": seeds.table([header, *rows]), **images}]


def _split_files(_: Path) -> list[Files]:
    rows = [["External code", "split"], ["P0", "train"], ["P1", "test"]]
    return [{"split.csv": seeds.table([*rows, ["P2", "development"]])}]


def _schema_files(_: Path) -> list[Files]:
    own = {"name": "own", "class_names": ["background", "LV", "MYO", "kidney"]}
    ids = {"0": "background", "500": "LV", "7": "MYO", "8": "MYO"}
    return _each(
        "schema.json", [seeds.as_json(own), seeds.as_json({**own, "ids": ids})]
    )


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


def _model_files(folder: Path) -> list[Files]:
    files = seeds.files_below(seeds.model_folder(folder / "model"))
    beside = {n: c for n, c in files.items() if "/" not in n}
    segmenter = seeds.segmenter_description(folder / "segmenter")
    return [beside, {"model.json": segmenter}]


def _describe(kind: Any) -> Use:
    def use(folder: Path) -> None:
        description = read_description(folder, kind)
        json.dumps(description.to_dict(), allow_nan=False)
        hash(description)

    return use


def _read_history(folder: Path) -> None:
    rows = read_metrics(folder / "metrics.jsonl")
    metric_series(rows, "g_loss")


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


def _checkpoint_files(folder: Path) -> list[Files]:
    files = seeds.files_below(seeds.model_folder(folder / "model"))
    kept = {n: c for n, c in files.items() if "/" in n or n == "model.json"}
    return [kept]


def _read_model(folder: Path) -> None:
    params = load_params(folder)
    leaves = jax.tree.leaves(params.variables)
    assert all(np.asarray(leaf).dtype == np.float32 for leaf in leaves)


def _resume(folder: Path) -> None:
    state = {"g_variables": seeds.generator_params().variables}
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state
    )
    with CheckpointStore(folder / "checkpoints") as store:
        step = store.latest_step
        if step is None:
            raise ValueError(f"{folder}: no checkpoint")
        store.restore(step, abstract)


def _weights(name: str, contents: Callable[[Path], list[bytes]]) -> Reader:
    def import_spade(folder: Path) -> None:
        import_generator(folder / name)

    def port_vgg(folder: Path) -> None:
        port(folder / name, folder / "out.npz")

    def load_vgg(folder: Path) -> None:
        load_vgg19(folder / name)

    suffix = name.rpartition(".")[2]
    uses: tuple[Use, ...] = (import_spade, port_vgg)
    if suffix == "npz":
        uses = (*uses, load_vgg)
    return Reader(
        f"weights_{suffix}",
        lambda folder: _each(name, contents(folder)),
        uses,
        guidance=True,
    )


def _npz_files(_: Path) -> list[bytes]:
    states = (seeds.spade_state(), seeds.keras_state(), seeds.ported_state())
    return [seeds.npz(state) for state in states]


def _safetensors_files(_: Path) -> list[bytes]:
    states = (seeds.spade_state(), seeds.torchvision_state())
    return [seeds.safetensors(state) for state in states]


def _record_files(folder: Path) -> list[Files]:
    """Files that a command writes for itself and reads when it goes on."""
    run: Files = {}
    open_run(folder / "run", _SETTINGS, {"data": "0"}, has_checkpoint=False)
    run["run.json"] = (folder / "run" / "run.json").read_bytes()
    claim_folder(folder / "population", 3, _SETTINGS)
    record = (folder / "population" / "simulation.json").read_bytes()
    run["population/simulation.json"] = record
    LabelStore(folder / "store", _SETTINGS)
    run["store/settings.json"] = (folder / "store" / "settings.json").read_bytes()
    volume = {"slices": [0], "valid_box": [0, 4, 0, 4], "description": {"phase": "ED"}}
    facts = {"sources": {"files": {}, "phases": [["ED", 0]], "group": "A1"}}
    facts |= {"problems": [], "notices": [], "unlabelled": False, "rows": [{"a": None}]}
    facts |= {"volumes": [volume]}
    here = "store/subjects/P0"
    run[f"{here}/subject.json"] = seeds.as_json(facts)
    for name, dtype in (("images_0", "f2"), ("labels_0", "u1")):
        np.save(folder / "array.npy", np.zeros((1, 4, 4), dtype))
        run[f"{here}/{name}.npy"] = (folder / "array.npy").read_bytes()
    return [run]


def _continue_run(folder: Path) -> None:
    open_run(folder, _SETTINGS, {"data": "0"}, has_checkpoint=True)


def _continue_population(folder: Path) -> None:
    claim_folder(folder / "population", 3, _SETTINGS)


def _continue_labelling(folder: Path) -> None:
    store = LabelStore(folder / "store", _SETTINGS)
    pair = FilePair(folder / "none.nii", None, (("ED", 0),))
    found = store.load(SubjectRecord("P0", "A", "1", (pair,)))
    if found is not None:
        store.rows("P0")
        assert all(len(v.images) == len(v.slices) for v in found.volumes)


def _case_files(_: Path) -> list[Files]:
    content = {"settings": {}, "label": {"sha256": "0"}, "outputs": {"a.nii.gz": "0"}}
    label = seeds.nifti(seeds.label_map())
    return [{"a.json": seeds.as_json(content), "a_gt.nii": label, "a.nii.gz": b"0"}]


def _continue_synthesis(folder: Path) -> None:
    class Alike:
        def settings(self) -> dict:
            return {}

    is_finished(folder / "a_gt.nii", folder, Alike())  # type: ignore[arg-type]


def _config_files(folder: Path) -> list[Files]:
    data = seeds.files_below(seeds.prepared(folder / "data", side=32))
    here: Files = {f"data/{name}": content for name, content in data.items()}
    lines = [
        "--config.data.path=data",
        "--config.data.schema=cavity",
        "--config.data.image_size=32",
        "--config.data.train_groups=('A1',)",
        "--config.data.validation_groups=('B3',)",
        "--config.data.validation_splits=('development',)",
        "--config.data.num_threads=1",
        "--config.data.prefetch=1",
        "--config.data.flip=False",
        "--config.model.base_features=1",
        "--config.model.seed_stride=32",
        "--config.model.latent_size=0",
        "--config.model.modulation=table",
        "--config.model.num_scales=2",
        "--config.model.dtype=float32",
        "--config.loss.vgg19_weights=",
        "--config.loss.perceptual_weight=0.0",
        "--config.loss.perceptual_layers=reference",
        "--config.loss.reduction=mean",
        "--config.optimizer.g_learning_rate=0.001",
        "--config.optimizer.b1=0.5",
        "--config.optimizer.constant_epochs=3",
        "--config.optimizer.decay_epochs=1",
        "--config.optimizer.average_decay=0.9",
        "--config.optimizer.generator_passes=1",
        "--config.training.batch_size=1",
        "--config.training.num_steps=4",
        "--config.training.report_every=1",
        "--config.training.checkpoint_minutes=0.5",
        "--config.training.keep_checkpoints=2",
        "--config.evaluation.every=2",
        "--config.evaluation.max_slices=2",
        "--config.seed=3",
    ]
    return [{"arguments.cfg": "\n".join(lines).encode(), **here}]


def _override(folder: Path) -> None:
    """What `experiments.train_gan` does with its arguments, up to the compilation."""
    path = folder / "arguments.cfg"
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    arguments = path.read_bytes().decode("utf-8", "replace").splitlines()
    overrides = [a for a in arguments if a.startswith("--config.")]
    command = ["train_gan", f"--config={_CONFIG}", *overrides]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    try:
        with mock.patch.object(sys, "argv", command):  # where overrides are looked for
            parse_flags(values, command)
        config = values.config
    except flags.Error as error:  # absl prints it in one line
        raise ValueError(f"--config: {shorten(error)}") from None
    if config.data.path == "data":
        config.data.path = str(folder / "data")
    data = open_gan_data(config)
    make_trainer(config, data.train)
    num_steps(config, len(data.train))
    make_iterator(config, data.train).close()


READERS: tuple[Reader, ...] = (
    Reader(
        "nifti",
        lambda _: _each("image.nii", seeds.images()),
        _image_uses("image.nii"),
    ),
    Reader(
        "nifti_gz",
        lambda _: _each("image.nii.gz", [gzip.compress(c, 1) for c in seeds.images()]),
        _image_uses("image.nii.gz"),
    ),
    Reader(
        "labels",
        lambda _: _each("case_gt.nii", seeds.label_files()),
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
        (lambda folder: [read_split(folder / "split.csv")] and None,),
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
    Reader(
        "model_json",
        _model_files,
        (_describe(ModelDescription), _describe(SegmenterDescription)),
        ("model.json",),
    ),
    Reader(
        "model_card",
        lambda f: _model_files(f)[:1],
        (lambda f: [model_card(f)] and None,),
    ),
    Reader(
        "class_means",
        lambda f: _model_files(f)[:1],
        (lambda folder: [read_class_means(folder)] and None,),
        ("class_means.json",),
    ),
    Reader(
        "metrics", lambda f: _model_files(f)[:1], (_read_history,), ("metrics.jsonl",)
    ),
    Reader("prepared", _prepared_files, (_read_prepared, _verify_prepared)),
    Reader("checkpoint", _checkpoint_files, (_read_model, _resume)),
    Reader(
        "own_records",
        _record_files,
        (_continue_run, _continue_population, _continue_labelling),
        guidance=True,
    ),
    Reader("synthesis_record", _case_files, (_continue_synthesis,), ("*.json",)),
    _weights("weights.npz", _npz_files),
    _weights("weights.safetensors", _safetensors_files),
    _weights("weights.pth", lambda _: seeds.torch_files()),
    _weights("weights.h5", lambda folder: seeds.hdf5_files(folder / "h5")),
    Reader(
        "config",
        _config_files,
        (_override,),
        ("arguments.cfg",),
        names=("config", "--"),
        guidance=True,
    ),
)
