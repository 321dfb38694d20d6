"""What is kept comes back; what has changed is made again."""

import os

import numpy as np
import pytest

from cmrjax.data.mnms import find_subjects
from cmrjax.data.nifti import read_nifti
from cmrjax.data.records import FilePair, SubjectRecord
from cmrjax.data.subject import Recipe
from cmrjax.labels import MULTI_TISSUE
from cmrjax.segmentation.label_store import NATIVE_FOLDER, LabelStore
from cmrjax.segmentation.labelling import label_subject
from tests.data.mnms_tree import (
    make_arrays,
    save_nifti,
    write_subject,
    write_table,
)
from tests.segmentation.fake_segmenter import FakeSegmenter

RECIPE = Recipe(schema=MULTI_TISSUE, image_size=(32, 32))
SETTINGS = {"model_fingerprint": "a", "spacing": [1.33, 1.33]}


def _record(folder, **options):
    write_subject(folder, "P0", **options)
    write_table(folder / "t.csv", {"P0": ("A", 1, 0, 1)})
    return find_subjects(folder).records[0]


def _saved(tmp_path, **options):
    record = _record(tmp_path / "in", **options)
    labelled = label_subject(record, RECIPE, FakeSegmenter(), expert=True)
    store = LabelStore(tmp_path / "work", SETTINGS)
    assert store.load(record) is None
    store.save(record, labelled, {"montage.png": b"picture"})
    return store, record, labelled


def test_what_was_saved_comes_back(tmp_path):
    store, record, labelled = _saved(tmp_path)
    kept = LabelStore(tmp_path / "work", SETTINGS).load(record)
    assert kept is not None
    for volume, expected in zip(kept.volumes, labelled.prepared.volumes, strict=True):
        np.testing.assert_array_equal(volume.labels, expected.labels)
        np.testing.assert_array_equal(volume.images, expected.images.astype("f2"))
        assert volume.slices == expected.slices
        assert volume.valid_box == expected.valid_box
        assert volume.description == expected.description
    np.testing.assert_equal(store.rows("P0"), labelled.rows)  # NaN included
    assert store.subjects == ["P0"]
    assert (store.path("P0") / "montage.png").read_bytes() == b"picture"
    native = read_nifti(store.path("P0") / NATIVE_FOLDER / "P0_sa_gt.nii.gz")
    np.testing.assert_array_equal(native.frames, labelled.native[0].labels)
    store.remove()
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("what", ["image", "labels", "frames", "deleted"])
def test_a_subject_whose_sources_changed_is_made_again(tmp_path, what):
    store, record, _ = _saved(tmp_path)
    if what == "frames":
        write_table(tmp_path / "in" / "t.csv", {"P0": ("A", 1, 1, 0)})
        record = find_subjects(tmp_path / "in").records[0]
    else:
        (pair,) = record.pairs
        path = pair.label_path if what != "image" else pair.image_path
        assert path is not None
        if what == "deleted":
            path.unlink()
        else:
            os.utime(path, ns=(1, 1))
    assert store.load(record) is None


def test_files_of_one_name_in_two_folders_are_told_apart(tmp_path):
    pairs = []
    for frame, phase in enumerate(("ED", "ES")):
        images, labels = (array[..., frame] for array in make_arrays())
        pairs.append(
            FilePair(
                save_nifti(tmp_path / phase / "image.nii.gz", images),
                save_nifti(tmp_path / phase / "label.nii.gz", labels),
                ((phase, 0),),
            )
        )
    record = SubjectRecord("P0", "A", "1", tuple(pairs))
    labelled = label_subject(record, RECIPE, FakeSegmenter(), expert=True)
    store = LabelStore(tmp_path / "work", SETTINGS)
    store.save(record, labelled, {})
    assert store.load(record) is not None
    os.utime(pairs[0].image_path, ns=(1, 1))
    assert store.load(record) is None


def test_a_subject_with_problems_is_made_again(tmp_path):
    images, _ = make_arrays()
    images[..., 1] = 5
    store, record, labelled = _saved(tmp_path, images=images)
    assert labelled.prepared.problems
    assert store.load(record) is None
    assert len(store.rows("P0")) == 4


def test_other_settings_are_refused_by_name(tmp_path):
    LabelStore(tmp_path / "work", SETTINGS)
    LabelStore(tmp_path / "work", {"spacing": (1.33, 1.33), "model_fingerprint": "a"})
    with pytest.raises(
        ValueError, match=r"model_fingerprint was 'a', is 'b'\. Restore"
    ):
        LabelStore(tmp_path / "work", SETTINGS | {"model_fingerprint": "b"})
