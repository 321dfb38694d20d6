"""A training has its folder for itself, and checks its numbers before anything."""

import os

import pytest

from cmrjax.folder_lock import FolderInUseError, hold_folder
from experiments import train_gan, train_segmentation
from experiments.configs import base, segmentation


@pytest.mark.parametrize(
    ("command", "settings"),
    [(train_gan, base), (train_segmentation, segmentation)],
)
def test_a_folder_in_use_is_refused_before_data_are_opened(tmp_path, command, settings):
    folder = tmp_path / "run"
    with (
        hold_folder(folder),
        pytest.raises(FolderInUseError, match=r"--workdir=.*run is in use"),
    ):
        command.run(settings.get_config(), folder)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("command", "settings"),
    [(train_gan, base), (train_segmentation, segmentation)],
)
def test_numbers_are_checked_before_data_are_opened(tmp_path, command, settings):
    config = settings.get_config()
    with pytest.raises(ValueError, match=r"--profile is -1; expected at least 0"):
        command.run(config, tmp_path / "run", profile=-1)
    config.training.report_every = 0
    with pytest.raises(
        ValueError, match=r"config\.training\.report_every is 0; expected at least 1$"
    ):
        command.run(config, tmp_path / "run")
    assert os.listdir(tmp_path) == []
