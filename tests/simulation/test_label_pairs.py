"""Imported pairs: what is kept, what is refused and how it is said."""

import csv
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
        (
            _shape,
            r"ES_label\.nii\.gz: has 10 x 8 x 2 \(x, y, slice\) voxels, its image"
            r" .*10 x 8 x 3",
        ),
        (_affine, r"ES_label\.nii\.gz: its affine is not that of ES_image.*resample"),
        (_grid, r"ES_image\.nii\.gz: its grid \(10 x 8 x 2 .*one grid"),
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


def _everything(folder):
    """Contents of all files below a folder, by path."""
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("out", ["source", "source/P1", "source/new", "."])
def test_an_output_folder_that_overlaps_the_source_is_refused(source, tmp_path, out):
    mapping = write_mapping(tmp_path)
    before = _everything(tmp_path)
    with pytest.raises(ValueError, match=r"overlap.*choose another folder with out"):
        import_pairs(source, mapping, tmp_path / out)
    assert _everything(tmp_path) == before


def test_an_output_folder_that_overlaps_the_tables_files_is_refused(source, tmp_path):
    table = tmp_path / "tables" / "pairs.csv"
    table.parent.mkdir()
    paths = [f"../source/P1/ED_{name}.nii.gz" for name in ("image", "label")]
    table.write_text(f"subject,phase,image,label\nP1,ED,{','.join(paths)}\n")
    mapping = write_mapping(tmp_path)
    for out in ("tables", "tables/new", "source", "source/P1"):
        with pytest.raises(ValueError, match="overlap"):
            import_pairs(table, mapping, tmp_path / out)
    assert import_pairs(table, mapping, tmp_path / "out").imported == 1


def test_a_folder_of_something_else_is_refused(source, tmp_path):
    out = tmp_path / "out"
    write_pair(out / "P1", "ED", make_labels(4))
    (out / "split.csv").write_text("mine")
    before = _everything(out)
    with pytest.raises(ValueError, match=r"no simulation\.json, so it was made by"):
        _import(source, tmp_path)
    assert _everything(out) == before


def _splits(tmp_path):
    rows = (tmp_path / "out" / "split.csv").read_text().splitlines()[1:]
    return {row.split(",")[0]: row.split(",")[-1] for row in rows}


def test_new_subjects_move_no_other_to_another_split(tmp_path):
    names = [f"P{i:02d}" for i in range(12)]
    folder = tmp_path / "source"
    for name in names[6:]:
        write_pair(folder / name, "ED", make_labels(4))
    _import(folder, tmp_path)
    first = _splits(tmp_path)
    assert set(first) == set(names[6:])
    for name in names[:6]:
        write_pair(folder / name, "ED", make_labels(4))
    _import(folder, tmp_path)
    later = _splits(tmp_path)
    assert set(later) == set(names)
    assert {name: later[name] for name in first} == first
    assert len(set(later.values())) > 1


def test_a_split_that_was_changed_by_hand_stays(source, tmp_path):
    _import(source, tmp_path)
    path = tmp_path / "out" / "split.csv"
    path.write_text("External code,Vendor,Centre,split\nP1,S,1,test\nP7,S,1,train\n")
    write_pair(source / "P2", "ED", make_labels(4))
    _import(source, tmp_path)
    splits = _splits(tmp_path)
    assert (splits["P1"], splits["P7"]) == ("test", "train")
    assert "P2" in splits


def test_leaving_a_bad_file_out_continues(source, tmp_path):
    write_pair(source / "P2", "ED", make_labels(4))
    _empty(source / "P1")
    assert len(_import(source, tmp_path).problems) == 1
    for file in (source / "P1").iterdir():
        file.unlink()
    summary = _import(source, tmp_path)
    assert (summary.kept, summary.problems) == (1, ())


def test_a_mapping_that_fitted_nothing_can_be_corrected(source, tmp_path):
    with pytest.raises(ValueError, match="no pair could be imported"):
        _import(source, tmp_path, labels={"0": "background"})
    assert _import(source, tmp_path).imported == 1


def test_a_cine_goes_with_labels_of_single_phases(tmp_path):
    folder = tmp_path / "source"
    cine = np.stack([np.full((3, 8, 10), float(i), np.float32) for i in range(10)])
    write_volume(folder / "A.nii.gz", cine, AFFINE)
    for phase, lv in (("ED", 7), ("ES", 3)):
        write_volume(folder / f"A_{phase}_gt.nii.gz", make_labels(lv), AFFINE)
    patterns = {
        "image_pattern": "{subject}.nii.gz",
        "label_pattern": "{subject}_{phase}_gt.nii.gz",
        "frames": {"ED": 0, "ES": 9},
    }
    assert _import(folder, tmp_path, **patterns).imported == 1
    image, label = (
        np.asarray(nib.Nifti1Image.from_filename(tmp_path / "out" / "A" / name).dataobj)
        for name in ("A_sa.nii.gz", "A_sa_gt.nii.gz")
    )
    assert [float(image[..., i].mean()) for i in (0, 1)] == [0.0, 9.0]
    assert (label == 1).sum(axis=(0, 1, 2)).tolist() == [7, 3]


def test_images_of_single_phases_go_with_labels_in_one_file(tmp_path):
    folder = tmp_path / "source"
    for phase, value in (("ED", 1.0), ("ES", 2.0)):
        image = np.full((3, 8, 10), value, np.float32)
        write_volume(folder / f"A_{phase}.nii.gz", image, AFFINE)
    labels = np.stack([make_labels(n) for n in (6, 5, 1)])
    write_volume(folder / "A_gt.nii.gz", labels, AFFINE)
    patterns = {
        "image_pattern": "{subject}_{phase}.nii.gz",
        "label_pattern": "{subject}_gt.nii.gz",
        "frames": {"ED": 0, "ES": 2},
    }
    summary = _import(folder, tmp_path, **patterns)
    assert (summary.imported, summary.problems) == (1, ())
    image, label = (
        np.asarray(nib.Nifti1Image.from_filename(tmp_path / "out" / "A" / name).dataobj)
        for name in ("A_sa.nii.gz", "A_sa_gt.nii.gz")
    )
    assert [float(image[..., i].mean()) for i in (0, 1)] == [1.0, 2.0]
    assert (label == 1).sum(axis=(0, 1, 2)).tolist() == [6, 1]


def test_labels_of_one_phase_are_not_used_for_both(tmp_path):
    folder = tmp_path / "source"
    cine = np.zeros((10, 3, 8, 10), np.float32)
    write_volume(folder / "A.nii.gz", cine, AFFINE)
    write_volume(folder / "A_gt.nii.gz", make_labels(7), AFFINE)
    patterns = {
        "image_pattern": "{subject}.nii.gz",
        "label_pattern": "{subject}_gt.nii.gz",
        "frames": {"ED": 0, "ES": 9},
    }
    with pytest.raises(ValueError, match="no pair could be imported"):
        _import(folder, tmp_path, **patterns)
    lines = []
    with pytest.raises(ValueError, match="no pair"):
        import_pairs(
            folder, tmp_path / "mapping.json", tmp_path / "o2", say=lines.append
        )
    assert "A_gt.nii.gz: its frame 0 would be both ED and ES; give" in lines[0]


def test_names_with_commas_are_quoted(source, tmp_path):
    _import(source, tmp_path, vendor_name='Siemens, "Aera"')
    with open(tmp_path / "out" / "dataset_information.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["VendorName"], row["Vendor"], row["ED"]) == (
        'Siemens, "Aera"',
        "S",
        "0",
    )
