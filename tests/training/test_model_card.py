"""The page that goes with a model says what the folder records, and no more."""

import json

import jax.numpy as jnp
import pytest

from cmrjax.files import write_json
from cmrjax.labels import CAVITY
from cmrjax.models.unet import UnetArchitecture
from cmrjax.training.checkpoint import CheckpointStore
from cmrjax.training.checkpoint_folder import STATE, Criterion
from cmrjax.training.description import SegmenterDescription, write_description
from cmrjax.training.model_card import LICENCES, model_card, write_model_card
from tests.synthesis.tiny_models import make_params

DATA = {
    "dataset": "mnms",
    "num_slices": 826,
    "num_subjects": 48,
    "groups": ["A1"],
    "fingerprint": "f" * 64,
    "labelled_by": "0123456789abcdef",
}


def _folder(path, **provenance):
    path.mkdir()
    write_description(path, make_params().description, provenance=provenance)
    return path


def test_what_is_recorded_stands_on_the_page(tmp_path):
    folder = _folder(
        tmp_path / "multi_a1",
        data=[DATA],
        config={"data": {"licence": ""}},
        code={"package": "0.1.0", "commit": "abc"},
    )
    rows = [
        {"step": 0, "validation_ssim": 0.1},
        {"step": 50, "g_loss": 3.0, "train_seconds": 600.0},
        {"step": 50, "validation_ssim": 0.34567, "validation_psnr": None},
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    timing = {"batch_size": 8, "devices": ["cpu"], "peak_host_bytes": 3 * 2**30}
    write_json(folder / "timing.json", timing)
    (folder / "checkpoints" / "50" / STATE).mkdir(parents=True)
    write_model_card(folder)
    text = (folder / "MODEL_CARD.md").read_text()
    for part in (
        "# Model card: multi_a1\n",
        "Not for diagnosis",
        "Labels (cavity): 0 background, 1 LV, 2 MYO, 3 RV.",
        "mnms: 826 slices of 48 subjects, groups A1.",
        "labels of a network (0123456789ab)",
        LICENCES["mnms"],
        "Newest checkpoint: step 50.",
        "10 minutes of training.",
        "Batch 8 on 1 device(s), cpu; at most 3.0 GiB",
        "commit abc",
        "at step 50",
        "| ssim | 0.3457 |",
        "not scans of anyone",
    ):
        assert part in text, part
    assert "psnr" not in text


def test_the_best_checkpoint_stands_beside_the_last(tmp_path):
    folder = _folder(tmp_path / "m")
    scores = {40: 0.5, 50: 0.4}
    criterion = Criterion("validation_ssim", "abc")
    with CheckpointStore(folder / "checkpoints", criterion=criterion) as store:
        for step, score in scores.items():
            store.save(step, {"a": jnp.ones(1)}, position={}, facts={}, score=score)
            store.wait()
    rows = [
        {"step": step, "validation_ssim": score, "dice_LV": score + 0.1}
        for step, score in scores.items()
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    text = model_card(folder)
    for part in (
        "- Newest checkpoint: step 50.",
        "- Best checkpoint (checkpoints/best): step 40, by validation_ssim.",
        "at step 40 (the best) and step 50 (the last):",
        "| figure | step 40 | step 50 |\n|---|---|---|\n| ssim | 0.5 | 0.4 |",
        "| dice_LV | 0.6 | 0.5 |",
    ):
        assert part in text, part


def test_losses_name_their_terms_and_the_layers_of_vgg19(tmp_path):
    config = {"loss": {"perceptual_weight": 10.0, "vgg19_weights": "weights/x.npz"}}
    features = ["relu1_1", "relu2_1"]
    folder = _folder(tmp_path / "a", config=config, perceptual_features=features)
    assert (
        "- Losses: hinge, feature matching, perceptual on VGG19's relu1_1, relu2_1; "
        "perceptual_weight 10.\n"
    ) in model_card(folder)
    folder = _folder(tmp_path / "b", config=config, perceptual_features=[])
    assert "feature matching, no perceptual loss; " in model_card(folder)
    loss = {"loss": {"alpha": 0.7, "beta": 0.3}}
    text = model_card(_folder(tmp_path / "c", config=loss))
    assert "- Loss, Focal Tversky: alpha 0.7, beta 0.3." in text


def test_where_a_training_began_is_said_with_its_data_and_licence(tmp_path):
    before = {
        "path": "runs/first/checkpoints/9",
        "sha256": "e" * 64,
        "data": [{**DATA, "dataset": "acdc", "labelled_by": ""}],
        "licence": "",
    }
    text = model_card(_folder(tmp_path / "m", data=[DATA], started_from=before))
    assert "began with the network of runs/first/checkpoints/9 (SHA-256 eee" in text
    assert "  - acdc: 826 slices" in text
    assert LICENCES["mnms"] in text
    assert LICENCES["acdc"] in text


def test_the_first_of_several_beginnings_is_said_too(tmp_path):
    simulated = {**DATA, "dataset": "simulated", "labelled_by": ""}
    first = {"path": "runs/a", "sha256": "a", "licence": "", "started_from": None}
    first["data"] = [{**simulated, "dataset": "acdc"}]
    second = {"path": "runs/b", "sha256": "b", "licence": "", "data": [simulated]}
    second["started_from"] = first
    facts = {"data": [simulated], "started_from": second}
    text = model_card(_folder(tmp_path / "m", **facts))
    assert text.index("the network of runs/b") < text.index("the network of runs/a")
    assert "  - acdc: 826 slices" in text
    for name in ("simulated", "acdc"):
        assert text.count(LICENCES[name]) == 1
    assert "Not stated." not in text


def test_a_beginning_of_which_nothing_is_known_leaves_the_licence_open(tmp_path):
    before = {"path": "runs/a", "sha256": "a", "licence": "", "data": []}
    data = [{**DATA, "dataset": "simulated"}]
    text = model_card(_folder(tmp_path / "m", data=data, started_from=before))
    assert "  - Not known." in text
    assert LICENCES["simulated"] in text
    assert "Not stated. Whoever passes this model on" in text


def test_what_is_not_known_is_said(tmp_path):
    text = model_card(_folder(tmp_path / "m"))
    assert "- Not recorded." in text
    assert "Nothing was measured on held-out images." in text
    assert "Not stated. Whoever passes this model on" in text


@pytest.mark.parametrize(
    ("config", "dataset", "expected"),
    [
        ({"data": {"licence": "Own, CC BY 4.0"}}, "mnms", "- Own, CC BY 4.0"),
        ({}, "nifti", "- Not stated."),
        ({}, "acdc", "Bernard"),
    ],
)
def test_licence(tmp_path, config, dataset, expected):
    data = [{**DATA, "dataset": dataset, "labelled_by": ""}]
    text = model_card(_folder(tmp_path / "m", data=data, config=config))
    assert expected in text
    assert "labels of a network" not in text


def test_a_segmentation_network_has_its_own_limits(tmp_path):
    description = SegmenterDescription(CAVITY, UnetArchitecture(4, 2), image_size=64)
    write_description(tmp_path, description, provenance={})
    text = model_card(tmp_path)
    assert "- U-Net; num_classes 4, base_features 2" in text
    assert "errs most at the base and apex" in text


def test_the_kind_of_a_model_is_what_its_format_says(tmp_path):
    folder = _folder(tmp_path / "m")
    content = json.loads((folder / "model.json").read_text())
    write_json(folder / "model.json", {**content, "format": "other"})
    with pytest.raises(ValueError, match=r"m/model\.json: format is 'other'"):
        model_card(folder)
