"""The painted heart against the shape it is painted from."""

from dataclasses import replace

import numpy as np
import pytest

from cmrjax.simulation.heart import HeartShape, sample_heart
from cmrjax.simulation.heart_paint import (
    heart_coordinates,
    paint_ventricles,
    right_distance,
)
from cmrjax.simulation.tissues import TISSUE_IDS

SPACING, SIZE, STEP = 1.5, 120, 3.0


def _hearts(seed: int = 0, **changes) -> tuple[HeartShape, HeartShape]:
    """End-diastole and end-systole, round: without ripples."""
    rng = np.random.default_rng(seed)
    round_wall = {"ripple": np.zeros((3, 2)), "wall_ripple": (0.0, 0.0)} | changes
    ed, es = sample_heart(rng, edv_ml=140.0, ejection_fraction=0.55)
    return replace(ed, **round_wall), replace(es, **round_wall)


def _coordinates(w: np.ndarray) -> np.ndarray:
    """[3, s, h, w] float32 mm: short-axis slices at the positions w."""
    line = (np.arange(SIZE) - (SIZE - 1) / 2) * SPACING
    return np.stack(np.meshgrid(w, line, line, indexing="ij"))[[2, 1, 0]].astype(
        np.float32
    )


def _painted(heart: HeartShape, w: np.ndarray) -> np.ndarray:
    tissue = np.full((len(w), SIZE, SIZE), TISSUE_IDS["lung"], np.uint8)
    paint_ventricles(heart, tissue, _coordinates(w), np.zeros((SIZE, SIZE), np.float32))
    return tissue


def _millilitres(tissue: np.ndarray, *names: str) -> float:
    found = np.isin(tissue, [TISSUE_IDS[name] for name in names])
    return found.sum() * SPACING**2 * STEP / 1000


@pytest.mark.parametrize("phase", [0, 1])
def test_painted_volumes_are_those_of_the_shape(phase):
    heart = _hearts()[phase]
    w = np.arange(heart.base + STEP / 2, heart.apex + 15.0, STEP)
    tissue = _painted(heart, w)
    cavity = _millilitres(tissue, "lv_blood", "papillary")
    assert cavity == pytest.approx(heart.lv_volume_ml(), rel=0.02)
    wall = _millilitres(tissue, "myocardium")
    assert wall == pytest.approx(heart.wall_volume_ml(), rel=0.03)


def test_every_ventricle_is_where_it_belongs():
    heart, _ = _hearts(rv_angle=np.pi, rv_skew=0.0)
    tissue = _painted(heart, np.array([0.3 * heart.length]))[0]
    columns = (np.arange(SIZE) - (SIZE - 1) / 2) * SPACING
    row = tissue[SIZE // 2]
    right = columns[row == TISSUE_IDS["rv_blood"]]
    assert right.size
    assert (right < 0).all()  # the right ventricle lies along -u
    left = row == TISSUE_IDS["lv_blood"]
    assert columns[left].min() > right.max()
    between = row[(columns > right.max()) & (columns < columns[left].min())]
    assert (between == TISSUE_IDS["myocardium"]).all()  # the septum
    assert between.size * SPACING == pytest.approx(heart.wall, abs=2 * SPACING)


def test_blood_of_the_left_ventricle_is_enclosed_by_muscle():
    heart, _ = _hearts()
    for tissue in _painted(heart, np.linspace(1.0, heart.apex - 2.0, 6)):
        inside = np.isin(tissue, [TISSUE_IDS["lv_blood"], TISSUE_IDS["papillary"]])
        grown = inside.copy()
        for axis in (0, 1):
            for shift in (-1, 1):
                grown |= np.roll(inside, shift, axis)
        assert (tissue[grown & ~inside] == TISSUE_IDS["myocardium"]).all()


def test_nothing_is_painted_far_above_the_base_or_beyond_the_apex():
    heart, _ = _hearts()
    far = heart.apex + heart.wall + heart.rv_length
    tissue = _painted(heart, np.array([heart.base - 15.0, far]))
    assert (tissue == TISSUE_IDS["lung"]).all()


def test_papillary_muscles_are_inside_the_cavity_at_mid_height_only():
    heart, _ = _hearts()
    base, middle = _painted(heart, np.array([0.1, 0.5]) * heart.length)
    plain, _ = _hearts(papillary_radius=0.0)
    cavity = _painted(plain, np.array([0.5 * heart.length]))[0]
    papillary = middle == TISSUE_IDS["papillary"]
    assert papillary.any()
    assert (cavity[papillary] == TISSUE_IDS["lv_blood"]).all()
    assert not (base == TISSUE_IDS["papillary"]).any()


def test_heart_coordinates_are_distances_along_the_axes():
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    base = rng.normal(0, 30, 3)
    local = rng.normal(0, 50, (3, 2, 4, 5))
    points = np.einsum("ki,k...->i...", axes, local) + base[:, None, None, None]
    found = heart_coordinates(points.astype(np.float32), base, axes)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, local, atol=1e-3)


@pytest.mark.parametrize("width", [25.0, 45.0])
def test_right_ventricle_is_as_wide_at_its_base_as_it_is_told(width):
    heart, _ = _hearts(
        rv_angle=np.pi,
        rv_twist=0.0,
        rv_skew=0.0,
        rv_bend=0.0,
        rv_base=0.0,
        rv_width=width,
    )
    tissue = _painted(heart, np.array([0.5]))[0, SIZE // 2]
    right = np.flatnonzero(tissue == TISSUE_IDS["rv_blood"])
    assert (np.diff(right) == 1).all()
    assert tissue[right[-1] + 1] == TISSUE_IDS["myocardium"]  # the septum
    assert tissue[right[0] - 1] == TISSUE_IDS["rv_wall"]
    assert right.size * SPACING == pytest.approx(width, abs=1.5 * SPACING)


def test_blood_above_the_valve_lies_over_the_right_ventricle_and_not_in_it():
    heart, _ = _hearts(rv_base=10.0, rv_tilt=0.0)
    local = _coordinates(np.array([4.0, 16.0]))
    right, above = right_distance(heart, local)
    assert not (right[0] < 0).any()
    assert (above[0] < 0).any()
    assert (right[1] < 0).any()
    assert not (above[1] < 0).any()


def test_fat_fills_the_narrow_space_between_heart_and_wall_only():
    heart, _ = _hearts(fat=3.0, fat_right=1.0)
    w = np.array([0.4 * heart.length])
    found = []
    for gap in (2.0, 60.0):
        tissue = np.full((1, SIZE, SIZE), TISSUE_IDS["lung"], np.uint8)
        flat = np.zeros((SIZE, SIZE), np.float32)
        paint_ventricles(
            heart, tissue, _coordinates(w), flat, gap=np.full(tissue.shape, gap)
        )
        found.append((tissue == TISSUE_IDS["fat"]).sum())
    assert found[0] > 1.5 * found[1] > 0
