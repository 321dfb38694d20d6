"""The montage of prepared folders."""

import numpy as np
import pytest

from cmrjax.data.source import PreparedDataset
from cmrjax.evaluation.figures import colourise
from tests.data.prepared_folder import make_prepared
from tools.montage import main, make_montage, subject_row

SIZE = (16, 16)


def _stack(folder, areas):
    """One subject, a slice for each area (rows of LV)."""
    labels = np.zeros((len(areas), *SIZE), int)
    for label_map, area in zip(labels, areas, strict=True):
        label_map[:area] = 1
    return make_prepared(folder, count=len(areas), size=SIZE, labels=labels)


@pytest.mark.parametrize("areas", [(0, 9, 5), (5, 9, 0)])
def test_slices_run_from_base_to_apex_and_show_heart(tmp_path, areas):
    dataset = PreparedDataset.open(_stack(tmp_path / "p", areas))
    row = subject_row(dataset, [0, 1, 2], "ED")
    assert len(row) == 6
    first, last = (colourise(dataset.labels[i], dataset.schema) for i in (1, 0))
    np.testing.assert_array_equal(row[1], first)
    if areas[0] == 5:
        np.testing.assert_array_equal(row[5], last)


def test_folders_take_turns_and_subjects_are_named(tmp_path):
    folders = [str(make_prepared(tmp_path / n, count=8, size=SIZE)) for n in "ab"]
    picture, names = make_montage(
        folders, groups=["A1"], splits=[], count=2, phase="ED"
    )
    assert names == ["P0", "P0", "P1", "P1"]
    assert picture.dtype == np.uint8
    assert picture.shape[0] > 4 * 6  # padding, outside of (1, 7, 0, 8), is cut off
    assert picture.shape[0] < 4 * SIZE[0] + 4 * 6
    assert 6 * 8 <= picture.shape[1] < 6 * SIZE[1]


def test_what_is_not_there_is_said(tmp_path):
    folder = str(make_prepared(tmp_path / "p", count=2, size=SIZE))
    with pytest.raises(SystemExit, match=r"no subject of groups B2.*it has A1 train"):
        main(["--data", folder, "--groups", "B2", f"--out={tmp_path / 'm.png'}"])
    assert not (tmp_path / "m.png").exists()


def test_sizes_must_agree(tmp_path):
    folders = [
        str(make_prepared(tmp_path / f"p{n}", count=2, size=(n, n))) for n in (8, 16)
    ]
    with pytest.raises(ValueError, match="one --image-size"):
        make_montage(folders, groups=["A1"], splits=[], count=1, phase="ED")
