"""Atria and great vessels above the base."""

import numpy as np

from cmrjax.simulation.great_vessels import paint_great_vessels
from cmrjax.simulation.heart import sample_heart
from cmrjax.simulation.shapes import SlicePlane
from cmrjax.simulation.tissues import TISSUE_IDS

SIZE = 120


def test_great_vessels_are_above_the_base_and_scale_with_the_heart():
    rng = np.random.default_rng(0)
    heart, _ = sample_heart(rng, edv_ml=140.0, ejection_fraction=0.55)
    half = 2.0 * (SIZE - 1) / 2
    plane = SlicePlane(
        origin=np.array([-half, -half, 25.0]),
        column_axis=np.array([1.0, 0, 0]),
        row_axis=np.array([0, 1.0, 0]),
        normal=np.array([0, 0, 1.0]),
        shape=(SIZE, SIZE),
        spacing=2.0,
        offsets=(0.0,),
    )
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
        kept = ("vessel", "vessel_wall", "lung", "fat")
        assert set(np.unique(tissue)) == {TISSUE_IDS[name] for name in kept}
        areas.append((tissue == TISSUE_IDS["vessel"]).sum())
    assert areas[1] > 1.3 * areas[0]
