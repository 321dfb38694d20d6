"""`synthesize`: shapes, padding, batching, compilations, refusals."""

import dataclasses
import functools
import gc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmrjax.models.spade_generator import SpadeGenerator
from cmrjax.models.spectral_norm import settle_vectors
from cmrjax.synthesis import sample
from cmrjax.synthesis.sample import plan_batches, synthesize
from tests.synthesis.tiny_models import make_params

IMAGE_NOISE = 2e-5  # float32 differences between batch sizes


@pytest.fixture(scope="module")
def model():
    return make_params()


@pytest.fixture(scope="module")
def labels():
    coarse = np.random.default_rng(3).integers(0, 4, (3, 8, 8))
    return coarse.repeat(4, axis=1).repeat(4, axis=2)  # [3, 32, 32]


def test_equals_the_network_in_evaluation_mode(model, labels):
    images = synthesize(labels[:2], model)
    generator = SpadeGenerator(model.description.architecture)
    apply = jax.jit(lambda variables, x: generator.apply(variables, x, train=False))
    expected = apply(model.variables, jnp.asarray(labels[:2]))
    assert images.dtype == np.float32
    assert images.shape == (2, 32, 32)
    assert images.std() > 0.05
    assert np.abs(images).max() <= 1.0
    np.testing.assert_allclose(images, np.asarray(expected)[..., 0], atol=IMAGE_NOISE)


def test_bfloat16_is_close_and_other_dtypes_are_refused(model, labels):
    images = synthesize(labels[:1], model)
    half = synthesize(labels[:1], model, dtype="bfloat16")
    assert half.dtype == np.float32
    error = np.linalg.norm(half - images) / np.linalg.norm(images)
    assert 0 < error < 0.1
    with pytest.raises(ValueError, match=r"dtype is 'float16'; expected one of"):
        synthesize(labels[:1], model, dtype="float16")


def test_what_is_made_ready_is_kept_as_long_as_the_parameters(labels):
    own = make_params(seed=5)
    before = len(sample._READY)
    synthesize(labels[:1], own)
    synthesize(labels[:1], own)
    assert len(sample._READY) == before + 1
    del own
    gc.collect()
    assert len(sample._READY) == before


def test_arrays_that_are_replaced_count(labels):
    own = make_params(seed=5)
    before = synthesize(labels[:1], own)
    last = own.variables["params"]["conv_img"]
    last["bias"] = last["bias"] + 1.0
    assert np.abs(synthesize(labels[:1], own) - before).max() > 0.1


def test_one_slice_is_the_slice_of_the_batch(model, labels):
    images = synthesize(labels[:2], model)
    alone = synthesize(labels[1], model)
    assert alone.shape == (32, 32)
    np.testing.assert_allclose(alone, images[1], atol=IMAGE_NOISE)


def test_neither_batch_size_nor_neighbours_matter(model, labels):
    images = synthesize(labels, model, batch_size=1)
    for batch_size in (2, 3):  # both are batches of 2 slices, then 1
        other = synthesize(labels, model, batch_size=batch_size)
        np.testing.assert_allclose(other, images, atol=IMAGE_NOISE)
    backwards = synthesize(labels[::-1], model, batch_size=1)[::-1]
    np.testing.assert_array_equal(backwards, images)


def test_any_size_is_padded_in_the_middle_and_cropped_back(model, labels):
    odd = labels[:2, :27, :20]
    images = synthesize(odd, model)
    assert images.shape == (2, 27, 20)
    by_hand = np.zeros((2, 32, 32), int)
    by_hand[:, 2:29, 6:26] = odd  # 5 missing rows: 2 before, 3 after
    np.testing.assert_array_equal(images, synthesize(by_hand, model)[:, 2:29, 6:26])


@pytest.mark.parametrize("kind", ["uint8", "int16", "int64", "jax"])
def test_every_integer_type_gives_the_same(model, labels, kind):
    given_labels = jnp.asarray(labels[0]) if kind == "jax" else labels[0].astype(kind)
    np.testing.assert_array_equal(
        synthesize(given_labels, model), synthesize(labels[0], model)
    )


@given(count=st.integers(1, 100), batch_size=st.integers(1, 40))
def test_batches_cover_everything_in_powers_of_two(count, batch_size):
    plan = plan_batches(count, batch_size)
    covered = [i for start, stop, _ in plan for i in range(start, stop)]
    assert covered == list(range(count))
    for start, stop, bucket in plan:
        assert bucket in (1, 2, 4, 8, 16, 32)
        assert stop - start <= bucket <= batch_size
        assert bucket < 2 * (stop - start)


class CheapNetwork:
    """Stands for the generator where only compilations are counted."""

    traced = 0

    def __init__(self, architecture, *, modulation, dtype):
        type(self).traced += 1

    def apply(self, variables, label_map, latent, *, train, statistics_mask):
        bias = variables["params"]["fc"]["bias"]
        return label_map[..., None].astype(jnp.float32) * bias[0]


def test_one_compilation_per_bucket_and_padded_size(monkeypatch):
    monkeypatch.setattr(sample, "SpadeGenerator", CheapNetwork)
    generate: Any = sample._generate
    generate.clear_cache()
    models = [make_params(seed=seed, step=seed) for seed in (0, 1)]
    for count in range(1, 10):  # buckets 1, 2, 4 and 8; 9 is 8 and 1
        synthesize(np.zeros((count, 32, 32), np.uint8), models[0])
    assert CheapNetwork.traced == 4
    for side in (17, 25, 31, 32):  # all are 32 to the network
        synthesize(np.zeros((2, side, 32), np.int64), models[1])
        synthesize(np.zeros((32, side), np.int32), models[0])
    assert CheapNetwork.traced == 4
    synthesize(np.zeros((1, 33, 32), np.uint8), models[0])  # 64 x 32
    assert CheapNetwork.traced == 5
    ones = synthesize(np.ones((1, 32, 32), np.uint8), models[1])
    assert ones[0, 0, 0] == models[1].variables["params"]["fc"]["bias"][0]
    assert CheapNetwork.traced == 5  # other parameters are arguments, not constants
    generate.clear_cache()


def test_the_device_is_given_bytes(model, labels, monkeypatch):
    seen = []
    generate = sample._generate

    def spy(variables, label_map, *more, **settings):
        seen.append(label_map.dtype)
        return generate(variables, label_map, *more, **settings)

    monkeypatch.setattr(sample, "_generate", spy)
    synthesize(labels[:2], model)
    assert seen == [np.uint8]


@pytest.mark.parametrize("bad_id", [4, -1, 255, 260])
def test_unknown_ids_are_refused_by_slice_and_id(model, labels, bad_id):
    wrong = labels.astype(np.int64)
    wrong[2, 5, 6] = bad_id
    with pytest.raises(ValueError, match=f"slice 2 holds label id {bad_id} .*3 RV"):
        synthesize(wrong, model)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (np.zeros((2, 4, 32, 32), int), r"\(2, 4, 32, 32\); .*not one-hot"),
        (np.zeros(5, int), r"shape \(5,\); expected \[h, w\], \[b, h, w\]"),
        (np.zeros((0, 32, 32), int), r"label map is empty, shape \(0, 32, 32\)"),
        (np.zeros((32, 32)), "labels have type float64, expected integers"),
        (np.zeros((32, 32), bool), "labels have type bool, expected integers"),
    ],
)
def test_what_is_no_label_map_is_refused(model, wrong, text):
    with pytest.raises(ValueError, match=text):
        synthesize(wrong, model)


def test_arguments_are_checked(model, labels):
    for size in (0, 1.5, "8"):
        with pytest.raises(ValueError, match=r"batch_size is .*; expected a whol"):
            synthesize(labels, model, batch_size=size)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"params is a dict; expected what cmrjax\.lo"):
        synthesize(labels, model.variables)
    with pytest.raises(ValueError, match="key is given, but this model has no latent"):
        synthesize(labels, model, key=jax.random.key(0))


def test_a_latent_model_needs_a_key_and_its_own_size(labels):
    latent_model = make_params(latent_size=3)
    with pytest.raises(ValueError, match=r"latent z; give key=jax\.random\.key"):
        synthesize(labels, latent_model)
    with pytest.raises(ValueError, match=r"64 x 32 pixels .*trained on, 32 x 32"):
        synthesize(np.zeros((40, 32), int), latent_model, key=jax.random.key(0))
    keys = jax.random.split(jax.random.key(0), 2)
    with pytest.raises(ValueError, match=r"key has shape \(2,\); .*\(3,\), one for"):
        synthesize(labels, latent_model, key=keys)


@pytest.mark.parametrize("slices", [2, 3])
def test_keys_of_the_old_kind_are_taken_and_numbers_are_not(labels, slices):
    latent_model = make_params(latent_size=3)
    old = synthesize(labels[:slices], latent_model, key=jax.random.PRNGKey(4))
    new = synthesize(labels[:slices], latent_model, key=jax.random.key(4))
    np.testing.assert_array_equal(old, new)
    keys: Any
    for keys in (4, [jax.random.key(0)], np.zeros(2)):
        with pytest.raises(ValueError, match=r"key is a .*; give key=jax\.random"):
            synthesize(labels[:slices], latent_model, key=keys)


def test_a_key_gives_one_z_to_a_volume_and_keys_one_to_each_slice():
    latent_model = make_params(latent_size=3)
    same = np.zeros((3, 32, 32), np.uint8)

    def images(key):
        return synthesize(same, latent_model, key=key, batch_size=1)

    shared = images(jax.random.key(5))
    np.testing.assert_array_equal(shared[0], shared[2])
    own = images(jax.random.split(jax.random.key(5), 3))
    assert np.abs(own[0] - own[2]).max() > 0.01
    again = images(jax.random.split(jax.random.key(5), 3))
    np.testing.assert_array_equal(own, again)


def test_batch_statistics_are_those_of_a_training_forward(labels):
    """Three slices go in a batch of four, in one, whatever the batch size is."""
    params = make_params()
    spectral = params.variables["spectral"]
    settle = jax.jit(settle_vectors)
    for _ in range(20):  # so that a training forward does not move them
        spectral = settle(params.variables["params"], spectral)
    params = dataclasses.replace(
        params, variables={**params.variables, "spectral": spectral}
    )
    found = synthesize(labels, params, statistics="batch", batch_size=1)
    generator = SpadeGenerator(params.description.architecture)
    forward = functools.partial(
        generator.apply, train=True, mutable=["batch_stats", "spectral"]
    )
    expected, _ = jax.jit(forward)(params.variables, jnp.asarray(labels))
    np.testing.assert_allclose(found, expected[..., 0], atol=1e-3)
    assert np.abs(found - synthesize(labels, params)).max() > 1e-2


def test_batch_statistics_do_not_see_the_padding(model, labels):
    cut = labels[:, 3:27, 5:30]  # padded to 32 x 32: 4 and 4, 3 and 4
    padded, mask = np.zeros((3, 32, 32), np.uint8), np.zeros((3, 32, 32), bool)
    padded[:, 4:28, 3:28], mask[:, 4:28, 3:28] = cut, True
    generator = SpadeGenerator(model.description.architecture)
    forward = jax.jit(functools.partial(generator.apply, train=False))
    whole: Any = forward(
        model.variables, jnp.asarray(padded), statistics_mask=jnp.asarray(mask)
    )
    found = synthesize(cut, model, statistics="batch")
    np.testing.assert_allclose(found, whole[:, 4:28, 3:28, 0], atol=2e-3)


def test_batch_statistics_do_not_see_the_padding_to_the_size_of_a_latent_model(labels):
    """A model with z works at 32 x 32: what is smaller is padded before the network."""
    latent_model = make_params(latent_size=3)
    spacing = latent_model.description.spacing
    cut, key = labels[:, :20, :24], jax.random.key(3)
    found = synthesize(
        cut, latent_model, key=key, statistics="batch", spacing=(9.0, spacing, spacing)
    )
    padded, mask = np.zeros((3, 32, 32), np.uint8), np.zeros((3, 32, 32), bool)
    padded[:, 6:26, 4:28], mask[:, 6:26, 4:28] = cut, True
    generator = SpadeGenerator(latent_model.description.architecture)
    forward = jax.jit(functools.partial(generator.apply, train=False))
    z = jnp.broadcast_to(jax.random.normal(jax.random.key(3), (3,)), (3, 3))
    whole: Any = forward(
        latent_model.variables, jnp.asarray(padded), z, statistics_mask=mask
    )
    np.testing.assert_allclose(found, whole[:, 6:26, 4:28, 0], atol=2e-3)
    unmasked: Any = forward(
        latent_model.variables, jnp.asarray(padded), z, statistics_mask=mask | True
    )
    assert np.abs(found - unmasked[:, 6:26, 4:28, 0]).max() > 1e-2


def test_statistics_must_be_known():
    with pytest.raises(ValueError, match="statistics is 'mean'; expected one of"):
        synthesize(np.zeros((64, 64), np.uint8), make_params(), statistics="mean")


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan"), "a", (1, 2, 3, 4), ()])
def test_spacing_must_be_a_size(spacing: Any):
    with pytest.raises(ValueError, match="expected positive numbers, mm"):
        synthesize(np.zeros((64, 64), np.uint8), make_params(), spacing=spacing)


def test_labels_with_a_spacing_come_back_on_their_own_grid():
    labels = np.zeros((50, 70), np.uint8)
    labels[10:30, 20:50] = 1
    assert synthesize(labels, make_params(), spacing=(2.0, 1.0)).shape == (50, 70)
