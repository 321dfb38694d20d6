"""PreparedDataset: opening, selecting, checking all labels."""

import numpy as np
import pytest

from cmrjax.data.prepared import PreparedDataset
from cmrjax.labels import CAVITY
from tests.data.prepared_folder import make_prepared


@pytest.fixture
def dataset(tmp_path):
    return PreparedDataset.open(make_prepared(tmp_path / "data"))


def test_open_is_a_memory_map(dataset):
    assert isinstance(dataset.images, np.memmap)
    assert not dataset.images.flags.writeable
    assert dataset.images.dtype == np.float16
    assert dataset.labels.dtype == np.uint8
    assert dataset.schema == CAVITY
    assert dataset.transform.name == "percentile"
    assert (dataset.image_size, dataset.spacing) == ((8, 8), (1.33, 1.33))
    assert len(dataset) == 10
    info = dataset.slices[5]
    assert (info.index, info.subject, info.group, info.split) == (
        5,
        "P2",
        "B3",
        "evaluation",
    )
    assert info.valid_box == (1, 7, 0, 8)


def test_select(dataset):
    np.testing.assert_array_equal(dataset.select(), np.arange(10))
    np.testing.assert_array_equal(dataset.select(groups=("B3",)), [4, 5])
    np.testing.assert_array_equal(
        dataset.select(groups=("A1",), splits=("train",)), [0, 1, 6, 7]
    )
    np.testing.assert_array_equal(dataset.select(subjects="P1"), [2, 3])


def test_select_says_what_exists(dataset):
    with pytest.raises(ValueError, match=r"has no group C4; it has A1, B3"):
        dataset.select(groups=("A1", "C4"))
    with pytest.raises(ValueError, match=r"has no split \(none given\); it has eval"):
        dataset.select(splits=())
    with pytest.raises(
        ValueError, match=r"no slice matches .*'B3'.* that exist are A1/test, A1/train"
    ):
        dataset.select(groups=("B3",), splits=("train",))


def test_validate_labels_names_file_slice_id_and_allowed(tmp_path, dataset):
    dataset.validate_labels()
    labels = np.zeros((150, 4, 4), np.uint8)
    labels[131, 1, 2] = 4
    folder = make_prepared(
        tmp_path / "bad", count=150, size=(4, 4), labels=labels, valid_box=(0, 4, 0, 4)
    )
    with pytest.raises(ValueError, match="label id 4") as caught:
        PreparedDataset.open(folder).validate_labels()
    assert str(caught.value) == (
        f"{folder}: labels[131] (subject P65, ED, slice 4, from"
        " P65_sa_gt.nii.gz): holds label id 4 (1 pixels), which the schema 'cavity'"
        " does not have; allowed are 0 background, 1 LV, 2 MYO, 3 RV"
    )


def test_open_refuses_arrays_that_do_not_belong(tmp_path):
    folder = make_prepared(tmp_path / "data")
    np.save(folder / "labels.npy", np.zeros((9, 8, 8), np.uint8))
    with pytest.raises(
        ValueError, match=r"is uint8 \[9, 8, 8\], the manifest says uint8 \[10, 8, 8\]"
    ):
        PreparedDataset.open(folder)
    np.save(folder / "labels.npy", np.zeros((10, 8, 8), np.uint8))
    PreparedDataset.open(folder)
    with pytest.raises(ValueError, match=r"labels\.npy: was changed, the hash"):
        PreparedDataset.open(folder, verify="full")
    content = (folder / "images.npy").read_bytes()
    (folder / "images.npy").write_bytes(content[:-100])
    with pytest.raises(ValueError, match=r"images\.npy: cannot be read"):
        PreparedDataset.open(folder)
    (folder / "images.npy").unlink()
    with pytest.raises(ValueError, match=r"images\.npy: cannot be read"):
        PreparedDataset.open(folder)
    with pytest.raises(ValueError, match=r"verify must be 'shapes' or 'full'"):
        PreparedDataset.open(folder, verify="x")  # pyright: ignore[reportArgumentType]
