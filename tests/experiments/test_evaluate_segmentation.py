"""The evaluation command on a network's folder: figures, pictures and refusals."""

import json

import numpy as np
import pytest
from PIL import Image

from cmrjax.data.intensity import PercentileTransform, ZScoreTransform
from cmrjax.data.prepared import PreparedDataset
from cmrjax.labels import CAVITY, MULTI_TISSUE
from cmrjax.models.spade_generator import GeneratorArchitecture
from cmrjax.models.unet import Unet, UnetArchitecture
from cmrjax.segmentation.params import load_segmenter
from cmrjax.training.checkpoint import CheckpointStore
from cmrjax.training.description import (
    ModelDescription,
    SegmenterDescription,
    write_description,
)
from experiments.evaluate_segmentation import evaluate_network, main
from tests.data.prepared_folder import make_prepared
from tests.experiments.tiny_segmentation import COUNT, CROP, SIDE, tiny_data
from tests.models.drawn import draw_variables

ARCH = UnetArchitecture(MULTI_TISSUE.num_classes, 2, 4, levels=1)
DESCRIPTION = SegmenterDescription(MULTI_TISSUE, ARCH, CROP, 1.25, ZScoreTransform())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_data(tmp_path_factory.mktemp("data") / "prepared")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder as training leaves it; the network is drawn, not trained."""
    folder = tmp_path_factory.mktemp("model")
    write_description(folder, DESCRIPTION, provenance={})
    image = np.zeros((1, CROP, CROP, 1), np.float32)
    variables = draw_variables(Unet(ARCH).init, image, train=False)
    with CheckpointStore(folder / "checkpoints") as store:
        store.save(7, {"variables": variables}, position={}, facts={})
    return folder


def by_hand(model, data, split):
    """Dice of each volume and class, from the maps themselves."""
    params, dataset = load_segmenter(model), PreparedDataset.open(data)
    edge = (SIDE - CROP) // 2
    crop = np.s_[edge : edge + CROP, edge : edge + CROP]
    found = {}
    for subject in {s.subject for s in dataset.slices if s.split == split}:
        rows = [s.index for s in dataset.slices if s.subject == subject]
        image = np.stack([np.float32(dataset.images[i][crop]) for i in rows])
        truth = np.stack([dataset.labels[i][crop] for i in rows])
        own = Unet(ARCH).apply(params.variables, image[..., None], train=False)
        own = np.asarray(own).argmax(-1)
        valid = np.zeros((SIDE, SIDE), bool)
        valid[5:] = True
        valid = valid[crop]
        for k, name in enumerate(MULTI_TISSUE.class_names):
            a, b = (own == k) & valid, (truth == k) & valid
            total = a.sum() + b.sum()
            found[subject, name] = 2 * (a & b).sum() / total if total else None
    return found


def test_the_command_writes_what_a_count_by_hand_gives(data, model, tmp_path, capsys):
    main([f"--model={model}", f"--data={data}", f"--out={tmp_path / 'out'}"])
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "segmentation.json",
        "panel.png",
        "provenance.json",
    }
    result = json.loads((tmp_path / "out" / "segmentation.json").read_text())
    assert (result["num_subjects"], result["num_slices"]) == (3, 6)
    expected = by_hand(model, data, "test")
    for row in result["volumes"]:
        for name in MULTI_TISSUE.class_names[1:]:
            assert row[name] == pytest.approx(expected[row["subject"], name])
    means = []
    for name in MULTI_TISSUE.class_names[1:]:
        of_class = [row[name] for row in result["volumes"] if row[name] is not None]
        mean = np.mean(of_class) if of_class else None
        assert result["dice"][name] == pytest.approx(mean)
        means += [] if mean is None else [mean]
    assert result["mean_dice"] == pytest.approx(np.mean(means))
    text = capsys.readouterr().out
    assert text.startswith("3 subjects, 6 slices, Dice:\n  LV ")
    assert f"  {'mean':16} {result['mean_dice']:.3f}\n" in text
    with Image.open(tmp_path / "out" / "panel.png") as panel:
        assert panel.width > 3 * CROP
        assert panel.height > 6 * CROP
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())["config"]
    assert record["model"] == str(model / "checkpoints" / "7")
    assert record["model_sha256"] == load_segmenter(model).fingerprint
    assert record["splits"] == ["test"]


def test_a_class_that_nobody_has_is_null_and_not_an_error(model, tmp_path, capsys):
    """JSON has no NaN."""
    images = np.zeros((COUNT, SIDE, SIDE))
    empty = make_prepared(
        tmp_path / "empty",
        count=COUNT,
        size=(SIDE, SIDE),
        schema=MULTI_TISSUE,
        labels=np.zeros((COUNT, SIDE, SIDE)),
        images=images,
        transform=ZScoreTransform(),
        spacing=1.25,
    )
    result = evaluate_network(model, empty, splits=["test"], out=tmp_path / "out")
    written = json.loads((tmp_path / "out" / "segmentation.json").read_text())
    nobody = [name for name, value in result["dice"].items() if np.isnan(value)]
    assert nobody
    for name in nobody:
        assert written["dice"][name] is None
        assert all(row[name] is None for row in written["volumes"])


def test_other_splits_may_be_named(data, model, tmp_path):
    result = evaluate_network(model, data, splits=["test", "evaluation"], out=tmp_path)
    evaluate_network(model, data, splits=["test"], out=tmp_path)  # replaces its own
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(FileExistsError, match=r"--out=.* holds something else"):
        evaluate_network(tmp_path / "none", data, splits=["test"], out=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "x"
    assert (result["num_subjects"], result["num_slices"]) == (6, 12)


def refusal(model, data, out, *more):
    with pytest.raises(SystemExit) as caught:
        main([f"--model={model}", f"--data={data}", f"--out={out}", *more])
    assert not out.exists()
    text = str(caught.value)
    assert text.startswith("evaluate_segmentation: ")
    return text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"transform": PercentileTransform()},
            "intensities percentile at 1.25 mm, the",
        ),
        (
            {"spacing": 1.33},
            "at 1.33 mm, the network was trained with multi_tissue, zs",
        ),
        ({"size": 12}, "a crop of 16x16 does not fit into 12x12; prepare the data wit"),
    ],
)
def test_data_that_were_prepared_differently(model, tmp_path, changes, text):
    data = tiny_data(tmp_path / "data", **changes)
    message = refusal(model, data, tmp_path / "out")
    assert text in message
    assert "prepare the data" in message


def test_data_of_other_labels(model, tmp_path):
    data = make_prepared(
        tmp_path / "cavity", transform=ZScoreTransform(), spacing=1.25, schema=CAVITY
    )
    assert "has labels cavity, intensities zscore" in refusal(
        model, data, tmp_path / "out"
    )


def test_what_is_no_segmentation_network_or_no_data(data, model, tmp_path):
    generator = tmp_path / "gan"
    write_description(
        generator, ModelDescription(CAVITY, GeneratorArchitecture(4), 64), provenance={}
    )
    out = tmp_path / "out"
    message = refusal(generator, data, out)
    assert "format is 'cmrjax-model-1'; expected 'cmrjax-segmenter-1'" in message
    assert "no such folder" in refusal(tmp_path / "none", data, out)
    assert "not a prepared folder" in refusal(model, tmp_path, out)
    assert "has no split future" in refusal(model, data, out, "--splits", "future")
