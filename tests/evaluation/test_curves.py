"""Tests of reading metrics.jsonl and drawing its curves."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from cmrjax.evaluation.curves import loss_curves_png, metric_series
from cmrjax.training.writers import read_metrics


def write_lines(path, *lines: str):
    path.write_text("".join(lines), encoding="utf-8")
    return path


def test_rows_are_read_in_order(tmp_path):
    rows = [{"step": step, "g_loss": 1 / step} for step in (1, 2, 3)]
    path = write_lines(tmp_path / "m.jsonl", *(json.dumps(row) + "\n" for row in rows))
    assert read_metrics(path) == rows
    assert read_metrics(write_lines(path)) == []


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_cut_last_line_is_left_out(tmp_path, cut):
    last = '{"step": 2, "g_loss": 5}'
    path = write_lines(tmp_path / "m.jsonl", '{"step": 1}\n', last[:cut])
    assert read_metrics(path) == [{"step": 1}]


def test_a_whole_last_line_without_newline_is_read(tmp_path):
    path = write_lines(tmp_path / "m.jsonl", '{"step": 1}\n', '{"step": 2}')
    assert [row["step"] for row in read_metrics(path)] == [1, 2]


def test_a_broken_line_inside_is_refused(tmp_path):
    path = write_lines(tmp_path / "m.jsonl", '{"step": 1}\n', '{"st\n', '{"step": 2}\n')
    with pytest.raises(ValueError, match=r"m\.jsonl, line 2 is not JSON"):
        read_metrics(path)
    with pytest.raises(ValueError, match=r"line 1 must be a JSON object.* got list"):
        read_metrics(write_lines(path, "[1]\n"))


def test_series_of_a_resumed_run():
    history = [
        {"step": 10, "loss": 3.0},
        {"step": 20, "loss": 2.0},
        {"step": 20, "val_ssim": 0.5},
        {"step": 30, "loss": 9.0},
        {"step": 20, "loss": 1.5},  # resumed from step 10
        {"step": 30, "loss": None},
        {"other": 1},
    ]
    steps, values = metric_series(history, "loss")
    assert steps == [10, 20, 30]
    assert values[:2] == [3.0, 1.5]
    assert math.isnan(values[2])
    assert metric_series(history, "val_ssim") == ([20], [0.5])
    assert metric_series(history, "missing") == ([], [])


def test_png_is_written(tmp_path):
    history = [
        {"step": step, "g_loss": math.nan if step == 5 else 1 / (1 + step)}
        for step in range(30)
    ]
    history.append({"step": 29, "val_ssim": 0.4, "g_loss": math.inf})
    groups = {"losses": ["g_loss", "missing"], "SSIM": ["val_ssim"], "none": ["x"]}
    path = tmp_path / "curves.png"
    assert loss_curves_png(history, groups, path) == path
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    blue = np.all(np.abs(pixels.astype(int) - [0, 0x72, 0xB2]) < 10, axis=-1)
    assert isinstance(blue, np.ndarray)
    height, width = blue.shape
    quarter = blue[: height // 2, : width // 2]
    assert quarter.any()  # losses
    assert blue[: height // 2, width // 2 :].any()  # SSIM
    assert not blue[height // 2 :].any()  # the plot without values


def test_same_history_same_bytes(tmp_path):
    history = [{"step": 1, "a": 1.0}, {"step": 2, "a": 2.0}]
    paths = [tmp_path / name for name in ("one.png", "two.png")]
    for path in paths:
        loss_curves_png(iter(history), {"a": ["a"]}, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_no_groups_is_refused(tmp_path):
    with pytest.raises(ValueError, match="groups must name at least one plot"):
        loss_curves_png([], {}, tmp_path / "curves.png")
