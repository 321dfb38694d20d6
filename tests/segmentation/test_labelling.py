"""One subject: whose heart, which slices, both grids, and faults as lines."""

import numpy as np
import pytest

from cmrjax.data.mnms import find_subjects
from cmrjax.data.subject import Recipe
from cmrjax.labels import MULTI_TISSUE
from cmrjax.segmentation.labelling import label_subject
from tests.data.mnms_tree import make_arrays, write_subject, write_table
from tests.segmentation.fake_segmenter import (
    FAT,
    LUNG,
    OTHER_BLOOD,
    FakeSegmenter,
    own_labels,
)

RECIPE = Recipe(schema=MULTI_TISSUE, image_size=(32, 32))
BOX = (slice(6, 26), slice(4, 28))  # 20 rows and 24 columns, padded to 32


def _record(folder, **options):
    write_subject(folder, "P0", **options)
    write_table(folder / "t.csv", {"P0": ("A", 1, 0, 1)})
    return find_subjects(folder).records[0]


def _expected(frame=0):
    """[d, h, w] by the rules, pixel by pixel."""
    expert = make_arrays()[1][..., frame].T
    own = own_labels((4, 20, 24))
    rest = np.where(np.isin(own, (1, 2, 3)), OTHER_BLOOD, own)
    result = np.where(expert > 0, expert, rest)
    result[0] = 0  # no heart by the expert
    return result


def _as_predicted(record, recipe, *, expert):
    return label_subject(record, recipe, FakeSegmenter(), expert=expert, tidy=False)


def test_the_experts_heart_and_the_networks_tissues(tmp_path):
    labelled = _as_predicted(_record(tmp_path), RECIPE, expert=True)
    assert not labelled.prepared.problems
    ed, es = labelled.prepared.volumes
    assert ed.slices == es.slices == (1, 2, 3)
    for frame, volume in enumerate((ed, es)):
        np.testing.assert_array_equal(volume.labels[:, *BOX], _expected(frame)[1:])
        outside = np.ones((32, 32), bool)
        outside[BOX] = False
        assert not volume.labels[:, outside].any()
    assert len(labelled.native) == 1
    assert labelled.native[0].labels.shape == (2, 4, 20, 24)
    np.testing.assert_array_equal(labelled.native[0].labels[0], _expected())
    np.testing.assert_array_equal(labelled.native[0].labels[1], _expected(1))
    np.testing.assert_array_equal(
        labelled.phases["ED"].own[:, *BOX], own_labels((4, 20, 24))
    )
    np.testing.assert_allclose(labelled.native[0].affine, np.diag([1.33, 1.33, 10, 1]))
    assert [(r["phase"], r["slice"]) for r in labelled.rows] == [
        (phase, k) for phase in ("ED", "ES") for k in range(4)
    ]
    assert {r["group"] for r in labelled.rows} == {"A1"}


def test_pieces_are_tidied_on_both_grids_and_the_networks_own_labels_stay(tmp_path):
    """The fake's tissues are stripes, many of them too small to be one."""
    record = _record(tmp_path)
    tidied = label_subject(record, RECIPE, FakeSegmenter(), expert=True)
    plain = _as_predicted(record, RECIPE, expert=True)
    assert len(tidied.native) == 1
    assert len(plain.native) == 1
    for phase, kept in plain.phases.items():
        np.testing.assert_array_equal(tidied.phases[phase].own, kept.own)
        for name in ("labels", "native"):
            found, before = (getattr(p, name) for p in (tidied.phases[phase], kept))
            heart = np.isin(before, MULTI_TISSUE.heart_ids)
            np.testing.assert_array_equal(found[heart], before[heart])
            assert not np.array_equal(found, before)
            assert np.array_equal(found.any(axis=(1, 2)), before.any(axis=(1, 2)))


class _Islands(FakeSegmenter):
    """Fat with 4 x 8 native pixels of lung, and as many of other blood."""

    def probabilities(self, volume, grid):
        native = np.full(volume.shape, FAT)
        native[:, 2:6, 2:10] = LUNG
        native[:, 14:18, 2:10] = OTHER_BLOOD
        classes = np.eye(MULTI_TISSUE.num_classes, dtype=np.float32)[native]
        return np.stack(
            [
                grid.image_to_model(classes[..., k], fill=float(k == 0))
                for k in range(classes.shape[-1])
            ],
            axis=-1,
        )


def test_areas_are_those_of_each_grid_before_the_crop(tmp_path):
    """32 pixels of 2.7 x 1 mm are 86 mm^2: enough for a vessel, too little for lung.

    As pixels of the model, 1.33 mm, they would be 57 mm^2, too little for both.
    """
    recipe = Recipe(schema=MULTI_TISSUE, image_size=(16, 16))
    record = _record(tmp_path, zooms=(2.7, 1.0, 8.0))
    labelled = label_subject(record, recipe, _Islands(), expert=True)
    assert len(labelled.native) == 1
    tissues = labelled.native[0].labels[0][1:]
    assert not (tissues == LUNG).any()
    assert (tissues == OTHER_BLOOD).any()


def test_without_an_expert_no_label_file_is_needed(tmp_path):
    record = _record(tmp_path)
    assert record.pairs[0].label_path is not None
    record.pairs[0].label_path.write_bytes(b"not even a file")
    labelled = _as_predicted(record, RECIPE, expert=False)
    assert not labelled.prepared.problems
    volume = labelled.prepared.volumes[0]
    assert volume.slices == (0, 1, 2)  # where the network sees the heart
    np.testing.assert_array_equal(volume.labels[:, *BOX], own_labels((4, 20, 24))[:3])
    assert volume.description["label_sha256"] is None
    assert len(labelled.native) == 1
    assert not labelled.native[0].labels[:, 3].any()


class _Speck(FakeSegmenter):
    """Sees a heart of 20 pixels in the first slice, of 100 in the second."""

    def probabilities(self, volume, grid):
        result = np.zeros((len(volume), *grid.image_size, 9), np.float32)
        result[..., LUNG] = 0.4
        result[0, 10:14, 10:15, 2] = 0.6
        result[1, 10:20, 10:20, 1] = 0.6
        return result


def test_without_an_expert_specks_of_heart_are_dropped(tmp_path):
    labelled = label_subject(_record(tmp_path), RECIPE, _Speck(), expert=False)
    assert labelled.prepared.volumes[0].slices == (1,)


class _NoHeart(FakeSegmenter):
    def probabilities(self, volume, grid):
        result = np.zeros((len(volume), *grid.image_size, 9), np.float32)
        result[..., LUNG] = 1.0
        return result


def test_a_network_that_sees_no_heart_is_one_line_per_phase(tmp_path):
    labelled = label_subject(_record(tmp_path), RECIPE, _NoHeart(), expert=False)
    assert labelled.native == ()
    assert labelled.rows == []
    first, second = labelled.prepared.problems
    assert "P0_sa.nii.gz: frame 0 (ED): no heart is found in any slice" in first
    assert "frame 1 (ES)" in second


def test_the_field_of_view_beyond_the_crop_is_labelled_too(tmp_path):
    """The NIfTI labels cover the whole image, the arrays its centre."""
    recipe = Recipe(schema=MULTI_TISSUE, image_size=(16, 18))
    labelled = _as_predicted(_record(tmp_path), recipe, expert=True)
    assert len(labelled.native) == 1
    np.testing.assert_array_equal(labelled.native[0].labels[0], _expected())
    volume = labelled.prepared.volumes[0]
    np.testing.assert_array_equal(volume.labels, _expected()[1:, 2:18, 3:21])


@pytest.mark.parametrize("zooms", [(0.9, 1.6, 8.0), (2.0, 1.1, 10.0)])
def test_the_heart_on_the_native_grid_is_the_experts_to_the_pixel(tmp_path, zooms):
    record = _record(tmp_path, zooms=zooms)
    labelled = label_subject(record, RECIPE, FakeSegmenter(), expert=True)
    assert len(labelled.native) == 1
    expert = make_arrays()[1].T
    heart = np.where(
        np.isin(labelled.native[0].labels, (1, 2, 3)), labelled.native[0].labels, 0
    )
    np.testing.assert_array_equal(heart, expert)


def test_frames_that_are_no_phase_stay_background(tmp_path):
    images, labels = make_arrays(shape=(24, 20, 4, 5))
    write_subject(tmp_path, "P0", images=images, labels=labels)
    write_table(tmp_path / "t.csv", {"P0": ("A", 1, 1, 3)})
    record = find_subjects(tmp_path).records[0]
    labelled = label_subject(record, RECIPE, FakeSegmenter(), expert=True)
    assert len(labelled.native) == 1
    assert labelled.native[0].labels.any(axis=(1, 2, 3)).tolist() == [0, 1, 0, 1, 0]


class _Broken(FakeSegmenter):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def probabilities(self, volume, grid):
        if self.kind == "raises":
            raise ValueError("volume is too small")
        result = super().probabilities(volume, grid)
        return result[..., :4] if self.kind == "shape" else result * np.float32("nan")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("raises", "frame 0 (ED): volume is too small"),
        ("shape", "gave probabilities [4, 32, 32, 4], expected finite values [4, 32,"),
        ("nan", "gave probabilities [4, 32, 32, 9], expected finite"),
    ],
)
def test_a_wrong_answer_is_a_line(tmp_path, kind, text):
    labelled = label_subject(_record(tmp_path), RECIPE, _Broken(kind), expert=True)
    assert len(labelled.prepared.problems) == 2
    assert text in labelled.prepared.problems[0]
    assert "P0_sa.nii.gz" in labelled.prepared.problems[0]


def test_one_bad_phase_leaves_the_other(tmp_path):
    images, _ = make_arrays()
    images[..., 1] = 5
    record = _record(tmp_path, images=images)
    labelled = label_subject(record, RECIPE, FakeSegmenter(), expert=True)
    assert list(labelled.phases) == ["ED"]
    assert {r["phase"] for r in labelled.rows} == {"ED"}
    assert len(labelled.native) == 1
    assert not labelled.native[0].labels[1].any()
    assert len(labelled.prepared.problems) == 1
