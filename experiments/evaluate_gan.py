"""Measures a trained GAN on prepared slices, beside the class-mean image.

    python -m experiments.evaluate_gan --model=runs/cavity_a1 \
        --data=data/prepared/mnms --groups=B3 --splits=development \
        --out=results/cavity_a1

Writes image_quality.json, image_quality_slices.csv and image_quality_subjects.csv, a
panel of pictures, the loss curves of the run and provenance.json; of a generator with z
also how much its images of one label map differ (diversity.json, diversity.png).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cmrjax.data.choice import evenly_spaced
from cmrjax.data.pipeline import iterate_eval_batches
from cmrjax.data.source import PreparedDataset, SliceSource
from cmrjax.evaluation.curves import loss_curves_png
from cmrjax.evaluation.diversity import measure_diversity
from cmrjax.evaluation.figures import panel, write_png
from cmrjax.evaluation.image_study import evaluate_images, report_rows, write_results
from cmrjax.files import atomic_directory, provenance, read_json, write_json
from cmrjax.output_folder import check_fillable, holds_only
from cmrjax.synthesis.params import ModelParams, hash_params, load_params
from cmrjax.synthesis.sample import synthesize
from cmrjax.training.model_folder import run_folder
from cmrjax.training.writers import METRICS_FILE, read_metrics
from experiments.command_line import run_command
from experiments.gan_validation import CLASS_MEANS_FILE

is_evaluation = holds_only(
    "image_quality.json",
    "image_quality_slices.csv",
    "image_quality_subjects.csv",
    "provenance.json",
    "panel.png",
    "curves.png",
    "diversity.json",
    "diversity.png",
)
BATCH_SIZE = 8
SHOWN_DRAWS = 3
CURVES = {
    "Generator": (
        "g_loss_adversarial",
        "g_loss_feature_matching",
        "g_loss_perceptual",
    ),
    "Discriminator": ("d_loss_fake", "d_loss_real"),
    "Discriminator accuracy": ("d_accuracy_fake", "d_accuracy_real"),
    "Validation SSIM": ("validation_ssim", "validation_ssim_class_mean"),
}


def open_source(
    params: ModelParams, data: str | Path, groups: Sequence[str], splits: Sequence[str]
) -> SliceSource:
    """Opens slices as the model was trained on: its schema, crop and transform.

    Args:
      params: the model.
      data: folder that prepare_data wrote.
      groups: vendor and centre.
      splits: names of splits.

    Returns:
      The slices.

    Raises:
      ValueError: the data were prepared differently from the model's.
    """
    dataset = PreparedDataset.open(data)
    description = params.description
    here = (dataset.transform, dataset.spacing[0])
    there = (description.transform, description.spacing)
    if here != there:
        raise ValueError(
            f"{data} has intensities {here[0]} at {here[1]} mm, the model was trained "
            f"with {there[0]} at {there[1]} mm; prepare the data alike"
        )
    return SliceSource(
        dataset,
        dataset.select(groups=groups, splits=splits),
        schema=description.schema,
        image_size=min(description.image_size, *dataset.image_size),
    )


def read_class_means(model: str | Path) -> np.ndarray:
    """Returns the class means of the training set, [k] float32, kept with the model."""
    path = run_folder(model) / CLASS_MEANS_FILE
    if not path.is_file():
        raise ValueError(
            f"{path} is missing; it is written by a training that has validation "
            "slices (config.data.validation_groups)"
        )
    content = read_json(path)
    try:
        with np.errstate(over="ignore"):
            means = np.asarray(content["class_means"], np.float32)
        usable = means.ndim == 1 and bool(np.isfinite(means).all())
    except (KeyError, TypeError, ValueError, OverflowError):
        usable = False
    if not usable:
        raise ValueError(
            f"{path}: expected class_means, a list of numbers; fetch it again, or "
            "train the model again"
        )
    return means


def evaluate_model(
    model: str | Path,
    data: str | Path,
    *,
    groups: Sequence[str],
    splits: Sequence[str],
    out: str | Path,
    panel_rows: int = 6,
    weights: str | None = None,
) -> dict[str, Any]:
    """Evaluates a model folder and writes figures and tables.

    Args:
      model: the run's folder, or one checkpoint of it.
      data: folder that prepare_data wrote.
      groups: vendor and centre.
      splits: names of splits.
      out: folder for what is written, whole or not at all; earlier results in it are
        replaced.
      panel_rows: slices in the panel, evenly spaced.
      weights: see `cmrjax.load_params`.

    Returns:
      See `cmrjax.evaluation.image_study.evaluate_images`; of a generator with z also
      "diversity" (`cmrjax.evaluation.diversity.measure_diversity`).

    Raises:
      ValueError: model and data do not fit each other.
      OSError: `out` holds something else, or cannot be written.
    """
    check_fillable(out, is_evaluation, option="--out=")
    params = load_params(model, weights=weights)
    source = open_source(params, data, groups, splits)
    class_means = read_class_means(model)
    result = evaluate_images(
        lambda labels: _predict(labels, params),
        iterate_eval_batches(source, batch_size=BATCH_SIZE),
        slices=source.dataset.slices,
        class_means=class_means,
    )
    with atomic_directory(out, overwrite=True, ours=is_evaluation) as folder:
        _write(folder, model, params, source, result, (groups, splits), panel_rows)
    return result


def _write(
    out: Path,
    model: str | Path,
    params: ModelParams,
    source: SliceSource,
    result: dict[str, Any],
    chosen: tuple[Sequence[str], Sequence[str]],
    panel_rows: int,
) -> None:
    """Writes tables, pictures and where they come from; adds the diversity."""
    groups, splits = chosen
    write_results(out, result)
    write_json(
        out / "provenance.json",
        provenance(
            config={
                "model": params.origin.path,
                "weights": params.origin.weights,
                "model_sha256": hash_params(params),
                "data": source.fingerprint,
                "groups": list(groups),
                "splits": list(splits),
            }
        ),
    )
    write_panel(out / "panel.png", params, source, rows=panel_rows)
    if params.description.architecture.latent_size:
        result["diversity"] = measure_diversity(
            lambda labels, key: _draw(labels, params, key),
            iterate_eval_batches(source, batch_size=BATCH_SIZE),
        )
        write_json(out / "diversity.json", result["diversity"])
        write_draws(out / "diversity.png", params, source, rows=panel_rows)
    history = run_folder(model) / METRICS_FILE
    if history.is_file():
        loss_curves_png(read_metrics(history), CURVES, out / "curves.png")


def _predict(labels: np.ndarray, params: ModelParams) -> np.ndarray:
    """Images [b, h, w, 1]; a model with z takes the same z each time."""
    has_latent = params.description.architecture.latent_size > 0
    return _draw(labels, params, jax.random.key(0) if has_latent else None)


def _draw(labels: np.ndarray, params: ModelParams, key: jax.Array | None) -> np.ndarray:
    return synthesize(labels, params, batch_size=BATCH_SIZE, key=key)[..., None]


def panel_scale(width: int) -> int:
    """Returns how often the pixels of small images are repeated in a picture."""
    return max(1, 200 // width)


def _shown(source: SliceSource, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Label maps and images of some slices, evenly spaced."""
    chosen = evenly_spaced(np.arange(len(source)), rows)
    examples = [source[int(i)] for i in chosen]
    labels, images = (
        np.stack([e[name] for e in examples]) for name in ("label_map", "image")
    )
    return labels, images


def write_draws(
    path: Path, params: ModelParams, source: SliceSource, *, rows: int
) -> None:
    """Writes label, real, and images of several z of some slices side by side."""
    labels, images = _shown(source, rows)
    keys = jax.random.split(jax.random.key(0), SHOWN_DRAWS)
    picture = panel(
        labels,
        images,
        *(_draw(labels, params, key) for key in keys),
        schema=params.description.schema,
        captions=("label", "real", *(f"z {i + 1}" for i in range(SHOWN_DRAWS))),
        scale=panel_scale(labels.shape[-1]),
    )
    write_png(path, picture)


def write_panel(
    path: Path, params: ModelParams, source: SliceSource, *, rows: int
) -> np.ndarray:
    """Writes label, real and synthetic of some slices side by side.

    Returns:
      The picture, [H, W, 3] uint8.
    """
    labels, images = _shown(source, rows)
    picture = panel(
        labels,
        images,
        _predict(labels, params),
        schema=params.description.schema,
        captions=("label", "real", "synthetic"),
        scale=panel_scale(labels.shape[-1]),
    )
    write_png(path, picture)
    return picture


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.evaluate_gan",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument(
        "--model", required=True, help="--workdir of train_gan, or a checkpoint"
    )
    parser.add_argument("--data", required=True, help="--out of prepare_data")
    parser.add_argument("--groups", nargs="+", default=["B3"], help="vendor and centre")
    parser.add_argument("--splits", nargs="+", default=["development"])
    parser.add_argument("--out", required=True, help="folder for tables and pictures")
    parser.add_argument(
        "--weights",
        choices=("average", "last"),
        help="of G: the moving average (default where there is one) or the last",
    )
    arguments = parser.parse_args(argv)
    try:
        result = evaluate_model(
            arguments.model,
            arguments.data,
            groups=arguments.groups,
            splits=arguments.splits,
            out=arguments.out,
            weights=arguments.weights,
        )
    except (ValueError, OSError) as error:
        sys.exit(f"evaluate_gan: {error}")
    print(f"{'':28}{'model':>16}{'class-mean image':>20}")
    for name, model_value, floor in report_rows(result):
        print(f"{name:28}{model_value:>16}{floor:>20}")
    if "diversity" in result:
        diversity = result["diversity"]
        print(
            f"{diversity['num_draws']} draws of z for each label map: SSIM between two "
            f"{diversity['ssim_between_draws']:.3f} (1: all the same), standard "
            f"deviation {diversity['std_between_draws']:.3f} (images are in [-1, 1])"
        )
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    run_command("evaluate_gan", main)
