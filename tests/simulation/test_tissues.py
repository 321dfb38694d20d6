"""Tissue values, their contrast and their classes."""

import numpy as np

from cmrjax.labels import MULTI_TISSUE
from cmrjax.simulation.tissues import (
    TISSUE_IDS,
    TISSUES,
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
