"""Relaxation times and proton densities of one virtual subject's tissues.

A subject is drawn at 1.5 T, between two published value sets; `at_field_strength` takes
the subject to the field of the scanner and `with_contrast_agent` gives it gadolinium.
"""

from collections.abc import Mapping

import numpy as np

from cmrjax.simulation.tissues import TISSUE_IDS, TISSUES

Values = tuple[float, float, float]

# The first set at 1.5 T stands in `tissues.TISSUES`. The second, T1 ms / T2 ms /
# density, holds the defaults of MRXCAT (Wissmann et al., J Cardiovasc Magn Reson 16:63,
# 2014). Its contrast between blood and muscle is low, as in some real cine images.
# Marrow stays as in the first set: the published 250/20/12 is cortical bone, which is
# thinner than a pixel.
_SECOND_SET: Mapping[str, Values] = {
    "blood": (1200.0, 100.0, 95.0),
    "heart_muscle": (900.0, 50.0, 80.0),
    "muscle": (900.0, 50.0, 80.0),
    "fat": (350.0, 30.0, 70.0),
    "liver": (800.0, 50.0, 90.0),
}
# T1 ms / T2 ms at 1.5 T and at 3 T. In vitro, 37 degrees: Stanisz et al., Magn Reson
# Med 54:507, 2005 (heart 1030/40 and 1471/47, blood 1441/290 and 1932/275, muscle
# 1008/44 and 1412/50, liver 576/46 and 812/42, kidney 690/55 and 1194/56). In vivo: de
# Bazelaire et al., Radiology 230:652, 2004 (spleen 1057/79 and 1328/61, fat 343/58 and
# 382/68, marrow 549/49 and 586/49). The ratio of the fields is what is used, so that
# both sets at 1.5 T have their place at 3 T. T2 of heart, muscle and fat came out
# longer at 3 T, within the errors; here both fields have the value at 3 T.
_TIMES_AT_15_AND_3: Mapping[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "blood": ((1441.0, 290.0), (1932.0, 275.0)),
    "heart_muscle": ((1030.0, 47.0), (1471.0, 47.0)),
    "muscle": ((1008.0, 50.0), (1412.0, 50.0)),
    "fat": ((343.0, 68.0), (382.0, 68.0)),
    "bone": ((549.0, 49.0), (586.0, 49.0)),
    "marrow": ((549.0, 49.0), (586.0, 49.0)),
    "liver": ((576.0, 46.0), (812.0, 42.0)),
    "spleen": ((1057.0, 79.0), (1328.0, 61.0)),
    "kidney": ((690.0, 55.0), (1194.0, 56.0)),
}
# Other tissues: T1 grows by 21 % and T2 falls by 8 % on average (de Bazelaire).
_OTHER_RATIO = (1.21, 0.92)

# Tissues that share values: what flows, the heart's muscle, and thin sheets.
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "blood": (
        "lv_blood",
        "rv_blood",
        "vessel",
        "venous_vessel",
        "liver_vessel",
        "lung_vessel",
    ),
    "heart_muscle": ("myocardium", "papillary", "trabecula", "rv_wall", "vessel_wall"),
    "fat": ("fat", "wall_fat"),
    "muscle": ("muscle", "diaphragm"),
}
_GROUP_OF = {name: group for group, names in _GROUPS.items() for name in names}

_VENOUS = ("rv_blood", "venous_vessel", "liver_vessel")  # before the lung

# Gadolinium in a tissue over that in blood. In equilibrium this is the extracellular
# volume over the plasma's part of blood, 1 - haematocrit, about 0.58. Our choices, by
# usual extracellular volumes: heart muscle 25 % / 0.58, muscle 12 %, liver 26 %, spleen
# 29 %; stomach, bowel and lung between muscle and spleen; the kidney, which excretes
# it, as blood; nothing in fat, bone and fluids.
_PARTITION: Mapping[str, float] = {
    "blood": 1.0,
    "heart_muscle": 0.42,
    "muscle": 0.2,
    "liver": 0.45,
    "spleen": 0.5,
    "kidney": 1.0,
    "stomach_wall": 0.4,
    "bowel": 0.3,
    "lung": 0.3,
}
# Relaxivities of extracellular gadolinium chelates, 1 / (ms mmol/l): in the range of
# those in plasma at 1.5 T (Rohrer et al., Invest Radiol 40:715, 2005), which differ by
# agent; that at 3 T they are somewhat lower is left out.
_R1, _R2 = 4.5e-3, 5.5e-3


def sample_tissue_values(rng: np.random.Generator) -> np.ndarray:
    """Draw one subject's relaxation times and proton densities at 1.5 T.

    A weight between the two published sets is drawn for the subject, mostly near the
    first, and from it one for each group of tissues. T1 and T2 then vary by 6 % and
    density by 8 % (standard deviation, cut at two of them); the bloods share one draw,
    so do the heart muscles. Wider are T2 of venous blood and liver and the density of
    fat. The stomach's content goes from food (dark) to water (bright).

    Args:
        rng: Source of randomness.

    Returns:
        [tissues, 3] float64: T1 in ms, T2 in ms, relative density.
    """
    low_contrast = rng.uniform() < 0.08
    weight = rng.uniform(0.5, 1.0) if low_contrast else rng.beta(0.6, 2.4)
    table = _between_sets(weight, rng)
    scale = 1.0 + np.clip(rng.standard_normal(table.shape), -2, 2) * (0.06, 0.06, 0.08)
    for names in _GROUPS.values():
        scale[[TISSUE_IDS[name] for name in names]] = scale[TISSUE_IDS[names[0]]]
    values = table * scale
    # Venous blood, with less oxygen, has a shorter T2 (Wright et al., J Magn Reson
    # Imaging 1:275, 1991), so the right heart is darker than the left.
    venous = [TISSUE_IDS[name] for name in _VENOUS]
    values[venous, 1] *= rng.uniform(0.5, 1.0)
    # The liver's T2 varies with its iron; 46 ms were measured (both sources above).
    values[TISSUE_IDS["liver"], 1] *= rng.uniform(0.6, 1.1)
    # Fat of the published density is darker than in real cine, where it comes near to
    # blood: at 1.5 T it lies some two thirds of a turn off the pass band's middle.
    values[TISSUE_IDS["fat"], 2] *= rng.uniform(1.15, 1.65)
    water = rng.beta(0.6, 1.2)
    stomach = TISSUE_IDS["stomach"]
    values[stomach, 1] *= 1.0 + 2.0 * water
    values[stomach, 2] *= 0.8 + 0.8 * water
    return values


def at_field_strength(values: np.ndarray, field_strength: float) -> np.ndarray:
    """Take tissue values from 1.5 T to another field.

    Args:
        values: [tissues, 3] at 1.5 T: T1 ms, T2 ms, relative density.
        field_strength: Tesla, 1 to 3.5; ratios grow as a power of the field.

    Returns:
        [tissues, 3] float64.

    Raises:
        ValueError: If the field is out of range.
    """
    if not 1.0 <= field_strength <= 3.5:
        raise ValueError(
            f"field_strength must be from 1 to 3.5 tesla, got {field_strength}"
        )
    ratio = np.ones((len(TISSUES), 3))
    for index, tissue in enumerate(TISSUES):
        pair = _TIMES_AT_15_AND_3.get(_key(tissue.name))
        ratio[index, :2] = _OTHER_RATIO if pair is None else np.divide(pair[1], pair[0])
    return values * ratio ** np.log2(field_strength / 1.5)


def with_contrast_agent(values: np.ndarray, concentration: float) -> np.ndarray:
    """Shorten T1 and T2 as gadolinium does: 1 / T = 1 / T0 + r C.

    Args:
        values: [tissues, 3]: T1 ms, T2 ms, relative density.
        concentration: In blood, mmol/l, 0 or more (about 1 five minutes after a dose).

    Returns:
        [tissues, 3] float64.
    """
    share = np.array([_PARTITION.get(_key(tissue.name), 0.0) for tissue in TISSUES])
    after = values.astype(np.float64)
    after[:, 0] = 1.0 / (1.0 / values[:, 0] + _R1 * concentration * share)
    after[:, 1] = 1.0 / (1.0 / values[:, 1] + _R2 * concentration * share)
    return after


def _key(name: str) -> str:
    """Return the name that a tissue's values stand under."""
    return _GROUP_OF.get(name, name)


def _between_sets(weight: float, rng: np.random.Generator) -> np.ndarray:
    """Interpolate the two sets geometrically; [tissues, 3] float64."""
    table = np.array([(t.t1, t.t2, t.density) for t in TISSUES], dtype=np.float64)
    weights = {
        key: float(np.clip(weight + rng.normal(0, 0.1), 0, 1)) for key in _SECOND_SET
    }
    for index, tissue in enumerate(TISSUES):
        key = _key(tissue.name)
        if key in _SECOND_SET:
            part = weights[key]
            table[index] = table[index] ** (1 - part) * (
                np.array(_SECOND_SET[key]) ** part
            )
    return table
