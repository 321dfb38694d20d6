"""The mapping file."""

import pytest

from cmrjax.simulation.pair_mapping import read_mapping
from tests.simulation.pair_files import LABELS, write_mapping


def test_reads_a_mapping(tmp_path):
    mapping = read_mapping(write_mapping(tmp_path, vendor="X", centre=4))
    assert mapping.labels == {int(i): name for i, name in LABELS.items()}
    assert mapping.phases == {"ED": "ED", "ES": "ES"}
    assert (mapping.vendor, mapping.centre) == ("X", "4")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"labels": None}, r"no labels; expected \"labels\": {\"1\": \"LV\""),
        (
            {"labels": {"1": "heart"}},
            "'1': 'heart'; expected numbers .*among background",
        ),
        ({"labels": {"a": "LV"}}, "'a': 'LV'; expected numbers from 0"),
        ({"labels": ["LV"]}, "labels must be a JSON object"),
        ({"phases": {"dia": "end"}}, r"phases are \['end'\]; expected ED and ES"),
        ({"frames": {"ED": -1}}, "frames are {'ED': -1}; expected"),
        ({"pattern": "x"}, "unknown pattern; known are labels, image_pattern"),
    ],
)
def test_a_bad_mapping_is_refused(tmp_path, changes, text):
    with pytest.raises(ValueError, match=rf"mapping\.json: .*{text}"):
        read_mapping(write_mapping(tmp_path, **changes))


def test_a_missing_mapping_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no such mapping file"):
        read_mapping(tmp_path / "mapping.json")
