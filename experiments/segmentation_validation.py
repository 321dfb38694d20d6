"""Validation during a segmentation training: loss, Dice and a panel of pictures."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cmrjax.data.choice import evenly_spaced
from cmrjax.data.intensity import ZScoreTransform
from cmrjax.data.pipeline import iterate_eval_batches
from cmrjax.evaluation.figures import (
    colourise,
    grey_to_rgb,
    shown_range,
    tiled,
    write_png,
)
from cmrjax.evaluation.segmentation_study import evaluate_segmentation
from cmrjax.labels import LabelSchema
from cmrjax.models.unet import logits_function
from cmrjax.training.segmentation_step import SegmentationState
from cmrjax.training.segmentation_trainer import SegmentationTrainer
from experiments.configs.base import Config
from experiments.segmentation_data import SegmentationData

LOSS = "validation_loss"


class SegmentationValidation:
    """Called with a state and its step; returns scalars and pictures.

    Args:
      config: see `experiments/configs/segmentation.py`.
      trainer: whose network is evaluated.
      data: with the validation slices.
      directory: the run's folder; gets panels/<step>.png.
    """

    def __init__(
        self,
        config: Config,
        trainer: SegmentationTrainer,
        data: SegmentationData,
        directory: Path,
    ) -> None:
        self._source, self._schema = data.validation, data.schema
        self._batch_size = config.evaluation.batch_size
        self._directory = directory
        rows = evenly_spaced(np.arange(len(self._source)), config.evaluation.panel_rows)
        examples = [self._source[int(row)] for row in rows]
        self._shown = {k: np.stack([e[k] for e in examples]) for k in examples[0]}
        # As `label_real` will run it: in float32, whatever the training computes in.
        network = trainer.step.network.clone(dtype=jnp.float32)
        self._predict = logits_function(network)
        objective = trainer.step.objective
        self._loss = jax.jit(lambda logits, batch: objective(logits, batch))

    def __call__(self, state: SegmentationState, step: int) -> tuple[dict, dict]:
        """Evaluates a state: scalars and pictures by name."""
        result = evaluate_segmentation(
            lambda image: self._predict(state.variables, image),
            iterate_eval_batches(self._source, batch_size=self._batch_size),
            slices=self._source.slices,
            schema=self._schema,
            loss=lambda logits, batch: self._loss(
                logits, {name: batch[name] for name in ("label_map", "valid_mask")}
            ),
        )
        scalars = {
            LOSS: result["loss"],
            "validation_dice": result["mean_dice"],
            **{f"dice_{name}": value for name, value in result["dice"].items()},
        }
        picture = self._panel(state, step)
        return scalars, {"validation_panel": picture}

    def _panel(self, state: SegmentationState, step: int) -> np.ndarray:
        shown = self._shown
        own = predict_labels(
            lambda image: self._predict(state.variables, image),
            shown["image"],
            batch_size=self._batch_size,
        )
        maps = {"predicted": own, "true": shown["label_map"]}
        picture = segmentation_panel(shown["image"], maps, self._schema)
        write_png(self._directory / "panels" / f"{step:07d}.png", picture)
        return picture


def predict_labels(
    predict: Callable[[Any], Any], image: np.ndarray, *, batch_size: int
) -> np.ndarray:
    """Labels images in batches of one size, so that one program serves them all.

    Args:
      predict: image [batch_size, h, w, 1] -> logits.
      image: [n, h, w, 1] float32.
      batch_size: of `predict`; the last batch is filled with zeros.

    Returns:
      [n, h, w] uint8.
    """
    parts = []
    for start in range(0, len(image), batch_size):
        part = image[start : start + batch_size]
        missing = batch_size - len(part)
        filled = np.pad(part, ((0, missing), (0, 0), (0, 0), (0, 0)))
        parts.append(np.asarray(predict(filled)).argmax(-1)[: len(part)])
    return np.concatenate(parts).astype(np.uint8)


def segmentation_panel(
    image: np.ndarray, label_maps: Mapping[str, np.ndarray], schema: LabelSchema
) -> np.ndarray:
    """Image and label maps side by side, one row an example.

    Args:
      image: [n, h, w, 1] float32 z-scores.
      label_maps: [n, h, w] ids by caption.
      schema: of the ids.

    Returns:
      [H, W, 3] uint8.
    """
    columns = [grey_to_rgb(shown_range(image, ZScoreTransform()))]
    columns += [colourise(labels, schema) for labels in label_maps.values()]
    return tiled(list(zip(*columns, strict=True)), captions=("image", *label_maps))
