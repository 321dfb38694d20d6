"""Classes and tissues of organs by name."""

import pytest

from cmrjax.labels import MULTI_TISSUE
from cmrjax.simulation.tissues import TISSUE_IDS
from cmrjax.simulation.xcat_organs import (
    ORGAN_CLASSES,
    ORGAN_TISSUES,
    class_names_of_organs,
    tissue_names_of_organs,
)


def test_an_organ_without_activity_is_not_told_from_air(tmp_path):
    with pytest.raises(ValueError, match=r"share an id: 0 \(lung\); 0 is air"):
        class_names_of_organs({0: ("lung",), 1: ("liver",)})
    assert class_names_of_organs({0: ("lung",)}, absent=("lung",)) == {0: "background"}
    assert class_names_of_organs({0: (), 4: ("lung",)}, absent=("lung",)) == {
        0: "background"
    }


@pytest.mark.parametrize(
    ("class_name", "organs"),
    [
        ("other_blood", "myoLA bldplRA art vein coronary_art aorta vena_cava"),
        ("skeletal_muscle", "myoRV muscle rib spine bone_marrow esophagus brain"),
        ("fat", "body pericardium skin thymus"),
        ("lung", "l_lung right_lung airway trach_bronch"),
        ("abdomen", "liver spleen st_cnts r_kidney_cortex l_renal_pelvis asc_li sem"),
        ("abdomen", "intest_air left_ovary ureter urethra test bladder LIVER"),
        ("background", "sinus"),
    ],
)
def test_organs_have_the_class_that_their_name_says(class_name, organs):
    names = class_names_of_organs({1: tuple(organs.split())})
    assert names == {1: class_name}


def test_every_pattern_names_a_class_and_all_classes_are_reached():
    assert {c for _, c in ORGAN_CLASSES} == set(MULTI_TISSUE.class_names)


def test_an_organ_of_two_classes_is_refused():
    twice = (("liver", "fat"), *ORGAN_CLASSES)
    with pytest.raises(ValueError, match="no single class is known for liver, x"):
        class_names_of_organs({1: ("liver", "x"), 2: ("body",)}, organ_classes=twice)


def test_organs_of_one_class_keep_their_own_contrast():
    organs = "liver spleen st_cnts r_kidney_medulla asc_li intest_air".split()
    names = tissue_names_of_organs({i: (o,) for i, o in enumerate(organs, 1)})
    assert list(names.values()) == [
        "liver",
        "spleen",
        "stomach",
        "kidney",
        "bowel",
        "gas",
    ]
    assert tissue_names_of_organs({0: (), 3: ("myoRV",), 4: ("rib",)}) == {
        0: "air",
        3: "rv_wall",
        4: "bone",
    }


def test_blood_on_its_way_to_the_lung_is_venous():
    venous = "bldplRA myoRA vena_cava superior_vena_cava pulm_art vein coronary_vein"
    oxygenated = "bldplLA myoLA aorta pulmonary_vein art coronary_art cor_artery"
    for name, organs in (("venous_vessel", venous), ("vessel", oxygenated)):
        found = tissue_names_of_organs(
            {i: (o,) for i, o in enumerate(organs.split(), 1)}
        )
        assert set(found.values()) == {name}


def test_a_shared_id_has_the_tissue_of_its_first_organ():
    assert tissue_names_of_organs({2: ("spleen", "liver")}) == {2: "spleen"}
    with pytest.raises(ValueError, match=r"share an id: 2 \(spleen, lung\)"):
        tissue_names_of_organs({2: ("spleen", "lung")})


def test_all_tissues_exist():
    assert {tissue for _, tissue in ORGAN_TISSUES} <= set(TISSUE_IDS)
