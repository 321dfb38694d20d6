"""Validation during training: the class means it keeps, and models with a latent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.evaluation.class_mean import compute_class_means
from cmrjax.files import read_json
from experiments.gan_data import open_gan_data
from experiments.gan_setup import make_trainer
from experiments.gan_validation import CLASS_MEANS_FILE, make_validation
from tests.experiments.tiny_run import tiny_config, tiny_data


@pytest.fixture(scope="module")
def data_path(tmp_path_factory):
    return tiny_data(tmp_path_factory.mktemp("data") / "prepared")


@pytest.mark.parametrize("latent_size", [0, 8])
def test_validation_runs_the_generator_with_or_without_a_latent(
    data_path, tmp_path, latent_size
):
    config = tiny_config(data_path)
    config.model.latent_size = latent_size
    config.model.dtype = "bfloat16"
    data = open_gan_data(config)
    trainer = make_trainer(config, data.train)
    validation = make_validation(config, trainer, data, tmp_path)
    image = jax.eval_shape(
        validation._predict,
        trainer.abstract_state().g_variables,
        jnp.zeros((3, 32, 32), jnp.uint8),
    )
    assert image.shape == (3, 32, 32, 1)
    kept = read_json(tmp_path / CLASS_MEANS_FILE)["class_means"]
    np.testing.assert_allclose(kept, compute_class_means(data.train, 4), rtol=1e-6)


def test_without_validation_slices_nothing_is_done(data_path, tmp_path):
    config = tiny_config(data_path)
    config.data.validation_groups = ()
    data = open_gan_data(config)
    assert data.validation is None
    trainer = make_trainer(config, data.train)
    validation = make_validation(config, trainer, data, tmp_path)
    assert validation(trainer.abstract_state(), 3) == ({}, {})
    assert list(tmp_path.iterdir()) == []
