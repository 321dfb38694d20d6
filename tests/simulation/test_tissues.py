"""Tissue values, their contrast and their classes."""

import numpy as np

from cmrjax.labels import MULTI_TISSUE
from cmrjax.simulation.bssfp import bssfp_signal
from cmrjax.simulation.tissues import (
    TISSUE_IDS,
    TISSUES,
    sample_tissue_values,
    texture_table,
    tissue_to_class,
)


def test_tables_hold_one_entry_per_tissue_and_every_class():
    classes = tissue_to_class()
    assert classes.dtype == np.uint8
    assert classes.shape == texture_table().shape == (len(TISSUES),)
    assert set(classes.tolist()) == set(range(MULTI_TISSUE.num_classes))
    assert classes[TISSUE_IDS["papillary"]] == MULTI_TISSUE.id_of("LV")
    assert classes[TISSUE_IDS["air"]] == 0


def test_contrast_is_that_of_cine_in_every_draw():
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = sample_tissue_values(rng)
        assert values.shape == (len(TISSUES), 3)
        signal = dict(zip(TISSUE_IDS, bssfp_signal(*values.T), strict=True))
        assert signal["lv_blood"] > 2 * signal["myocardium"]
        assert signal["fat"] > 2 * signal["muscle"]
        assert signal["lv_blood"] > 1.5 * signal["liver"] > 1.5 * signal["lung"]
        assert signal["air"] == 0
        assert signal["papillary"] < signal["lv_blood"] / 2
