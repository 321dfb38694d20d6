"""A TFDS data set holds, and trains on, what its prepared folder does."""

import contextlib
import json
import re
import shutil

import numpy as np
import pytest

from cmrjax.data.intensity import ZScoreTransform
from cmrjax.data.pipeline import make_train_iterator
from cmrjax.data.source import PreparedDataset, SliceSource
from cmrjax.labels import CAVITY, MULTI_TISSUE
from experiments.gan_data import open_gan_data
from tests.data.prepared_folder import make_prepared
from tests.experiments.tiny_run import tiny_config, tiny_data

tfds = pytest.importorskip("tensorflow_datasets", reason="needs the extra tfds")

from cmrjax.data import tfds_builder  # noqa: E402  (it needs the extra)
from cmrjax.data.tfds_builder import export_tfds  # noqa: E402

COUNT = 26


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "prepared"
    return make_prepared(path, count=COUNT, schema=MULTI_TISSUE)


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory):
    """A data set with several shards in a split."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfds_builder, "_SHARD_BYTES", 3 * 8 * 8 * 4)  # three slices
        return export_tfds(folder, tmp_path_factory.mktemp("tfds"), name="tiny")


@pytest.fixture
def copy(exported, tmp_path):
    """One that a test may damage."""
    return shutil.copytree(exported, tmp_path / "copy")


def test_slices_and_facts_are_the_prepared_folders(folder, exported):
    expected, found = (PreparedDataset.open(path) for path in (folder, exported))
    assert found.manifest == expected.manifest
    assert found.fingerprint == expected.fingerprint
    assert found.slices == expected.slices
    assert found.schema == MULTI_TISSUE
    assert found.transform == expected.transform
    assert (found.image_size, found.spacing) == (expected.image_size, expected.spacing)
    np.testing.assert_array_equal(found.images[:], expected.images, strict=True)
    np.testing.assert_array_equal(found.labels[:], expected.labels, strict=True)
    np.testing.assert_array_equal(
        found.select(groups=("A1",)), expected.select(groups=("A1",))
    )
    found.validate_labels()
    PreparedDataset.open(exported, verify="full")


def test_other_programs_read_it_by_name(folder, exported):
    data = PreparedDataset.open(folder)
    data_dir = exported.parents[2]
    for split in ("train", "test", "evaluation"):
        source = tfds.data_source("cardiac_slices/tiny", data_dir=data_dir, split=split)
        chosen = data.select(splits=(split,))
        assert len(source) == len(chosen)
        examples = SliceSource(data, chosen)
        for position, info in enumerate(examples.slices):
            record, example = source[position], examples[position]
            for key in ("label_map", "valid_mask"):
                np.testing.assert_array_equal(record[key], example[key], strict=True)
            assert record["image"].dtype == np.float16
            np.testing.assert_array_equal(record["image"], example["image"])
            np.testing.assert_array_equal(
                record["spacing"], np.float32(1.33) * np.ones(2, "f4")
            )
            assert (record["index"], record["slice"]) == (info.index, info.slice)
            for key in ("subject", "phase", "vendor", "centre"):
                assert record[key].decode() == getattr(info, key)
    train = tfds.builder_from_directory(exported).info.splits["train"]
    assert train.num_shards == 4  # of ten slices, three in each


def _batches(path, count, *, state=None):
    data = PreparedDataset.open(path)
    source = SliceSource(
        data, data.select(splits=("train",)), schema=CAVITY, image_size=6
    )
    iterator = make_train_iterator(source, batch_size=3, seed=5)
    with contextlib.closing(iterator):
        if state is not None:
            iterator.set_state(state)
        return [next(iterator) for _ in range(count)], iterator.get_state()


def _assert_equal(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], strict=True)


def test_batches_are_the_prepared_folders_bit_for_bit(folder, exported):
    _assert_equal(_batches(exported, 12)[0], _batches(folder, 12)[0])


def test_a_run_stopped_on_either_continues_on_the_other(folder, exported):
    expected, _ = _batches(folder, 12)
    for first, second in ((exported, exported), (folder, exported), (exported, folder)):
        _, state = _batches(first, 5)
        state = json.loads(json.dumps(state))
        _assert_equal(_batches(second, 7, state=state)[0], expected[5:])


def test_a_training_refuses_what_it_refuses_of_a_prepared_folder(tmp_path):
    def refusal(path, schema, text):
        config = tiny_config(path)
        config.data.schema = schema
        with pytest.raises(ValueError, match=text) as caught:
            open_gan_data(config)
        return str(caught.value).replace(str(path), "PATH")

    scores = make_prepared(tmp_path / "scores", transform=ZScoreTransform())
    plain = tiny_data(tmp_path / "plain")
    for folder, schema, text in (
        (scores, "cavity", "holds z-scores"),
        (plain, "multi_tissue", "has the labels of schema 'cavity'"),
    ):
        exported = export_tfds(folder, tmp_path / "tfds")
        assert refusal(exported, schema, text) == refusal(folder, schema, text)


@pytest.mark.parametrize(
    ("file", "change", "text"),
    [
        ("train.array_record-00001-of-00004", None, "no such file; make the data set"),
        ("train.array_record-00001-of-00004", lambda b: b"", "of train cannot be read"),
        (
            "train.array_record-00001-of-00004",
            lambda b: b[:500] + bytes(20) + b[520:],
            "of train cannot be read (Corrupted",
        ),
        ("metadata.json", None, "not the manifest of a prepared folder"),
        ("metadata.json", lambda b: b[:-9], "cannot be read ("),
        (
            "metadata.json",
            lambda b: b.replace(b'"version": 1', b'"version": 7'),
            "metadata.json: has version 7, this code reads version 1",
        ),
        (
            "features.json",
            lambda b: b.replace(b"float16", b"float32"),
            "hold float32 [8, 8, 1] as image, expected float16 [8, 8, 1]; make",
        ),
        (
            "dataset_info.json",
            lambda b: b.replace(b'"3"', b'"2"', 1),
            "has the records {'train': 9, 'test': 8, 'evaluation': 8}, its metadata",
        ),
    ],
)
def test_damage_is_found_and_named(copy, file, change, text):
    (path,) = copy.glob(f"*{file}")
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=re.escape(text)) as caught:
        PreparedDataset.open(copy).validate_labels()
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_records_of_another_folder_are_found_by_the_full_check(copy, tmp_path):
    other = make_prepared(
        tmp_path / "other",
        count=COUNT,
        schema=MULTI_TISSUE,
        images=np.zeros((COUNT, 8, 8)),
    )
    metadata = copy / "metadata.json"
    content = json.loads(metadata.read_text())
    content["prepared"]["arrays"] = PreparedDataset.open(other).manifest["arrays"]
    metadata.write_text(json.dumps(content))
    PreparedDataset.open(copy)
    with pytest.raises(ValueError, match="the hash of its images is not the"):
        PreparedDataset.open(copy, verify="full")


def test_a_damaged_folder_is_not_exported(tmp_path):
    folder = make_prepared(tmp_path / "p")
    export_tfds(folder, tmp_path / "tfds")
    before = sorted(p for p in (tmp_path / "tfds").rglob("*"))
    images = np.load(folder / "images.npy")
    np.save(folder / "images.npy", images[::-1])
    with pytest.raises(ValueError, match="the hash of its images"):
        export_tfds(folder, tmp_path / "tfds", overwrite=True)
    assert sorted(p for p in (tmp_path / "tfds").rglob("*")) == before


def test_labels_that_the_schema_lacks_are_not_exported(tmp_path):
    labels = np.zeros((4, 8, 8))
    labels[3, 5, 6] = 200
    folder = make_prepared(tmp_path / "p", count=4, labels=labels)
    with pytest.raises(ValueError, match=r"labels\[3\] .* holds label id 200"):
        export_tfds(folder, tmp_path / "tfds")
    assert not list((tmp_path / "tfds").rglob("*.json"))


@pytest.mark.parametrize(
    ("raised", "expected", "text"),
    [
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
        (
            RuntimeError("write() failed: No space left on device; writing x"),
            OSError,
            r"1\.0\.0: cannot be written \(write\(\) failed: No space left on",
        ),
    ],
)
def test_what_breaks_off_leaves_nothing(tmp_path, raised, expected, text):
    folder = make_prepared(tmp_path / "p")
    seen = []

    def break_off():
        seen.append(1)
        if len(seen) == 6:
            raise raised

    with pytest.raises(expected, match=text):
        export_tfds(folder, tmp_path / "tfds", on_slice=break_off)
    assert [p for p in (tmp_path / "tfds").rglob("*") if p.is_file()] == []
    assert list((tmp_path / "tfds" / "cardiac_slices" / "p").iterdir()) == []


def test_names_and_what_is_there(tmp_path):
    folder = make_prepared(tmp_path / "2 mm")
    with pytest.raises(ValueError, match="'2 mm' cannot be the name"):
        export_tfds(folder, tmp_path / "tfds")
    made = export_tfds(folder, tmp_path / "tfds", name="two_mm")
    assert made == tmp_path / "tfds" / "cardiac_slices" / "two_mm" / "1.0.0"
    with pytest.raises(FileExistsError, match=f"{made} exists already"):
        export_tfds(folder, tmp_path / "tfds", name="two_mm")
    export_tfds(folder, tmp_path / "tfds", name="two_mm", overwrite=True)
    again = export_tfds(made, tmp_path / "tfds", name="from_tfds")
    PreparedDataset.open(again, verify="full")


def test_overwrite_takes_a_data_set_only(folder, tmp_path):
    made = export_tfds(folder, tmp_path / "tfds", name="twice")
    export_tfds(folder, tmp_path / "tfds", name="twice", overwrite=True)
    (made / "thesis.txt").write_text("x")
    with pytest.raises(FileExistsError, match="holds something else"):
        export_tfds(folder, tmp_path / "tfds", name="twice", overwrite=True)
    assert (made / "thesis.txt").read_text() == "x"
