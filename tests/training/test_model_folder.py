"""A model's folder: which checkpoint it means, for each kind of network.

What is read from it is tested with `synthesis.params` and `segmentation.params`.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.labels import CAVITY
from cmrjax.models.spade_generator import GeneratorArchitecture
from cmrjax.models.unet import UnetArchitecture
from cmrjax.training.checkpoint import CheckpointStore
from cmrjax.training.description import (
    ModelDescription,
    SegmenterDescription,
    write_description,
)
from cmrjax.training.model_folder import (
    CHECKPOINTS,
    hash_model,
    open_model_folder,
    restore_variables,
    run_folder,
)

GENERATOR = ModelDescription(CAVITY, GeneratorArchitecture(4), 64)
SEGMENTER = SegmenterDescription(CAVITY, UnetArchitecture(4), 64)


def write(folder, description, *, steps=()):
    write_description(folder, description, provenance={})
    for step in steps:
        (folder / CHECKPOINTS / str(step) / "state").mkdir(parents=True)
    return folder


@pytest.mark.parametrize("description", [GENERATOR, SEGMENTER])
def test_the_newest_checkpoint_or_the_one_that_is_named(tmp_path, description):
    folder, kind = write(tmp_path, description, steps=(9, 10)), type(description)
    assert open_model_folder(folder, kind) == (description, folder / CHECKPOINTS / "10")
    named = folder / CHECKPOINTS / "9"
    assert open_model_folder(named, kind) == (description, named)
    assert open_model_folder(str(named), kind) == (description, named)


def test_the_best_checkpoint_may_be_named(tmp_path):
    folder = write(tmp_path, GENERATOR)
    with CheckpointStore(folder / CHECKPOINTS, keep=3) as store:
        for step, score in ((2, 0.1), (4, 0.7), (6, 0.3)):
            store.save(step, {"a": jnp.ones(2)}, position={}, facts={}, score=score)
            store.wait()
    best = folder / CHECKPOINTS / "best"
    _, checkpoint = open_model_folder(best, ModelDescription)
    assert checkpoint == folder / CHECKPOINTS / "4"
    assert run_folder(best) == folder.absolute()


def test_a_best_checkpoint_that_is_not_there(tmp_path):
    best = write(tmp_path, GENERATOR, steps=(3,)) / CHECKPOINTS / "best"
    with pytest.raises(ValueError, match=r"no checkpoint has a validation .* its step"):
        open_model_folder(best, ModelDescription)
    with pytest.raises(ValueError, match="no such folder"):
        open_model_folder(tmp_path / "none" / CHECKPOINTS / "best", ModelDescription)


def test_a_run_whose_name_is_a_number_is_not_a_checkpoint(tmp_path):
    (tmp_path / "7").mkdir()
    folder = write(tmp_path / "7", GENERATOR, steps=(3,))
    _, checkpoint = open_model_folder(folder, ModelDescription)
    assert checkpoint == folder / CHECKPOINTS / "3"


@pytest.mark.parametrize(
    ("description", "other", "command"),
    [
        (GENERATOR, SegmenterDescription, "experiments.train_segmentation"),
        (SEGMENTER, ModelDescription, "experiments.train_gan"),
    ],
)
def test_refusals_name_the_command_that_makes_what_is_wanted(
    tmp_path, description, other, command
):
    with pytest.raises(ValueError, match=f"no such folder; .* `python -m {command}`"):
        open_model_folder(tmp_path / "none", other)
    with pytest.raises(ValueError, match=f"no model.json.* `python -m {command}`"):
        open_model_folder(tmp_path, other)
    write(tmp_path, description, steps=(1,))
    with pytest.raises(ValueError, match=f"format is .* of `python -m {command}`"):
        open_model_folder(tmp_path, other)


def test_no_checkpoint_yet(tmp_path):
    with pytest.raises(ValueError, match="has no checkpoint yet: nothing is in"):
        open_model_folder(write(tmp_path, SEGMENTER), SegmenterDescription)


def test_one_field_is_restored_and_a_misfit_is_one_line(tmp_path):
    state = {"wanted": {"a": jnp.arange(3.0)}, "other": jnp.ones(5)}
    with CheckpointStore(tmp_path) as store:
        store.save(2, state, position={}, facts={})
    shapes = {"a": jnp.zeros(3)}
    found = restore_variables(tmp_path / "2", "wanted", shapes, "three numbers")
    np.testing.assert_array_equal(found["a"], [0, 1, 2])
    assert set(found) == {"a"}
    with pytest.raises(ValueError, match=r"\(wanted/a has .*\. Expected four") as error:
        restore_variables(tmp_path / "2", "wanted", {"a": jnp.zeros(4)}, "four")
    assert "\n" not in str(error.value)


def test_hash_follows_description_names_types_and_values():
    variables = {"a": {"x": np.arange(4.0)}, "b": np.zeros((2, 3))}
    different = [
        {"a": {"x": np.arange(4.0) + 1e-9}, "b": np.zeros((2, 3))},
        {"a": {"y": np.arange(4.0)}, "b": np.zeros((2, 3))},
        {"a": {"x": np.arange(4.0)}, "b": np.zeros((3, 2))},
        {"a": {"x": np.arange(4.0)}, "b": np.zeros((2, 3), np.float32)},
    ]
    hashes = [hash_model(SEGMENTER, v) for v in (variables, *different)]
    moved = dataclasses.replace(SEGMENTER, spacing=2.0)
    hashes.append(hash_model(moved, variables))
    assert len(set(hashes)) == 6
    placed = {"b": jnp.zeros((2, 3)), "a": {"x": jnp.arange(4.0)}}
    single = {"a": {"x": np.arange(4, dtype="f4")}, "b": np.zeros((2, 3), "f4")}
    assert hash_model(SEGMENTER, placed) == hash_model(SEGMENTER, single)
