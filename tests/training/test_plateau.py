"""When the learning rate falls: by hand, and by the rule that PyTorch documents."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmrjax.training.plateau import observe, start_plateau


def follow(losses, *, rate=1.0, **options):
    """State after each loss, as (rate, best, waited)."""
    plateau, seen = start_plateau(rate), []
    for loss in losses:
        plateau = observe(plateau, loss, **options)
        seen.append(
            (
                float(plateau.learning_rate),
                float(plateau.best_loss),
                int(plateau.waited),
            )
        )
    return seen


def test_the_start():
    plateau = start_plateau(1e-4)
    assert float(plateau.learning_rate) == pytest.approx(1e-4)
    assert float(plateau.best_loss) == np.inf
    assert int(plateau.waited) == 0


def test_a_sequence_by_hand():
    """Patience 2: the rate falls at the second loss in a row that is not the best."""
    losses = [1.0, 0.5, 0.75, 0.25, 0.25, 0.5, 0.5, 0.5, 0.125, 0.25]
    assert follow(losses, patience=2) == [
        (1.0, 1.0, 0),
        (1.0, 0.5, 0),
        (1.0, 0.5, 1),
        (1.0, 0.25, 0),
        (1.0, 0.25, 1),  # as good is not better
        (0.5, 0.25, 0),
        (0.5, 0.25, 1),
        (0.25, 0.25, 0),
        (0.25, 0.125, 0),
        (0.25, 0.125, 1),
    ]


def test_ten_validations_without_a_better_loss_halve_the_rate():
    """SPEC 3; from 1e-4 the seventh time falls below 1e-6."""
    rates = [r for r, _, _ in follow([1.0] * 71, rate=1e-4, patience=10)]
    assert rates[9] == pytest.approx(1e-4)
    assert rates[10] == pytest.approx(5e-5)
    assert rates[19] == pytest.approx(5e-5)
    assert rates[20] == pytest.approx(2.5e-5)
    assert rates[69] > 1e-6 > rates[70]


def torch_rule(losses, *, rate, patience, factor):
    """ReduceLROnPlateau with threshold 0: reduced when bad epochs exceed its patience.

    Its patience of p is ours of p + 1: it counts what is ignored, we what is waited.
    """
    best, bad, rates = np.inf, 0, []
    for loss in losses:
        if loss < best:
            best, bad = loss, 0
        else:
            bad += 1
        if bad > patience:
            rate, bad = rate * factor, 0
        rates.append(rate)
    return rates


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=40),
    st.integers(1, 5),
    st.sampled_from([0.5, 0.25]),
)
def test_it_is_the_rule_of_pytorch(steps, patience, factor):
    losses = [step / 8 for step in steps]
    expected = torch_rule(losses, rate=1.0, patience=patience - 1, factor=factor)
    found = [r for r, _, _ in follow(losses, patience=patience, factor=factor)]
    assert found == expected


@pytest.mark.parametrize("loss", [0.1, 0.3, 1 / 3, 0.7])
def test_an_equal_loss_is_not_better_whatever_its_rounding(loss):
    """0.1 is kept as 0.100000001 in float32, which the next 0.1 must not beat."""
    rates = [r for r, _, _ in follow([loss] * 5, patience=2)]
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_is_refused(loss):
    with pytest.raises(ValueError, match=f"the validation loss is {loss}; the rate"):
        observe(start_plateau(1.0), loss, patience=3)


@pytest.mark.parametrize(
    ("patience", "factor"), [(0, 0.5), (-1, 0.5), (3, 0.0), (3, 1.0), (3, 2.0)]
)
def test_values_that_make_no_schedule(patience, factor):
    with pytest.raises(
        ValueError,
        match=rf"patience is {patience}, factor {factor}; expected at least 1 and 0 to",
    ):
        observe(start_plateau(1.0), 1.0, patience=patience, factor=factor)


def test_types_are_those_of_the_start():
    """A state that is placed anew must fit the compiled step and the checkpoint."""
    start = start_plateau(1.0)
    after = observe(start, 0.5, patience=3)
    for name in ("learning_rate", "best_loss", "waited"):
        old, new = getattr(start, name), getattr(after, name)
        assert (new.dtype, new.shape) == (old.dtype, old.shape)
