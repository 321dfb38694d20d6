"""Every configuration loads, varies the base in known keys, and says what it is."""

import importlib
import pathlib

import pytest
from ml_collections import ConfigDict

from cmrjax.labels import get_schema
from experiments import gan_setup
from experiments.configs import base

FOLDER = pathlib.Path(base.__file__).parent
NAMES = sorted(
    p.stem for p in FOLDER.glob("*.py") if p.stem not in ("__init__", "base")
)


def _leaves(config: ConfigDict, prefix: str = "") -> dict[str, object]:
    found = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            found |= _leaves(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def _module(name: str):
    return importlib.import_module(f"experiments.configs.{name}")


def test_the_configurations_of_the_paper_are_there():
    expected = {f"{k}_{s}" for k in ("cavity", "multi") for s in ("a1", "b2", "a1b2")}
    assert expected <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_configuration_is_a_variation_of_the_base(name):
    config, defaults = _module(name).get_config(), base.get_config()
    assert _leaves(config).keys() == _leaves(defaults).keys()
    assert len(_leaves(config)) <= 60
    assert config.is_locked
    assert get_schema(config.data.schema).num_classes in (4, 9)
    assert config.data.image_size % config.model.seed_stride == 0
    assert not set(config.data.train_groups) & set(config.data.validation_groups) or (
        "train" not in config.data.validation_splits
    )


@pytest.mark.parametrize("name", NAMES)
def test_docstring_gives_the_command(name):
    text = _module(name).__doc__ or ""
    assert f"--config=experiments/configs/{name}.py" in text
    assert "--workdir=runs/" in text


@pytest.mark.parametrize(
    ("name", "schema", "groups"),
    [
        ("cavity_a1", "cavity", ("A1",)),
        ("multi_b2", "multi_tissue", ("B2",)),
        ("multi_a1b2", "multi_tissue", ("A1", "B2")),
    ],
)
def test_names_say_what_is_trained(name, schema, groups):
    config = _module(name).get_config()
    assert config.data.schema == schema
    assert tuple(config.data.train_groups) == groups
    assert (config.model.base_features, config.data.image_size) == (64, 256)


def test_length_follows_the_epochs_unless_it_is_set():
    config = base.get_config()
    config.optimizer.decay_epochs = 50
    assert gan_setup.steps_per_epoch(config, 826) == 103
    assert gan_setup.num_steps(config, 826) == 100 * 103
    config.training.num_steps = 7
    assert gan_setup.num_steps(config, 826) == 7


def test_an_unknown_key_is_answered_with_the_nearest():
    config = base.get_config()
    with pytest.raises(AttributeError, match="base_features"):
        config.model.base_feature = 3
