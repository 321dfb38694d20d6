"""Tissues of the virtual torso: relaxation times, proton density, label class.

A tissue is finer than a label class: ribs and muscle are both ``skeletal_muscle``,
papillary muscle is part of the ``LV`` cavity (as experts draw it), and so on.
"""

from dataclasses import dataclass

import numpy as np

from cmrjax.labels import MULTI_TISSUE


@dataclass(frozen=True)
class Tissue:
    """One tissue of the virtual torso.

    Attributes:
        name: Name of the tissue.
        class_name: Class of ``MULTI_TISSUE`` it is labelled as.
        t1: Longitudinal relaxation time at 1.5 T, ms.
        t2: Transverse relaxation time at 1.5 T, ms.
        density: Relative proton density, 0 to 100.
        texture: Relative standard deviation of the signal inside the tissue.
    """

    name: str
    class_name: str
    t1: float
    t2: float
    density: float
    texture: float


# T1/T2/density at 1.5 T as published for simulated CMR of the XCAT phantom (myocardium
# 979/64/40, blood 1411/249/80, muscle 1031/40/30, fat 548/84/70, liver 579/71/30,
# spleen 1057/84/50, kidney 1467/86/45, stomach 728/71/40, lung 1112/87/12, bone
# 281/59/8); the defaults of MRXCAT (Wissmann et al., JCMR 16:63, 2014: blood
# 1200/100/95, muscle 900/50/80, liver 800/50/90) have the same order. Deviations, from
# the contrast in real cine images: the lung's density is 5 (its dephasing is not in the
# formula), liver and muscle are moved towards the second set, bone is marrow with its
# fat; what is drawn for a subject, and the second set, see `relaxation`.
# No such set has the following; they are our choices, by eye in real cine images:
# - Bone and marrow lie between published bone (281 ms) and fat, of which an adult's
#   marrow has much; in vivo marrow had 549/49 (de Bazelaire, see `relaxation`).
# - Gland is water-like tissue in fat: between muscle and fat.
# - Spinal fluid is brightest of all but far below free water (T1 over 4 s, T2 2 s),
#   since its pulsation dephases it.
# - Bowel is as the stomach. Diaphragm is muscle, and vessel walls are heart muscle.
# - Trabeculae, thin walls (densities 42 to 45 for muscle's 40) and small vessels (50
#   and 62 for blood's 80) share pixels with blood and with organ, respectively. Blood
#   outside of the left ventricle is a little darker by eye, hence 78.
TISSUES: tuple[Tissue, ...] = (
    Tissue("air", "background", 1000.0, 50.0, 0.0, 0.0),
    Tissue("lv_blood", "LV", 1411.0, 249.0, 80.0, 0.05),
    Tissue("papillary", "LV", 979.0, 64.0, 40.0, 0.08),
    Tissue("myocardium", "MYO", 979.0, 64.0, 40.0, 0.08),
    Tissue("rv_blood", "RV", 1411.0, 249.0, 78.0, 0.07),
    Tissue("trabecula", "RV", 979.0, 64.0, 45.0, 0.10),
    Tissue("rv_wall", "skeletal_muscle", 979.0, 64.0, 42.0, 0.10),
    Tissue("lung", "lung", 1112.0, 87.0, 5.0, 0.30),
    Tissue("lung_vessel", "lung", 1411.0, 200.0, 50.0, 0.30),
    Tissue("muscle", "skeletal_muscle", 1031.0, 40.0, 40.0, 0.10),
    Tissue("bone", "skeletal_muscle", 450.0, 55.0, 22.0, 0.15),
    Tissue("fat", "fat", 548.0, 84.0, 70.0, 0.07),
    Tissue("liver", "abdomen", 579.0, 60.0, 35.0, 0.07),
    Tissue("liver_vessel", "abdomen", 1411.0, 200.0, 62.0, 0.10),
    Tissue("stomach_wall", "abdomen", 728.0, 71.0, 40.0, 0.10),
    Tissue("stomach", "abdomen", 728.0, 71.0, 40.0, 0.15),
    Tissue("gas", "abdomen", 1000.0, 50.0, 2.0, 0.30),
    Tissue("spleen", "abdomen", 1057.0, 84.0, 50.0, 0.06),
    Tissue("kidney", "abdomen", 1467.0, 86.0, 45.0, 0.10),
    Tissue("bowel", "abdomen", 728.0, 71.0, 42.0, 0.25),
    Tissue("vessel", "other_blood", 1411.0, 249.0, 78.0, 0.08),
    Tissue("marrow", "skeletal_muscle", 400.0, 65.0, 40.0, 0.12),
    Tissue("gland", "fat", 900.0, 60.0, 50.0, 0.12),
    Tissue("spinal_fluid", "skeletal_muscle", 3000.0, 500.0, 90.0, 0.08),
    # Sheets of one or two pixels, labelled as what they belong to: no one would draw
    # them, and no network could.
    Tissue("vessel_wall", "other_blood", 979.0, 64.0, 42.0, 0.10),
    Tissue("wall_fat", "skeletal_muscle", 548.0, 84.0, 70.0, 0.07),
    Tissue("diaphragm", "abdomen", 1031.0, 40.0, 40.0, 0.10),
    # Vessel with venous blood: right atrium, cavae, pulmonary trunk.
    Tissue("venous_vessel", "other_blood", 1411.0, 249.0, 78.0, 0.08),
)

TISSUE_IDS: dict[str, int] = {tissue.name: i for i, tissue in enumerate(TISSUES)}


def tissue_to_class() -> np.ndarray:
    """Return the label id of every tissue id.

    Returns:
        [tissues] uint8, ids of ``MULTI_TISSUE``.
    """
    ids = [MULTI_TISSUE.id_of(tissue.class_name) for tissue in TISSUES]
    return np.array(ids, dtype=np.uint8)


def texture_table() -> np.ndarray:
    """Return the relative standard deviation of each tissue's signal.

    Returns:
        [tissues] float32.
    """
    return np.array([tissue.texture for tissue in TISSUES], dtype=np.float32)
