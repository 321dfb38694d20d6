"""Validation during a segmentation training: the loss that the rate follows."""

from typing import Any

import jax
import numpy as np
import pytest

from cmrjax.data.pipeline import iterate_eval_batches
from cmrjax.evaluation.figures import colourise, grey_to_rgb
from cmrjax.labels import MULTI_TISSUE
from cmrjax.losses.segmentation import focal_tversky_loss
from cmrjax.training.plateau import start_plateau
from cmrjax.training.segmentation_step import SegmentationState
from experiments.segmentation_data import open_segmentation_data
from experiments.segmentation_validation import (
    LOSS,
    SegmentationValidation,
    segmentation_panel,
)
from experiments.train_segmentation import make_trainer
from tests.experiments.tiny_segmentation import CROP, tiny_config, tiny_data
from tests.models.drawn import draw_variables


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(config, data, trainer, state with a drawn network)."""
    folder = tmp_path_factory.mktemp("data")
    config = tiny_config(tiny_data(folder / "prepared"))
    data = open_segmentation_data(config)
    trainer = make_trainer(config, data)
    image = np.zeros((1, CROP, CROP, 1), np.float32)
    variables = draw_variables(trainer.step.network.init, image, train=False)
    state = SegmentationState(0, variables, (), start_plateau(1.0))  # type: ignore[arg-type]
    return config, data, trainer, state


def test_loss_and_dice_are_those_of_the_network_in_evaluation(run, tmp_path):
    """Five slices in batches of two: the last counts one slice."""
    config, data, trainer, state = run
    validation = SegmentationValidation(config, trainer, data, tmp_path)
    scalars, pictures = validation(state, 12)
    assert len(data.validation) == 5
    total = 0.0
    apply = jax.jit(
        lambda image: trainer.step.network.apply(state.variables, image, train=False)
    )
    for batch in iterate_eval_batches(data.validation, batch_size=2):
        logits, count = np.asarray(apply(batch["image"])), int(batch["weight"].sum())
        parts: Any = (logits, batch["label_map"], batch["valid_mask"])
        total += count * float(focal_tversky_loss(*(p[:count] for p in parts)))
    assert scalars[LOSS] == pytest.approx(total / 5, rel=1e-5)
    classes = MULTI_TISSUE.class_names[1:]
    assert set(scalars) == {LOSS, "validation_dice", *(f"dice_{n}" for n in classes)}
    again, _ = validation(state, 15)
    assert repr(again) == repr(scalars)  # no dropout; NaN equals NaN
    (picture,) = pictures.values()
    assert picture.dtype == np.uint8
    assert (tmp_path / "panels" / "0000012.png").stat().st_size > 0


def test_a_panel_shows_image_and_maps_side_by_side():
    image = np.linspace(-3, 3, 2 * 64).reshape(2, 8, 8, 1).astype(np.float32)
    own = np.zeros((2, 8, 8), np.uint8)
    own[0, 2:5, 3:6] = 1
    true = np.roll(own, 1, axis=2)
    maps = {"predicted": own, "true": true}
    picture = segmentation_panel(image, maps, MULTI_TISSUE)
    parts = [
        grey_to_rgb(image / 2.5),
        *(colourise(m, MULTI_TISSUE) for m in maps.values()),
    ]
    height = picture.shape[0]
    for row in range(2):
        for column, part in enumerate(parts):
            bottom = height - (1 - row) * (8 + 2)
            left = column * (8 + 2)
            tile = picture[bottom - 8 : bottom, left : left + 8]
            np.testing.assert_array_equal(tile, part[row])
