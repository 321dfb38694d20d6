"""The training command on tiny data: from the start, stopped, continued, refused."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from cmrjax.metrics.image_quality import psnr
from cmrjax.synthesis.params import load_params
from cmrjax.synthesis.sample import synthesize
from cmrjax.training.checkpoint_folder import Criterion, best_score, latest_checkpoint
from cmrjax.training.writers import read_metrics
from experiments import train_gan
from experiments.configs import base, multi_a1
from experiments.gan_data import open_gan_data
from tests.data.prepared_folder import make_prepared
from tests.experiments.tiny_run import STEPS, saved_state, tiny_config, tiny_data

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    return tiny_data(tmp_path_factory.mktemp("data") / "prepared")


REAL = ("image", "valid_mask")
COMPILED: list[str] = []


@pytest.fixture(scope="module")
def unbroken(data, tmp_path_factory) -> pathlib.Path:
    """The whole run's folder; what was compiled for it is in COMPILED."""
    workdir = tmp_path_factory.mktemp("runs") / "unbroken"
    listening = True

    def listen(event: str, duration_secs: float, **facts: str | int) -> None:
        if listening and event == "/jax/core/compile/backend_compile_duration":
            COMPILED.append(str(facts.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    result = train_gan.run(tiny_config(data), workdir)
    listening = False
    assert (result.step, result.stopped_by) == (STEPS, None)
    return workdir


def test_step_validation_and_start_are_compiled_once(unbroken):
    """Four steps, three validations, checkpoints: no program is compiled twice."""
    for name in ("jit(train_step)", "jit(_init)", "jit(predict)"):
        assert COMPILED.count(name) == 1, name


def test_a_run_leaves_metrics_model_pictures_and_timing(unbroken):
    rows = read_metrics(unbroken / "metrics.jsonl")
    assert {row["step"] for row in rows} == set(range(STEPS + 1))
    validated = [row for row in rows if "validation_ssim" in row]
    assert [row["step"] for row in validated] == [0, 2, 4]
    assert all("validation_ssim_class_mean" in row for row in validated)
    trained = next(r for r in rows if r["step"] == STEPS and "g_loss" in r)
    assert {"d_loss", "g_grad_norm", "d_accuracy_real", "images_per_second"} <= set(
        trained
    )
    assert trained["input_wait_share"] < 1
    rates = (trained["g_learning_rate"], trained["d_learning_rate"])
    assert rates == pytest.approx((1e-4, 4e-4))
    assert sorted(p.name for p in (unbroken / "panels").iterdir()) == [
        "0000000.png",
        "0000002.png",
        "0000004.png",
    ]
    timing = json.loads((unbroken / "timing.json").read_text())
    assert timing["compile_seconds"] > 0
    assert timing["peak_host_bytes"] > 1e7
    params = load_params(unbroken)
    assert params.origin.step == STEPS
    assert params.description.schema.name == "cavity"
    card = (unbroken / "MODEL_CARD.md").read_text()
    assert " slices of " in card
    assert f"Newest checkpoint: step {STEPS}." in card
    assert f"at step {STEPS}" in card


def test_the_average_is_what_is_loaded_and_was_validated(data, unbroken):
    average, last = load_params(unbroken), load_params(unbroken, weights="last")
    assert (average.origin.weights, last.origin.weights) == ("average", "last")
    kernel = average.variables["params"]["conv_img"]["kernel"]
    assert not np.array_equal(kernel, last.variables["params"]["conv_img"]["kernel"])
    source = open_gan_data(tiny_config(data)).validation
    assert source is not None
    found = {}
    for params in (average, last):
        images = synthesize(np.stack([e["label_map"] for e in source]), params)
        pairs = (images[..., None], *(np.stack([e[k] for e in source]) for k in REAL))
        found[params.origin.weights] = float(np.mean(psnr(*pairs)))
    rows = read_metrics(unbroken / "metrics.jsonl")
    validated = next(r for r in rows if r["step"] == STEPS and "validation_psnr" in r)
    assert validated["validation_psnr"] == pytest.approx(found["average"], abs=1e-4)
    assert abs(found["last"] - found["average"]) > 1e-3


def test_stopped_and_continued_equals_unbroken_bit_for_bit(data, unbroken, tmp_path):
    config = tiny_config(data)
    for steps in (3, STEPS):
        config.training.num_steps = steps
        result = train_gan.run(config, tmp_path / "run")
        assert result.step == steps
    expected, found = (saved_state(w, config) for w in (unbroken, tmp_path / "run"))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    losses = [r["g_loss"] for r in rows if "g_loss" in r]
    whole = [
        r["g_loss"] for r in read_metrics(unbroken / "metrics.jsonl") if "g_loss" in r
    ]
    assert losses == whole


def _command(config_file: pathlib.Path, workdir: pathlib.Path, *more: str) -> list[str]:
    program = [sys.executable, "-m", "experiments.train_gan"]
    return [*program, f"--config={config_file}", f"--workdir={workdir}", *more]


def _overrides(data: pathlib.Path) -> list[str]:
    config = tiny_config(data).to_dict()
    found = []
    for section in ("data", "model", "loss", "optimizer", "training", "evaluation"):
        for key, value in config[section].items():
            if value != base.get_config()[section][key]:
                found.append(f"--config.{section}.{key}={value!r}".replace("'", ""))
    return [f for f in found if "validation_splits" not in f] + [
        "--config.data.validation_splits=('evaluation',)"
    ]


def test_the_command_saves_and_exits_on_sigterm_and_continues(data, tmp_path):
    workdir = tmp_path / "with space" / "run"
    config_file = ROOT / "experiments" / "configs" / "cavity_a1.py"
    command = _command(config_file, workdir, *_overrides(data))
    long = [*command, "--config.training.num_steps=100000", "--profile=2"]
    process = subprocess.Popen(
        long, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    deadline = time.monotonic() + 240
    while not list(workdir.glob("profile/**/*.xplane.pb")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=120)
    assert process.returncode == 0, text
    assert "SIGTERM: saved at step" in text
    assert "s/step" in text
    assert "left " in text
    assert re.search(
        r"ahead: 100000 steps of .* s, .* memory of the process .* on disk", text
    )
    assert f"profile of 2 steps in {workdir / 'profile'}" in text
    saved = latest_checkpoint(workdir / "checkpoints")
    assert saved is not None
    step = int(saved.name) + 1
    done = subprocess.run(
        [*command, f"--config.training.num_steps={step}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"continuing from {saved}" in done.stderr
    assert f"done: {step} steps" in done.stderr


def test_a_score_is_of_the_metric_and_of_the_validation_slices(data, unbroken):
    found = best_score(unbroken / "checkpoints")
    source = open_gan_data(tiny_config(data)).validation
    assert found is not None
    assert source is not None
    assert found[1].criterion == Criterion("validation_ssim", source.fingerprint)


@pytest.mark.slow
def test_the_best_checkpoint_goes_by_the_metric_that_is_set_now(data, tmp_path):
    """A PSNR is larger than any SSIM, and other slices give another value."""
    config = tiny_config(data)
    config.evaluation.every = 1
    for steps, name, count in (
        (2, "validation_psnr", 2),
        (4, "validation_ssim", 2),
        (5, "validation_ssim", 1),
    ):
        config.training.num_steps, config.training.keep_best = steps, name
        config.evaluation.max_slices = count
        train_gan.run(config, tmp_path / "run")
        found = best_score(tmp_path / "run" / "checkpoints")
        assert found is not None
        step, score = found
        assert score.criterion.metric == name
        rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
        values = {r["step"]: r[name] for r in rows if name in r}
        assert score.value == pytest.approx(values[step])
        since = {2: 1, 4: 3, 5: 5}[steps]
        assert step == max(range(since, steps + 1), key=values.__getitem__)


def test_a_changed_setting_is_refused(data, unbroken):
    config = tiny_config(data)
    config.optimizer.g_learning_rate = 0.5
    with pytest.raises(ValueError, match=r"optimizer\.g_learning_rate: 0.0001 then"):
        train_gan.run(config, unbroken)


def test_multi_tissue_without_maps_says_what_is_missing(data, tmp_path):
    config = multi_a1.get_config()
    config.data.path = str(tmp_path / "none")
    with pytest.raises(ValueError, match="segmentation network") as error:
        train_gan.run(config, tmp_path / "run")
    assert "python -m experiments.simulate" in str(error.value)
    assert "python -m experiments.label_real" in str(error.value)
    config.data.path = str(data)
    with pytest.raises(ValueError, match="labels of schema 'cavity'") as error:
        train_gan.run(config, tmp_path / "run")
    assert "experiments.prepare_data --dataset=simulated" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_bad_labels_are_found_before_anything_starts(data, tmp_path):
    labels = np.load(data / "labels.npy")
    labels[3, 5, 6] = 200
    bad = make_prepared(
        tmp_path / "bad",
        count=12,
        size=(32, 32),
        labels=labels,
        valid_box=(0, 32, 0, 32),
    )
    with pytest.raises(ValueError, match="200") as error:
        train_gan.run(tiny_config(bad), tmp_path / "run")
    assert "P1" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_missing_vgg19_weights_say_where_to_get_them(data, tmp_path):
    config = tiny_config(data)
    config.loss.vgg19_weights = str(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError, match="port_vgg19") as error:
        train_gan.run(config, tmp_path / "run")
    assert "config.loss.vgg19_weights" in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--config.model.base_feature=3"], "base_features"),
        (["--config.data.image_size=24"], "expected a multiple of config.model.seed_s"),
        (
            ["--config=experiments/configs/none.py"],
            "no file experiments",
        ),
        (["--config.model.modulation=fast"], "expected 'table' or 'dense'"),
        (["--config.data.train_groups=('Z9',)"], "Z9"),
        (["--config.training.batch_size=3"], "does not divide among 2 devices"),
        (["--config.training.accumulation=2"], "a batch of 2 does not divide into so"),
        (["--config.training.keep_best=ssim"], "expected one of ['validation_nrmse'"),
    ],
)
def test_bad_settings_end_in_one_clear_message(data, tmp_path, arguments, text):
    config_file = ROOT / "experiments" / "configs" / "cavity_a1.py"
    command = _command(config_file, tmp_path / "run", *_overrides(data), *arguments)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert text in done.stderr
    assert not (tmp_path / "run").exists()
