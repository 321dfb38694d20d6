"""What is checked before a training opens its data, and what keeps others out."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cmrjax.folder_lock import hold_folder
from cmrjax.training.loop import LoopResult
from cmrjax.training.processes import is_first
from experiments.config_ranges import check_profile, check_ranges


def guarded(run: Callable[..., LoopResult]) -> Callable[..., LoopResult]:
    """Makes a training check its numbers first, and have its folder for itself.

    Of several processes that train as one, the first holds the folder.

    Args:
      run: (config, workdir, profile=steps, ...) -> how the run ended.

    Returns:
      The same, which also raises ValueError for a number out of range or a folder that
      another process trains in.
    """

    @functools.wraps(run)
    def start(
        config: Any, workdir: str | Path, *, profile: int = 0, **more: Any
    ) -> LoopResult:
        check_ranges(config)
        check_profile(profile)
        alone = hold_folder(workdir, option="--workdir=")
        with alone if is_first() else contextlib.nullcontext():
            return run(config, workdir, profile=profile, **more)

    return start
