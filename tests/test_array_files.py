"""Arrays in files: what is written, and what is refused before it is read."""

import os
import zipfile

import numpy as np
import pytest

from cmrjax import array_files


def test_write_npz(tmp_path):
    array_files.write_npz(tmp_path / "a.npz", x=np.arange(3))
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["x"], [0, 1, 2])
    assert os.listdir(tmp_path) == ["a.npz"]


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    """Forty members of 64 MB took 2.7 GB, one of 2 GiB a minute."""
    with zipfile.ZipFile(tmp_path / "w.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(3):
            with archive.open(f"{index}.npy", "w") as file:
                np.lib.format.write_array(file, np.zeros(1 << 16))
    assert len(array_files.read_npz(tmp_path / "w.npz")) == 3
    monkeypatch.setattr(array_files, "LARGEST_WEIGHTS", 3 << 19)
    with pytest.raises(ValueError, match=r"it says 3 arrays of 0\.00 GiB together"):
        array_files.read_npz(tmp_path / "w.npz")
    monkeypatch.undo()
    monkeypatch.setattr(array_files, "_MOST_ARRAYS", 2)
    with pytest.raises(ValueError, match=r"at most 2 of 1\.5 GiB are read"):
        array_files.read_npz(tmp_path / "w.npz")
