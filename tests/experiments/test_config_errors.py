"""Odd values of a configuration end in one line that names the configuration."""

import pytest
from absl import flags
from ml_collections import config_flags

from experiments.config_errors import config_errors
from experiments.configs import base
from experiments.gan_data import open_gan_data
from experiments.gan_setup import make_trainer
from experiments.training_flags import parse_flags
from tests.experiments.tiny_run import tiny_config, tiny_data


def test_an_error_names_the_configuration_once():
    with (
        pytest.raises(ValueError, match=r"^config\.\*: batch_size is 0$"),
        config_errors(),
    ):
        raise ValueError("batch_size is 0")
    with (
        pytest.raises(ValueError, match=r"^config\.model\.dtype is 'x'$"),
        config_errors(),
    ):
        raise ValueError("config.model.dtype is 'x'")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("data.schema", "heart", r"config\.\*: no label schema 'heart'"),
        ("data.train_groups", (1,), "config.*has no group 1; it has A1, B3"),
        ("data.path", "y" * 9000, r"config.data.path is y+\.\.\.: File name too long"),
        ("data.image_size", 33, r"config\.\*: image_size: a crop of 33x33"),
        ("data.image_size", 31, "config.data.image_size is 31; expected a multiple"),
        ("model.seed_stride", 0, "config.data.image_size is 32; expected a multiple"),
        ("model.base_features", 0, r"config\.\*: base_features is 0"),
        ("loss.perceptual_layers", "all", r"config\.\*: perceptual_layers is 'all'"),
        ("model.dtype", "x" * 9000, r"config.model.dtype is 'x+\.\.\."),
        ("loss.reduction", "max", "config.loss.reduction is 'max'; expected 'mean' or"),
        ("optimizer.generator_passes", 3, r"config\.\*: generator_passes is 3"),
        ("training.batch_size", -2, r"config\.\*: batch_size is -2"),
    ],
)
def test_a_value_that_cannot_be(tmp_path, name, value, message):
    config = tiny_config(tiny_data(tmp_path / "data"))
    section, _, leaf = name.partition(".")
    config[section][leaf] = value
    with pytest.raises(ValueError, match=message) as caught:
        make_trainer(config, open_gan_data(config).train)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_a_name_with_a_part_that_is_not_there(monkeypatch):
    command = ["train_gan", f"--config={base.__file__}", "--config.dada.path=x"]
    monkeypatch.setattr("sys.argv", command)
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    with pytest.raises(ValueError, match=r"--config: .*dada") as caught:
        parse_flags(values, command)
    assert len(str(caught.value).splitlines()) == 1
