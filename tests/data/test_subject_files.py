"""Labels that may be absent, frames that must exist, shapes that must fit."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest

from cmrjax.data.mnms import find_subjects
from cmrjax.data.nifti import read_nifti
from cmrjax.data.records import FilePair, SubjectRecord
from cmrjax.data.subject_files import (
    check_frames,
    check_label_frames,
    check_pair,
    header_notices,
    read_labels,
    read_pair,
)
from tests.data.mnms_tree import make_arrays, write_subject, write_table


def _record(folder, *, phases=(0, 1), **options):
    write_subject(folder, "P0", **options)
    write_table(folder / "t.csv", {"P0": ("A", 1, *phases)})
    return find_subjects(folder).records[0]


def test_labels_are_read(tmp_path):
    record = _record(tmp_path)
    file = read_labels(record, record.pairs[0], True)
    assert file is not None
    np.testing.assert_array_equal(file.frames, make_arrays()[1].T)


@pytest.mark.parametrize("subset", ["", "unlabelled"])
@pytest.mark.parametrize("expected", [True, False])
def test_background_only(tmp_path, subset, expected):
    record = _record(tmp_path, labels=np.zeros((24, 20, 4, 2), np.uint8))
    record = dataclasses.replace(record, official_subset=subset)
    if expected and not subset:
        with pytest.raises(ValueError, match="holds background only"):
            read_labels(record, record.pairs[0], expected)
    else:
        assert read_labels(record, record.pairs[0], expected) is None


def test_no_label_file(tmp_path):
    record = _record(tmp_path)
    pair = dataclasses.replace(record.pairs[0], label_path=None)
    with pytest.raises(
        ValueError, match=r"no label file beside it, .* P0_sa_gt\.nii\."
    ):
        read_labels(record, pair, False)
    record = dataclasses.replace(record, official_subset="unlabelled")
    assert read_labels(record, pair, True) is None


def test_frames_and_shapes(tmp_path):
    (pair,) = _record(tmp_path).pairs
    image = read_nifti(pair.image_path)
    phases = [("ED", 0), ("ES", 2)]
    with pytest.raises(ValueError, match=r"ES at frame 2, the file has 2 frame\(s\)"):
        check_frames(phases, image)
    empty = dataclasses.replace(image, frames=image.frames * 0 + [[[[0]]], [[[1]]]])
    with pytest.raises(ValueError, match=r"labels at frame\(s\) 1, but the table says"):
        check_label_frames(phases[:1], empty)
    cut = dataclasses.replace(image, frames=image.frames[:, :3])
    with pytest.raises(ValueError, match="has shape 24x20x3x2, the image P0_sa"):
        check_pair(pair, image, cut)


def test_labels_of_one_frame_go_with_a_cine_where_the_pair_allows_it(tmp_path):
    (pair,) = _record(tmp_path).pairs
    image = read_nifti(pair.image_path)
    one = dataclasses.replace(image, frames=image.frames[:1])
    with pytest.raises(ValueError, match="has shape 24x20x4x1, the image"):
        check_pair(pair, image, one)
    pair = dataclasses.replace(pair, one_frame_labels=True)
    with pytest.raises(ValueError, match=r"has one time frame, .* ED and ES; give"):
        check_pair(pair, image, one)
    check_pair(dataclasses.replace(pair, phases=(("ED", 1),)), image, one)


def test_a_frame_that_no_table_tells_must_be_the_only_one(tmp_path):
    record = _record(tmp_path)
    places = ("cases.csv, line 2", "cases.csv, line 3")
    pair = dataclasses.replace(
        record.pairs[0], phases=(("ED", None), ("ES", None)), places=places
    )
    files = read_pair(record, pair)
    assert [line.partition("nii.gz: ")[2] for line in files.problems] == [
        f"has 2 time frames; cases.csv, line {line} ({phase}) does not say which; add"
        " the column frame (0, 1, ...)"
        for line, phase in ((2, "ED"), (3, "ES"))
    ]
    images, labels = (values[..., 0] for values in make_arrays())
    write_subject(tmp_path, "P0", images=images, labels=labels)
    one = dataclasses.replace(pair, phases=(("ED", None),))
    assert read_pair(record, one).frames == [("ED", 0, 0)]


def test_an_empty_label_names_its_line_and_says_what_it_means(tmp_path):
    record = _record(tmp_path)
    pair = dataclasses.replace(record.pairs[0], label_path=None, places=("t.csv, 2",))
    (line,) = read_pair(record, pair).problems
    assert line.startswith("t.csv, 2: P0 has an empty label, which says that P0_sa")


def _headers(folder, *, affine=None):
    """Image and labels with a header of another kind."""
    images, labels = make_arrays()
    for name, values in (("i.nii", images), ("l.nii", labels)):
        nib.save(nib.Nifti1Image(values, affine), folder / name)
    pair = FilePair(
        folder / "i.nii", folder / "l.nii", (("ED", 0),), ("t.csv, line 2",)
    )
    return SubjectRecord("P0", "A", "1", (pair,)), pair


def test_a_voxel_size_that_is_not_known_is_refused_unless_the_table_tells_it(tmp_path):
    record, pair = _headers(tmp_path)
    (line,) = read_pair(record, pair).problems
    assert "i.nii: the header does not tell the voxel size" in line
    assert "name it in the table's column spacing, as 1.25x1.25x8" in line
    (line,) = read_pair(record, dataclasses.replace(pair, places=())).problems
    assert "repair the header (or take --dataset=nifti" in line
    files = read_pair(record, dataclasses.replace(pair, spacing=(8.0, 1.25, 1.5)))
    assert not files.problems
    assert not files.notices
    assert files.image is not None
    assert files.image.spacing == (8.0, 1.25, 1.5)
    sizes = np.linalg.norm(files.image.affine[:3, :3], axis=0)
    np.testing.assert_allclose(sizes, [1.5, 1.25, 8.0])
    wide = dataclasses.replace(pair, spacing=(200.0, 110.0, 110.0))
    (line,) = read_pair(record, wide).problems
    assert "the table's spacing makes a field of 2640 mm, expected at most 2500" in line
    flat = dataclasses.replace(pair, spacing=(None, 1.25, 1.25))
    (line,) = read_pair(record, flat).problems
    assert "does not tell how far apart slices are" in line


def test_a_voxel_size_that_looks_lost_is_a_notice(tmp_path):
    record, pair = _headers(tmp_path, affine=np.eye(4))
    files = read_pair(record, pair)
    assert not files.problems
    (line,) = files.notices
    assert "i.nii: the header says 1 x 1 x 1 mm and no other position" in line
    given = read_pair(record, dataclasses.replace(pair, spacing=(8.0, 1.25, 1.25)))
    assert not given.notices


def test_a_table_replaces_the_pixel_size_alone(tmp_path):
    record, pair = _headers(tmp_path, affine=np.diag([-2.0, 2.0, 9.0, 1.0]))
    files = read_pair(record, dataclasses.replace(pair, spacing=(None, 1.4, 1.5)))
    assert not files.problems
    assert files.image is not None
    assert files.image.spacing == (9.0, 1.4, 1.5)
    expected = np.diag([-1.5, 1.4, 9.0, 1.0])
    _, y, x = files.image.frames.shape[1:]
    expected[:2, 3] = -0.5 * (x - 1) / 2, 0.6 * (y - 1) / 2  # the middle stays
    np.testing.assert_allclose(files.image.affine, expected)


def test_turned_labels_stay_on_the_image_with_a_stated_pixel_size(tmp_path):
    """Labels stored from the other side; headers that lost the voxel size only."""
    values = np.arange(24, dtype=np.int16).reshape(4, 3, 2) % 4
    affine = np.diag([-1.0, 1.0, 9.0, 1.0])
    affine[:3, 3] = 5.0, 6.0, 7.0
    record, pair = _headers(tmp_path)
    image = nib.Nifti1Image(values, affine)
    nib.save(image, pair.image_path)
    turned = image.as_reoriented([(0, -1), (1, 1), (2, 1)])
    nib.save(turned, tmp_path / "l.nii")
    files = read_pair(record, dataclasses.replace(pair, spacing=(9.0, 1.5, 1.5)))
    assert not files.problems, files.problems
    assert files.labels is not None
    assert files.image is not None
    np.testing.assert_array_equal(files.labels.frames, files.image.frames)


@pytest.mark.parametrize(
    ("zooms", "text"),
    [
        ((9.6, 1.17, 1.17), "voxels are 9.6 x 1.17 x 1.17 mm; the first axis looks"),
        ((1.17, 9.6, 1.17), "the second axis looks like that of the slices"),
        ((1.4, 1.4, 0.6), "slices must have about square pixels and lie further apart"),
        ((1.0, 3.5, 8.0), "slices must have about square pixels and lie further"),
    ],
)
def test_slices_along_another_axis_are_seen(tmp_path, zooms, text):
    record, pair = _headers(tmp_path, affine=np.diag([*zooms, 1.0]))
    (line,) = read_pair(record, pair).problems
    assert text in line


@pytest.mark.parametrize("zooms", [(0.7, 1.9, 10), (1.3, 1.3, 1.3), (1.4, 1.4, 0.8)])
def test_usual_voxels_are_not_refused(tmp_path, zooms):
    record, pair = _headers(tmp_path, affine=np.diag([*zooms, 1.0]))
    assert not read_pair(record, pair).problems


def test_headers_that_contradict_themselves(tmp_path):
    (pair,) = _record(tmp_path).pairs
    image = read_nifti(pair.image_path)
    assert header_notices(pair, image) == []
    odd = dataclasses.replace(image, spacing=(10.0, 1.33, 1.5))
    (line,) = header_notices(pair, odd)
    assert "1.5 x 1.33 x 10 mm in pixdim" in line
