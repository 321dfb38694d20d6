"""Validation during a GAN training, and the class-mean image it is compared with."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from cmrjax.data.pipeline import iterate_eval_batches
from cmrjax.evaluation.class_mean import compute_class_means
from cmrjax.evaluation.figures import panel, write_png
from cmrjax.evaluation.image_study import evaluate_images
from cmrjax.files import write_json
from cmrjax.training.gan_trainer import GanTrainer
from cmrjax.training.state import GanState, Variables
from experiments.configs.base import Config
from experiments.gan_data import GanData

CLASS_MEANS_FILE = "class_means.json"


class Validation:
    """SSIM, PSNR and NRMSE on validation slices, and a panel of pictures.

    Args:
      trainer: whose generator is evaluated.
      data: training and validation slices.
      batch_size: of the evaluation.
      panel_rows: slices in the panel.
      directory: the run's folder; gets class_means.json and panels/<step>.png.
    """

    def __init__(
        self,
        trainer: GanTrainer,
        data: GanData,
        *,
        batch_size: int,
        panel_rows: int,
        directory: Path,
    ) -> None:
        self._source, self._slices = data.validation, data.dataset.slices
        self._batch_size, self._directory = batch_size, directory
        if self._source is None:
            return
        self._schema = data.train.schema
        self._class_means = compute_class_means(data.train, self._schema.num_classes)
        write_json(directory / CLASS_MEANS_FILE, {"class_means": self._class_means})
        rows = np.linspace(0, len(self._source) - 1, panel_rows).round().astype(int)
        examples = [self._source[int(row)] for row in dict.fromkeys(rows)]
        self._shown = {k: np.stack([e[k] for e in examples]) for k in examples[0]}
        # As `synthesize` will run it: in float32, whatever the training computes in.
        generator = trainer.generator.clone(dtype=jnp.float32)
        latent_size = generator.architecture.latent_size

        def predict(variables: Variables, labels: jax.Array) -> jax.Array:
            shape = (labels.shape[0], latent_size)
            latent = jax.random.normal(jax.random.key(0), shape)
            z = latent if latent_size else None
            return generator.apply(variables, labels, z, train=False)  # type: ignore

        self._predict = jax.jit(predict)

    def __call__(self, state: GanState, step: int) -> tuple[dict, dict]:
        """Evaluates a state: scalars and pictures by name."""
        if self._source is None:
            return {}, {}
        variables = state.g_evaluated
        result = evaluate_images(
            lambda labels: self._predict(variables, labels),
            iterate_eval_batches(self._source, batch_size=self._batch_size),
            slices=self._slices,
            class_means=self._class_means,
        )
        scalars = {
            f"validation_{metric}{suffix}": result["summary"][method][metric]["mean"]
            for metric in ("ssim", "psnr", "nrmse")
            for method, suffix in (("model", ""), ("class_mean", "_class_mean"))
        }
        shown = self._shown
        fake = self._predict(variables, shown["label_map"])
        picture = panel(
            shown["label_map"],
            shown["image"],
            np.asarray(fake),
            schema=self._schema,
            captions=("label", "real", "synthetic"),
        )
        write_png(self._directory / "panels" / f"{step:07d}.png", picture)
        return scalars, {"validation_panel": picture}


def make_validation(
    config: Config, trainer: GanTrainer, data: GanData, directory: Path
) -> Validation:
    """Builds the validation of a configuration; see `Validation`."""
    return Validation(
        trainer,
        data,
        batch_size=config.evaluation.batch_size,
        panel_rows=config.evaluation.panel_rows,
        directory=directory,
    )
