"""Which slices a segmentation training sees, and which folders go together."""

import shutil

import numpy as np
import pytest

from cmrjax.data.intensity import (
    ClipTransform,
    PercentileTransform,
    ZScoreTransform,
)
from cmrjax.data.prepared import PreparedDataset
from cmrjax.data.source import SliceSource
from cmrjax.files import read_json, sha256_file, write_json
from cmrjax.labels import CAVITY, MULTI_TISSUE
from experiments.segmentation_data import JoinedSource, open_segmentation_data
from tests.data.prepared_folder import make_prepared
from tests.experiments.tiny_segmentation import (
    COUNT,
    CROP,
    SIDE,
    tiny_config,
    tiny_data,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return tiny_data(root / "first"), tiny_data(root / "second", seed=1)


def test_what_is_opened(folders):
    data = open_segmentation_data(tiny_config(folders[0]))
    assert {info.split for info in data.train.slices} == {"train"}
    assert {info.split for info in data.validation.slices} == {"test"}
    assert (len(data.train), len(data.validation)) == (6, 5)  # max_slices is 5
    assert data.schema == MULTI_TISSUE
    assert data.transform.name == "zscore"
    assert (data.prepared_size, data.image_size, data.spacing) == (SIDE, CROP, 1.25)
    # Training crops on the device, after augmentation; validation does before.
    assert data.train[0]["image"].shape == (SIDE, SIDE, 1)
    assert data.validation[0]["image"].shape == (CROP, CROP, 1)


def test_without_a_crop_the_prepared_size_is_seen(folders):
    config = tiny_config(folders[0])
    config.data.image_size = 0
    data = open_segmentation_data(config)
    assert (data.prepared_size, data.image_size) == (SIDE, SIDE)
    assert data.validation[0]["image"].shape == (SIDE, SIDE, 1)


def test_folders_are_joined_in_order(folders):
    datasets = [PreparedDataset.open(folder) for folder in folders]
    sources = [SliceSource(datasets[0], [4, 1, 7]), SliceSource(datasets[1], [2, 3])]
    joined = JoinedSource(sources)
    assert len(joined) == len(joined.slices) == 5
    for place, (which, index) in enumerate([(0, 4), (0, 1), (0, 7), (1, 2), (1, 3)]):
        example = joined[place]
        assert example["index"] == place
        assert example["index"].dtype == np.int32
        np.testing.assert_array_equal(
            example["label_map"], datasets[which].labels[index]
        )
        info = joined.slices[place]
        assert info.subject == f"{which}/{datasets[which].slices[index].subject}"
        assert info.slice == datasets[which].slices[index].slice
    assert joined.splits == {"train", "test", "evaluation"}


def test_subjects_of_two_folders_are_not_taken_for_one(folders):
    """Both simulations name their subjects SIM0000, SIM0001, ..."""
    data = open_segmentation_data(tiny_config(*folders))
    assert len(data.train) == 12
    assert len({info.subject for info in data.train.slices}) == 6


def test_the_validation_slices_are_shared_among_the_folders(folders):
    data = open_segmentation_data(tiny_config(*folders))
    places = [info.subject.split("/")[0] for info in data.validation.slices]
    assert (places.count("0"), places.count("1")) == (3, 3)


def test_fingerprint_follows_folders_and_their_order(folders, tmp_path):
    def fingerprint(*paths):
        return open_segmentation_data(tiny_config(*paths)).train.fingerprint

    found = {fingerprint(*p) for p in (folders, folders[::-1], folders[:1])}
    assert len(found) == 3
    moved = shutil.copytree(folders[0], tmp_path / "moved")
    assert fingerprint(moved) == fingerprint(folders[0])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"spacing": 2.0}, r"'spacing': \(2.0, 2.0\)"),
        ({"size": 32}, r"'image_size': \(32, 32\)"),
    ],
)
def test_folders_that_were_prepared_differently(folders, tmp_path, changes, text):
    other = tiny_data(tmp_path / "other", **changes)
    with pytest.raises(ValueError, match=text) as error:
        open_segmentation_data(tiny_config(folders[0], other))
    message = str(error.value)
    assert message.startswith(f"config.data.paths: {other} has")
    assert str(folders[0]) in message
    assert message.endswith("prepare them alike")


@pytest.mark.parametrize("transform", [PercentileTransform(), ClipTransform(0, 9)])
def test_other_intensities_than_z_scores_are_refused(tmp_path, transform):
    path = tiny_data(tmp_path / "other", transform=transform)
    with pytest.raises(ValueError, match="prepare the data with --transform=zscore"):
        open_segmentation_data(tiny_config(path))


def test_folders_of_other_labels(folders, tmp_path):
    cavity = make_prepared(
        tmp_path / "cavity", count=COUNT, size=(SIDE, SIDE), transform=ZScoreTransform()
    )
    with pytest.raises(ValueError, match=r"'schema': 'cavity'.*'multi_tissue'"):
        open_segmentation_data(tiny_config(folders[0], cavity))


def test_other_refusals(folders, tmp_path):
    with pytest.raises(ValueError, match=r"config\.data\.paths names no prepared fold"):
        open_segmentation_data(tiny_config())
    with pytest.raises(ValueError, match=r"no folder .*none\. Make it by") as error:
        open_segmentation_data(tiny_config(tmp_path / "none"))
    assert f"--transform=zscore --spacing=1.25 --all-slices --out={tmp_path}" in str(
        error.value
    )
    config = tiny_config(folders[0])
    config.data.validation_splits = ("development", "train")
    with pytest.raises(ValueError, match="not trained on; use development"):
        open_segmentation_data(config)
    config = tiny_config(folders[0])
    config.data.validation_splits = ("development",)
    with pytest.raises(ValueError, match="has no split development; it has evaluation"):
        open_segmentation_data(config)
    config = tiny_config(folders[0])
    config.data.image_size = 32
    with pytest.raises(ValueError, match="a crop of 32x32 does not fit into 24x24"):
        open_segmentation_data(config)
    oblong = make_prepared(
        tmp_path / "oblong",
        count=COUNT,
        size=(8, 12),
        schema=MULTI_TISSUE,
        transform=ZScoreTransform(),
    )
    with pytest.raises(
        ValueError, match=r"oblong: slices of \(8, 12\); expected squar"
    ):
        open_segmentation_data(tiny_config(oblong))


def test_bad_labels_are_found_before_anything_starts(tmp_path):
    bad = tiny_data(tmp_path / "bad")
    labels = np.load(bad / "labels.npy")
    labels[3, 5, 6] = 9
    np.save(bad / "labels.npy", labels)
    with pytest.raises(ValueError, match=r"the hash of its labels is not"):
        open_segmentation_data(tiny_config(bad))
    manifest = read_json(bad / "manifest.json")
    manifest["arrays"]["labels"]["sha256"] = sha256_file(bad / "labels.npy")
    write_json(bad / "manifest.json", manifest)
    with pytest.raises(
        ValueError, match=r"P1, ED, slice 4.*label id 9 .*8 other_blood"
    ):
        open_segmentation_data(tiny_config(bad))


def test_cavity_labels_are_a_task_too(tmp_path):
    cavity = make_prepared(
        tmp_path / "cavity", count=COUNT, size=(SIDE, SIDE), transform=ZScoreTransform()
    )
    assert open_segmentation_data(tiny_config(cavity)).schema == CAVITY
