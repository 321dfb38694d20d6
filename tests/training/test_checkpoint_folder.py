"""Checkpoints are found by their names, and compared by their scores."""

import json
import math

import pytest

from cmrjax.training.checkpoint_folder import (
    STATE,
    Criterion,
    Score,
    best_checkpoint,
    best_score,
    latest_checkpoint,
)

SSIM, PSNR = Criterion("validation_ssim", "abc"), Criterion("validation_psnr", "abc")


def test_latest_checkpoint_goes_by_number(tmp_path):
    assert latest_checkpoint(tmp_path / "missing") is None
    assert latest_checkpoint(tmp_path) is None
    for name in ("9", "10"):
        (tmp_path / name / "state").mkdir(parents=True)
    (tmp_path / "99").mkdir()  # no checkpoint: it holds nothing
    assert latest_checkpoint(tmp_path) == tmp_path / "10"


@pytest.mark.parametrize("name", ["7.orbax-checkpoint-tmp", "x", "-1", "٣"])
def test_other_names_are_no_checkpoints(tmp_path, name):
    (tmp_path / name / STATE).mkdir(parents=True)
    assert latest_checkpoint(tmp_path) is None


def test_the_best_is_chosen_by_what_the_newest_score_is_of(tmp_path):
    scores = {1: Score(30.0, PSNR), 2: Score(0.4, SSIM), 3: Score(0.3, SSIM), 4: None}
    for step, score in scores.items():
        metrics = {} if score is None else score.to_metrics()
        path = tmp_path / str(step) / "metrics" / "metrics"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(metrics))
    assert best_checkpoint(tmp_path) == tmp_path / "2"
    assert best_score(tmp_path) == (2, Score(0.4, SSIM))
    assert best_checkpoint(tmp_path / "missing") is None


def test_scores_of_two_criteria_are_not_compared():
    assert Score(0.4, SSIM).by(SSIM) == 0.4
    assert Score(0.4, SSIM).by(PSNR) == -math.inf
    assert Score.of({}) == Score(-math.inf, Criterion())
