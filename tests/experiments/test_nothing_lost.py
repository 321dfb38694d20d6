"""A disk that is full, a folder that cannot be written, damage, changed input.

Each ends in one line that says what to do; what was there before stays whole, and a
run goes on from it to the same end as one that nothing happened to.
"""

import pathlib
import shutil
import time

import jax
import numpy as np
import pytest

from cmrjax.segmentation.params import load_segmenter
from cmrjax.synthesis.params import save_params
from experiments import prepare_data, simulate, synthesize, train_segmentation
from tests.data.mnms_tree import write_small_set
from tests.experiments.tiny_segmentation import saved_state, tiny_config, tiny_data
from tests.full_disk import full_disk
from tests.synthesis.label_files import draw_labels, write_labels
from tests.synthesis.tiny_models import make_params

STEPS = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    return tiny_data(tmp_path_factory.mktemp("data") / "prepared")


def settings(data: pathlib.Path):
    """A checkpoint every second step; those of the GAN are written by the same loop."""
    config = tiny_config(data)
    config.model.base_features = config.model.max_features = 32  # 500 kB
    config.training.steps_per_epoch = 2
    config.training.epochs = STEPS // 2
    config.training.keep_checkpoints = 3
    config.training.keep_best = ""
    return config


@pytest.fixture(scope="module")
def unbroken(data, tmp_path_factory) -> pathlib.Path:
    workdir = tmp_path_factory.mktemp("runs") / "unbroken"
    train_segmentation.run(settings(data), workdir)
    return workdir


@pytest.fixture
def stopped(unbroken, tmp_path) -> pathlib.Path:
    """The run as it was after step 4."""
    workdir = tmp_path / "run"
    shutil.copytree(unbroken, workdir)
    shutil.rmtree(workdir / "checkpoints" / str(STEPS))
    return workdir


def content(folder: pathlib.Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def assert_ends_as(unbroken: pathlib.Path, workdir: pathlib.Path, data) -> None:
    train_segmentation.run(settings(data), workdir)
    expected, found = (saved_state(w, settings(data)) for w in (unbroken, workdir))
    assert found[0] == STEPS
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_full_disk_in_the_middle_of_a_checkpoint(data, unbroken, stopped):
    with (
        full_disk(50_000),
        pytest.raises(OSError, match=r"could not be written .*File too large") as error,
    ):
        train_segmentation.run(settings(data), stopped)
    text = str(error.value)
    assert "\n" not in text
    assert "make room" in text
    assert f"{stopped / 'checkpoints' / '4'} is whole" in text
    assert pathlib.Path(load_segmenter(stopped).path).name == "4"
    assert_ends_as(unbroken, stopped, data)


def test_a_full_disk_at_another_file_of_a_run(data, stopped):
    before = content(stopped)
    with (
        full_disk(1000),
        pytest.raises(OSError, match=r"File too large: .*/run/model\.json'"),
    ):
        train_segmentation.run(settings(data), stopped)
    assert content(stopped) == before


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_serves(
    data, unbroken, stopped
):
    broken = stopped / "checkpoints" / "4"
    for file in (broken / "state").rglob("*"):
        if file.is_file() and file.parent.name == "d":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    said = r"checkpoints/4 is damaged \(.*\); remove that folder"
    for use in (
        lambda: train_segmentation.run(settings(data), stopped),
        lambda: load_segmenter(stopped),
    ):
        with pytest.raises(ValueError, match=said) as error:
            use()
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 600
    shutil.rmtree(broken)
    assert_ends_as(unbroken, stopped, data)


def test_data_that_changed_under_a_run_are_refused(data, stopped, tmp_path):
    before = content(stopped)
    changed = tmp_path / "changed"
    shutil.copytree(data, changed)
    images = np.load(changed / "images.npy")
    images[0, 0, 0] += 1
    np.save(changed / "images.npy", images)
    with pytest.raises(ValueError, match=r"hash of its images is not .*prepare"):
        train_segmentation.run(settings(changed), stopped)
    shutil.rmtree(changed)
    tiny_data(changed, seed=1)  # prepared anew, from other labels
    with pytest.raises(ValueError, match=r"input data: '\w+' then, '\w+' now"):
        train_segmentation.run(settings(changed), stopped)
    assert content(stopped) == before


def test_a_configuration_that_was_edited_is_refused(data, stopped):
    before, config = content(stopped), settings(data)
    config.loss.alpha = 0.25
    with pytest.raises(ValueError, match=r"loss\.alpha: .* then, 0\.25"):
        train_segmentation.run(config, stopped)
    assert content(stopped) == before


def test_a_full_disk_leaves_no_half_of_a_prepared_folder(tmp_path, capsys):
    source, out = write_small_set(tmp_path / "in"), tmp_path / "out"
    arguments = [
        "--dataset=mnms",
        f"--source={source}",
        f"--out={out}",
        "--image-size=32",
    ]
    with full_disk(3000):
        assert prepare_data.main(arguments) != 0
    assert "File too large" in capsys.readouterr().err.splitlines()[-1]
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    assert prepare_data.main(arguments) == 0


def test_a_full_disk_while_a_model_is_saved(tmp_path):
    model = make_params()
    for _ in range(4):  # one in ten was written again, by threads that ended late
        with full_disk(5_000), pytest.raises(OSError, match="File too large"):
            save_params(model, tmp_path / "model")
        time.sleep(0.1)
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_while_volumes_are_written(tmp_path, capsys):
    save_params(make_params(), tmp_path / "model")
    write_labels(tmp_path / "in" / "case_gt.nii.gz", draw_labels())
    arguments = [
        f"--model={tmp_path / 'model'}",
        f"--labels={tmp_path / 'in'}",
        f"--out={tmp_path / 'out'}",
    ]
    with full_disk(500):
        assert synthesize.main(arguments) != 0
    assert "File too large" in capsys.readouterr().err
    assert not (tmp_path / "out" / "case.nii.gz").exists()
    assert synthesize.main(arguments) == 0
    assert (tmp_path / "out" / "case.nii.gz").is_file()
    assert list((tmp_path / "out").glob(".*")) == []


@pytest.mark.parametrize("name", ["prepare_data", "simulate", "synthesize", "train"])
def test_a_folder_that_cannot_be_made_is_named(name, data, tmp_path, capsys):
    """A path below a file cannot be made by anyone, not even by root."""
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    if name == "train":
        with pytest.raises(OSError, match=f"{out}"):
            train_segmentation.run(settings(data), out)
        return
    save_params(make_params(), tmp_path / "model")
    write_labels(tmp_path / "in" / "case_gt.nii.gz", draw_labels())
    source = write_small_set(tmp_path / "mnms")
    command, arguments = {
        "prepare_data": (
            prepare_data.main,
            ["--dataset=mnms", f"--source={source}", "--image-size=32"],
        ),
        "simulate": (simulate.main, ["--subjects=1", "--image-size=32"]),
        "synthesize": (
            synthesize.main,
            [f"--model={tmp_path / 'model'}", f"--labels={tmp_path / 'in'}"],
        ),
    }[name]
    try:
        status = command([*arguments, f"--out={out}"])
        text = capsys.readouterr().err
    except SystemExit as end:
        status, text = end.code, f"{end.code}{capsys.readouterr().err}"
    assert status != 0
    assert str(tmp_path / "file") in text
    assert "Traceback" not in text
