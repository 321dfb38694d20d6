"""Readers of models, weights, records and settings, for `tools.fuzz_readers`."""

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

from cmrjax.data.records import FilePair, SubjectRecord
from cmrjax.evaluation.curves import metric_series
from cmrjax.files import shorten
from cmrjax.models.vgg19 import load_vgg19
from cmrjax.segmentation.label_store import LabelStore
from cmrjax.simulation.population_folder import claim_folder
from cmrjax.synthesis.params import load_params
from cmrjax.synthesis.volume import is_finished
from cmrjax.training.checkpoint import CheckpointStore
from cmrjax.training.description import (
    ModelDescription,
    SegmenterDescription,
    read_description,
)
from cmrjax.training.model_card import model_card
from cmrjax.training.writers import read_metrics
from experiments.config_ranges import check_ranges
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

_CONFIG = Path(__file__).parents[1] / "experiments" / "configs" / "base.py"
_SETTINGS = {"seed": 0, "schema": "cavity", "nested": {"a": [1, 2]}}


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


def _read_means(folder: Path) -> None:
    read_class_means(folder)


def _read_card(folder: Path) -> None:
    model_card(folder)


def _read_history(folder: Path) -> None:
    rows = read_metrics(folder / "metrics.jsonl")
    metric_series(rows, "g_loss")


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
        lambda folder: seeds.each(name, contents(folder)),
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
    return [{"train.arguments": "\n".join(lines).encode(), **here}]


def _override(folder: Path) -> None:
    """What `experiments.train_gan` does with its arguments, up to the compilation."""
    path = folder / "train.arguments"
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
    check_ranges(config)
    data = open_gan_data(config)
    make_trainer(config, data.train)
    num_steps(config, len(data.train))
    make_iterator(config, data.train).close()


MODEL_READERS: tuple[Reader, ...] = (
    Reader(
        "model_json",
        _model_files,
        (_describe(ModelDescription), _describe(SegmenterDescription)),
        ("model.json",),
    ),
    Reader(
        "model_card",
        lambda f: _model_files(f)[:1],
        (_read_card,),
    ),
    Reader(
        "class_means",
        lambda f: _model_files(f)[:1],
        (_read_means,),
        ("class_means.json",),
    ),
    Reader(
        "metrics", lambda f: _model_files(f)[:1], (_read_history,), ("metrics.jsonl",)
    ),
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
        ("train.arguments",),
        names=("config", "--"),
        guidance=True,
    ),
)
