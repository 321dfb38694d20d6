"""Weights of other frameworks: what would fill the memory is refused before that."""

import numpy as np
import pytest

from tools import weight_files
from tools.weight_files import read_arrays

h5py = pytest.importorskip("h5py")


def test_arrays_of_nested_groups_have_their_path(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["a/b/kernel:0"] = np.arange(3.0)
        file["bias"] = np.ones(2, np.float32)
        file["text"] = "not a number"
        file["a/again"] = h5py.SoftLink("/a")
    found = read_arrays(tmp_path / "w.h5")
    assert set(found) == {"a/b/kernel:0", "bias"}
    np.testing.assert_array_equal(found["a/b/kernel:0"], [0, 1, 2])


def test_groups_in_groups_are_refused_soon(tmp_path):
    """3000 took a minute."""
    with h5py.File(tmp_path / "w.h5", "w") as file:
        group = file
        for _ in range(weight_files._MOST_LEVELS + 5):
            group = group.create_group("g")
    with pytest.raises(ValueError, match="lie more than 20 deep in one another"):
        read_arrays(tmp_path / "w.h5")


def test_many_nodes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(weight_files, "_MOST_NODES", 3)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for index in range(4):
            file.create_group(f"g{index}")
    with pytest.raises(ValueError, match="has more than 3 groups and arrays"):
        read_arrays(tmp_path / "w.h5")


def test_a_packed_bomb_is_refused_before_it_is_read(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for index in range(4):
            file.create_dataset(
                f"a{index}", shape=(1 << 27,), dtype="f4", chunks=(1 << 20,)
            )
            file[f"a{index}"][: 1 << 20] = np.random.default_rng(0).random(1 << 20)
    monkeypatch.setattr(np, "asarray", lambda *_: 1 / 0)
    with pytest.raises(ValueError, match=r"it says 4 arrays of 2\.00 GiB together"):
        read_arrays(tmp_path / "w.h5")
