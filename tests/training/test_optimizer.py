"""Learning rates by epoch, and Adam against its formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cmrjax.training.optimizer import adam, epoch_schedule


def test_constant_then_linear_once_per_epoch_as_the_reference():
    rate = epoch_schedule(2e-4, steps_per_epoch=3, constant_epochs=2, decay_epochs=4)
    # After each decay epoch the reference takes peak / decay_epochs off: the first
    # still has the peak, the last a quarter, and 0 is reached when all is over.
    expected = np.repeat([1, 1, 1, 0.75, 0.5, 0.25, 0, 0], 3) * 2e-4
    found = [np.asarray(rate(jnp.asarray(step))) for step in range(24)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_without_decay_the_rate_stays():
    rate = epoch_schedule(1e-4, steps_per_epoch=5, constant_epochs=1, decay_epochs=0)
    assert rate(0) == rate(10_000) == np.float32(1e-4)


def test_schedule_runs_under_jit():
    rate = epoch_schedule(1.0, steps_per_epoch=2, constant_epochs=0, decay_epochs=2)
    np.testing.assert_allclose(
        jax.jit(jax.vmap(rate))(jnp.arange(6)), [1, 1, 0.5, 0.5, 0, 0]
    )


@pytest.mark.parametrize(
    ("steps", "constant", "decay"), [(0, 1, 1), (1, -1, 1), (1, 1, -1)]
)
def test_schedule_errors(steps, constant, decay):
    with pytest.raises(ValueError, match="expected at least 1, 0 and 0"):
        epoch_schedule(
            1e-4, steps_per_epoch=steps, constant_epochs=constant, decay_epochs=decay
        )


@pytest.mark.parametrize(("b1", "b2"), [(0.0, 0.9), (0.5, 0.999)])
def test_adam_agrees_with_its_formulas(b1, b2):
    defaults = (b1, b2) == (0.0, 0.9)
    rates = epoch_schedule(1e-2, steps_per_epoch=2, constant_epochs=1, decay_epochs=2)
    optimizer = adam(rates) if defaults else adam(rates, b1=b1, b2=b2)
    rng = np.random.default_rng(0)
    params = rng.normal(size=4)
    state = optimizer.init(jnp.asarray(params, jnp.float32))
    ours = jnp.asarray(params, jnp.float32)
    m = v = np.zeros(4)
    for t in range(1, 6):
        # One gradient is of the size of epsilon, so that its place shows.
        g = rng.normal(size=4) * [1, 10, 0.1, 1e-8]
        updates, state = optimizer.update(jnp.asarray(g, jnp.float32), state, ours)
        ours = jnp.asarray(optax.apply_updates(ours, updates))  # type: ignore[arg-type]
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        rate = 1e-2 * [1, 1, 1, 1, 0.5][t - 1]
        denominator = np.sqrt(v / (1 - b2**t)) + 1e-8
        params = params - rate * (m / (1 - b1**t)) / denominator
        np.testing.assert_allclose(ours, params, rtol=1e-5, atol=1e-6)
