"""Whole folders of label files: found, generated, continued after a stop."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import jax

from cmrjax.data.nifti import SUFFIXES
from cmrjax.files import provenance, write_json
from cmrjax.output_folder import is_empty
from cmrjax.synthesis.volume import (
    LABEL_MARK,
    Synthesizer,
    case_name,
    is_finished,
    synthesize_file,
)

RUN_FILE = "synthesis.json"
_FRAME = re.compile("_frame[0-9]+$")  # as `synthesize_file` names those of a cine


@dataclass(frozen=True)
class Case:
    """One label file and the folder of its outputs."""

    label_path: Path
    folder: Path


@dataclass
class Summary:
    """What became of the cases.

    Attributes:
      made: how many were generated.
      kept: how many were finished before.
      problems: one line for each that could not be used.
    """

    made: int = 0
    kept: int = 0
    problems: list[str] = field(default_factory=list)


def find_cases(labels: str | Path, out: str | Path) -> list[Case]:
    """Lists the label files, in the order of their names.

    In a folder these are the files `*_gt.nii.gz` and `*_gt.nii`, at any depth; where
    there are none, all NIfTI files. Outputs keep the sub-folders. Hidden files, what is
    below `out` and sub-folders with outputs of other runs are left out.

    Args:
      labels: a NIfTI file, or a folder.
      out: folder of the outputs.

    Returns:
      The cases; at least one.

    Raises:
      ValueError: there is no label file, two would have the same outputs, or `out` is
        the folder of the labels or holds files of another kind.
    """
    labels, out = Path(labels), Path(out)
    _check_out(labels if labels.is_dir() else labels.parent, out)
    if labels.is_dir():
        found = _label_files(labels, out)
        cases = [Case(p, out / p.parent.relative_to(labels)) for p in found]
    elif labels.exists():
        cases = [Case(labels, out)]
    else:
        raise ValueError(f"{labels}: no such file or folder; expected NIfTI labels")
    _check_names(cases, out)
    return cases


def _check_names(cases: list[Case], out: Path) -> None:
    """Refuses label files of which one's outputs would replace another's."""
    seen: dict[Path, Path] = {}
    for case in cases:
        target = case.folder / case_name(case.label_path)
        if target == out / Path(RUN_FILE).stem:
            raise ValueError(
                f"{case.label_path} would be written to {out / RUN_FILE}, where the "
                "record of the whole run is; rename it"
            )
        if target in seen:
            raise ValueError(
                f"{seen[target]} and {case.label_path} would both be written to "
                f"{target}.nii.gz; rename one"
            )
        seen[target] = case.label_path
    for target, path in seen.items():
        frame = _FRAME.search(target.name)
        cine = frame and seen.get(target.with_name(target.name[: frame.start()]))
        if cine:
            raise ValueError(
                f"{path} would be written to {target}.nii.gz, as would be a frame of "
                f"{cine}; rename one"
            )


def synthesize_cases(
    cases: Iterable[Case],
    out: str | Path,
    synthesizer: Synthesizer,
    *,
    warn: Callable[[str], None],
) -> Summary:
    """Generates all cases; those that are finished are kept, bad ones passed over.

    Args:
      cases: from `find_cases`, possibly inside of a progress bar.
      out: folder of the outputs, marked as such by synthesis.json.
      synthesizer: model and settings.
      warn: is given each warning and each problem as it comes, one line.

    Returns:
      How it went.

    Raises:
      OSError: `out` cannot be written.
    """
    made = provenance(config=synthesizer.settings())
    model = synthesizer.params.origin
    content = {"model": {"path": model.path, "step": model.step}, **made}
    write_json(Path(out) / RUN_FILE, content)
    summary = Summary()
    for case in cases:
        try:
            if is_finished(case.label_path, case.folder, synthesizer):
                summary.kept += 1
                continue
            for line in synthesize_file(case.label_path, case.folder, synthesizer):
                warn(f"warning: {line}")
            summary.made += 1
        except (ValueError, OSError, MemoryError, jax.errors.JaxRuntimeError) as error:
            problem = _describe(error, case.label_path)
            summary.problems.append(problem)
            warn(f"error: {problem}")
    return summary


def _describe(error: Exception, label_path: Path) -> str:
    """One line that begins with the file."""
    text = " ".join(str(error).split())[:600] or type(error).__name__
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        text = f"not enough memory; use a smaller --batch-size ({text[:200]})"
    return text if text.startswith(str(label_path)) else f"{label_path}: {text}"


def _label_files(folder: Path, out: Path) -> list[Path]:
    files = sorted(
        path
        for path in _walk(folder, out.resolve())
        if path.name.endswith(SUFFIXES) and not path.name.startswith(".")
    )
    marked = tuple(LABEL_MARK + suffix for suffix in SUFFIXES)
    chosen = [path for path in files if path.name.endswith(marked)] or files
    if not chosen:
        raise ValueError(f"{folder}: holds no NIfTI file (.nii.gz or .nii)")
    return chosen


def _walk(folder: Path, left_out: Path) -> Iterator[Path]:
    """All files below a folder; links to folders are followed, each folder once."""
    seen = {left_out}
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        resolved = Path(root).resolve()
        is_other_run = RUN_FILE in names and Path(root) != folder
        if resolved in seen or is_other_run:
            folders.clear()
            continue
        seen.add(resolved)
        yield from (Path(root) / name for name in names)


def _check_out(source: Path, out: Path) -> None:
    """Refuses a folder in which outputs could replace other files."""
    if out.resolve() == source.resolve():
        raise ValueError(
            f"--out={out} is the folder of the labels; give another one, so that "
            "outputs cannot replace them"
        )
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out} is a file; give a folder")
    if out.is_dir() and not is_empty(out) and not (out / RUN_FILE).is_file():
        raise ValueError(
            f"--out={out} holds files that are not of this command (no {RUN_FILE}); "
            "give a new or empty folder"
        )
