"""Measures a segmentation network on prepared slices with exact labels.

    python -m experiments.evaluate_segmentation --model=runs/multi_tissue \
        --data=data/prepared/simulated_segmentation --splits=test \
        --out=results/multi_tissue

Writes segmentation.json (Dice by class, and of each volume; null where neither map has
the class), a panel of pictures and provenance.json. On real images
`experiments.label_real` measures the heart.
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
from cmrjax.evaluation.figures import write_png
from cmrjax.evaluation.segmentation_study import evaluate_segmentation
from cmrjax.files import atomic_directory, nan_to_none, provenance, write_json
from cmrjax.models.unet import Unet, logits_function
from cmrjax.output_folder import check_fillable, holds_only
from cmrjax.segmentation.params import SegmenterParams, load_segmenter
from experiments.command_line import run_command
from experiments.segmentation_validation import predict_labels, segmentation_panel

FILE = "segmentation.json"
is_evaluation = holds_only("provenance.json", FILE, "panel.png")
BATCH_SIZE = 16


def open_source(
    params: SegmenterParams, data: str | Path, splits: Sequence[str]
) -> SliceSource:
    """Opens slices that were prepared as those the network was trained on.

    They are cropped to the size that it was trained on.

    Raises:
      ValueError: they were prepared differently, or smaller.
    """
    dataset, description = PreparedDataset.open(data), params.description
    here = (dataset.schema, dataset.transform, dataset.spacing[0])
    there = (description.schema, description.transform, description.spacing)
    if here != there:
        raise ValueError(
            f"{data} has labels {here[0].name}, intensities {here[1].name} at "
            f"{here[2]} mm, the network was trained with {there[0].name}, "
            f"{there[1].name} at {there[2]} mm; prepare the data alike"
        )
    return SliceSource(
        dataset, dataset.select(splits=splits), image_size=description.image_size
    )


def evaluate_network(
    model: str | Path, data: str | Path, *, splits: Sequence[str], out: str | Path
) -> dict[str, Any]:
    """Evaluates a network's folder and writes figures and pictures.

    Args:
      model: the run's folder.
      data: folder that prepare_data wrote.
      splits: names of splits.
      out: folder for what is written, whole or not at all; earlier results in it are
        replaced.

    Returns:
      See `cmrjax.evaluation.segmentation_study.evaluate_segmentation`.

    Raises:
      ValueError: model and data do not fit each other.
      OSError: `out` holds something else, or cannot be written.
    """
    check_fillable(out, is_evaluation, option="--out=")
    params = load_segmenter(model)
    source = open_source(params, data, splits)
    schema = params.description.schema
    apply = logits_function(Unet(params.description.architecture))

    def predict(image: Any) -> jax.Array:
        return apply(params.variables, image)

    result = evaluate_segmentation(
        predict,
        iterate_eval_batches(source, batch_size=BATCH_SIZE),
        slices=source.dataset.slices,
        schema=schema,
    )
    chosen = evenly_spaced(np.arange(len(source)), 8)
    examples = [source[int(i)] for i in chosen]
    image = np.stack([e["image"] for e in examples])
    own = predict_labels(predict, image, batch_size=BATCH_SIZE)
    truth = np.stack([e["label_map"] for e in examples])
    maps = {"predicted": own, "true": truth}
    config = {"model": params.path, "model_sha256": params.fingerprint}
    config |= {"data": source.fingerprint, "splits": list(splits)}
    with atomic_directory(out, overwrite=True, ours=is_evaluation) as folder:
        write_png(folder / "panel.png", segmentation_panel(image, maps, schema))
        write_json(folder / "provenance.json", provenance(config=config))
        write_json(folder / FILE, nan_to_none({**result, **config}))
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.evaluate_segmentation",
        description=(__doc__ or "").split("\n")[0],
    )
    add = parser.add_argument
    add("--model", required=True, help="--workdir of train_segmentation")
    add("--data", required=True, help="--out of prepare_data")
    add("--splits", nargs="+", default=["test"])
    add("--out", required=True, help="folder for tables and pictures")
    arguments = parser.parse_args(argv)
    try:
        result = evaluate_network(
            arguments.model,
            arguments.data,
            splits=arguments.splits,
            out=arguments.out,
        )
    except (ValueError, OSError) as error:
        sys.exit(f"evaluate_segmentation: {error}")
    print(f"{result['num_subjects']} subjects, {result['num_slices']} slices, Dice:")
    for name, value in result["dice"].items():
        print(f"  {name:16} {value:.3f}")
    print(f"  {'mean':16} {result['mean_dice']:.3f}\nwritten: {arguments.out}")


if __name__ == "__main__":
    run_command("evaluate_segmentation", main)
