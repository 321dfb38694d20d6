"""Which slices a training sees."""

import numpy as np
import pytest

from experiments.gan_data import evenly_spaced, input_fingerprints, open_gan_data
from tests.experiments.tiny_run import tiny_config, tiny_data


@pytest.fixture(scope="module")
def data_path(tmp_path_factory):
    return tiny_data(tmp_path_factory.mktemp("data") / "prepared")


def test_training_and_validation_slices_have_no_subject_in_common(data_path):
    config = tiny_config(data_path)
    data = open_gan_data(config)
    assert data.validation is not None
    assert {info.split for info in data.train.slices} == {"train"}
    assert {info.group for info in data.validation.slices} == {"B3"}
    train = {info.subject for info in data.train.slices}
    assert not train & {info.subject for info in data.validation.slices}
    assert len(data.validation) == config.evaluation.max_slices


def test_fingerprint_follows_the_slices(data_path):
    config = tiny_config(data_path)
    first = input_fingerprints(open_gan_data(config), None)
    assert first == input_fingerprints(open_gan_data(config), None)
    config.data.image_size = 16
    assert first != input_fingerprints(open_gan_data(config), None)
    assert first["vgg19_weights"] == "none"


def test_evenly_spaced_keeps_both_ends():
    indices = np.arange(10, 110)
    chosen = evenly_spaced(indices, 7)
    assert len(chosen) == 7
    assert (chosen[0], chosen[-1]) == (10, 109)
    assert np.ptp(np.diff(chosen)) <= 1
    np.testing.assert_array_equal(evenly_spaced(indices, 0), indices)
    np.testing.assert_array_equal(evenly_spaced(indices, 500), indices)
