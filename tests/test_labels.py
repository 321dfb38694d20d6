"""LabelSchema: ids, remapping, merging, and the texts of its errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrjax import labels
from cmrjax.labels import CAVITY, MULTI_TISSUE, SOURCE_LABELS, LabelSchema


def test_ids_are_positions():
    assert CAVITY.num_classes == 4
    assert MULTI_TISSUE.num_classes == 9
    assert [CAVITY.id_of(n) for n in ("background", "LV", "MYO", "RV")] == [0, 1, 2, 3]
    assert CAVITY.heart_ids == MULTI_TISSUE.heart_ids == (1, 2, 3)
    assert LabelSchema("s", ("background", "lung", "RV", "LV")).heart_ids == (2, 3)


def test_schema_is_hashable_and_survives_json():
    assert LabelSchema.from_dict(CAVITY.to_dict()) == CAVITY
    assert hash(LabelSchema.from_dict(CAVITY.to_dict())) == hash(CAVITY)
    assert len({CAVITY, MULTI_TISSUE, LabelSchema("cavity", CAVITY.class_names)}) == 2


def test_get_schema_names_those_that_exist():
    assert labels.get_schema("multi_tissue") is MULTI_TISSUE
    with pytest.raises(ValueError, match=r"no label schema 'x'; there are cavity, mul"):
        labels.get_schema("x")


def test_id_of_unknown_class():
    with pytest.raises(ValueError, match=r"'cavity' has no class 'lung'; it has backg"):
        CAVITY.id_of("lung")


@pytest.mark.parametrize("names", [("background",), tuple("a" * 2)])
def test_impossible_schemas_are_refused(names):
    with pytest.raises(ValueError, match=r"schema 's'"):
        LabelSchema("s", names)


def test_validate_names_file_slice_id_and_what_is_allowed():
    label_map = np.zeros((3, 4, 4), np.uint8)
    label_map[2, 1, 1:3] = 7
    with pytest.raises(ValueError, match=r"case_gt.nii.gz: slice 2 holds") as caught:
        CAVITY.validate(label_map, where="case_gt.nii.gz")
    assert str(caught.value) == (
        "case_gt.nii.gz: slice 2 holds label id 7 (2 pixels in all), which the schema"
        " 'cavity' does not have; allowed are 0 background, 1 LV, 2 MYO, 3 RV"
    )


def test_validate_accepts_any_integer_type_and_rank():
    for dtype in (np.uint8, np.int16, np.int64):
        labels = np.arange(4, dtype=dtype).reshape(2, 2)
        CAVITY.validate(labels)
        with pytest.raises(ValueError, match="holds label id 4"):
            CAVITY.validate(labels + 1)
    for labels in ([[0, 1], [2, 3]], np.zeros((2, 3, 4, 4), np.int8)):
        assert CAVITY.validate(labels) is None


@pytest.mark.parametrize(
    ("label_map", "text"),
    [
        (np.zeros((2, 2)), r"labels have type float64, expected integers"),
        (np.zeros((2, 2), bool), r"labels have type bool, expected integers"),
        (np.full((2, 2), -1), r"holds label id -1 \(4 pixels\)"),
        (np.zeros((0, 2), np.uint8), r"label map is empty, shape \(0, 2\)"),
    ],
)
def test_validate_refuses(label_map, text):
    with pytest.raises(ValueError, match=text):
        CAVITY.validate(label_map)


def test_remap_reverses_acdc():
    label_map = np.array([[0, 1], [2, 3]], np.int16)
    out = CAVITY.remap(label_map, SOURCE_LABELS["acdc"])
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, [[0, 3], [2, 1]])
    same = CAVITY.remap(label_map.astype(float), SOURCE_LABELS["mnms"])
    np.testing.assert_array_equal(same, label_map)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, r"^f: slice 1 holds label id 5 \(1 pixels in all\), which the source does"),
        (-2, r"label id -2 .*allowed are 0 background, 1 LV, 2 MYO, 3 RV"),
        (1.5, r"^f: holds the value 1.5, expected whole numbers .*nearest neighbour"),
        (np.nan, r"^f: holds the value nan"),
    ],
)
def test_remap_refuses(value, text):
    label_map = np.zeros((2, 2, 2))
    label_map[1, 0, 1] = value
    with pytest.raises(ValueError, match=text):
        CAVITY.remap(label_map, SOURCE_LABELS["mnms"], where="f")


def test_remap_into_a_schema_without_the_class():
    with pytest.raises(ValueError, match=r"'cavity' has no class 'lung'"):
        CAVITY.remap(np.zeros((1, 1), int), SOURCE_LABELS["simulated"])


def test_merge_to_cavity_keeps_the_heart_only():
    table = MULTI_TISSUE.merge_table(CAVITY)
    np.testing.assert_array_equal(table, [0, 1, 2, 3, 0, 0, 0, 0, 0])
    out = MULTI_TISSUE.merge(np.arange(9).reshape(3, 3), CAVITY)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, [[0, 1, 2], [3, 0, 0], [0, 0, 0]])


def test_merge_cannot_invent_classes_or_ids():
    with pytest.raises(ValueError, match=r"cannot be merged to 'multi_tissue': they"):
        CAVITY.merge_table(MULTI_TISSUE)
    with pytest.raises(ValueError, match=r"label id 9"):
        MULTI_TISSUE.merge(np.full((1, 1), 9), CAVITY)


@settings(deadline=None)
@given(st.permutations(range(9)), st.integers(2, 9))
def test_merge_is_by_name_whatever_the_order(order, count):
    target = LabelSchema("t", tuple(MULTI_TISSUE.class_names[i] for i in order[:count]))
    table = MULTI_TISSUE.merge_table(target)
    for class_id, name in enumerate(MULTI_TISSUE.class_names):
        if name in target.class_names:
            assert target.class_names[table[class_id]] == name
        else:
            assert table[class_id] == 0
