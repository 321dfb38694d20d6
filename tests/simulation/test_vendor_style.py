"""Named styles of scanners."""

import dataclasses

import numpy as np
import pytest

from cmrjax.simulation.vendor_style import STYLES, sample_style


def test_styles_are_drawn_by_their_shares():
    rng = np.random.default_rng(0)
    names = [sample_style(rng).name for _ in range(4000)]
    assert sum(style.share for style in STYLES.values()) == pytest.approx(1.0)
    for name, style in STYLES.items():
        assert names.count(name) / 4000 == pytest.approx(style.share, abs=0.03)


def test_a_name_or_a_style_is_taken_and_the_stream_stays_the_same():
    first, second = np.random.default_rng(1), np.random.default_rng(1)
    assert sample_style(first, "B") is STYLES["B"]
    own = dataclasses.replace(STYLES["A"], name="own")
    assert sample_style(second, own) is own
    assert first.uniform() == second.uniform()
    with pytest.raises(ValueError, match="no vendor style 'X'; there are A, B"):
        sample_style(first, "X")


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_ranges_are_ordered_and_clinical(style):
    for field in dataclasses.fields(style):
        value = getattr(style, field.name)
        if isinstance(value, tuple):
            assert value[0] <= value[1], field.name
    assert style.flip_angle[0] >= 40
    assert style.flip_angle[1] <= 60
    assert style.repetition_time[0] > 2.5
    assert style.repetition_time[1] <= 4
    assert style.channels[0] >= 1
    assert -1 <= style.sharpening[0]
    assert 0 <= style.high_field <= 1


def test_wide_covers_the_ranges_of_all_others():
    wide = STYLES["wide"]
    for style in STYLES.values():
        for field in dataclasses.fields(style):
            if isinstance(value := getattr(style, field.name), tuple):
                low, high = getattr(wide, field.name)
                assert low <= value[0] <= value[1] <= high, (style.name, field.name)
