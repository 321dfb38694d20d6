"""XCAT label volumes: made-up ones in folders and zip files, and the true ones."""

import os
import pathlib
import zipfile

import numpy as np
import pytest

from cmrjax.labels import CAVITY, MULTI_TISSUE
from cmrjax.simulation.tissues import TISSUE_IDS, tissue_to_class
from cmrjax.simulation.xcat import open_xcat
from cmrjax.simulation.xcat_organs import ORGAN_CLASSES, class_names_of_organs
from cmrjax.simulation.xcat_short_axis import resample_short_axis

ORGANS = {
    "hrt_myoLV_act": 7,
    "bldplLV_act": 3,
    "bldplRV_act": 12,
    "body_activity": 40,
    "r_lung_activity": 5,
    "l_lung_activity": 5,
    "lesn_activity": 0,
}
GRID = {
    "mode": 0,
    "pixel_width": 0.2,
    "slice_width": 0.5,
    "array_size": 6,
    "subvoxel_index": 1,
    "startslice": 11,
    "endslice": 13,
    "activity_unit": 0,
}
OUTSIDE = 1  # number of columns of air


def _volume(frame: int = 1) -> np.ndarray:
    """Ids [3, 6, 6]: air, fat, and one voxel of each other organ per slice."""
    ids = np.full((3, 6, 6), 40)
    ids[:, :, :OUTSIDE] = 0
    for index, organ_id in enumerate((7, 3, 12, 5)):
        ids[:, 1 + index, 2 + frame % 3] = organ_id
    return ids


def _write(
    folder: pathlib.Path, parameters: dict | None = None, frames=(1, 2, 10), volume=None
) -> pathlib.Path:
    """A folder as XCAT leaves it; `parameters` change or (None) remove lines."""
    lines = {**GRID, **ORGANS, **(parameters or {})}
    text = "# a comment = 5\n" + "".join(
        f"{key} = {value}\t# what it is;  key = 3\n"
        for key, value in lines.items()
        if value is not None
    )
    run = folder / "xcat" / "run"
    run.mkdir(parents=True)
    (run / "scan.par").write_text(text + "heart_base = male.nrb # \xb5\n", "latin-1")
    (run / "scan_log").write_text("mode = 3\n")
    (run / "._scan.par").write_text("left by another system")
    for frame in frames:
        values = _volume(frame) if volume is None else volume
        values.astype("<f4").tofile(run / f"scan_act_{frame}.bin")
    return folder / "xcat"


def _zipped(folder: pathlib.Path) -> pathlib.Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for root, _, names in os.walk(folder):
            for name in names:
                file = pathlib.Path(root, name)
                archive.write(file, file.relative_to(folder))
    return path


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_reads_parameters_ids_and_labels(tmp_path, zipped):
    path = _write(tmp_path)
    phantom = open_xcat(_zipped(path) if zipped else path)
    assert phantom.shape == (3, 6, 6)
    assert phantom.spacing == (5.0, 2.0, 2.0)
    assert phantom.frames == (1, 2, 10)  # by number, not by text
    assert phantom.organs == {
        0: ("lesn",),
        3: ("bldplLV",),
        5: ("r_lung", "l_lung"),
        7: ("myoLV",),
        12: ("bldplRV",),
        40: ("body",),
    }
    for frame in phantom.frames:
        ids = phantom.read_ids(frame)
        assert ids.dtype == np.uint16
        np.testing.assert_array_equal(ids, _volume(frame))
    labels = phantom.read_labels(2)
    assert labels.dtype == np.uint8
    names = {0: "background", 40: "fat", 7: "MYO", 3: "LV", 12: "RV", 5: "lung"}
    expected = np.zeros_like(labels)
    for organ_id, name in names.items():
        expected[_volume(2) == organ_id] = MULTI_TISSUE.id_of(name)
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(
        phantom.read_labels(2, CAVITY), MULTI_TISSUE.merge(expected, CAVITY)
    )


def test_tissues_are_finer_than_labels(tmp_path):
    phantom = open_xcat(_write(tmp_path))
    tissue = phantom.read_tissues(2)
    assert tissue.dtype == np.uint8
    names = {0: "air", 40: "fat", 7: "myocardium", 3: "lv_blood", 12: "rv_blood"}
    for organ_id, name in {**names, 5: "lung"}.items():
        assert (tissue[_volume(2) == organ_id] == TISSUE_IDS[name]).all()
    np.testing.assert_array_equal(tissue_to_class()[tissue], phantom.read_labels(2))


def test_axes_are_slice_row_column_with_columns_fastest(tmp_path):
    ids = np.full((3, 6, 6), 40)
    ids[2, 1, 4] = 7
    path = _write(tmp_path, frames=(1,), volume=ids)
    flat = np.fromfile(path / "run" / "scan_act_1.bin", "<f4")
    assert flat[2 * 36 + 1 * 6 + 4] == 7
    assert tuple(np.argwhere(open_xcat(path).read_ids(1) == 7)[0]) == (2, 1, 4)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"mode": 1}, r"scan\.par: mode = 1, so the files hold lesions.*mode = 0"),
        ({"activity_unit": 1}, "scaled by the volume of a voxel.*activity_unit = 0"),
        ({"subvoxel_index": 2}, "mixtures.*subvoxel_index = 1"),
        ({"array_size": None}, "expected 'array_size = <number>', got None"),
        ({"pixel_width": "wide"}, "expected 'pixel_width = <number>', got wide"),
        ({"array_size": 6.5}, "array_size = 6.5.*whole numbers of voxels"),
        ({"endslice": 10}, "endslice = 10.*all sizes above 0"),
        ({"slice_width": 0}, "slice_width = 0.*all sizes above 0"),
        ({"slice_width": "nan"}, "slice_width = nan.*all sizes above 0"),
        ({"body_activity": 1.5}, "body_activity = 1.5; expected a whole number"),
        ({"body_activity": -1}, "body_activity = -1; expected a whole number from 0"),
        ({"body_activity": 70000}, "expected a whole number from 0 to 65535"),
        (dict.fromkeys(ORGANS), r"names no organ \(lines such as 'myoLV_act = 1'\)"),
    ],
)
def test_parameters_that_make_no_labels_are_refused(tmp_path, change, text):
    path = _write(tmp_path, change)
    with pytest.raises(ValueError, match=text):
        open_xcat(path)


def test_one_parameter_file_and_one_series_are_expected(tmp_path):
    path = _write(tmp_path)
    run = path / "run"
    (run / "other_act_1.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"one series .*scan', .*4 files|other"):
        open_xcat(path)
    (run / "other_act_1.bin").rename(run / "scan_act_01.bin")
    with pytest.raises(ValueError, match=r"each frame once, found .*scan'\], 4 files"):
        open_xcat(path)
    (run / "scan_act_01.bin").rename(run / "old.par")
    with pytest.raises(ValueError, match=r"one parameter file .*old\.par.*scan\.par"):
        open_xcat(path)


def test_what_is_no_folder_and_no_zip_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_xcat(tmp_path / "nowhere.zip")
    (tmp_path / "text.zip").write_text("text")
    with pytest.raises(ValueError, match=r"text\.zip is no folder and no zip file"):
        open_xcat(tmp_path / "text.zip")


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("extra", [-4, 4])
def test_size_of_a_volume_must_fit_the_parameter_file(tmp_path, zipped, extra):
    path = _write(tmp_path)
    file = path / "run" / "scan_act_2.bin"
    file.write_bytes((file.read_bytes() + bytes(4))[: 432 + extra])
    phantom = open_xcat(_zipped(path) if zipped else path)
    phantom.read_ids(1)
    text = rf"scan_act_2\.bin: {432 + extra} bytes, but .*3 x 6 x 6 float32, 432 bytes"
    with pytest.raises(ValueError, match=text):
        phantom.read_ids(2)
    with pytest.raises(ValueError, match=r"no frame 3, only \(1, 2, 10\)"):
        phantom.read_ids(3)


@pytest.mark.parametrize("value", [6.0, 3.5, -3.0, 1e9, np.nan, np.inf, -np.inf])
def test_values_that_are_no_ids_are_refused(tmp_path, value):
    volume = _volume().astype(float)
    volume[1, 2, 3] = value
    path = _write(tmp_path, frames=(4,), volume=volume)
    text = rf"scan_act_4\.bin, slice 1: holds the value {value:g}, which is no organ's"
    with pytest.raises(ValueError, match=text.replace("+", r"\+")):
        open_xcat(path).read_ids(4)


def test_only_ids_that_occur_need_a_class(tmp_path):
    gland = {"odd_gland_activity": 50}
    assert open_xcat(_write(tmp_path / "a", gland)).read_labels(1).max() > 0
    volume = _volume()
    volume[0, 0, 5] = 50
    phantom = open_xcat(_write(tmp_path / "b", gland, (1,), volume))
    text = r"scan\.par: no single class is known for odd_gland\. Give each a pattern"
    with pytest.raises(ValueError, match=text):
        phantom.read_labels(1)
    extended = ((r"odd_gland", "abdomen"), *ORGAN_CLASSES)
    labels = phantom.read_labels(1, organ_classes=extended)
    assert labels[0, 0, 5] == MULTI_TISSUE.id_of("abdomen")
    with pytest.raises(ValueError, match=r"holds id 50, but its organs \(odd_gland\)"):
        phantom.read_labels(1, absent=("odd_gland", "lesn"))


def test_shared_ids_need_one_class(tmp_path):
    same = {"liver_activity": 12}  # the id of the blood in the right ventricle
    phantom = open_xcat(_write(tmp_path, same))
    with pytest.raises(ValueError, match=r"share an id: 12 \(bldplRV, liver\)"):
        phantom.read_labels(1)
    labels = phantom.read_labels(1, absent=("liver", "lesn"))
    assert (labels == MULTI_TISSUE.id_of("RV")).sum() == 3


@pytest.mark.development_data
def test_true_volumes_hold_a_heart_in_a_torso(development_data):
    phantom = open_xcat(development_data / "data" / "xcat" / "xcat_short_axis.zip")
    assert phantom.shape == (16, 320, 320)
    assert phantom.spacing == (5.0, 2.0, 2.0)
    assert phantom.frames == tuple(range(1, 22))
    class_names = class_names_of_organs(phantom.organs)  # the table knows them all
    assert set(class_names.values()) == set(MULTI_TISSUE.class_names)
    labels = phantom.read_labels(8)
    maps = resample_short_axis(labels, phantom.spacing)[5]
    assert maps.shape == (256, 256)
    share = np.bincount(maps.ravel(), minlength=9) / maps.size
    lv, myo, rv, lung, muscle, fat, abdomen = share[1:8]
    assert 0.005 < lv < myo < 0.05
    assert 0.005 < rv < 0.05
    assert min(lung, muscle, fat, abdomen) > 0.05
    cavity = maps == 1
    ring = np.zeros_like(cavity)
    for axis in (0, 1):
        for step in (-1, 1):
            ring |= np.roll(cavity, step, axis) & ~cavity
    assert (maps[ring] == 2).all()  # the muscle encloses the cavity
