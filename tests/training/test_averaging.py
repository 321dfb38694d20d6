"""The average of G against sums and singular values computed here."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.models.spectral_norm import spectral_sigma
from cmrjax.training.averaging import estimate_state, move_average
from tests.training.tiny_gan import (
    NUM_CLASSES,
    SIDE,
    copy_of,
    draw_batch,
    draw_state,
    make_trainer,
)

DECAY = 0.9
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def trainer():
    return make_trainer(average_decay=DECAY)


@pytest.fixture(scope="module")
def maps() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, NUM_CLASSES, (3, 2, SIDE, SIDE)).astype(np.uint8)


@pytest.fixture(scope="module")
def averaged(trainer):
    """A state with an average that differs from the parameters."""
    state = draw_state(trainer)
    other = jax.tree.map(lambda x: 1.3 * x + 0.01, state.g_variables["params"])
    average = {**state.g_variables, "params": other}
    return dataclasses.replace(state, g_average=average)


@pytest.mark.parametrize(
    ("step", "kept"), [(0, 0.1), (1, 2 / 11), (80, 0.9), (10**6, 0.9)]
)
def test_the_average_keeps_less_in_the_first_steps(step, kept):
    old, new = {"w": jnp.array([1.0, -2.0])}, {"w": jnp.array([3.0, 5.0])}
    moved = move_average(old, new, step=jnp.int32(step), decay=DECAY)
    expected = kept * np.array([1.0, -2.0]) + (1 - kept) * np.array([3.0, 5.0])
    np.testing.assert_allclose(moved["w"], expected, rtol=1e-6)


def test_statistics_are_the_means_over_the_batches(trainer, averaged, maps):
    """The first norm sees the up-sampled seed, a 3 x 3 convolution written out here."""
    start = {**averaged.g_variables, "params": averaged.g_average["params"]}
    found = estimate_state(trainer.generator, start, jnp.asarray(maps))
    kernel, bias = (np.asarray(start["params"]["fc"][n]) for n in ("kernel", "bias"))
    means, variances = [], []
    for batch in maps:
        onehot = np.eye(NUM_CLASSES)[batch[:, ::4, ::4]]
        padded = np.pad(onehot, ((0, 0), (1, 1), (1, 1), (0, 0)))
        h, w = onehot.shape[1:3]
        seed = bias + sum(
            padded[:, i : i + h, j : j + w] @ kernel[i, j]
            for i in range(3)
            for j in range(3)
        )
        x = seed.repeat(2, 1).repeat(2, 2).reshape(-1, seed.shape[-1])
        means.append(x.mean(0))
        variances.append(x.var(0, ddof=1))
    norms = found["batch_stats"]["up_0"]
    name = next(n for n in norms if n in ("norm_0", "norm_s"))
    statistics = norms[name]["param_free_norm"]
    np.testing.assert_allclose(statistics["mean"], np.mean(means, 0), atol=1e-5)
    np.testing.assert_allclose(statistics["var"], np.mean(variances, 0), rtol=1e-4)


def test_vectors_fit_the_averaged_kernels(trainer, averaged, maps):
    start = {**averaged.g_variables, "params": averaged.g_average["params"]}
    found = estimate_state(trainer.generator, start, jnp.asarray(maps))
    for name in ("conv_0", "conv_1"):
        kernel = found["params"]["up_0"][name]["kernel"]
        vectors = found["spectral"]["up_0"][name]
        sigma = float(spectral_sigma(kernel, vectors["u"], vectors["v"]))
        matrix = np.asarray(kernel).reshape(-1, kernel.shape[-1])
        assert sigma == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-2)


def test_settling_changes_nothing_but_the_state_of_the_average(trainer, averaged, maps):
    settle = trainer.settle(maps)
    settled = settle(averaged)
    same = jax.tree.map(np.array_equal, settled, averaged)
    assert all(jax.tree.leaves(same.replace(g_average={})))
    assert all(jax.tree.leaves(same.g_average["params"]))
    assert not any(jax.tree.leaves(same.g_average["batch_stats"]))
    again = settle(settled)
    jax.tree.map(np.testing.assert_array_equal, again, settled)


def test_the_training_does_not_know_of_its_average(trainer, averaged):
    vgg = None
    step = trainer.compile(vgg, KEY).function
    plain = make_trainer()
    expected, _ = plain.compile(vgg, KEY).function(
        draw_state(plain), vgg, draw_batch(), KEY
    )
    found, _ = step(copy_of(averaged), vgg, draw_batch(), KEY)
    for name in ("g_variables", "d_variables", "g_opt_state"):
        jax.tree.map(
            np.testing.assert_array_equal, getattr(found, name), getattr(expected, name)
        )
    kept = 0.1  # step 0
    jax.tree.map(
        lambda new, old, live: np.testing.assert_allclose(
            new, kept * old + (1 - kept) * live, rtol=1e-5, atol=1e-6
        ),
        found.g_average["params"],
        averaged.g_average["params"],
        found.g_variables["params"],
    )


def test_without_an_average_nothing_is_settled():
    plain = make_trainer()
    state = draw_state(plain)
    assert plain.settle(np.zeros((1, 2, SIDE, SIDE), np.uint8))(state) is state
    assert state.g_evaluated is state.g_variables


def test_the_first_state_has_its_own_copy(trainer):
    state = trainer.init(KEY)
    jax.tree.map(
        np.testing.assert_array_equal,
        state.g_average["params"],
        state.g_variables["params"],
    )
    assert state.g_evaluated is state.g_average
