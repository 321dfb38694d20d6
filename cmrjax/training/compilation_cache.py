"""Compiled programs are kept between runs."""

import os
from pathlib import Path

import jax


def enable_compilation_cache() -> Path | None:
    """Turns on JAX's persistent compilation cache, unless the user chose one.

    The environment variable JAX_COMPILATION_CACHE_DIR (JAX's own) wins; empty, it turns
    the cache off. The default is cmrjax/jax below XDG_CACHE_HOME (~/.cache).

    Returns:
      The folder, None where the cache is off.
    """
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if chosen is not None:
        return Path(chosen) if chosen else None
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "cmrjax" / "jax"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder
