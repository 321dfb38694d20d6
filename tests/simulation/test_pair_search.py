"""The search for pairs, by patterns and by a table."""

import pytest

from cmrjax.simulation.pair_mapping import Pair, read_mapping
from cmrjax.simulation.pair_search import find_pairs
from tests.simulation.pair_files import write_mapping


def _touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def _find(tmp_path, source, **changes):
    path = write_mapping(tmp_path, **changes)
    return find_pairs(source, read_mapping(path), path)


def test_patterns_find_subjects_and_phases_by_their_names(tmp_path):
    root = tmp_path / "s"
    _touch(root, "A/es_A.nii", "A/es_A_gt.nii", "A/ed_A.nii", "A/ed_A_gt.nii")
    _touch(root, "B/es_B.nii", "B/es_C.nii", "B/mid_B.nii")
    subjects, problems = _find(
        tmp_path,
        root,
        image_pattern="{subject}/{phase}_{subject}.nii",
        label_pattern="{subject}/{phase}_{subject}_gt.nii",
        phases={"ed": "ED", "es": "ES"},
    )
    assert subjects == {
        "A": [
            Pair(root / "A/ed_A.nii", root / "A/ed_A_gt.nii", "ED", None),
            Pair(root / "A/es_A.nii", root / "A/es_A_gt.nii", "ES", None),
        ]
    }
    (line,) = problems
    assert line.endswith(f"has no label map, expected {root / 'B/es_B_gt.nii'}")


def test_patterns_that_cannot_work_are_refused(tmp_path):
    root = tmp_path / "s"
    root.mkdir()
    with pytest.raises(ValueError, match=r"must both have \{subject\}"):
        _find(tmp_path, root, label_pattern=None)
    with pytest.raises(ValueError, match=r"no \{phase\}, so the phases lie in one"):
        _find(tmp_path, root, image_pattern="{subject}.nii")
    with pytest.raises(ValueError, match="no pair of image and label map found"):
        _find(tmp_path, root)
    with pytest.raises(ValueError, match="no such folder or table"):
        _find(tmp_path, tmp_path / "nowhere")


def test_a_table_names_pairs_from_its_folder(tmp_path):
    table = tmp_path / "t" / "pairs.csv"
    table.parent.mkdir()
    for name in ("a.nii", "a_gt.nii", "b.nii", "b_gt.nii"):
        (table.parent / name).touch()
    table.write_text(
        "subject,phase,image,label,frame\n"
        "A,ED,a.nii,a_gt.nii,3\n"
        "A,ES,a.nii,a_gt.nii,\n"
        "A,ES,b.nii,b_gt.nii,\n"
        "B,mid,b.nii,b_gt.nii,\n"
        "B,ED,b.nii,b_gt.nii,x\n"
        "B C,ED,b.nii,b_gt.nii,\n"
    )
    subjects, problems = _find(tmp_path, table)
    image, label = table.parent / "a.nii", table.parent / "a_gt.nii"
    assert subjects == {
        "A": [Pair(image, label, "ED", 3), Pair(image, label, "ES", None)]
    }
    assert len(problems) == 4
    assert "line 5: phase 'mid' of subject 'B'; fill in" in problems[0]
    assert "line 6: frame 'x'; expected 0, 1, ..." in problems[1]
    assert "A has another image for ES" in problems[2]
    assert "the subject is called 'B C'; use letters" in problems[3]


def test_a_table_without_a_phase_column_is_refused(tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text("subject,image,label\nA,a.nii,b.nii\n")
    with pytest.raises(ValueError, match=r"pairs\.csv: the table has no column phase"):
        _find(tmp_path, table)


def test_an_image_pattern_with_phase_gives_each_image_its_own_phase(tmp_path):
    root = tmp_path / "s"
    _touch(root, "A_ED.nii", "A_ES.nii", "A_mid.nii", "A_gt.nii")
    subjects, problems = _find(
        tmp_path,
        root,
        image_pattern="{subject}_{phase}.nii",
        label_pattern="{subject}_gt.nii",
        frames={"ED": 0, "ES": 9},
    )
    label = root / "A_gt.nii"
    assert subjects == {
        "A": [
            Pair(root / "A_ED.nii", label, "ED", 0),
            Pair(root / "A_ES.nii", label, "ES", 9),
        ]
    }
    assert problems == []
