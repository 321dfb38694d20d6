"""The tutorial works: its blocks are run in order, smaller, in a folder of their own.

With CMRJAX_TUTORIAL=full nothing is made smaller; the times are printed with `-s`.
"""

import json
import os
import pathlib
import re
import selectors
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image

from tests.documents import ROOT, Block, fenced_blocks, shell_commands

pytestmark = pytest.mark.slow

FULL = os.environ.get("CMRJAX_TUTORIAL") == "full"
# What a command gets besides, or in the place of what stands there.
SMALLER = {
    "--subjects=12": ["--subjects=4"],
    "--config=experiments/configs/multi_demo.py": [
        "--config=experiments/configs/multi_demo.py",
        "--config.training.num_steps=4",
        "--config.training.report_every=2",
        "--config.evaluation.every=2",
        "--config.model.base_features=1",
        "--config.training.batch_size=2",
        "--config.evaluation.max_slices=4",
    ],
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder in which all blocks were run, and what each printed."""
    folder = tmp_path_factory.mktemp("the tutorial")
    for name in ("cmrjax", "experiments"):  # one types the commands beside them
        (folder / name).symlink_to(ROOT / name)
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    blocks = fenced_blocks(text)
    assert {block.language for block in blocks} == {"sh", "python"}
    return folder, [_run_block(block, folder) for block in blocks]


def _run_block(block: Block, folder: pathlib.Path) -> str:
    if block.language == "python":
        return _run([sys.executable, "-c", block.text], folder)
    outputs = []
    for words in shell_commands(block.text):
        if words[0] == "tensorboard":
            outputs.append(_scalars_on_tensorboard(words[1:], folder))
            continue
        assert words[0] == "python", words
        outputs.append(_run([sys.executable, *_smaller(words[1:])], folder))
    return "".join(outputs)


def _smaller(words: list[str]) -> list[str]:
    if FULL:
        return words
    return [new for word in words for new in SMALLER.get(word, [word])]


def _run(command: list[str], folder: pathlib.Path) -> str:
    started, before = time.monotonic(), os.times()
    # As a user has it: without the virtual devices of the tests, whose threads XLA ends
    # the process for where one waits 40 seconds for the other, as on a full machine.
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    ran = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True
    )
    after = os.times()
    assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
    used = after.children_user - before.children_user
    used += after.children_system - before.children_system
    name = command[2].splitlines()[0] if command[1] == "-c" else command[2]
    print(f"{time.monotonic() - started:.0f} s ({used:.0f} s of processors) {name}")
    return ran.stdout


def _scalars_on_tensorboard(options: list[str], folder: pathlib.Path) -> str:
    """Starts TensorBoard and returns the names of the curves that it shows."""
    command = [sys.executable, "-m", "tensorboard.main", *options, "--port=0"]
    with subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        try:
            address = _address(process, seconds=300)
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:  # it reads the events after it started
                with urllib.request.urlopen(f"{address}data/plugin/scalars/tags") as r:
                    tags = r.read().decode()
                if "loss" in tags:
                    return tags
                time.sleep(1)
        finally:
            process.terminate()
    raise AssertionError(f"TensorBoard shows no losses: {tags}")


def _address(process: subprocess.Popen, seconds: float) -> str:
    """Waits for the address that TensorBoard prints."""
    assert process.stderr is not None
    said, deadline = b"", time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if not selector.select(timeout=1):
                continue
            more = os.read(process.stderr.fileno(), 65536)
            assert more, said.decode()
            said += more
            if found := re.search(rb"http://\S+/", said):
                return found[0].decode()
    raise AssertionError(f"TensorBoard did not start: {said.decode()}")


def test_check_finds_no_problem(done):
    _, outputs = done
    assert any("\n0 problems, 0 notices" in text for text in outputs)


def test_tensorboard_shows_losses_and_the_class_mean(done):
    _, outputs = done
    shown = next(text for text in outputs if "validation_ssim" in text)
    for name in ("g_loss", "d_loss", "validation_ssim_class_mean"):
        assert name in shown


def test_files_that_the_text_names_are_there(done):
    folder, _ = done
    made = folder / "tutorial"
    assert (made / "evaluation" / "panel.png").is_file()
    assert list((made / "model" / "panels").iterdir())
    assert (made / "model" / "metrics.jsonl").is_file()
    names = {path.name for path in (made / "synthetic").rglob("SIM0000_sa*")}
    assert names == {
        *("SIM0000_sa_frame00.nii.gz", "SIM0000_sa_frame00_gt.nii.gz"),
        *("SIM0000_sa_frame01.nii.gz", "SIM0000_sa_frame01_gt.nii.gz"),
        "SIM0000_sa.json",
    }


def test_the_thick_wall_is_thicker_and_its_image_is_on_the_same_grid(done):
    folder, _ = done
    synthetic = folder / "tutorial" / "synthetic"
    image, label, before = (
        Nifti1Image.from_filename(synthetic / f"SIM0000_{name}.nii.gz")
        for name in ("thick", "thick_gt", "sa_frame00_gt")
    )
    assert image.shape == label.shape
    np.testing.assert_array_equal(image.affine, label.affine)
    wall, wall_before = (np.sum(np.asarray(x.dataobj) == 2) for x in (label, before))
    assert wall > 1.1 * wall_before > 0
    values = np.asarray(image.dataobj)
    assert values.dtype == np.int16
    assert values.min() >= 0
    assert 0 < values.max() <= 4095


def test_nnunet_folder_is_what_its_integrity_check_asks_for(done):
    folder, _ = done
    dataset = folder / "tutorial" / "nnUNet_raw" / "Dataset501_Synthetic"
    description = json.loads((dataset / "dataset.json").read_text())
    images = sorted((dataset / "imagesTr").iterdir())
    labels = sorted((dataset / "labelsTr").iterdir())
    assert len(images) == len(labels) == description["numTraining"] == 3
    assert sorted(description["labels"].values()) == list(range(9))
    assert description["labels"]["background"] == 0
    for image, label in zip(images, labels, strict=True):
        assert image.name == label.name.replace(".nii.gz", "_0000.nii.gz")
        one, other = Nifti1Image.from_filename(image), Nifti1Image.from_filename(label)
        assert one.shape == other.shape
        np.testing.assert_array_equal(one.affine, other.affine)
        assert set(np.unique(np.asarray(other.dataobj))) <= set(range(9))


def test_monai_list_names_the_same_pairs(done):
    folder, _ = done
    pairs = json.loads((folder / "tutorial" / "datalist.json").read_text())["training"]
    assert len(pairs) == 3
    for pair in pairs:
        assert pathlib.Path(pair["image"]).is_file()
        assert pair["label"] == pair["image"].replace(".nii.gz", "_gt.nii.gz")


@pytest.mark.skipif(FULL, reason="nothing is made smaller")
def test_every_option_that_is_made_smaller_is_in_the_tutorial():
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    assert [word for word in SMALLER if word not in text] == []
