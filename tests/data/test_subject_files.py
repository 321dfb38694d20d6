"""Labels that may be absent, frames that must exist, shapes that must fit."""

import dataclasses

import numpy as np
import pytest

from cmrjax.data.mnms import find_subjects
from cmrjax.data.nifti import read_nifti
from cmrjax.data.subject_files import (
    check_frames,
    check_label_frames,
    check_pair,
    header_notices,
    read_labels,
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
    (pair,) = _record(tmp_path, phases=(0, 2)).pairs
    image = read_nifti(pair.image_path)
    with pytest.raises(ValueError, match=r"ES at frame 2, the file has 2 frame\(s\)"):
        check_frames(pair, image)
    empty = dataclasses.replace(image, frames=image.frames * 0 + [[[[0]]], [[[1]]]])
    first = dataclasses.replace(pair, phases=(("ED", 0),))
    with pytest.raises(ValueError, match=r"labels at frame\(s\) 1, but the table says"):
        check_label_frames(first, empty)
    cut = dataclasses.replace(image, frames=image.frames[:, :3])
    with pytest.raises(ValueError, match="has shape 24x20x3x2, the image P0_sa"):
        check_pair(image, cut)


def test_headers_without_a_label_file(tmp_path):
    image = read_nifti(_record(tmp_path).pairs[0].image_path)
    assert header_notices(image, None) == []
    odd = dataclasses.replace(image, spacing=(10.0, 1.33, 1.5))
    (line,) = header_notices(odd, None)
    assert "1.5 x 1.33 x 10 mm in pixdim" in line
