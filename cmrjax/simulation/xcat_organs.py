"""Which tissue, and so which label class, each organ of an XCAT phantom is."""

import re
from collections.abc import Collection, Mapping

from cmrjax.files import shorten
from cmrjax.simulation.tissues import TISSUES

Patterns = tuple[tuple[str, str], ...]

# Pattern of the organ's whole name (either case) and its tissue; no organ fits two.
# Where the tissue is a choice:
# - The wall of the right ventricle has the contrast of muscle and no expert draws it.
#   Other soft tissue of neck and mediastinum is nearest to muscle in contrast.
# - `body` is what belongs to no organ: mostly fat under the skin and between organs.
#   The pericardium is a shell that holds the heart's fat; an adult's thymus is fat.
# - Atrial walls are thin and belong to the rest of the heart, as blood. What leads to
#   the right heart, and on to the lung, is venous.
# - Airways look like lung; gas in the bowel is part of the bowel; the great vessels
#   are `body`, so fat, unless XCAT ran with `vessel_flag = 1`.
ORGAN_TISSUES: Patterns = (
    (r"bldplLV", "lv_blood"),
    (r"myoLV", "myocardium"),
    (r"bldplRV", "rv_blood"),
    (r"myoRV", "rv_wall"),
    (r"muscle|esophagus(_cont)?|lymph(_abnormal)?", "muscle"),
    (r"diaphragm", "diaphragm"),
    (r"spinal_cord|brain|eye|lens|pituitary|salivary|(para)?thyroid", "muscle"),
    (r"rib|spine|cortical_bone|bone_marrow|cartilage", "bone"),
    (r"(myo|bldpl)LA|aorta", "vessel"),
    (r"(myo|bldpl)RA|((inferior|superior)_)?vena_cava", "venous_vessel"),
    (r"(cor_|coronary_)?(art|artery)|(pulm_|pulmonary_)vein", "vessel"),
    (r"(cor_|coronary_)?vein|(pulm_|pulmonary_)(art|artery)", "venous_vessel"),
    (r"((r|l|right|left)_)?lung|airway|trach_bronch|laryngopharynx", "lung"),
    (r"sinus", "air"),
    (r"body|skin|fat|pericardium|thymus|breast", "fat"),
    (r"liver", "liver"),
    (r"spleen", "spleen"),
    (r"st_wall", "stomach_wall"),
    (r"st_cnts", "stomach"),
    (r"((r|l|right|left)_)?(kidney.*|renal_pelvis)", "kidney"),
    (r"intest_air", "gas"),
    (r"(asc|trans|desc)_li|sm_intest|rectum|gall_bladder|pancreas", "bowel"),
    (r"((r|l|right|left)_)?ovary|fallopian_tubes|adrenal|sem|uterus|bladder", "bowel"),
    (r"ureter|urethra|prostate|vas_def|epididymus|ejac_duct|test|vagina", "bowel"),
)
_CLASS_OF_TISSUE = {tissue.name: tissue.class_name for tissue in TISSUES}
ORGAN_CLASSES: Patterns = tuple((p, _CLASS_OF_TISSUE[t]) for p, t in ORGAN_TISSUES)
NEVER_PAINTED = ("lesn",)  # lesions are written in modes of their own only


def class_names_of_organs(
    organs: Mapping[int, tuple[str, ...]],
    *,
    absent: Collection[str] = NEVER_PAINTED,
    organ_classes: Patterns = ORGAN_CLASSES,
    where: str = "organs",
) -> dict[int, str]:
    """Finds the class of each id, by the names of its organs.

    An id may be shared by organs of one class. Id 0 is also the air around the body.

    Args:
        organs: Organ names of each id.
        absent: Organs that are left out.
        organ_classes: Pattern of organ names and class of ``MULTI_TISSUE``.
        where: What is looked at, usually a file; errors begin with it.

    Returns:
        The class name of each id, ids left out whose organs are all absent.

    Raises:
        ValueError: If an organ fits no pattern or those of several classes, or an id
            is shared by organs of different classes; all of them are listed.
    """
    names: dict[int, str] = {}
    unknown, shared = [], []
    for organ_id, all_organs in organs.items():
        found = {
            organ: {c for p, c in organ_classes if re.fullmatch(p, organ, re.I)}
            for organ in all_organs
            if organ not in absent
        }
        unknown += [organ for organ, classes in found.items() if len(classes) != 1]
        classes = set().union(*found.values(), {"background"} if organ_id == 0 else ())
        if len(classes) > 1:
            shared.append(f"{organ_id} ({', '.join(found)})")
        if classes:
            names[organ_id] = min(classes)
    if unknown:
        raise ValueError(
            f"{where}: no single class is known for {shorten(', '.join(unknown), 400)}."
            " Give each a pattern in organ_classes or, if not in the volume, name it"
            " in absent"
        )
    if shared:
        raise ValueError(
            f"{where}: organs of different classes share an id:"
            f" {shorten(', '.join(shared), 400)};"
            " 0 is air, too. Run XCAT with one activity per organ, or name the organs"
            " that are not in the volume in absent"
        )
    return names


def tissue_names_of_organs(
    organs: Mapping[int, tuple[str, ...]],
    *,
    absent: Collection[str] = NEVER_PAINTED,
    where: str = "organs",
) -> dict[int, str]:
    """Finds the tissue of each id, by the names of its organs.

    Where organs of one class share an id, the first one's tissue is taken.

    Args:
        organs: Organ names of each id.
        absent: Organs that are left out.
        where: What is looked at, usually a file; errors begin with it.

    Returns:
        The tissue name of each id, ids left out whose organs are all absent.

    Raises:
        ValueError: As `class_names_of_organs`.
    """
    names: dict[int, str] = {}
    for organ_id in class_names_of_organs(organs, absent=absent, where=where):
        present = [organ for organ in organs[organ_id] if organ not in absent]
        found = [
            t for o in present for p, t in ORGAN_TISSUES if re.fullmatch(p, o, re.I)
        ]
        names[organ_id] = found[0] if found else "air"
    return names
