"""A run continues only as what it was started as."""

import pytest

from cmrjax.files import read_json
from experiments.run_folder import RUN_FILE, open_run

CONFIG = {"seed": 0, "data": {"path": "a", "flip": True}, "training": {"num_steps": 3}}


def test_the_first_call_records_and_the_next_returns_the_same(tmp_path):
    first = open_run(tmp_path / "run", CONFIG, {"data": "abc"}, has_checkpoint=True)
    assert read_json(tmp_path / "run" / RUN_FILE) == first
    assert first["config"] == CONFIG
    assert (
        open_run(tmp_path / "run", CONFIG, {"data": "abc"}, has_checkpoint=True)
        == first
    )


def test_what_does_not_touch_the_past_may_change(tmp_path):
    open_run(tmp_path, CONFIG, {"data": "abc"}, has_checkpoint=True)
    moved = {**CONFIG, "data": {"path": "b", "flip": True}}
    longer = {**moved, "training": {"num_steps": 9, "epochs": 7}}
    found = open_run(tmp_path, longer, {"data": "abc"}, has_checkpoint=True)
    assert found["config"] == longer
    assert read_json(tmp_path / RUN_FILE) == found
    assert [p.name for p in tmp_path.iterdir()] == [RUN_FILE]


def test_a_licence_that_is_stated_later_is_recorded(tmp_path):
    first = open_run(tmp_path, CONFIG, {}, has_checkpoint=True)
    stated = {**CONFIG, "data": {**CONFIG["data"], "licence": "CC BY 4.0"}}
    found = open_run(tmp_path, stated, {}, has_checkpoint=True)
    assert found == {**first, "config": stated}
    assert read_json(tmp_path / RUN_FILE) == found


def test_other_changes_are_refused_with_both_values(tmp_path):
    open_run(tmp_path, CONFIG, {"data": "abc"}, has_checkpoint=True)
    changed = {**CONFIG, "data": {"path": "a", "flip": False}}
    with pytest.raises(ValueError, match=r"data\.flip: True then, False now") as error:
        open_run(tmp_path, changed, {"data": "xyz"}, has_checkpoint=True)
    assert "input data: 'abc' then, 'xyz' now" in str(error.value)
    assert "new --workdir" in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert read_json(tmp_path / RUN_FILE)["config"] == CONFIG


def test_tuples_in_a_configuration_equal_the_lists_of_json(tmp_path):
    open_run(tmp_path, {"groups": ("A1", "B2")}, {}, has_checkpoint=True)
    open_run(tmp_path, {"groups": ("A1", "B2")}, {}, has_checkpoint=True)
    with pytest.raises(ValueError, match="groups"):
        open_run(tmp_path, {"groups": ("A1",)}, {}, has_checkpoint=True)


def test_a_start_that_trained_nothing_does_not_bind(tmp_path):
    open_run(tmp_path, CONFIG, {"data": "abc"}, has_checkpoint=False)
    changed = {**CONFIG, "seed": 1}
    found = open_run(tmp_path, changed, {"data": "xyz"}, has_checkpoint=False)
    assert found["config"]["seed"] == 1
    with pytest.raises(ValueError, match="seed: 1 then, 0 now"):
        open_run(tmp_path, CONFIG, {"data": "xyz"}, has_checkpoint=True)


def test_a_run_from_before_a_setting_did_what_its_default_says(tmp_path):
    before = {**CONFIG, "model": {"levels": 2}}
    open_run(tmp_path, before, {}, has_checkpoint=True)
    for dtype, text in (("bfloat16", "None"), ("float32", ""), ("bfloat16", "'float3")):
        config = {**CONFIG, "model": {"levels": 2, "dtype": dtype}}
        if text:
            with pytest.raises(ValueError, match=rf"model\.dtype: {text}.*'bfloat16'"):
                open_run(tmp_path, config, {}, has_checkpoint=True)
        else:
            open_run(tmp_path, config, {}, has_checkpoint=True)
