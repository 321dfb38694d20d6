"""Tests of the image study: rows, subjects, summary, files."""

import csv
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from cmrjax.evaluation.class_mean import class_mean_image
from cmrjax.evaluation.image_study import (
    evaluate_images,
    report_rows,
    write_results,
)
from cmrjax.metrics.image_quality import nrmse, psnr, ssim

MEANS = np.array([-0.8, 0.6, 0.1, 0.5], np.float32)
METRICS = {"ssim": ssim, "psnr": psnr, "nrmse": nrmse}


def make_set(subjects=("A", "A", "A", "B", "B"), h=16, w=14, seed=0):
    """Examples with index, and what is known of each slice (indices start at 10)."""
    rng = np.random.default_rng(seed)
    examples, slices = [], {}
    for position, subject in enumerate(subjects):
        labels = rng.integers(0, 4, (h, w)).astype(np.uint8)
        noise = 0.1 * rng.normal(size=(h, w, 1))
        image = np.clip(class_mean_image(labels, MEANS) + noise, -1, 1)
        valid = np.zeros((h, w, 1), bool)
        valid[: h - 2] = True
        index = 10 + position
        examples.append(
            {
                "label_map": labels,
                "image": image.astype(np.float32),
                "valid_mask": valid,
                "index": np.int32(index),
            }
        )
        slices[index] = SimpleNamespace(
            index=index, subject=subject, group="B3", phase="ED", slice=position
        )
    return examples, slices


def make_batches(examples, batch_size):
    """In order, the last batch filled up by repetition with weight 0."""
    for start in range(0, len(examples), batch_size):
        part = examples[start : start + batch_size]
        fill = batch_size - len(part)
        full = part + part[-1:] * fill
        batch = {key: np.stack([one[key] for one in full]) for key in part[0]}
        batch["weight"] = np.array([1.0] * len(part) + [0.0] * fill, np.float32)
        yield batch


def predict(label_map):
    rng = np.random.default_rng(int(label_map.sum()))
    image = class_mean_image(label_map, MEANS * 0.7)
    return image + 0.05 * rng.normal(size=image.shape).astype(np.float32)


def constant(label_map):
    return np.full((*label_map.shape, 1), 0.25, np.float32)


def evaluate(function, examples, slices, batch_size=2):
    return evaluate_images(
        function,
        make_batches(examples, batch_size),
        slices=slices,
        class_means=MEANS,
    )


def test_each_slice_has_the_figures_of_the_metrics():
    examples, slices = make_set()
    result = evaluate(predict, examples, slices, batch_size=1)
    assert [row["index"] for row in result["slices"]] == [10, 11, 12, 13, 14]
    for row, example in zip(result["slices"], examples, strict=True):
        label_map = example["label_map"][None]
        reference, valid = example["image"][None], example["valid_mask"][None]
        images = {
            "model": predict(label_map),
            "class_mean": class_mean_image(label_map, MEANS),
        }
        for method, image in images.items():
            for name, metric in METRICS.items():
                expected = float(metric(image, reference, valid)[0])
                assert row[f"{method}_{name}"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 8])
def test_batch_size_changes_nothing(batch_size):
    examples, slices = make_set()
    result = evaluate(constant, examples, slices, batch_size)
    expected = evaluate(constant, examples, slices, 5)
    assert result["num_slices"] == 5
    for row, other in zip(result["slices"], expected["slices"], strict=True):
        assert row.keys() == other.keys()
        for key, value in row.items():
            is_figure = isinstance(value, float)
            assert value == (
                pytest.approx(other[key], rel=1e-5) if is_figure else other[key]
            )


def test_mean_and_sd_are_over_subjects():
    examples, slices = make_set(("A", "A", "A", "B", "C"))
    result = evaluate(constant, examples, slices)
    assert result["num_subjects"] == 3
    for method in ("model", "class_mean"):
        for name in METRICS:
            values = [row[f"{method}_{name}"] for row in result["slices"]]
            means = [np.mean(values[:3]), values[3], values[4]]
            assert [row[f"{method}_{name}"] for row in result["subjects"]] == (
                pytest.approx(means)
            )
            figure = result["summary"][method][name]
            assert figure["mean"] == pytest.approx(np.mean(means))
            assert figure["sd"] == pytest.approx(np.std(means, ddof=1))
            assert figure["num_subjects"] == 3


def test_a_slice_without_a_window_is_counted_and_named():
    examples, slices = make_set()
    examples[1]["valid_mask"][:] = False
    examples[1]["valid_mask"][:3] = True
    result = evaluate(constant, examples, slices)
    assert result["num_slices"] == 5
    assert result["without_figure"]["model_ssim"] == ["A ED slice 1"]
    assert result["without_figure"]["class_mean_ssim"] == ["A ED slice 1"]
    assert result["without_figure"]["model_psnr"] == []
    values = [row["model_ssim"] for row in result["slices"]]
    assert math.isnan(values[1])
    first = result["subjects"][0]
    assert first["model_ssim"] == pytest.approx((values[0] + values[2]) / 2)
    assert first["num_slices"] == 3
    assert math.isfinite(result["summary"]["model"]["ssim"]["mean"])


def test_a_subject_without_any_figure():
    examples, slices = make_set()
    for example in examples[3:]:
        example["valid_mask"][:] = False
    result = evaluate(constant, examples, slices)
    assert math.isnan(result["subjects"][1]["model_nrmse"])
    figure = result["summary"]["model"]["nrmse"]
    assert figure["num_subjects"] == 1
    assert math.isnan(figure["sd"])
    assert (
        report_rows(result)[0][1] == f"{result['summary']['model']['ssim']['mean']:.3f}"
    )


def test_a_perfect_model(tmp_path):
    examples, slices = make_set()
    images = {one["label_map"].tobytes(): one["image"] for one in examples}

    def perfect(label_map):
        return np.stack([images[one.tobytes()] for one in label_map])

    result = evaluate(perfect, examples, slices)
    summary = result["summary"]["model"]
    assert summary["ssim"]["mean"] == pytest.approx(1, abs=1e-6)
    assert summary["psnr"]["mean"] == math.inf
    assert summary["nrmse"] == {"mean": 0, "sd": 0, "num_subjects": 2}
    write_results(tmp_path, result)
    stored = json.loads((tmp_path / "image_quality.json").read_text())
    assert stored["summary"]["model"]["psnr"]["mean"] == "inf"
    assert report_rows(result)[1][1] == "inf"


def test_files(tmp_path):
    examples, slices = make_set()
    examples[1]["valid_mask"][:] = False
    result = evaluate(constant, examples, slices)
    write_results(tmp_path / "new", result)

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    text = (tmp_path / "new" / "image_quality.json").read_text()
    stored = json.loads(text, parse_constant=refuse)
    assert stored["summary"]["model"]["ssim"] == result["summary"]["model"]["ssim"]
    assert stored["slices"][1]["model_ssim"] is None
    assert "data range 2" in stored["protocol"]
    assert "over subjects" in stored["aggregation"]
    for name, count in (("slices", 5), ("subjects", 2)):
        path = tmp_path / "new" / f"image_quality_{name}.csv"
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == count
        assert [row["subject"] for row in rows] == [
            row["subject"] for row in result[name]
        ]
        assert float(rows[0]["model_psnr"]) == result[name][0]["model_psnr"]
        if name == "slices":
            assert rows[1]["model_psnr"] == ""


def test_report_rows():
    examples, slices = make_set()
    result = evaluate(constant, examples, slices)
    rows = report_rows(result)
    assert [row[0].split()[0] for row in rows] == ["SSIM", "PSNR", "NRMSE"]
    figure = result["summary"]["class_mean"]["psnr"]
    assert rows[1][2] == f"{figure['mean']:.2f} ± {figure['sd']:.2f}"


def test_bad_predictions_are_refused():
    examples, slices = make_set()
    with pytest.raises(
        ValueError, match=r"return images \(2, 16, 14, 1\).* \(2, 16, 14\)"
    ):
        evaluate(lambda label_map: constant(label_map)[..., 0], examples, slices)

    def broken(label_map):
        image = constant(label_map)
        image[1, 3, 3] = np.nan
        return image

    with pytest.raises(ValueError, match="not finite for A ED slice 1; check"):
        evaluate(broken, examples, slices)


def test_values_in_the_padding_are_not_looked_at():
    examples, slices = make_set()
    expected = evaluate(constant, examples, slices)

    def odd(label_map):
        image = constant(label_map)
        image[:, -2:] = np.nan
        return image

    assert evaluate(odd, examples, slices) == expected


def test_a_selection_of_slices_is_refused():
    examples, slices = make_set()
    for selection in ({index: slices[14] for index in slices}, list(slices.values())):
        with pytest.raises(
            ValueError, match=r"slices\[10\] must be .* not a selection"
        ):
            evaluate(constant, examples, selection)


def test_no_slices_is_refused():
    with pytest.raises(ValueError, match="no slice to evaluate"):
        evaluate_images(constant, [], slices={}, class_means=MEANS)
