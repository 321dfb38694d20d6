"""A segmentation network's folder: read back, and what cannot be read."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.data.geometry import GridMap
from cmrjax.data.intensity import ZScoreTransform
from cmrjax.labels import CAVITY, LabelSchema
from cmrjax.models.spade_generator import GeneratorArchitecture
from cmrjax.models.unet import UnetArchitecture
from cmrjax.segmentation.params import load_segmenter
from cmrjax.segmentation.predict import Segmenter
from cmrjax.training.checkpoint import CheckpointStore
from cmrjax.training.description import (
    ModelDescription,
    SegmenterDescription,
    write_description,
)
from tests.training.tiny_unet import draw_state, make_trainer

SCHEMA = LabelSchema("three", ("background", "a", "b"))


def describe(**changes) -> SegmenterDescription:
    arch = make_trainer().step.network.architecture
    description = SegmenterDescription(SCHEMA, arch, 16, 1.25, ZScoreTransform())
    return dataclasses.replace(description, **changes)


def write_run(folder, *, steps=(1,), description=None):
    """As training leaves it; the last bias tells the step."""
    write_description(folder, description or describe(), provenance={})
    state = draw_state(make_trainer())
    with CheckpointStore(folder / "checkpoints", keep=5) as store:
        for step in steps:
            state.variables["params"]["scores"]["bias"] = jnp.full((3,), float(step))
            store.save(step, state, position={"iterator": {}}, facts={})
            store.wait()
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"), steps=(9, 10))


def test_the_newest_or_the_named_checkpoint_is_read_bit_for_bit(folder):
    newest = load_segmenter(folder)
    assert newest.description == describe()
    assert newest.path == str(folder / "checkpoints" / "10")
    assert set(newest.variables) == {"params", "batch_stats"}
    expected = draw_state(make_trainer()).variables
    expected["params"]["scores"]["bias"] = jnp.full((3,), 10.0)
    jax.tree.map(np.testing.assert_array_equal, newest.variables, expected)
    named = load_segmenter(folder / "checkpoints" / "9")
    assert float(named.variables["params"]["scores"]["bias"][0]) == 9.0
    assert named.fingerprint != newest.fingerprint
    assert load_segmenter(folder).fingerprint == newest.fingerprint


def test_fingerprint_sees_the_description(folder, tmp_path):
    other = write_run(tmp_path, steps=(10,), description=describe(spacing=2.0))
    assert load_segmenter(other).fingerprint != load_segmenter(folder).fingerprint


@pytest.mark.parametrize("mirrored", [True, False])
def test_a_loaded_network_predicts(tmp_path, mirrored):
    folder = write_run(tmp_path, description=describe(mirrored=mirrored))
    volume = np.random.default_rng(0).normal(size=(2, 14, 12)) * 100
    grid = GridMap((14, 12), (1.25, 1.25), (1.25, 1.25), (14, 12))
    segmenter = Segmenter.load(folder)
    found = segmenter.probabilities(volume, grid)
    assert segmenter.schema == SCHEMA
    assert found.shape == (2, 14, 12, 3)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    # On an equal grid nothing is resampled: the mean over mirrored images, or not.
    z = (volume - volume.mean()) / volume.std()
    image = z.astype(np.float32)[..., None]
    network, params = make_trainer().step.network, load_segmenter(folder)

    def predict(image):
        logits: Any = network.apply(params.variables, image, train=False)
        return np.asarray(jax.nn.softmax(logits))

    ways = [(), (1,), (2,), (1, 2)] if mirrored else [()]
    expected = [np.flip(predict(np.flip(image, axes)), axes) for axes in ways]
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-5)


def test_what_cannot_be_loaded_is_said(tmp_path):
    with pytest.raises(
        ValueError, match=r"nowhere: no such folder; .*experiments\.train_segmentation"
    ):
        load_segmenter(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"not a model folder: it has no model\.json"):
        load_segmenter(tmp_path)
    write_description(tmp_path, describe(), provenance={})
    with pytest.raises(ValueError, match=r"no checkpoint yet: nothing is in .*checkp"):
        load_segmenter(tmp_path)


def test_the_folder_of_a_generator_is_refused(tmp_path):
    generator = ModelDescription(CAVITY, GeneratorArchitecture(4), 64)
    write_description(tmp_path, generator, provenance={})
    with pytest.raises(
        ValueError, match=r"'cmrjax-model-1'; expected 'cmrjax-segmenter-1', a segment"
    ):
        load_segmenter(tmp_path)


def test_a_checkpoint_that_does_not_fit_is_refused_in_one_line(tmp_path):
    arch = UnetArchitecture(3, 3, 4, levels=1, dropout=0.0)
    write_run(tmp_path, description=describe(architecture=arch))
    with pytest.raises(
        ValueError, match=r"checkpoints/1 does not hold .* a U-Net of 3 classes, 3 feat"
    ) as caught:
        load_segmenter(tmp_path)
    assert "\n" not in str(caught.value)
