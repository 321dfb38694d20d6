"""The evaluation command: tables, panel and curves from a model folder."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from cmrjax.files import write_json
from cmrjax.synthesis.params import init_params, save_params
from experiments import evaluate_gan
from tests.data.prepared_folder import make_prepared


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[pathlib.Path, pathlib.Path]:
    root = tmp_path_factory.mktemp("evaluate")
    labels = np.zeros((12, 32, 32), np.uint8)
    labels[:, 8:20, 8:20] = 2
    labels[:, 11:17, 11:17] = 1
    data = make_prepared(
        root / "prepared",
        count=12,
        size=(32, 32),
        labels=labels,
        valid_box=(0, 32, 2, 30),
    )
    params = init_params(num_classes=4, image_size=32, base_features=1)
    save_params(params, root / "model")
    write_json(
        root / "model" / "class_means.json", {"class_means": [-0.5, 0.5, 0, 0.4]}
    )
    rows = [{"step": s, "g_loss_adversarial": 1.0 / s} for s in (1, 2, 3)]
    (root / "model" / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root / "model", data


def _arguments(model, data, out, *more: str) -> list[str]:
    found = [f"--model={model}", f"--data={data}", f"--out={out}"]
    return [*found, "--groups=B3", "--splits=evaluation", *more]


def test_the_command_writes_tables_and_pictures(folders, tmp_path, capsys):
    evaluate_gan.main(_arguments(*folders, tmp_path / "out"))
    written = {p.name for p in (tmp_path / "out").iterdir()}
    assert {
        "image_quality.json",
        "image_quality_slices.csv",
        "image_quality_subjects.csv",
        "provenance.json",
        "panel.png",
        "curves.png",
    } <= written
    result = json.loads((tmp_path / "out" / "image_quality.json").read_text())
    assert result["num_slices"] == 4
    assert result["num_subjects"] == 2
    for method in ("model", "class_mean"):
        assert -1 <= result["summary"][method]["ssim"]["mean"] <= 1
    text = capsys.readouterr().out
    assert "SSIM" in text
    assert "class-mean image" in text


def test_of_a_generator_with_z_the_diversity_is_measured(folders, tmp_path, capsys):
    model, data = folders
    params = init_params(num_classes=4, image_size=32, base_features=1, latent_size=8)
    for name in ("fc", "conv_img"):  # untrained, z hardly reaches the image
        params.variables["params"][name]["kernel"] *= 100.0
    save_params(params, tmp_path / "model")
    shutil.copy(model / "class_means.json", tmp_path / "model")
    evaluate_gan.main(_arguments(tmp_path / "model", data, tmp_path / "out"))
    found = json.loads((tmp_path / "out" / "diversity.json").read_text())
    assert found["num_slices"] == 4
    assert found["num_draws"] == 4
    assert found["std_between_draws"] > 0.01
    assert found["ssim_between_draws"] < 0.99
    assert (tmp_path / "out" / "diversity.png").is_file()
    assert "4 draws of z for each label map: SSIM between" in capsys.readouterr().out


def test_class_mean_figures_come_from_the_means_kept_with_the_model(folders, tmp_path):
    model, data = folders
    result = evaluate_gan.evaluate_model(
        model, data, groups=["B3"], splits=["evaluation"], out=tmp_path / "out"
    )
    images = np.load(data / "images.npy").astype(np.float32)
    labels = np.load(data / "labels.npy")
    painted = np.array([-0.5, 0.5, 0, 0.4], np.float32)[labels]
    error = np.mean((painted - images)[:, :, 2:30] ** 2, axis=(1, 2))
    rows = {(r["subject"], r["slice"]): r for r in result["slices"]}
    for index in (4, 5, 10, 11):  # the slices of B3
        row = rows[f"P{index // 2}", index % 2 + 3]
        psnr = 10 * np.log10(4 / error[index])
        assert row["class_mean_psnr"] == pytest.approx(psnr, abs=1e-3)


def test_a_checkpoint_of_the_run_can_be_named(folders, tmp_path):
    model, data = folders
    (step,) = (model / "checkpoints").iterdir()
    whole, one = (
        evaluate_gan.evaluate_model(
            path, data, groups=["B3"], splits=["evaluation"], out=tmp_path / name
        )
        for path, name in ((model, "a"), (step, "b"))
    )
    assert one["summary"] == whole["summary"]
    assert (tmp_path / "b" / "curves.png").is_file()


def test_data_prepared_differently_are_refused(folders, tmp_path):
    model, data = folders
    manifest = json.loads((data / "manifest.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    for name in ("images.npy", "labels.npy"):
        (other / name).symlink_to(data / name)
    manifest["spacing"] = [2.0, 2.0]
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SystemExit, match="prepare the data alike"):
        evaluate_gan.main(_arguments(model, other, tmp_path / "out"))


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--groups=Z7"], "Z7"),
        (["--splits=train2"], "train2"),
        (["--model=nowhere"], "nowhere: no such folder"),
    ],
)
def test_errors_name_what_is_wrong(folders, tmp_path, more, text):
    with pytest.raises(SystemExit, match=text):
        evaluate_gan.main(_arguments(*folders, tmp_path / "out", *more))
    assert not (tmp_path / "out").exists()


def test_earlier_results_are_replaced_whole_and_nothing_else_is(
    folders, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    evaluate_gan.main(_arguments(*folders, out))
    before = {p.name: p.read_bytes() for p in out.iterdir()}

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate_gan, "write_panel", stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate_gan.main(_arguments(*folders, out))
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    monkeypatch.setattr(evaluate_gan, "load_params", lambda *_, **__: 1 / 0)
    (out / "thesis.txt").write_text("x")
    prepared, file = folders[1], out / "thesis.txt"
    for place in (out, prepared, file, file / "new"):
        with pytest.raises(SystemExit, match=r"--out=.*give another"):
            evaluate_gan.main(_arguments(*folders, place))
    assert file.read_text() == "x"
