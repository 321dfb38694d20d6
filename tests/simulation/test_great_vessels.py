"""Atria and great vessels above the base."""

import numpy as np

from cmrjax.simulation.great_vessels import paint_great_vessels
from cmrjax.simulation.heart import sample_heart
from cmrjax.simulation.tissues import TISSUE_IDS
from tests.simulation.torso_slices import SIZE, axial


def test_great_vessels_are_above_the_base_and_scale_with_the_heart():
    rng = np.random.default_rng(0)
    heart, _ = sample_heart(rng, edv_ml=140.0, ejection_fraction=0.55)
    plane = axial(25.0, spacing=2.0)
    axes = np.diag([1.0, 1.0, -1.0])  # the apex points down: w = -z
    areas = []
    for scale in (0.8, 1.2):
        tissue = np.full((1, SIZE, SIZE), TISSUE_IDS["lung"], np.uint8)
        paint_great_vessels(
            heart,
            tissue,
            plane.points(),
            plane,
            base=np.zeros(3),
            axes=axes,
            scale=scale,
        )
        kept = ("vessel", "venous_vessel", "vessel_wall", "lung", "fat")
        assert set(np.unique(tissue)) == {TISSUE_IDS[name] for name in kept}
        names = ("vessel", "venous_vessel")
        areas.append([(tissue == TISSUE_IDS[name]).sum() for name in names])
        right = np.argwhere(tissue[0] == TISSUE_IDS["venous_vessel"])[:, 1]
        left = np.argwhere(tissue[0] == TISSUE_IDS["vessel"])[:, 1]
        assert right.mean() < left.mean()  # the right heart lies to the right
    assert (np.array(areas[1]) > 1.3 * np.array(areas[0])).all()
