"""Test environment: two CPU devices, strict JAX settings, the development data.

The variable CMRJAX_TEST_DATA names the folder with the development data: the one that
holds `data/`, `weights/` and `golden/` (its `data/` is accepted as well). Without it
the tests marked `development_data` are skipped.
"""

import gc
import importlib.util
import os
import pathlib

import pytest

from tests.virtual_devices import xla_flags

_ROOT = pathlib.Path(__file__).resolve().parents[1]

# Set before JAX is imported; commands that tests start inherit them.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", xla_flags(2))
# One for all test processes. An entry that is read half-written is compiled anew.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_ROOT / ".cache" / "jax"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import jax  # noqa: E402  (after the environment variables)

jax.config.update("jax_numpy_rank_promotion", "raise")  # no silent broadcasting
jax.config.update("jax_debug_key_reuse", True)  # a random key is used once


def _development_root() -> pathlib.Path | None:
    """Returns the folder that holds data/, weights/ and golden/, None without it."""
    value = os.environ.get("CMRJAX_TEST_DATA", "")
    if not value:
        return None
    for root in (pathlib.Path(value), pathlib.Path(value).parent):
        if (root / "data" / "mnms").is_dir():
            return root.resolve()
    raise pytest.UsageError(
        f"CMRJAX_TEST_DATA is {value!r}, which holds no data/mnms. Name the folder of "
        "the development data, or unset the variable to skip the tests that need it."
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Takes what runs long first; skips what needs what is not there."""
    # Two processes that take the long ones last would not end together.
    items.sort(key=lambda item: "experiments" not in item.path.parts)
    missing = {}
    if _development_root() is None:
        missing["development_data"] = "the development data: set CMRJAX_TEST_DATA"
    if importlib.util.find_spec("torch") is None:
        missing["torch"] = "PyTorch: make test-torch"
    for item in items:
        for marker, what in missing.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=f"needs {what}"))


def pytest_collection_finish() -> None:
    """Has Python look for garbage less often.

    Tracing makes millions of small objects, and few of them are garbage: of the tests
    of the generator and of synthesis it was a sixth of the time, of all it is less.
    """
    gc.collect()
    gc.freeze()  # the modules stay
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="session")
def development_data() -> pathlib.Path:
    """The folder that holds data/ (mnms, acdc, ...), weights/ and golden/."""
    root = _development_root()
    if root is None:
        pytest.skip("needs the development data: set CMRJAX_TEST_DATA")
    return root
