"""When something is due."""

import pytest

from cmrjax.training.schedule import is_due


@pytest.mark.parametrize(
    ("every", "last_step", "expected"),
    [
        (3, None, [3, 6, 9]),
        (3, 10, [3, 6, 9, 10]),
        (20, 10, [10]),
        (1, None, list(range(1, 11))),
        (0, 10, []),
        (-1, 10, []),
    ],
)
def test_is_due(every, last_step, expected):
    steps = [s for s in range(1, 11) if is_due(s, every, last_step=last_step)]
    assert steps == expected
