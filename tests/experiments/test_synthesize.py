"""The command line of synthesis."""

import nibabel as nib
import numpy as np
import pytest

from cmrjax.labels import MULTI_TISSUE
from cmrjax.synthesis.params import save_params
from experiments import synthesize as command
from tests.synthesis.label_files import AFFINE, draw_labels, write_labels
from tests.synthesis.tiny_models import make_params


@pytest.fixture
def run(tmp_path, capsys):
    """Runs the command on tmp_path/model and tmp_path/in."""
    save_params(make_params(), tmp_path / "model")

    def run(*options, labels="in"):
        status = command.main(
            [
                f"--model={tmp_path / 'model'}",
                f"--labels={tmp_path / labels}",
                f"--out={tmp_path / 'out'}",
                "--batch-size=1",
                *options,
            ]
        )
        return status, capsys.readouterr()

    return run


def test_a_file_then_again_then_with_another_model(tmp_path, run):
    write_labels(tmp_path / "in" / "case_gt.nii.gz", draw_labels())
    status, text = run(labels="in/case_gt.nii.gz")
    assert status == 0
    assert "1 cases generated, 0 kept from before, 0 could not be used" in text.out
    assert "model/checkpoints/7, step 7" in text.err
    image = nib.Nifti1Image.from_filename(tmp_path / "out" / "case.nii.gz")
    assert image.shape == (20, 30, 3)
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(image.affine, AFFINE)
    assert "0 cases generated, 1 kept" in run(labels="in/case_gt.nii.gz")[1].out
    save_params(make_params(seed=1), tmp_path / "model", overwrite=True)
    assert "1 cases generated, 0 kept" in run(labels="in/case_gt.nii.gz")[1].out


def test_a_bad_file_in_a_folder_gives_status_1(tmp_path, run):
    write_labels(tmp_path / "in" / "good_gt.nii.gz", draw_labels())
    write_labels(tmp_path / "in" / "bad_gt.nii.gz", draw_labels() + np.uint8(5))
    status, text = run()
    assert status == 1
    assert "1 cases generated, 0 kept from before, 1 could not be used" in text.out
    assert "error: " in text.err
    assert "bad_gt.nii.gz: slice 0 holds label id 5" in text.err
    assert "add --merge" in text.err
    assert (tmp_path / "out" / "good.nii.gz").is_file()


def test_multi_tissue_labels_are_merged_on_request(tmp_path, run):
    labels = draw_labels()
    labels[0] = MULTI_TISSUE.id_of("lung")
    write_labels(tmp_path / "in" / "case_gt.nii.gz", labels)
    assert run("--merge", "--label-source=simulated")[0] == 0
    used = np.asarray(
        nib.Nifti1Image.from_filename(tmp_path / "out" / "case_gt.nii.gz").dataobj
    )
    np.testing.assert_array_equal(used, np.where(labels > 3, 0, labels))


def test_heart_labels_for_a_multi_tissue_model_are_warned_of(tmp_path, run):
    model = make_params(9)
    save_params(model, tmp_path / "model", overwrite=True)
    write_labels(tmp_path / "in" / "case_gt.nii.gz", draw_labels())
    status, text = run("--label-source=mnms")
    assert status == 0
    assert "labels of source 'mnms' have no lung, skeletal_muscle" in text.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels=nowhere"], "nowhere: no such file or folder"),
        (["--model=nowhere"], "nowhere: no such folder; expected the --workdir"),
        (["--batch-size=0"], "batch size is 0"),
        (["--label-source=simulated"], "lacks: lung"),
    ],
)
def test_wrong_usage_is_status_2_with_the_reason(
    tmp_path, run, capsys, options, message
):
    write_labels(tmp_path / "in" / "case_gt.nii.gz", draw_labels())
    with pytest.raises(SystemExit, match="2"):
        run(*options)
    assert message in capsys.readouterr().err


def test_an_interrupted_run_says_that_it_continues(tmp_path, run, monkeypatch):
    write_labels(tmp_path / "in" / "case_gt.nii.gz", draw_labels())

    def interrupt(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("cmrjax.synthesis.cases.synthesize_file", interrupt)
    status, text = run()
    assert status == 130
    assert "interrupted: the same command continues" in text.err


def test_an_unwritable_folder_is_status_1(tmp_path, run, monkeypatch):
    write_labels(tmp_path / "in" / "case_gt.nii.gz", draw_labels())

    def refuse(path, content):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("cmrjax.synthesis.cases.write_json", refuse)
    status, text = run()
    assert status == 1
    assert "error: [Errno 13] Permission denied" in text.err


def test_help_speaks_of_spacing_and_axes(capsys):
    with pytest.raises(SystemExit, match="0"):
        command.build_parser().parse_args(["--help"])
    text = capsys.readouterr().out
    assert "resampled from their own pixel size to the model" in text
    assert "Rows are the file's y axis" in text
