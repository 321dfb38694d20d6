"""Checkpoints: bit-exact round trips, parts, other placements, broken folders."""

import contextlib
import dataclasses
import math
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from cmrjax.training.checkpoint import CheckpointStore, holds, restore_subtree
from cmrjax.training.checkpoint_folder import (
    Criterion,
    best_checkpoint,
    latest_checkpoint,
)
from cmrjax.training.sharding import data_parallel
from cmrjax.training.state import GanState
from tests.full_disk import full_disk


def make_state(seed=0):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return GanState(
        step=jnp.asarray(seed, jnp.int32),
        g_variables={
            "params": {"a": {"kernel": draw(3, 4)}},
            "spectral": {"u": draw(4)},
        },
        d_variables={"params": {"b": draw(2).astype(jnp.bfloat16)}},
        g_opt_state=({"mu": draw(3)}, ()),
        d_opt_state=(jnp.asarray(5, jnp.int32),),
    )


def abstract(state, sharding=None):
    sharding = sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state
    )


def assert_equal(result, expected):
    assert jax.tree.structure(result) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def filled(tmp_path):
    """A folder with checkpoints 2 and 4."""
    with CheckpointStore(tmp_path / "checkpoints") as store:
        for step in (2, 4):
            store.save(
                step,
                make_state(step),
                position={"iterator": {"next": step, "nested": [1, {"x": "y"}]}},
                facts={"train_seconds": 0.1 * step, "name": "é"},
            )
    return tmp_path / "checkpoints"


def test_round_trip_is_exact_with_facts_and_position(filled):
    with CheckpointStore(filled) as store:
        assert store.latest_step == 4
        state, position, facts = store.restore(4, abstract(make_state()))
        older, _, _ = store.restore(2, abstract(make_state()))
    assert isinstance(state, GanState)
    assert_equal(state, make_state(4))
    assert_equal(older, make_state(2))
    assert position == {"iterator": {"next": 4, "nested": [1, {"x": "y"}]}}
    assert facts == {"train_seconds": 0.4, "name": "é"}


@pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")
def test_restores_onto_another_placement(filled):
    sharding = data_parallel(batch_size=2, num_devices=2).replicated
    with CheckpointStore(filled) as store:
        state, _, _ = store.restore(4, abstract(make_state(), sharding))
    kernel = state.g_variables["params"]["a"]["kernel"]
    assert kernel.sharding == sharding
    assert len(kernel.addressable_shards) == 2
    assert_equal(state, make_state(4))


@pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")
def test_devices_write_a_slice_each_of_large_arrays_only(tmp_path):
    large, small = np.ones((4, 200_000), np.float32), np.ones((4, 20_000), np.float32)
    state = data_parallel(batch_size=2).replicate({"large": large, "small": small})
    with CheckpointStore(tmp_path) as store:
        store.save(1, state, position={}, facts={})
    handler: Any = ocp.PyTreeCheckpointHandler()
    found = handler.metadata(tmp_path / "1" / "state").tree
    pieces = {name: array.storage.chunk_shape for name, array in found.items()}
    assert pieces == {"large": (2, 200_000), "small": (4, 20_000)}


def test_only_the_newest_are_kept(tmp_path):
    with CheckpointStore(tmp_path, keep=2) as store:
        for step in (1, 2, 3):
            store.save(step, make_state(step), position={}, facts={})
        store.wait()
        assert store.latest_step == 3
        assert store.path(3).is_dir()
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["2", "3"]


def test_the_best_is_kept_beside_the_newest(tmp_path):
    """And is known after the store is opened again."""
    scores = {1: 0.2, 2: 0.9, 3: 0.4, 4: None, 5: 0.9 - 1e-9, 6: None, 7: 0.1}
    assert best_checkpoint(tmp_path / "missing") is None
    for steps in ((1, 2, 3, 4), (5, 6, 7)):
        with CheckpointStore(tmp_path, keep=2) as store:
            for step in steps:
                store.save(
                    step, make_state(step), position={}, facts={}, score=scores[step]
                )
                store.wait()
            assert store.best_score == 0.9
            assert store.latest_step == steps[-1]
        assert best_checkpoint(tmp_path) == tmp_path / "2"
    kept = sorted(p.name for p in tmp_path.iterdir() if p.is_dir())
    assert kept == ["2", "6", "7"]
    with CheckpointStore(tmp_path, keep=2) as store:
        state, _, _ = store.restore(2, abstract(make_state()))
    assert_equal(state, make_state(2))


def test_scores_of_another_metric_or_of_other_slices_are_not_compared(tmp_path):
    """An NRMSE, as a score, is below 0, and a PSNR above every SSIM."""
    ssim, psnr = Criterion("ssim", "abc"), Criterion("psnr", "abc")
    more = Criterion("psnr", "more slices")
    with CheckpointStore(tmp_path, keep=9, criterion=psnr) as store:
        save_scores(store, {1: 20.0, 2: 19.0})
        assert store.best_score == 20.0
    assert best_checkpoint(tmp_path) == tmp_path / "1"
    with CheckpointStore(tmp_path, keep=9, criterion=ssim) as store:
        assert store.best_score == -math.inf
        save_scores(store, {3: 0.5, 4: 0.4})
        assert store.best_score == 0.5
    assert best_checkpoint(tmp_path) == tmp_path / "3"
    with CheckpointStore(tmp_path, keep=2, criterion=more) as store:
        assert store.best_score == -math.inf
        save_scores(store, {5: 10.0, 6: 9.0, 7: 8.0})
        assert store.best_score == 10.0
    assert best_checkpoint(tmp_path) == tmp_path / "5"
    kept = sorted(p.name for p in tmp_path.iterdir() if p.is_dir())
    assert kept == ["5", "6", "7"]


@pytest.mark.parametrize("earlier", [Criterion(), Criterion("ssim", "other slices")])
def test_a_change_of_the_criterion_loses_no_best_checkpoint(tmp_path, earlier):
    """Until there is a score by the new one; Criterion(): of a run before criteria."""
    with CheckpointStore(tmp_path, criterion=earlier) as store:
        save_scores(store, {1: 0.2, 2: 0.9, 3: 0.3, 4: 0.4})
    with CheckpointStore(tmp_path, criterion=Criterion("ssim", "abc")) as store:
        save_scores(store, dict.fromkeys((5, 6, 7)))
        assert best_checkpoint(tmp_path) == tmp_path / "2"
        save_scores(store, {8: 0.1, 9: 0.05, 10: None, 11: None})
    assert best_checkpoint(tmp_path) == tmp_path / "8"
    kept = sorted(int(p.name) for p in tmp_path.iterdir() if p.is_dir())
    assert kept == [8, 10, 11]


def save_scores(store, scores):
    for step, score in scores.items():
        store.save(step, make_state(step), position={}, facts={}, score=score)
        store.wait()


def test_a_score_without_a_criterion_is_no_score_by_one(tmp_path):
    """Of a run from before there were criteria."""
    with CheckpointStore(tmp_path) as store:
        save_scores(store, {1: 0.9})
    assert best_checkpoint(tmp_path) == tmp_path / "1"
    with CheckpointStore(tmp_path, criterion=Criterion("ssim", "abc")) as store:
        assert store.best_score == -math.inf


def test_without_scores_none_is_best(filled):
    assert best_checkpoint(filled) is None
    with CheckpointStore(filled) as store:
        assert store.best_score == -math.inf


def test_saving_a_step_again_does_nothing(filled):
    with CheckpointStore(filled) as store:
        store.save(4, make_state(99), position={}, facts={})
        store.wait()
        state, _, _ = store.restore(4, abstract(make_state()))
    assert_equal(state, make_state(4))


def test_a_half_written_checkpoint_is_not_seen(filled):
    for name in ("6.orbax-checkpoint-tmp-1234", "6.orbax-checkpoint-tmp", ".7", "note"):
        (filled / name / "state").mkdir(parents=True)
    assert latest_checkpoint(filled) == filled / "4"
    with CheckpointStore(filled) as store:
        assert store.latest_step == 4
        store.save(6, make_state(6), position={}, facts={})
        store.wait()
        assert store.latest_step == 6
        state, _, _ = store.restore(6, abstract(make_state()))
    assert_equal(state, make_state(6))


@pytest.mark.parametrize("size", [1, 100, 300, 2000, 10_000])  # each fails elsewhere
def test_a_full_disk_is_told_wherever_a_checkpoint_meets_it(filled, size):
    expected = rf"{filled}: .* written \(.*File too large\).*{filled / '4'} is whole"
    for _ in range(2):  # threads write side by side: now one is first, now another
        store = CheckpointStore(filled)
        with full_disk(size):
            with pytest.raises(OSError, match=expected):
                save_large(store)
            with contextlib.suppress(OSError):  # says it again, in the same words
                store.close()
    with CheckpointStore(filled) as store:
        assert store.latest_step == 4
        assert_equal(store.restore(4, abstract(make_state()))[0], make_state(4))


def save_large(store):
    rng = np.random.default_rng(0)
    kernels = {f"k{i}": rng.normal(size=(40, 50)) for i in range(8)}
    variables = jax.tree.map(jnp.asarray, kernels)
    large = dataclasses.replace(make_state(6), g_variables=variables)
    store.save(6, large, position={}, facts={})
    store.wait()


@pytest.mark.parametrize("size", [1, 100])  # closing fails of its own then
def test_a_block_that_ends_by_a_full_disk_raises_nothing_else(tmp_path, size):
    with (
        pytest.raises(OSError, match=r"could not be written \(.*File too large"),
        full_disk(size),
        CheckpointStore(tmp_path / "checkpoints") as store,
    ):
        save_large(store)


@pytest.mark.parametrize("order", ["{why} {how}", "{how} {why}"])
def test_tensorstore_says_why_and_how_in_any_order(filled, monkeypatch, order):
    why = "[os_error_code='27']"
    how = "[tensorstore_spec='{\\\"context\\\":{}}']"

    def fail():
        at = '"zarr" driver: Error writing "opt_state.mu/.zarray" in "/run/d/eb5d4"'
        raise ValueError(
            f"OUT_OF_RANGE: Error opening {at}: Failed to write 9 bytes to file 3: "
            f"File too large {order.format(why=why, how=how)}"
        )

    with CheckpointStore(filled) as store:
        monkeypatch.setattr(store._manager, "wait_until_finished", fail)
        with pytest.raises(OSError, match=r"\(Failed to .* 3: File too large\); make"):
            store.wait()
        monkeypatch.undo()


def test_an_empty_folder_has_no_latest_step(tmp_path):
    with CheckpointStore(tmp_path / "new") as store:
        assert store.latest_step is None


def test_another_network_is_refused_with_what_to_do(filled):
    other = make_state()
    other.g_variables["params"]["a"]["kernel"] = jnp.zeros((5, 4))
    with (
        CheckpointStore(filled) as store,
        pytest.raises(ValueError, match=r"4 does not fit .*use a new workdir"),
    ):
        store.restore(4, abstract(other))


def test_missing_entries_are_refused(filled):
    other = make_state()
    other.g_variables["params"]["more"] = jnp.zeros(3)
    with (
        CheckpointStore(filled) as store,
        pytest.raises(ValueError, match="does not fit this run's networks"),
    ):
        store.restore(4, abstract(other))


def test_at_least_one_is_kept(tmp_path):
    with pytest.raises(ValueError, match="keep is 0"):
        CheckpointStore(tmp_path, keep=0)


def test_a_part_is_read_without_the_rest(filled):
    wanted = {"g_variables": {"params": {"a": {"kernel": jnp.zeros((3, 4))}}}}
    part = restore_subtree(filled / "4", wanted)
    assert_equal(part, {"g_variables": {"params": make_state(4).g_variables["params"]}})


def test_a_checkpoint_that_was_written_anew_is_read_anew(tmp_path):
    """Its shapes are remembered as long as its files are the same."""
    folder = tmp_path / "checkpoints" / "1"
    for field, size in (("first", 3), ("second", 3), ("second", 4)):
        shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
        with CheckpointStore(tmp_path / "checkpoints") as store:
            store.save(1, {field: {"w": jnp.ones(size)}}, position={}, facts={})
        for _ in range(2):
            assert holds(folder, field)
            assert holds(folder, "first") == (field == "first")
        shape = {field: {"w": jax.ShapeDtypeStruct((size,), np.float32)}}
        assert restore_subtree(folder, shape)[field]["w"].shape == (size,)


def test_a_part_that_is_not_there_is_refused(filled):
    text = "does not hold the model"
    with pytest.raises(ValueError, match=rf"{text}.*/other .*shape None"):
        restore_subtree(filled / "4", {"g_variables": {"other": jnp.zeros(3)}})
    with pytest.raises(ValueError, match=text):
        restore_subtree(
            filled / "4",
            {"g_variables": {"params": {"a": {"kernel": jnp.zeros((3, 5))}}}},
        )
    with pytest.raises(ValueError, match=text):
        restore_subtree(filled / "5", {"g_variables": {"spectral": jnp.zeros(4)}})


@pytest.mark.parametrize("name", ["\u00b2", "99", "file"])
def test_what_is_no_checkpoint_is_not_taken_for_the_newest(tmp_path, name):
    (tmp_path / "7" / "state").mkdir(parents=True)
    if name == "file":
        (tmp_path / "99").touch()
    else:
        (tmp_path / name).mkdir()
    assert latest_checkpoint(tmp_path) == tmp_path / "7"
    assert best_checkpoint(tmp_path) is None
    if name == "\u00b2":
        CheckpointStore(tmp_path).close()
    else:
        with pytest.raises(ValueError, match=r"99 is no checkpoint .* remove it"):
            CheckpointStore(tmp_path)
