"""The painted heart against the shape it is painted from."""

from dataclasses import replace

import numpy as np
import pytest

from cmrjax.simulation.heart import HeartShape, sample_heart
from cmrjax.simulation.heart_paint import (
    heart_coordinates,
    paint_great_vessels,
    paint_ventricles,
)
from cmrjax.simulation.shapes import SlicePlane
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


def test_nothing_is_painted_above_the_base_or_beyond_the_apex():
    heart, _ = _hearts()
    far = heart.apex + heart.wall + heart.rv_length
    tissue = _painted(heart, np.array([heart.base - 1.0, far]))
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


def test_great_vessels_are_above_the_base_and_scale_with_the_heart():
    heart, _ = _hearts()
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
        kept = ("vessel", "rv_wall", "lung")
        assert set(np.unique(tissue)) == {TISSUE_IDS[name] for name in kept}
        areas.append((tissue == TISSUE_IDS["vessel"]).sum())
    assert areas[1] > 1.3 * areas[0]
