"""The folder of a run: what it was started with, and whether it may go on.

A command that is repeated continues where the run was. It must then be the same run:
the configuration and the data are compared with those of the start. What may change
is brought up to date.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmrjax.files import code_version, read_json, shorten, write_json
from cmrjax.training.processes import share

RUN_FILE = "run.json"

# These may differ when a run goes on: they change nothing that was computed so far.
FREE_TO_CHANGE = (
    "data.path",
    "data.licence",
    "data.num_threads",
    "data.prefetch",
    "evaluation.",
    "training.start_from",
    "training.num_steps",
    "training.epochs",
    "training.report_every",
    "training.checkpoint_",
    "training.keep_",
    "training.tensorboard",
)
# Settings that came later, and what runs from before them did.
CAME_LATER = {"model.dtype": "float32"}


def open_run(
    workdir: str | Path,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    *,
    has_checkpoint: bool,
) -> dict[str, Any]:
    """Records what a run starts with, or checks that it is continued unchanged.

    Of several processes the first does so, and tells the others.

    Args:
      workdir: the run's folder; made if needed.
      config: nested settings, JSON types.
      inputs: fingerprints of what goes in (data, weights), by name.
      has_checkpoint: whether the folder holds something that was trained; if not, the
        run starts anew with whatever is given now.

    Returns:
      Content of run.json: "config", "inputs", "code". Settings that may change have
      the values that are given now; "code" is that of the start.

    Raises:
      ValueError: a setting or an input differs from those of the start; names each
        with both values. Or this process has other inputs than the first.
    """
    content = share(lambda: _record_or_compare(workdir, config, inputs, has_checkpoint))
    strange = _differences(content["inputs"], inputs)
    if strange:
        lines = [f"{name}: {old!r}, here {new!r}" for name, old, new in strange]
        raise ValueError(
            f"process 0 reads other inputs than this one ({'; '.join(lines)}); give "
            "all processes the same files, on a shared file system or as copies"
        )
    return content


def _record_or_compare(
    workdir: str | Path,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    has_checkpoint: bool,
) -> dict[str, Any]:
    path = Path(workdir) / RUN_FILE
    content = {
        "config": json.loads(json.dumps(config)),
        "inputs": dict(inputs),
        "code": code_version(),
    }
    if not path.exists() or not has_checkpoint:
        write_json(path, content)
        return content
    earlier = read_json(path)
    if not isinstance(earlier, dict) or not all(
        isinstance(earlier.get(name), dict) for name in ("config", "inputs", "code")
    ):
        raise ValueError(
            f"{path}: is damaged, it has no config, inputs and code; fetch it again, or"
            " give a new --workdir"
        )
    changes = _differences(earlier["config"], content["config"])
    changes = [
        (name, old, new)
        for name, old, new in changes
        if not name.startswith(FREE_TO_CHANGE)
        and not (old is None and CAME_LATER.get(name, old) == new)
    ]
    changes += _differences(earlier["inputs"], content["inputs"], prefix="input ")
    if changes:
        lines = [
            f"{shorten(name)}: {shorten(repr(old))} then, {shorten(repr(new))} now"
            for name, old, new in changes
        ]
        raise ValueError(
            f"{workdir} holds a run that was started differently ({'; '.join(lines)});"
            " restore these values to continue it, or give a new --workdir"
        )
    current = {**earlier, "config": content["config"]}
    if current != earlier:
        write_json(path, current)
    return current


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], *, prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    """Lists (dotted name, old value, new value) where two nestings differ."""
    found = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += _differences(before, after, prefix=f"{prefix}{name}.")
        elif before != after:
            found.append((f"{prefix}{name}", before, after))
    return found
