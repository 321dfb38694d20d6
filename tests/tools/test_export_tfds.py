"""The command, from NIfTI files to a training on the TFDS data set."""

import importlib.util
import json
import sys

import pytest

from experiments import prepare_data, train_gan
from experiments.gan_data import input_fingerprints, open_gan_data
from tests.data.mnms_tree import write_small_set
from tests.data.prepared_folder import make_prepared
from tests.experiments.tiny_run import tiny_config
from tools import export_tfds

INSTALLED = importlib.util.find_spec("tensorflow_datasets") is not None


@pytest.mark.skipif(not INSTALLED, reason="needs the extra tfds")
def test_from_nifti_to_a_training(tmp_path, capsys):
    source = write_small_set(tmp_path / "raw")
    prepared = tmp_path / "prepared"
    arguments = ["--dataset=mnms", f"--source={source}", f"--out={prepared}"]
    assert prepare_data.main([*arguments, "--image-size=32"]) == 0
    capsys.readouterr()
    arguments = [str(prepared), f"--out={tmp_path / 'tfds'}"]
    assert export_tfds.main(arguments) == 0
    streams = capsys.readouterr()
    made = tmp_path / "tfds" / "cardiac_slices" / "prepared" / "1.0.0"
    assert streams.out.startswith(f"{made}: 18 slices, ")
    assert streams.out.endswith("MiB, read back and equal\n")
    assert "18/18" in streams.err  # the progress bar

    config, of_folder = tiny_config(made), tiny_config(prepared)
    config.data.validation_groups = of_folder.data.validation_groups = ()
    config.training.num_steps = 2
    assert train_gan.run(config, tmp_path / "run").step == 2
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["inputs"] == input_fingerprints(open_gan_data(of_folder), None)

    assert export_tfds.main(arguments) == 1
    assert f"export_tfds: {made} exists already" in capsys.readouterr().err


def test_a_missing_extra_or_folder_is_one_line(tmp_path, capsys, monkeypatch):
    arguments = [str(tmp_path / "none"), f"--out={tmp_path / 'tfds'}"]
    if INSTALLED:
        assert export_tfds.main(arguments) == 1
        assert "none: no such folder; make it with" in capsys.readouterr().err
    folder = make_prepared(tmp_path / "p")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # not importable
    assert export_tfds.main([str(folder), f"--out={tmp_path / 'tfds'}"]) == 1
    assert capsys.readouterr().err == (
        "export_tfds: writing a TFDS data set needs tensorflow_datasets, of the extra"
        ' tfds: pip install -e ".[tfds]"\n'
    )
    assert not (tmp_path / "tfds").exists()
