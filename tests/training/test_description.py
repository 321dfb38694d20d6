"""model.json: round trip and what is refused."""

import json

import pytest

from cmrjax.data.intensity import ClipTransform, PercentileTransform, ZScoreTransform
from cmrjax.labels import CAVITY, MULTI_TISSUE
from cmrjax.models.spade_generator import GeneratorArchitecture
from cmrjax.models.unet import UnetArchitecture
from cmrjax.training.description import (
    MODEL_FILE,
    ModelDescription,
    SegmenterDescription,
    read_description,
    write_description,
)

DESCRIPTIONS = [
    ModelDescription(CAVITY, GeneratorArchitecture(4), 256),
    ModelDescription(
        MULTI_TISSUE,
        GeneratorArchitecture(9, 16, 64, 8, paper_equation=True, out_channels=2),
        128,
        spacing=1.25,
        transform=ClipTransform(0.0, 3000.0),
    ),
    SegmenterDescription(
        MULTI_TISSUE,
        UnetArchitecture(9, 8, 64, 3, 0.25),
        192,
        spacing=1.25,
        transform=ZScoreTransform(),
        mirrored=True,
    ),
]


@pytest.mark.parametrize("description", DESCRIPTIONS)
def test_round_trip(tmp_path, description):
    write_description(tmp_path, description, provenance={"data": "abc"})
    found = read_description(tmp_path, type(description))
    assert type(found) is type(description)
    assert found == description
    assert hash(found) == hash(description)
    content = json.loads((tmp_path / MODEL_FILE).read_text())
    assert content["provenance"] == {"data": "abc"}


def test_the_default_transform_is_the_percentile_one():
    assert DESCRIPTIONS[0].transform == PercentileTransform(1.0, 99.0)


def test_schema_and_network_must_agree():
    with pytest.raises(ValueError, match="'cavity' has 4 classes, the generator 9"):
        ModelDescription(CAVITY, GeneratorArchitecture(9), 256)
    with pytest.raises(ValueError, match="4 classes, the segmentation network 9"):
        SegmenterDescription(CAVITY, UnetArchitecture(9), 256)


@pytest.mark.parametrize(
    ("written", "kind", "text"),
    [
        (
            DESCRIPTIONS[2],
            ModelDescription,
            r"format is 'cmrjax-segmenter-1'; expected 'cmrjax-model-1', a "
            r"generator of `python -m experiments\.train_gan`",
        ),
        (
            DESCRIPTIONS[0],
            SegmenterDescription,
            r"format is 'cmrjax-model-1'; expected 'cmrjax-segmenter-1', a "
            r"segmentation network of `python -m experiments\.train_segmentation`",
        ),
    ],
)
def test_a_network_of_the_other_kind_is_refused(tmp_path, written, kind, text):
    write_description(tmp_path, written, provenance={})
    with pytest.raises(ValueError, match=text):
        read_description(tmp_path, kind)


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(ValueError, match=r"not a model folder: it has no model\.json"):
        read_description(tmp_path, ModelDescription)
    with pytest.raises(ValueError, match=r"-m experiments\.train_segmentation`"):
        read_description(tmp_path, SegmenterDescription)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": "other-9"}, "format is 'other-9'; expected 'cmrjax-model-1'"),
        ({"schema": None}, "not a valid model description"),
        ({"architecture": {"num_classes": 4, "novel": 1}}, "not a valid model desc"),
        ({"architecture": {"num_classes": 5}}, "4 classes, the generator 5"),
        ({"transform": {"name": "novel"}}, "not a valid model description"),
    ],
)
def test_damaged_descriptions(tmp_path, change, text):
    write_description(tmp_path, DESCRIPTIONS[0], provenance={})
    path = tmp_path / MODEL_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=text):
        read_description(tmp_path, ModelDescription)


@pytest.mark.parametrize("content", ["[1]", "null", "{"])
def test_other_json(tmp_path, content):
    (tmp_path / MODEL_FILE).write_text(content)
    with pytest.raises(ValueError, match=r"model\.json"):
        read_description(tmp_path, ModelDescription)
