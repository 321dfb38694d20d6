"""Edits leave what they start from as it is, and can be applied to anything."""

import hypothesis
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st

from tools.fuzz_formats import damaged
from tools.fuzz_mutations import apply, byte_edits, drop_node, replace_node
from tools.fuzz_seeds import as_json, label_map, nifti, npz, table, zipped

CONTENTS = {
    "a.json": as_json({"a": [1, {"b": None}], "c": "text"}),
    "a.jsonl": b'{"step": 1}\n{"step": 2}\n',
    "a.csv": table([["code", "split"], ["P0", "train"]]),
    "a.cfg": b"ED: 1\nES: 2\n",
    "a.arguments": b"--config.seed=1",
    "a.nii": nifti(label_map()),
    "a.zip": zipped({"a.json": b'{"b": 1}', "b.bin": b"1234"}),
    "a.npz": npz({"x": label_map()}),
    "a.bin": b"1234",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_every_kind_of_file_is_damaged_to_bytes(name):
    seen = set()

    @hypothesis.settings(
        max_examples=60,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @hypothesis.given(damaged(name, CONTENTS[name]))
    def damage(content):
        assert isinstance(content, bytes)
        seen.add(content)

    damage()
    assert len(seen) > 20
    assert any(content != CONTENTS[name] for content in seen)


def test_a_value_that_is_put_into_a_tree_is_not_changed_by_later_edits():
    value = {"a": {"b": [1]}}
    edits = [(replace_node, (0, value)), (drop_node, (1,))]
    assert apply({"x": 1}, edits) == {"x": {}}
    assert value == {"a": {"b": [1]}}


@hypothesis.settings(max_examples=60, database=None, derandomize=True)
@hypothesis.given(byte_edits(), st.binary(max_size=20))
def test_byte_edits_fit_any_content(edits, content):
    assert isinstance(apply(content, edits), bytes)
