"""Imported pairs: what is kept, what is refused and how it is said."""

import re

import nibabel as nib
import numpy as np
import pytest

from cmrjax.data.nifti import write_volume
from cmrjax.files import read_json
from cmrjax.labels import MULTI_TISSUE
from cmrjax.simulation.label_pairs import import_pairs
from tests.simulation.pair_files import (
    AFFINE,
    LABELS,
    make_labels,
    write_mapping,
    write_pair,
)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    write_pair(folder / "P1", "ED", make_labels(8))
    write_pair(folder / "P1", "ES", make_labels(2))
    return folder


def _import(source, tmp_path, **changes):
    lines = []
    mapping = write_mapping(tmp_path, **changes)
    summary = import_pairs(source, mapping, tmp_path / "out", say=lines.append)
    assert tuple(lines) == summary.problems
    return summary


def test_images_stay_and_ids_are_mapped_by_name(source, tmp_path):
    assert _import(source, tmp_path).imported == 1
    folder = tmp_path / "out" / "P1"
    image = nib.Nifti1Image.from_filename(folder / "P1_sa.nii.gz")
    label = nib.Nifti1Image.from_filename(folder / "P1_sa_gt.nii.gz")
    assert image.shape == label.shape == (10, 8, 3, 2)
    np.testing.assert_allclose(np.asarray(image.affine), AFFINE)
    assert image.header.get_zooms()[:3] == (1.5, 1.5, 9.0)
    pixels = np.asarray(image.dataobj).transpose(3, 2, 1, 0)
    original = np.arange(240, dtype=np.float32).reshape(3, 8, 10) / 7
    np.testing.assert_array_equal(pixels[0], original)
    found = np.asarray(label.dataobj).transpose(3, 2, 1, 0)
    for phase, lv in enumerate((8, 2)):
        for source_id, name in LABELS.items():
            there = make_labels(lv) == int(source_id)
            assert (found[phase][there] == MULTI_TISSUE.id_of(name)).all()


def test_metadata_and_tables(source, tmp_path):
    write_pair(source / "P0", "ES", make_labels(4))
    _import(source, tmp_path, vendor="X", centre="7", vendor_name="openGTN")
    metadata = read_json(tmp_path / "out" / "P1" / "P1.json")
    assert metadata["ejection_fraction"] == pytest.approx(0.75)
    voxel = 1.5 * 1.5 * 9 / 1000
    assert metadata["label_volume_ml"]["LV_ED"] == pytest.approx(8 * voxel)
    assert metadata["spacing"] == [9.0, 1.5, 1.5]
    table = (tmp_path / "out" / "dataset_information.csv").read_text().splitlines()
    assert table[1:] == ["P0,openGTN,X,7,,0", "P1,openGTN,X,7,0,1"]
    alone = read_json(tmp_path / "out" / "P0" / "P0.json")
    assert alone["ejection_fraction"] is None


def test_running_again_keeps_what_has_not_changed(source, tmp_path):
    _import(source, tmp_path)
    summary = _import(source, tmp_path)
    assert (summary.imported, summary.kept) == (0, 1)
    write_pair(source / "P1", "ES", make_labels(3))
    assert _import(source, tmp_path).imported == 1
    with pytest.raises(ValueError, match="set of pairs with other settings"):
        _import(source, tmp_path, vendor="X")


def test_frames_of_one_file(tmp_path):
    folder = tmp_path / "source"
    labels = np.stack([make_labels(n) for n in (6, 5, 1)])
    write_volume(folder / "A.nii", labels.astype(np.int16), AFFINE)
    write_volume(folder / "A_gt.nii", labels, AFFINE)
    patterns = {
        "image_pattern": "{subject}.nii",
        "label_pattern": "{subject}_gt.nii",
        "frames": {"ED": 0, "ES": 2},
    }
    summary = _import(folder, tmp_path, **patterns)
    assert summary.imported == 1
    assert summary.problems == ()
    found = nib.Nifti1Image.from_filename(tmp_path / "out" / "A" / "A_sa_gt.nii.gz")
    counts = (np.asarray(found.dataobj) == 1).sum(axis=(0, 1, 2))
    assert counts.tolist() == [6, 1]


def _shape(folder):
    write_volume(folder / "ES_label.nii.gz", make_labels(2)[:2], AFFINE)


def _affine(folder):
    write_volume(
        folder / "ES_label.nii.gz", make_labels(2), AFFINE @ np.diag((1, 1, 2, 1))
    )


def _grid(folder):
    write_pair(folder, "ES", make_labels(2)[:2])


def _id(folder):
    labels = make_labels(2)
    labels[2, 0, 0] = 44
    write_pair(folder, "ES", labels)


def _empty(folder):
    write_pair(folder, "ES", np.zeros((3, 8, 10), np.uint8))


def _nan(folder):
    image = np.full((3, 8, 10), np.nan, np.float32)
    write_volume(folder / "ES_image.nii.gz", image, AFFINE)


def _damaged(folder):
    path = folder / "ES_image.nii.gz"
    path.write_bytes(path.read_bytes()[:60])


def _frames(folder):
    labels = np.stack([make_labels(2)] * 2)
    write_pair(folder, "ES", labels)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (_shape, r"ES_label\.nii\.gz: has 10 x 8 x 2 voxels, its image .*10 x 8 x 3"),
        (_affine, r"ES_label\.nii\.gz: its affine is not that of ES_image.*resample"),
        (_grid, r"ES_image\.nii\.gz: its grid \(2 x 8 x 10 voxels.*one grid"),
        (_id, r"ES_label\.nii\.gz: slice 2 holds label id 44 \(1 pixels.*5 LV"),
        (_empty, r"ES_label\.nii\.gz: ES shows no LV, MYO, RV; correct the mapping"),
        (_nan, r"ES_image\.nii\.gz: holds NaN or infinite values; repair"),
        (_damaged, r"ES_image\.nii\.gz: .*fetch it again"),
        (_frames, r"ES_image\.nii\.gz: has 2 frames; say which are ED and ES"),
    ],
)
def test_a_bad_file_is_one_line_and_the_others_go_on(source, tmp_path, spoil, text):
    write_pair(source / "P2", "ED", make_labels(4))
    spoil(source / "P1")
    summary = _import(source, tmp_path)
    assert summary.imported == 1
    (line,) = summary.problems
    assert "\n" not in line
    assert re.search(text, line), line
    assert not (tmp_path / "out" / "P1").exists()


def test_nothing_usable_is_refused(source, tmp_path):
    _id(source / "P1")
    with pytest.raises(ValueError, match="no pair could be imported, see the lines"):
        _import(source, tmp_path)
