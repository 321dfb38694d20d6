"""Reading of a subject's pairs: frames, grids, labels."""

import gzip
import struct

import numpy as np
import pytest

from cmrjax.data.nifti import write_volume
from cmrjax.simulation.pair_mapping import Pair, read_mapping
from cmrjax.simulation.pair_reading import read_pairs
from tests.simulation.pair_files import AFFINE, make_labels, write_mapping, write_pair


@pytest.fixture
def meaning(tmp_path):
    return read_mapping(write_mapping(tmp_path))


def _cine(path, frames):
    array = np.stack([np.full((3, 8, 10), i, np.float32) for i in range(frames)])
    write_volume(path, array, AFFINE)
    return path


def _labels(path, *lv_pixels):
    maps = [make_labels(n) for n in lv_pixels]
    write_volume(path, maps[0] if len(maps) == 1 else np.stack(maps), AFFINE)
    return path


def test_a_file_of_one_frame_goes_with_one_of_several(tmp_path, meaning):
    cine = _cine(tmp_path / "a.nii", 12)
    label = _labels(tmp_path / "gt.nii", 5)
    (read,) = read_pairs([Pair(cine, label, "ES", 9)], meaning)
    assert read.frames == (9, 0)
    assert (read.image == 9).all()
    assert (read.labels == 1).sum() == 5
    still = _cine(tmp_path / "b.nii", 1)
    labels = _labels(tmp_path / "all.nii", 5, 4, 3)
    (read,) = read_pairs([Pair(still, labels, "ES", 2)], meaning)
    assert read.frames == (0, 2)
    assert (read.labels == 1).sum() == 3


@pytest.mark.parametrize(
    ("images", "frame", "text"),
    [
        (4, 4, r"a\.nii: has 4 frame\(s\), 0 to 3, but frame 4 is asked for"),
        (1, 3, r"a\.nii: has 1 frame\(s\), 0 to 0, but frame 3 is asked for"),
        (4, None, r"a\.nii: has 4 frames; say which are ED and ES with frames"),
    ],
)
def test_a_frame_must_be_there_and_be_named(tmp_path, meaning, images, frame, text):
    cine = _cine(tmp_path / "a.nii", images)
    label = _labels(tmp_path / "gt.nii", 5)
    with pytest.raises(ValueError, match=text):
        read_pairs([Pair(cine, label, "ED", frame)], meaning)


@pytest.mark.parametrize("shared", ["a.nii", "gt.nii"])
def test_phases_need_frames_of_their_own(tmp_path, meaning, shared):
    for name in ("a.nii", "b.nii"):
        _cine(tmp_path / name, 1)
    for name in ("gt.nii", "gt2.nii"):
        _labels(tmp_path / name, 5)
    names = {"a.nii": ("a.nii", "gt2.nii"), "gt.nii": ("b.nii", "gt.nii")}[shared]
    pairs = [
        Pair(tmp_path / "a.nii", tmp_path / "gt.nii", "ED", None),
        Pair(tmp_path / names[0], tmp_path / names[1], "ES", None),
    ]
    with pytest.raises(ValueError, match=rf"{shared}: its frame 0 would be both ED"):
        read_pairs(pairs, meaning)


def test_a_header_that_contradicts_itself_is_refused_in_the_headers_order(
    tmp_path, meaning
):
    write_pair(tmp_path, "ED", make_labels(5))
    path = tmp_path / "ED_image.nii.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<3f", content, 80, 2.5, 1.5, 7.0)  # pixdim[1:4]; the sform stays
    path.write_bytes(gzip.compress(content))
    pair = Pair(path, tmp_path / "ED_label.nii.gz", "ED", None)
    with pytest.raises(
        ValueError, match=r"2\.5 x 1\.5 x 7 mm \(x, y, slice\).*1\.5 x 1\.5"
    ):
        read_pairs([pair], meaning)
