"""The page that goes with a model says what the folder records, and no more."""

import json

import pytest

from cmrjax.files import write_json
from cmrjax.training.description import write_description
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
    (folder / "checkpoints" / "50").mkdir(parents=True)
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
    (tmp_path / "model.json").write_text(
        json.dumps(
            {
                "schema": {"name": "s", "class_names": ["background"]},
                "architecture": {"levels": 2},
                "image_size": 64,
                "spacing": 1.25,
                "transform": {"name": "zscore"},
            }
        )
    )
    text = model_card(tmp_path)
    assert "U-Net; levels 2." in text
    assert "errs most at the base and apex" in text
