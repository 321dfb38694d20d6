"""Going through a download: depth, hidden folders, one folder for each code."""

from cmrjax.data.subject_folders import MAX_DEPTH, existing, only_folder, walk
from tests.data.locked_folder import lock


def test_hidden_folders_and_those_too_deep_are_not_visited(tmp_path):
    deep = tmp_path.joinpath(*(f"d{i}" for i in range(MAX_DEPTH + 2)))
    deep.mkdir(parents=True)
    (tmp_path / ".git" / "x").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "d0").mkdir(parents=True)
    (tmp_path / "d0" / "d1" / "__MACOSX").mkdir()
    (tmp_path / "d0" / "file").touch()
    problems: list[str] = []
    visited = list(walk(tmp_path, problems))
    assert [folder.name for folder, _, _ in visited] == ["d0", "d1", "d2", "d3"]
    assert visited[0][2] == ["file"]
    assert not problems


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    """Not left out in silence."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    lock(monkeypatch, tmp_path / "a")
    problems: list[str] = []
    assert [folder.name for folder, _, _ in walk(tmp_path, problems)] == ["b"]
    assert problems == [
        f"{tmp_path}/a: cannot be read (Permission denied), so what is in it is left"
        " out; correct its permissions or take it away"
    ]


def test_a_folder_that_is_cleared_is_not_entered(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    names = []
    for folder, subfolders, _ in walk(tmp_path, []):
        names.append(folder.name)
        subfolders.clear()
    assert names == ["a"]


def test_one_folder_for_each_code(tmp_path):
    problems: list[str] = []
    a, b = tmp_path / "a", tmp_path / "b"
    assert only_folder("P0", [a], problems) == a
    assert not problems
    assert only_folder("P0", [a, b], problems) == a
    assert problems == [f"P0: found in 2 folders ({a}, {b}); keep one"]


def test_packed_files_come_first(tmp_path):
    assert existing(tmp_path, "x") is None
    for suffix in (".nii", ".nii.gz"):
        (tmp_path / f"x{suffix}").touch()
        assert existing(tmp_path, "x") == tmp_path / f"x{suffix}"
