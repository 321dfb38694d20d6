"""Diversity of draws whose spread is known."""

import jax
import numpy as np
import pytest

from cmrjax.evaluation.diversity import measure_diversity

SHAPE = (3, 24, 24)


def batch(**more):
    valid = np.ones((*SHAPE, 1), bool)
    valid[:, :, 20:] = False
    rng = np.random.default_rng(0)
    return {"label_map": rng.integers(0, 4, SHAPE), "valid_mask": valid, **more}


def pictures(labels):
    return (np.asarray(labels, np.float32) / 4 - 0.5)[..., None]


def test_a_generator_that_ignores_z_has_none():
    found = measure_diversity(lambda labels, key: pictures(labels), [batch(), batch()])
    assert found["ssim_between_draws"] == pytest.approx(1.0, abs=1e-6)
    assert found["std_between_draws"] == pytest.approx(0.0, abs=1e-6)
    assert (found["num_draws"], found["num_slices"]) == (4, 6)


def test_known_noise_has_its_spread_and_padding_does_not_count():
    def draw(labels, key):
        noise = 0.3 * np.array(jax.random.normal(key, (*labels.shape, 1)))
        noise[:, :, 20:] = np.where(noise[:, :, 20:] > 0, 50.0, -50.0)
        return pictures(labels) + noise

    found = measure_diversity(draw, [batch()] * 4, num_draws=8)
    # The mean of a standard deviation of 8 normal values is c4(8) = 0.9650 sigma.
    assert found["std_between_draws"] == pytest.approx(0.9650 * 0.3, rel=0.02)
    assert 0.2 < found["ssim_between_draws"] < 0.9


def test_what_fills_up_a_batch_is_left_out_and_seeds_repeat():
    def draw(labels, key):
        images = pictures(labels)
        images[2] += float(jax.random.normal(key))
        return images

    filled = batch(weight=np.array([1.0, 1.0, 0.0]))
    found = measure_diversity(draw, [filled])
    assert found["num_slices"] == 2
    assert found["std_between_draws"] == pytest.approx(0.0, abs=1e-6)
    whole = [measure_diversity(draw, [batch()], seed=seed) for seed in (1, 1, 2)]
    assert whole[0] == whole[1] != whole[2]


def test_one_draw_or_no_slices_are_refused():
    with pytest.raises(ValueError, match="num_draws is 1"):
        measure_diversity(lambda labels, key: pictures(labels), [batch()], num_draws=1)
    with pytest.raises(ValueError, match="no label map"):
        measure_diversity(lambda labels, key: pictures(labels), [])
