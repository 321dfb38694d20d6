"""Every configuration loads, varies the base in known keys, and says what it is."""

import importlib
import pathlib

import pytest
from ml_collections import ConfigDict

from cmrjax.labels import get_schema
from cmrjax.models.spade_generator import DTYPES
from cmrjax.models.unet import UnetArchitecture
from cmrjax.training.augmentation import Augmentation
from cmrjax.training.segmentation_step import SegmentationObjective
from experiments import gan_setup
from experiments.configs import base, segmentation

FOLDER = pathlib.Path(base.__file__).parent
SEGMENTATION_NAMES = sorted(p.stem for p in FOLDER.glob("multi_tissue*.py"))
NAMES = sorted(
    p.stem
    for p in FOLDER.glob("*.py")
    if p.stem not in ("__init__", "base", "segmentation", *SEGMENTATION_NAMES)
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


@pytest.mark.parametrize("name", SEGMENTATION_NAMES)
def test_segmentation_configuration_is_a_variation_of_its_base(name):
    config, defaults = _module(name).get_config(), segmentation.get_config()
    assert _leaves(config).keys() == _leaves(defaults).keys()
    assert len(_leaves(config)) <= 60
    assert config.is_locked
    assert "train" not in config.data.validation_splits


def test_segmentation_defaults_are_those_of_the_paper():
    """SPEC 3, with its choices where the paper is silent."""
    config = segmentation.get_config()
    assert (config.model.levels, config.model.dropout) == (5, 0.5)
    assert (config.loss.alpha, config.loss.beta) == (0.7, 0.3)
    assert config.loss.gamma == pytest.approx(4 / 3)
    assert config.loss.cross_entropy_weight == 0
    assert (config.training.batch_size, config.training.epochs) == (32, 350)
    assert config.training.steps_per_epoch == 0
    optimizer = config.optimizer
    assert (optimizer.learning_rate, optimizer.smallest_rate) == (1e-4, 1e-6)
    assert (optimizer.patience, optimizer.factor) == (10, 0.5)
    assert (config.augmentation.intensity, config.augmentation.elastic) == (0, 0)
    assert config.augmentation.flip
    assert config.augmentation.rotation > 0
    assert config.augmentation.smallest_scale < 1 < config.augmentation.largest_scale


@pytest.mark.parametrize("name", SEGMENTATION_NAMES)
def test_values_of_a_segmentation_configuration_are_accepted(name):
    """Each section is what the class that it is given to takes."""
    config = _module(name).get_config()
    sizes = config.model.to_dict()
    assert sizes.pop("dtype") in DTYPES
    UnetArchitecture(9, **sizes)
    SegmentationObjective(**config.loss.to_dict())
    assert Augmentation(**config.augmentation.to_dict()).intensity > 0  # not plain


@pytest.mark.parametrize("name", [*NAMES, *SEGMENTATION_NAMES])
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
