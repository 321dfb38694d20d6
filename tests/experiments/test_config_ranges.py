"""Every number of a configuration has a range, and both sides of a bound are tried."""

import importlib
import math
import pathlib

import numpy as np
import pytest

from experiments.config_ranges import (
    RANGES,
    SEGMENTATION_RANGES,
    Range,
    check_ranges,
    numbers,
)
from experiments.configs import base, segmentation

FREE: set[str] = set()  # numbers that may be anything finite
TABLES = {"base": (base, RANGES), "segmentation": (segmentation, SEGMENTATION_RANGES)}
CASES = [(kind, name) for kind, (_, table) in TABLES.items() for name in table]
CONFIGS = sorted(
    p.stem for p in pathlib.Path(base.__file__).parent.glob("*.py") if p.stem[0] != "_"
)


def _changed(kind: str, name: str, value: float):
    config = TABLES[kind][0].get_config()
    *section, leaf = name.split(".")
    place = config[section[0]] if section else config
    place[leaf] = value
    return config


def _sides(allowed: Range, whole: bool) -> tuple[list[float], list[float]]:
    """Values that are just allowed, and just not."""
    inside, outside = [], []
    for bound, is_open, way in (
        (allowed.low, allowed.open_low, -1),
        (allowed.high, allowed.open_high, 1),
    ):
        if math.isinf(bound):
            continue
        step = 1 if whole else 1e-9
        (outside if is_open else inside).append(bound)
        outside.append(bound + way * step)
        inside.append(bound - way * step)
    return inside, outside


@pytest.mark.parametrize("kind", TABLES)
def test_every_number_has_a_range_or_is_free(kind):
    settings, table = TABLES[kind]
    assert set(numbers(settings.get_config())) == set(table) | FREE


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_both_sides_of_each_bound(kind, name):
    settings, table = TABLES[kind]
    whole = isinstance(numbers(settings.get_config())[name], int)
    inside, outside = _sides(table[name], whole)
    kinds = int if whole else float
    for value in inside:
        check_ranges(_changed(kind, name, kinds(value)))
    if not whole:
        outside += [math.nan, math.inf, -math.inf]
    for value in outside:
        with pytest.raises(ValueError, match=rf"^config\.{name} is .*; expected") as e:
            check_ranges(_changed(kind, name, kinds(value)))
        assert str(kinds(value)) in str(e.value)
        assert len(str(e.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("training.num_steps", -1),
        ("training.report_every", 0),
        ("training.checkpoint_every", -5),
        ("training.checkpoint_minutes", -1.0),
        ("training.keep_checkpoints", 0),
        ("training.batch_size", 0),
        ("evaluation.every", -1),
        ("evaluation.max_slices", -1),
        ("evaluation.batch_size", 0),
        ("evaluation.panel_rows", 0),
        ("optimizer.g_learning_rate", 0.0),
        ("optimizer.d_learning_rate", float("nan")),
        ("optimizer.b1", -0.1),
        ("optimizer.b2", 1.0),
        ("model.num_scales", 0),
        ("model.num_scales", 5),
        ("data.image_size", 0),
    ],
)
def test_what_was_accepted_before(name, value):
    with pytest.raises(ValueError, match=rf"config\.{name} is"):
        check_ranges(_changed("base", name, value))


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("base", "data.path", "x" * 401),
        ("base", "data.path", "data\nprepared"),
        ("base", "data.train_groups", ("A1", "B\x7f")),
        ("segmentation", "data.paths", ("a", "b" * 5000)),
    ],
)
def test_a_text_that_no_line_can_hold(kind, name, value):
    config = _changed(kind, name, value)
    with pytest.raises(ValueError, match=rf"config\.{name} is .*; expected at m") as e:
        check_ranges(config)
    assert len(str(e.value)) < 200
    assert str(e.value).isprintable()


@pytest.mark.parametrize("kind", TABLES)
def test_to_validate_on_all_slices_is_allowed(kind):
    """As `evenly_spaced` takes 0, and as runs from before have it."""
    check_ranges(_changed(kind, "evaluation.max_slices", 0))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_is_in_range(name):
    module = importlib.import_module(f"experiments.configs.{name}")
    check_ranges(module.get_config())


def test_an_error_says_what_is_allowed():
    assert str(Range(0, 1, open_high=True)) == "at least 0 and below 1"
    assert str(Range(0, open_low=True, hint="mm")) == "above 0 (mm)"
    assert not Range(0).holds(np.inf)


@pytest.mark.parametrize("value", [1 << 63, 10**400], ids=["64", "1329"])
def test_an_integer_beyond_64_bits_is_refused(value):
    """Found by fuzzing: no float, or no text, can be made of it."""
    config = base.get_config()
    config.training.batch_size = value
    with pytest.raises(ValueError, match=r"batch_size is an integer of \d+ bits; exp"):
        check_ranges(config)
