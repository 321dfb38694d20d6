"""Image quality of a model on a set of slices, beside the class-mean image.

Reads batches as `cmrjax.data.pipeline.iterate_eval_batches` makes them, but takes any
iterable of such dicts, so that nothing here depends on the input pipeline.
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cmrjax.evaluation.class_mean import class_mean_image
from cmrjax.files import write_json, write_text
from cmrjax.metrics.image_quality import PROTOCOL, nrmse, psnr, ssim

METRICS = ("ssim", "psnr", "nrmse")
METHODS = ("model", "class_mean")
AGGREGATION = (
    "Figures are means over the slices of a subject, then mean and standard deviation "
    "(n - 1) over subjects. Slices without a figure are left out of the means, counted "
    "and named."
)
_SLICE_NAMES = ("subject", "group", "phase", "slice")


def evaluate_images(
    predict: Callable[[np.ndarray], Any],
    batches: Iterable[Mapping[str, Any]],
    *,
    slices: Mapping[int, Any] | Sequence[Any],
    class_means: np.ndarray,
) -> dict[str, Any]:
    """SSIM, PSNR and NRMSE of a model and of the class-mean image against real images.

    Args:
        predict: label_map uint8 [b, h, w] -> image [b, h, w, 1] in [-1, 1].
        batches: dicts with label_map uint8 [b, h, w], image float32 [b, h, w, 1] in
            [-1, 1], valid_mask bool [b, h, w, 1], index int [b], and, where a batch is
            filled up by repetition, weight [b] (0 marks the repeated ones).
        slices: index -> an object with index, subject, group, phase and slice: the
            slices of the whole data set, `PreparedDataset.slices`.
        class_means: [k] float32, from the training set.

    Returns:
        A dict with "summary" (method -> metric -> mean, sd, num_subjects), "subjects"
        and "slices" (lists of rows: names, then f"{method}_{metric}"),
        "without_figure" (f"{method}_{metric}" -> names of the slices that have none,
        for SSIM those without a valid window), "num_slices", "num_subjects",
        "protocol" and "aggregation". Figures that are not defined are NaN; PSNR of
        equal images is inf.

    Raises:
        ValueError: if there is no slice, slices is a selection of the data set's, a
            prediction has the wrong shape, or it is not finite on valid pixels.
    """
    rows = []
    for batch in batches:
        rows += _batch_rows(predict, batch, slices, class_means)
    if not rows:
        raise ValueError("no slice to evaluate: batches held no slice with weight > 0")
    return summarise(rows)


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Gathers rows of slices into subjects and a summary.

    Args:
        rows: one dict per slice: subject, group, phase, slice and
            f"{method}_{metric}", as in "slices" of `evaluate_images`.

    Returns:
        What `evaluate_images` returns.
    """
    columns = [f"{method}_{metric}" for method in METHODS for metric in METRICS]
    by_subject: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_subject.setdefault(row["subject"], []).append(row)
    subjects = [
        {"subject": subject, "group": own[0]["group"], "num_slices": len(own)}
        | {column: _mean([row[column] for row in own]) for column in columns}
        for subject, own in by_subject.items()
    ]
    return {
        "summary": {
            method: {
                metric: _mean_and_sd([row[f"{method}_{metric}"] for row in subjects])
                for metric in METRICS
            }
            for method in METHODS
        },
        "num_slices": len(rows),
        "num_subjects": len(subjects),
        "without_figure": {
            column: [_slice_name(row) for row in rows if math.isnan(row[column])]
            for column in columns
        },
        "protocol": PROTOCOL,
        "aggregation": AGGREGATION,
        "subjects": subjects,
        "slices": list(rows),
    }


def report_rows(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of the metrics table of `cmrjax.evaluation.report.write_report`.

    Args:
        result: what `evaluate_images` returns.

    Returns:
        (metric, model, class-mean image), the values as "mean +- sd".
    """
    names = {"ssim": "SSIM (higher is better)", "psnr": "PSNR in dB (higher is better)"}
    names["nrmse"] = "NRMSE (lower is better)"
    rows = []
    for metric in METRICS:
        texts = []
        for method in METHODS:
            figure = result["summary"][method][metric]
            digits = 2 if metric == "psnr" else 3
            text = f"{figure['mean']:.{digits}f}"
            if math.isfinite(figure["sd"]):
                text += f" \N{PLUS-MINUS SIGN} {figure['sd']:.{digits}f}"
            texts.append(text)
        rows.append((names[metric], *texts))
    return rows


def write_results(directory: str | Path, result: Mapping[str, Any]) -> None:
    """Writes image_quality.json, image_quality_slices.csv and ..._subjects.csv.

    Each file is written whole or not at all. A figure that is not defined is null in
    JSON and empty in CSV; infinity is the text "inf" in both.

    Args:
        directory: folder, made where it is missing.
        result: what `evaluate_images` returns.
    """
    directory = Path(directory)
    write_json(directory / "image_quality.json", _json_ready(result))
    for name in ("slices", "subjects"):
        stream = io.StringIO(newline="")
        rows = [
            {key: _csv_ready(value) for key, value in row.items()}
            for row in result[name]
        ]
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(directory / f"image_quality_{name}.csv", stream.getvalue())


def _batch_rows(
    predict: Callable[[np.ndarray], Any],
    batch: Mapping[str, Any],
    slices: Mapping[int, Any] | Sequence[Any],
    class_means: np.ndarray,
) -> list[dict[str, Any]]:
    """Rows of the slices of one batch whose weight is not 0."""
    reference, valid = np.asarray(batch["image"]), np.asarray(batch["valid_mask"])
    label_map, indices = np.asarray(batch["label_map"]), np.asarray(batch["index"])
    weight = np.asarray(batch.get("weight", np.ones(len(indices))))
    images = {
        "model": np.asarray(predict(label_map), np.float32),
        # Where padding is, any label will do: it does not enter.
        "class_mean": class_mean_image(label_map, class_means),
    }
    rows = [_slice_row(index, slices) for index in indices.tolist()]
    _check_prediction(images["model"], reference, valid, rows, weight)
    for method, image in images.items():
        figures = jax.device_get(_all_metrics(image, reference, valid))
        for metric in METRICS:
            for row, value in zip(rows, figures[metric].tolist(), strict=True):
                row[f"{method}_{metric}"] = value
    return [row for row, real in zip(rows, weight, strict=True) if real > 0]


def _slice_row(index: int, slices: Mapping[int, Any] | Sequence[Any]) -> dict[str, Any]:
    """Index and names of a slice."""
    try:
        info = slices[index]
    except LookupError:
        info = None
    if info is None or info.index != index:
        raise ValueError(
            f"slices[{index}] must be the slice with that index, but is {info}; give "
            "the slices of the whole data set (dataset.slices), not a selection"
        )
    return {"index": index} | {name: getattr(info, name) for name in _SLICE_NAMES}


@jax.jit
def _all_metrics(image: Any, reference: Any, valid_mask: Any) -> dict[str, jax.Array]:
    """The three metrics, each [b], of images [b, h, w, 1]."""
    functions = {"ssim": ssim, "psnr": psnr, "nrmse": nrmse}
    return {name: functions[name](image, reference, valid_mask) for name in METRICS}


def _check_prediction(
    image: np.ndarray,
    reference: np.ndarray,
    valid: np.ndarray,
    rows: Sequence[Mapping[str, Any]],
    weight: np.ndarray,
) -> None:
    """Refuses predictions of another shape and values that are not finite."""
    if image.shape != reference.shape:
        raise ValueError(
            f"predict must return images {reference.shape} for label maps "
            f"{reference.shape[:3]}, got {image.shape}"
        )
    bad = (~np.isfinite(image) & valid).any(axis=(1, 2, 3)) & (weight > 0)
    if bad.any():
        names = [
            _slice_name(row) for row, is_bad in zip(rows, bad, strict=True) if is_bad
        ]
        raise ValueError(
            f"predict returned values that are not finite for {', '.join(names)}; "
            "check the model's parameters"
        )


def _slice_name(row: Mapping[str, Any]) -> str:
    """A slice in words, such as "A1D0Q7 ED slice 3"."""
    return f"{row['subject']} {row['phase']} slice {row['slice']}"


def _mean(values: Sequence[float]) -> float:
    """Mean of those that are not NaN; NaN if there are none."""
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _mean_and_sd(values: Sequence[float]) -> dict[str, float | int]:
    """Mean, standard deviation (n - 1) and number of those that are not NaN."""
    defined = [value for value in values if not math.isnan(value)]
    mean = _mean(defined)
    sd = math.nan
    if len(defined) > 1 and math.isfinite(mean):
        squares = sum((value - mean) ** 2 for value in defined)
        sd = math.sqrt(squares / (len(defined) - 1))
    return {"mean": mean, "sd": sd, "num_subjects": len(defined)}


def _json_ready(value: Any) -> Any:
    """A copy in which NaN is None and infinity a text, as JSON has neither."""
    if isinstance(value, Mapping):
        return {key: _json_ready(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_json_ready(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _csv_ready(value: Any) -> Any:
    """A value of a CSV cell: empty for NaN."""
    return "" if isinstance(value, float) and math.isnan(value) else value
