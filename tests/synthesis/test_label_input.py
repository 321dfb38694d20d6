"""Ids of label files to ids of the model."""

import json

import numpy as np
import pytest

from cmrjax.labels import CAVITY, MULTI_TISSUE
from cmrjax.synthesis.label_input import LabelInput


def test_own_ids_are_kept_and_floats_that_are_whole_accepted():
    labels = np.array([[[0.0, 1.0], [2.0, 3.0]]])
    read = LabelInput(CAVITY).read(labels, where="a.nii")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, [[[0, 1], [2, 3]]])


def test_a_source_is_remapped_by_name():
    acdc = LabelInput(CAVITY, "acdc").read(np.array([[[0, 1, 2, 3]]]), where="a.nii")
    np.testing.assert_array_equal(acdc, [[[0, 3, 2, 1]]])
    assert acdc.dtype == np.uint8


def test_ids_of_a_file_are_remapped_by_name(tmp_path):
    path = tmp_path / "classes.json"
    classes = {"name": "own", "class_names": ["background", "LV", "RV"]}
    path.write_text(json.dumps(classes | {"ids": {"0": "background", "500": "LV"}}))
    source = LabelInput(CAVITY, str(path))
    found = source.read(np.array([[0, 500]]), where="x")
    np.testing.assert_array_equal(found, [[0, CAVITY.class_names.index("LV")]])
    assert source.settings() == {"0": "background", "500": "LV"}
    assert source.missing_classes == ("MYO", "RV")
    with pytest.raises(ValueError, match=r"none.json: no such schema file"):
        LabelInput(CAVITY, str(tmp_path / "none.json"))


@pytest.mark.parametrize("source", ["schema", "simulated"])
def test_multi_tissue_labels_are_merged_on_request(source):
    labels = np.arange(9).reshape(1, 3, 3)
    merged = LabelInput(CAVITY, source, merge=True).read(labels, where="a.nii")
    np.testing.assert_array_equal(merged.ravel(), [0, 1, 2, 3, 0, 0, 0, 0, 0])
    assert merged.dtype == np.uint8


def test_multi_tissue_labels_for_a_cavity_model_are_refused_by_id_with_the_way_out():
    labels = np.zeros((3, 4, 4), np.int16)
    labels[1, 2, 3] = 6
    text = r"^a\.nii: slice 1 holds label id 6 .*allowed are 0 back.*add --merge$"
    with pytest.raises(ValueError, match=text):
        LabelInput(CAVITY).read(labels, where="a.nii")


def test_ids_that_merging_cannot_mend_get_no_such_hint():
    for schema, bad_id in ((CAVITY, 40), (CAVITY, -2), (MULTI_TISSUE, 9)):
        labels = np.full((1, 2, 2), bad_id)
        with pytest.raises(ValueError, match=f"label id {bad_id} ") as caught:
            LabelInput(schema).read(labels, where="a.nii")
        assert "--merge" not in str(caught.value)


def test_merged_labels_are_checked_by_the_finer_schema():
    with pytest.raises(ValueError, match=r"a\.nii: slice 0 holds label id 9 .*8 other"):
        LabelInput(CAVITY, merge=True).read(np.full((1, 2, 2), 9), where="a.nii")
    with pytest.raises(ValueError, match=r"a\.nii: slice 0 holds label id 4 .*source"):
        LabelInput(CAVITY, "mnms").read(np.full((1, 2, 2), 4), where="a.nii")


def test_settings_that_cannot_work_are_refused_before_any_file():
    with pytest.raises(
        ValueError, match=r"label source is 'xcat'; expected one of sch"
    ):
        LabelInput(CAVITY, "xcat")
    with pytest.raises(ValueError, match=r"'cavity' lacks: lung, .*; add --merge"):
        LabelInput(CAVITY, "simulated")


def test_missing_classes_are_known():
    assert LabelInput(CAVITY, "mnms").missing_classes == ()
    assert LabelInput(MULTI_TISSUE).missing_classes == ()
    assert LabelInput(MULTI_TISSUE, "mnms").missing_classes[:2] == (
        "lung",
        "skeletal_muscle",
    )
