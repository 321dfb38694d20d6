"""The signal table and the mean over sub-slices."""

import numpy as np
import pytest

from cmrjax.simulation.bssfp import bssfp_signal
from cmrjax.simulation.contrast import mean_signal, signal_table
from cmrjax.simulation.tissues import TISSUE_IDS, TISSUES

_VALUES = np.array([(t.t1, t.t2, t.density) for t in TISSUES])
_SETTINGS = {"repetition_time": 3.0, "flip_angle": 50.0}


def _table(fat_hertz=0.0):
    return signal_table(_VALUES, fat_hertz=fat_hertz, **_SETTINGS)


def _mean(names, hertz=0.0, table=None):
    tissue = np.array([TISSUE_IDS[name] for name in names], np.uint8)
    signal = mean_signal(
        tissue.reshape(1, -1, 1, 1),
        _table() if table is None else table,
        np.full((1, 1, 1), hertz, np.float32),
        repetition_time=3.0,
    )
    return complex(signal[0, 0, 0])


def test_table_is_the_steady_state_over_two_turns():
    table = _table()
    assert table.shape == (len(TISSUES), 256)
    blood = TISSUE_IDS["lv_blood"]
    np.testing.assert_allclose(
        np.abs(table[blood, ::32]),
        bssfp_signal(
            *_VALUES[blood],
            **_SETTINGS,
            precession=np.arange(8) * np.pi / 2,
        ),
        rtol=1e-5,
    )
    assert table[blood, 128].real == pytest.approx(-table[blood, 0].real)


def test_sub_slices_mix_in_proportion():
    blood, muscle = _mean(["lv_blood"]), _mean(["myocardium"])
    mixed = _mean(["lv_blood", "myocardium", "myocardium"])
    assert mixed == pytest.approx((blood + 2 * muscle) / 3, rel=1e-6)
    assert _mean(["air", "fat", "air"]) == pytest.approx(_mean(["fat"]) / 3)


def test_fat_and_water_cancel_only_when_shifted():
    shifted = _table(fat_hertz=-217.0)
    fat, liver = (abs(_mean([n], table=shifted)) for n in ("fat", "liver"))
    mixed = abs(_mean(["fat", "liver"], table=shifted))
    assert mixed == pytest.approx(abs(fat - liver) / 2, rel=0.1)
    together = abs(_mean(["fat", "liver"]))
    assert together == pytest.approx((_mean(["fat"]) + _mean(["liver"])).real / 2)
    assert fat > 0.5 * abs(_mean(["fat"]))  # fat stays bright


def test_bands_lie_where_water_turns_by_pi():
    dark = 1 / (2 * 3e-3)  # Hz
    on = abs(_mean(["myocardium"]))
    assert abs(_mean(["myocardium"], dark)) < 0.08 * on
    assert abs(_mean(["myocardium"], -dark)) < 0.08 * on
    assert abs(_mean(["myocardium"], dark / 4)) > 0.85 * on
    assert abs(_mean(["myocardium"], 2 * dark)) == pytest.approx(on, rel=0.02)
