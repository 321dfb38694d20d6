"""The painted body wall: fat, muscle, ribs, breastbone, arms."""

from dataclasses import replace

import numpy as np

from cmrjax.simulation.chest_wall import paint_wall
from cmrjax.simulation.tissues import TISSUE_IDS
from cmrjax.simulation.torso import paint_torso
from cmrjax.simulation.torso_shape import TorsoParameters, wall_layers
from tests.simulation.torso_slices import SIZE, SPACING, axial, straight


def test_arms_lie_beside_the_body_or_out_of_view():
    body = straight()
    lateral = int((body.half_width + 40.0) / SPACING + SIZE / 2)
    for gap, seen in ((-1.0, False), (5.0, True)):
        tissue = paint_torso(replace(body, arm_gap=gap), axial(0.0))[0]
        assert (tissue[0, :, lateral] != TISSUE_IDS["air"]).any() == seen


def _wall(torso: TorsoParameters, height: float) -> np.ndarray:
    plane = axial(height)
    points = plane.points()
    tissue = np.zeros(points.shape[1:], np.uint8)
    under, inner = paint_wall(torso, points, plane, tissue)
    np.testing.assert_array_equal(wall_layers(torso, points)[1:], (under, inner))
    return tissue[0]


def test_ribs_and_breastbone_are_bone_around_marrow():
    torso = straight()
    heights = np.arange(0.0, 32.0, 2.0)  # a rib and the space to the next
    bone = np.stack([_wall(torso, z) == TISSUE_IDS["bone"] for z in heights]).sum(0)
    assert (bone > 0).sum() > 100  # all around the chest, at some height
    half = SIZE // 2
    bone[:half, half - 7 : half + 7] = 0  # the breastbone
    assert (bone < len(heights)).all()  # a rib is nowhere at every height
    middle = _wall(torso, 10.0)[: SIZE // 2, SIZE // 2]
    assert (middle == TISSUE_IDS["marrow"]).any()


def test_breasts_are_fat_with_gland_at_the_front_only():
    torso = straight(breast=45.0, gland=0.8, breast_place=(80.0, 0.0))
    flat, breast = (_wall(replace(torso, breast=b), 0.0) for b in (0.0, 45.0))
    more = (breast != TISSUE_IDS["air"]) & (flat == TISSUE_IDS["air"])
    assert more.sum() * SPACING**2 > 2000  # mm^2
    assert np.nonzero(more)[0].max() < SIZE / 2
    assert (breast == TISSUE_IDS["gland"]).any()


def test_streaks_of_fat_between_the_muscles_follow_their_amount():
    shares = [
        (_wall(straight(streaks=s), 0.0) == TISSUE_IDS["muscle"]).sum()
        for s in (0.0, 1.0)
    ]
    assert shares[1] < shares[0]
