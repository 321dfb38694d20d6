"""What may be written to and replaced, and what is kept."""

import os

import pytest

from cmrjax.output_folder import (
    check_apart,
    check_fillable,
    check_free,
    check_place,
    holds_only,
)

OURS = holds_only("a.json", "*.npy", "more")


def _folder(path, *names):
    path.mkdir(parents=True)
    for name in names:
        (path / name).touch()
    return path


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("a.json",), True),
        (("a.json", "x.npy", "more", ".DS_Store"), True),
        (("x.npy",), False),
        (("a.json", "thesis.txt"), False),
        (("a.json", ".git"), False),
        ((), False),
    ],
)
def test_a_folder_of_ours_has_the_marker_and_nothing_else(tmp_path, names, expected):
    assert OURS(_folder(tmp_path / "f", *names)) is expected


def test_what_may_be_made(tmp_path):
    check_free(tmp_path / "new" / "deep")
    empty = _folder(tmp_path / "empty")
    ours = _folder(tmp_path / "ours", "a.json")
    for folder in (empty, ours):
        with pytest.raises(FileExistsError, match=r"exists already; .*--overwrite"):
            check_free(folder, ours=OURS)
        check_free(folder, ours=OURS, overwrite=True)
        check_fillable(folder, OURS)
    other = _folder(tmp_path / "other", "thesis.txt")
    with pytest.raises(FileExistsError, match=r"exists already; give another folder$"):
        check_free(other, ours=OURS)
    with pytest.raises(FileExistsError, match=r"--out=.*other holds something else"):
        check_free(other, ours=OURS, overwrite=True, option="--out=")
    check_free(other, overwrite=True)


def test_a_file_is_never_replaced(tmp_path):
    (tmp_path / "f").write_text("thesis")
    with pytest.raises(FileExistsError, match=r"f: is a file; give another folder"):
        check_free(tmp_path / "f", overwrite=True)
    with pytest.raises(NotADirectoryError, match=r"--out=.*g: .*f is a file"):
        check_place(tmp_path / "f" / "g", option="--out=")
    assert (tmp_path / "f").read_text() == "thesis"


def test_a_place_without_permission(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(PermissionError, match=r"may not be written to; give another"):
        check_place(tmp_path / "out")


def test_folders_that_overlap_are_refused(tmp_path):
    place = tmp_path / "a" / "b"
    for out in (place, place / "c", tmp_path / "a", tmp_path / "a" / "x" / ".." / "b"):
        with pytest.raises(ValueError, match=r"overlap.*another folder"):
            check_apart(out, [tmp_path / "z", place])
    check_apart(tmp_path / "a" / "bc", [place])
    check_apart(place / "c", [place], inside=True)
    for out in (place, tmp_path / "a"):
        with pytest.raises(ValueError, match="overlap"):
            check_apart(out, [place], inside=True)


def test_a_folder_that_is_written_into_need_not_be_made(tmp_path, monkeypatch):
    """As /scratch/name, whose folder around it belongs to another."""
    mine = _folder(tmp_path / "mine")
    monkeypatch.setattr(os, "access", lambda path, _: str(path) == str(mine))
    check_place(mine, inside=True)
    with pytest.raises(PermissionError, match="may not be written to"):
        check_place(mine)
    with pytest.raises(PermissionError, match=rf"{tmp_path} may not be written to"):
        check_place(tmp_path / "other", inside=True)


def test_a_folder_that_a_file_browser_opened_is_empty(tmp_path):
    check_fillable(_folder(tmp_path / "f", ".DS_Store"), OURS)
