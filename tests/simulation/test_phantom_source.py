"""Which frames of a phantom are used."""

import shutil

import numpy as np
import pytest

from cmrjax.simulation.phantom_source import (
    FrameFacts,
    choose_pairs,
    measure_frame,
    open_source,
)
from cmrjax.simulation.tissues import TISSUE_IDS
from cmrjax.simulation.xcat import open_xcat
from tests.simulation.drawn_phantom import drawn_tissue, write_xcat


def _facts(rows):
    return [FrameFacts(i + 1, *row) for i, row in enumerate(rows)]


def test_largest_and_smallest_of_one_breathing_state_are_paired():
    facts = _facts(
        [(120, 500, 0), (119, 900, 0), (50, 880, 0), (51, 510, 0), (80, 500, 0)]
    )
    assert choose_pairs(facts) == (((1, 4), (2, 3)), True)


def test_without_beating_each_frame_is_both_phases():
    facts = _facts([(52, 500, 0), (52.6, 900, 0.1), (51.7, 700, 0)])
    assert choose_pairs(facts) == (((1, 1), (3, 3), (2, 2)), False)


def test_frames_that_cut_the_tip_are_left_out_while_others_remain():
    facts = _facts([(52, 500, 0.4), (52, 900, 0.1), (52, 700, 0.2)])
    assert choose_pairs(facts)[0] == ((2, 2),)
    assert choose_pairs(facts[::2])[0] == ((3, 3),)


def test_breathing_states_are_spread():
    facts = _facts([(52, 100 * i, 0) for i in range(10)])
    assert choose_pairs(facts)[0] == ((1, 1), (4, 4), (7, 7), (10, 10))


def test_beating_phantoms_breathe_too():
    """Good matches, from exhaled to inhaled; the best four all lie in one state."""
    near = [(120, 500 + i, 0) for i in range(4)] + [(50, 500 + i, 0) for i in range(4)]
    far = [(120, 700, 0), (50, 703, 0), (120, 1100, 0), (50, 1102, 0)]
    poor = [(120, 900, 0)]  # in no state of an end-systole
    pairs, beats = choose_pairs(_facts([*near, *far, *poor]))
    assert beats
    assert pairs[0] == (1, 5)
    assert pairs[-1] == (11, 12)
    assert (9, 10) in pairs
    assert len(pairs) == 4
    assert all(diastole != 13 for diastole, _ in pairs)


def test_the_best_match_is_used_even_if_it_is_poor():
    assert choose_pairs(_facts([(120, 500, 0), (50, 900, 0)])) == (((1, 2),), True)


def test_changed_files_are_read_anew(tmp_path):
    path = write_xcat(tmp_path / "xcat", {1: drawn_tissue(20.0)})
    before = open_source(path)
    assert open_source(str(path)) is before
    small = before.load(0)[0].heart.endo.max()
    shutil.rmtree(path)
    write_xcat(path, {1: drawn_tissue(26.0)})
    after = open_source(path)
    assert after.sha256 != before.sha256
    assert after.load(0)[0].heart.endo.max() > small + 3


def test_frames_of_a_beating_and_breathing_phantom(tmp_path):
    volumes = {
        1: drawn_tissue(26.0),
        2: drawn_tissue(14.0, lung=14.0),
        3: drawn_tissue(14.0),
        4: drawn_tissue(26.0, lung=14.0),
    }
    source = open_source(write_xcat(tmp_path / "beats", volumes))
    assert source.beats
    assert source.pairs == ((1, 3), (4, 2))
    diastole, systole = source.load(0)
    assert diastole.heart.endo.sum() > 1.5 * systole.heart.endo.sum()
    assert source.load(0)[0] is diastole


def test_frames_without_heart_are_not_used(tmp_path):
    empty = drawn_tissue()
    empty[empty == TISSUE_IDS["rv_blood"]] = TISSUE_IDS["fat"]
    some = write_xcat(tmp_path / "some", {1: empty, 2: drawn_tissue()})
    assert measure_frame(open_xcat(some), 1) is None
    assert open_source(some).pairs == ((2, 2),)
    none = write_xcat(tmp_path / "none", {1: empty})
    with pytest.raises(ValueError, match="no frame shows all of LV, MYO, RV, abdomen"):
        open_source(none)


def test_volume_is_that_of_the_voxels(tmp_path):
    xcat = open_xcat(write_xcat(tmp_path / "one", {1: drawn_tissue()}))
    found = measure_frame(xcat, 1)
    assert found is not None
    voxels = (drawn_tissue() == TISSUE_IDS["lv_blood"]).sum()
    assert found.lv_ml == pytest.approx(voxels * 0.02)
    assert found.open_end == 0


@pytest.mark.development_data
def test_the_true_phantom_breathes_and_does_not_beat(development_data):
    path = development_data / "data" / "xcat" / "xcat_short_axis.zip"
    source = open_source(path)
    assert not source.beats
    assert len(source.pairs) == 4
    assert all(a == b for a, b in source.pairs)
    phantom = source.load(0)[0]
    assert phantom.heart.apex - phantom.heart.base == pytest.approx(75, abs=6)
    cavity = np.isin(phantom.tissue, [TISSUE_IDS["lv_blood"], TISSUE_IDS["papillary"]])
    volume = cavity.sum() * np.prod(phantom.spacing) / 1000
    assert volume == pytest.approx(56, abs=5)
