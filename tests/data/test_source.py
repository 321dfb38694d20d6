"""SliceSource: examples, crop, merge, mask."""

import numpy as np
import pytest

from cmrjax.data.source import PreparedDataset, SliceSource
from cmrjax.labels import CAVITY, MULTI_TISSUE
from tests.data.prepared_folder import make_prepared


@pytest.fixture
def dataset(tmp_path):
    return PreparedDataset.open(make_prepared(tmp_path / "d", schema=MULTI_TISSUE))


def test_example(dataset):
    source = SliceSource(dataset, [7, 2])
    assert len(source) == 2
    example = source[0]
    np.testing.assert_array_equal(example["label_map"], dataset.labels[7])
    np.testing.assert_array_equal(example["image"][..., 0], dataset.images[7])
    mask = np.zeros((8, 8), bool)
    mask[1:7] = True
    np.testing.assert_array_equal(example["valid_mask"][..., 0], mask)
    assert example["index"] == 7
    types = {key: (value.dtype.name, value.shape) for key, value in example.items()}
    assert types == {
        "label_map": ("uint8", (8, 8)),
        "image": ("float32", (8, 8, 1)),
        "valid_mask": ("bool", (8, 8, 1)),
        "index": ("int32", ()),
    }
    assert [s.index for s in source.slices] == [7, 2]
    assert source.splits == {"train", "test"}
    assert "2 slices, multi_tissue, 8x8" in repr(source)


def test_merge_and_crop(dataset):
    source = SliceSource(dataset, [3], schema=CAVITY, image_size=(7, 4))
    example = source[0]
    labels = np.asarray(dataset.labels[3, 0:7, 2:6])
    expected = np.where(labels > 3, 0, labels)
    np.testing.assert_array_equal(example["label_map"], expected)
    np.testing.assert_array_equal(example["image"][..., 0], dataset.images[3, 0:7, 2:6])
    np.testing.assert_array_equal(example["valid_mask"][:, 0, 0], [False] + [True] * 6)
    assert SliceSource(dataset, [3], image_size=4)[0]["valid_mask"].all()


def test_mask_of_a_crop_outside_of_the_valid_box(tmp_path):
    folder = make_prepared(tmp_path / "x", valid_box=(0, 1, 0, 8))
    source = SliceSource(PreparedDataset.open(folder), [0], image_size=4)
    assert not source[0]["valid_mask"].any()


def test_fingerprint_sees_every_choice(dataset):
    sources = [
        SliceSource(dataset, [1, 2]),
        SliceSource(dataset, [2, 1]),
        SliceSource(dataset, [1, 2], schema=CAVITY),
        SliceSource(dataset, [1, 2], image_size=4),
    ]
    assert len({s.fingerprint for s in sources}) == 4
    assert SliceSource(dataset, np.array([1, 2])).fingerprint == sources[0].fingerprint


def test_refusals(dataset, tmp_path):
    with pytest.raises(ValueError, match=r"indices run from 3 to 10; .* 0 to 9"):
        SliceSource(dataset, [3, 10])
    with pytest.raises(ValueError, match=r"indices must be a non-empty list"):
        SliceSource(dataset, [])
    with pytest.raises(ValueError, match=r"image_size: a crop of 9x9 does not fit"):
        SliceSource(dataset, [0], image_size=9)
    cavity = PreparedDataset.open(make_prepared(tmp_path / "c"))
    with pytest.raises(ValueError, match=r"cannot be merged to 'multi_tissue'"):
        SliceSource(cavity, [0], schema=MULTI_TISSUE)
