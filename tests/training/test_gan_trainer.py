"""The trainer's state without computing it, and what it says of its compiled step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cmrjax.training import gan_trainer
from tests.training.tiny_gan import (
    copy_of,
    draw_batch,
    draw_state,
    make_trainer,
)


def test_abstract_state_is_that_of_a_real_one():
    trainer = make_trainer()
    abstract, state = trainer.abstract_state(), draw_state(trainer)
    assert jax.tree.structure(abstract) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(abstract), jax.tree.leaves(state), strict=True):
        assert (a.shape, a.dtype, a.sharding) == (b.shape, b.dtype, b.sharding)


def test_init_has_the_shapes_it_promises():
    trainer = make_trainer()
    result = jax.eval_shape(trainer.init, jax.random.key(0))
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), result)
    expected = jax.tree.map(lambda x: (x.shape, x.dtype), trainer.abstract_state())
    assert shapes == expected


def test_init_is_traced_once(monkeypatch):
    """A second at full size, for each of the parts of a run that ask for the shapes."""
    calls, init_state = [], gan_trainer.init_state

    def counting(*arguments, **options):
        calls.append(1)
        return init_state(*arguments, **options)

    monkeypatch.setattr(gan_trainer, "init_state", counting)
    trainer = make_trainer()
    assert trainer.abstract_state() == trainer.abstract_state()
    jax.eval_shape(trainer.init, jax.random.key(0))
    assert len(calls) == 1


@pytest.fixture(scope="module")
def compiled():
    """The same program as in the tests of the step, out of the cache."""
    return make_trainer().compile(None, jax.random.key(7))


def test_the_compiled_step_is_described_and_takes_its_state(compiled):
    trainer = make_trainer()
    assert compiled.compile_seconds > 0
    assert compiled.flops > 1e6
    assert compiled.memory_bytes > 0
    state = copy_of(draw_state(trainer))
    batch = trainer.placement.put_batch(draw_batch())
    after, _ = compiled.function(state, None, batch, jax.random.key(7))
    assert state.step.is_deleted()  # donated: no second copy in memory
    assert after.step == 1


def test_another_batch_shape_is_refused(compiled):
    trainer = make_trainer()
    batch = {k: jnp.asarray(np.repeat(v, 2, axis=0)) for k, v in draw_batch().items()}
    with pytest.raises(TypeError, match="differ"):
        compiled.function(draw_state(trainer), None, batch, jax.random.key(7))
