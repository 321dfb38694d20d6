"""Label maps and painted images that the benchmark is fed with."""

import numpy as np
import pytest

from cmrjax.labels import CAVITY, MULTI_TISSUE
from experiments.configs import base
from tests.data.prepared_folder import make_prepared
from tools.benchmark_maps import (
    MapSource,
    images_from_labels,
    name_of,
    open_maps,
    take_batches,
)


def tiny_config() -> base.Config:
    config = base.get_config()
    config.data.schema = "cavity"
    config.data.image_size = 32
    return config


def test_simulated_maps_fill_the_field_of_view_in_the_schema():
    config = tiny_config()
    config.data.image_size = 64
    source = open_maps("simulated", config)
    assert (source.schema, name_of(source)) == (CAVITY, "simulated")
    labels = np.stack([source[i]["label_map"] for i in range(len(source))])
    assert labels.shape[1:] == (64, 64)
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    config.data.schema = "multi_tissue"
    whole = open_maps("simulated", config)
    assert whole.schema == MULTI_TISSUE
    tissue = np.stack([whole[i]["label_map"] for i in range(len(whole))])
    assert set(np.unique(tissue)) == set(range(9))
    assert 0.3 < (tissue > 0).mean() < 0.9


def test_an_example_has_what_a_prepared_slice_has():
    labels = np.zeros((3, 32, 32), np.uint8)
    labels[:, 8:16] = 2
    source = MapSource(labels, CAVITY, "blocks")
    example = source[1]
    assert {k: (v.shape, v.dtype.name) for k, v in example.items()} == {
        "label_map": ((32, 32), "uint8"),
        "image": ((32, 32, 1), "float32"),
        "valid_mask": ((32, 32, 1), "bool"),
        "index": ((), "int32"),
    }
    (batch,) = take_batches(source, 3, 1)
    assert batch["image"].shape == (3, 32, 32, 1)
    with pytest.raises(ValueError, match="blocks"):
        MapSource(labels + 2, CAVITY, "blocks")


def test_painted_images_follow_the_labels():
    labels = np.zeros((1, 64, 64), np.uint8)
    labels[:, 16:48, 16:48] = 1
    image = images_from_labels(labels, 2)[0, ..., 0]
    assert np.abs(image).max() <= 1
    inside, outside = image[20:44, 20:44], image[:12]
    assert abs(inside.mean() - 0.9) < 0.1
    assert abs(outside.mean() + 0.9) < 0.1


def test_maps_that_are_not_there_or_do_not_fit(tmp_path):
    config = tiny_config()
    with pytest.raises(ValueError, match=r"--maps=.*none: no such file or folder"):
        open_maps(str(tmp_path / "none"), config)
    with pytest.raises(ValueError, match="one parameter file"):
        open_maps(str(tmp_path), config)
    data = make_prepared(tmp_path / "data", size=(16, 16))
    with pytest.raises(ValueError, match="larger --image-size or ask for less"):
        open_maps(str(data), config)
    config.data.image_size = 8
    with pytest.raises(ValueError, match="image_size is 8; expected 16 to 1024"):
        open_maps("simulated", config)


@pytest.mark.development_data
def test_xcat_maps(development_data):
    config = tiny_config()
    config.data.schema = "multi_tissue"
    config.data.image_size = 64
    file = development_data / "data" / "xcat" / "xcat_short_axis.zip"
    source = open_maps(str(file), config)
    assert (len(source), name_of(source)) == (64, f"XCAT {file.name}")
    labels = np.stack([source[i]["label_map"] for i in range(len(source))])
    assert labels.shape == (64, 64, 64)
    assert {0, 1, 2, 3, 4, 5} <= set(np.unique(labels))
