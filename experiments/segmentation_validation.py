"""Validation during a segmentation training: loss, Dice and a panel of pictures."""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from cmrjax.data.pipeline import iterate_eval_batches
from cmrjax.evaluation.figures import colourise, grey_to_rgb, tiled, write_png
from cmrjax.evaluation.segmentation_study import evaluate_segmentation
from cmrjax.labels import LabelSchema
from cmrjax.training.segmentation_step import SegmentationState
from cmrjax.training.segmentation_trainer import SegmentationTrainer
from experiments.configs.base import Config
from experiments.gan_data import evenly_spaced
from experiments.segmentation_data import SegmentationData

LOSS = "validation_loss"
_SHOWN_DEVIATIONS = 2.5  # z-score that is shown white


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
        step = trainer.step

        def predict(variables: dict, image: jax.Array) -> jax.Array:
            return step.network.apply(variables, image, train=False)  # type: ignore

        self._predict = jax.jit(predict)
        objective = step.objective
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
        logits = self._predict(state.variables, shown["image"])
        own = np.asarray(logits).argmax(-1).astype(np.uint8)
        maps = {"predicted": own, "true": shown["label_map"]}
        picture = segmentation_panel(shown["image"], maps, self._schema)
        write_png(self._directory / "panels" / f"{step:07d}.png", picture)
        return picture


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
    columns = [grey_to_rgb(image / _SHOWN_DEVIATIONS)]
    columns += [colourise(labels, schema) for labels in label_maps.values()]
    return tiled(list(zip(*columns, strict=True)), captions=("image", *label_maps))
