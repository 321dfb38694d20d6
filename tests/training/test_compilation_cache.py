"""Where compiled programs are kept."""

from pathlib import Path

import jax
import pytest

from cmrjax.training.compilation_cache import enable_compilation_cache

OPTION = "jax_compilation_cache_dir"


@pytest.fixture(autouse=True)
def _keep_option():
    """The cache of the test run stays as it is."""
    before = getattr(jax.config, OPTION)
    yield
    jax.config.update(OPTION, before)


def test_the_default_is_below_the_cache_folder_of_the_user(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert enable_compilation_cache() == tmp_path / "cmrjax" / "jax"
    assert getattr(jax.config, OPTION) == str(tmp_path / "cmrjax" / "jax")


@pytest.mark.parametrize("value", [None, ""])
def test_without_that_variable_it_is_in_the_home(tmp_path, monkeypatch, value):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", value)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert enable_compilation_cache() == tmp_path / ".cache" / "cmrjax" / "jax"


def test_the_choice_of_the_user_wins_and_empty_is_off(tmp_path, monkeypatch):
    before = getattr(jax.config, OPTION)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "own"))
    assert enable_compilation_cache() == tmp_path / "own"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    assert enable_compilation_cache() is None
    assert getattr(jax.config, OPTION) == before  # JAX reads the variable by itself
