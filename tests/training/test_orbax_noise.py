"""What Orbax leaves behind where it fails is not printed; all else is."""

import asyncio
import contextlib
import gc
import logging
import sys
import types
from typing import Any

import jax
import pytest

from cmrjax.training import orbax_noise
from cmrjax.training.checkpoint import CheckpointStore, restore_subtree
from cmrjax.training.orbax_noise import quiet_failure

COUNT = 200  # arrays that are read side by side


@pytest.fixture
def printed():
    """What Python would print of errors that nobody can catch.

    The hook is there before, and stays: what a test leaves behind may end after it.
    """
    with contextlib.suppress(OSError), quiet_failure():
        raise OSError
    gc.collect()
    found: list[Any] = []
    before, orbax_noise._previous[0] = orbax_noise._previous[0], found.append
    yield found
    orbax_noise._previous[0] = before


def test_reads_that_end_later_say_nothing(tmp_path, printed):
    keys = jax.random.split(jax.random.key(0), COUNT)
    state = {f"a{n}": jax.random.normal(key, (2000,)) for n, key in enumerate(keys)}
    with CheckpointStore(tmp_path) as store:
        store.save(1, state, position={}, facts={})
    for path in (tmp_path / "1" / "state").rglob("d/*"):
        content = path.read_bytes()
        if len(content) > 100_000:  # arrays; most of them can still be read
            path.write_bytes(content[: len(content) * 9 // 10])
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    for _ in range(3):
        with pytest.raises(ValueError, match="is damaged"):
            restore_subtree(tmp_path / "1", shapes)
        gc.collect()
    assert printed == []


def _coroutine(file):
    names = {}
    exec(compile("async def read(): pass", file, "exec"), names)
    return names["read"]()


def _unraisable(error, source) -> Any:
    return types.SimpleNamespace(exc_value=error, object=source)


def test_what_is_not_of_orbax_is_printed_as_before(printed):
    with pytest.raises(OSError, match="disk"), quiet_failure():
        raise OSError("disk")
    late = RuntimeError("Event loop is closed")
    of_orbax, own = _coroutine("orbax/checkpoint/x.py"), _coroutine("own.py")
    others = [
        _unraisable(ValueError("x"), None),
        _unraisable(RuntimeError("x"), None),
        _unraisable(ValueError("x"), own),
    ]
    passed_over = [_unraisable(late, None), _unraisable(ValueError("x"), of_orbax)]
    for unraisable in (*passed_over, *others):
        sys.unraisablehook(unraisable)
    assert printed == others
    for coroutine in (of_orbax, own):
        coroutine.close()


def _fail_unseen(file: str, said: str = "x") -> None:
    """A task ends with an error when nobody waits for it any more."""
    names: dict[str, Any] = {}
    program = f"async def read(): raise ValueError({said!r})"
    exec(compile(program, file, "exec"), names)
    loop = asyncio.new_event_loop()
    try:
        task = loop.create_task(names["read"]())
        loop.run_until_complete(asyncio.wait([task]))
        del task
        gc.collect()
    finally:
        loop.close()


def test_the_task_of_another_is_logged_and_one_of_orbax_is_not(caplog):
    """Asyncio would print a traceback for each."""
    with pytest.raises(OSError, match="disk"), quiet_failure():
        raise OSError("disk")
    with caplog.at_level(logging.ERROR, logger="asyncio"):
        _fail_unseen("site-packages/orbax/checkpoint/x.py")
        _fail_unseen("asyncio/tasks.py", 'DATA_LOSS: Error opening "zarr" driver: x')
        assert caplog.records == []
        _fail_unseen("own.py")
    assert "never retrieved" in caplog.text
