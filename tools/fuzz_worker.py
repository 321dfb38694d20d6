"""Damages files and gives them to readers, in a process of its own.

`tools.fuzz_readers` starts it, since a damaged file may end the process that reads it.
It reads a job, JSON, from the standard input and writes one JSON object per line: the
figures so far, at least once a second between files, and each crash.
"""

import dataclasses
import fnmatch
import functools
import importlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import hypothesis
from hypothesis import HealthCheck, Phase, strategies
from hypothesis.errors import HypothesisException

from tools.fuzz_formats import damaged
from tools.fuzz_guard import Crash, Guard

Files = dict[str, bytes | None]
"""Contents by path; None: a folder is there instead."""
Use = Callable[[Path], list[str] | None]

BATCH = 400  # examples of one seed of Hypothesis
SHRINKING_SECONDS = 15.0
_LARGEST_RESIDENT = 6 << 30  # bytes, then the process is replaced by a new one
_HEARTBEAT_SECONDS = 1.0
CASE = "case"  # the folder in which files are read


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader, valid files for it, and what is damaged.

    Attributes:
      name: of the reader.
      make: returns sets of files, made in an empty folder; the first set is valid.
      uses: what is called with the folder of the files, each for itself; may return
        lines about what it does not use.
      damaged: patterns of the files that are damaged.
      names: words of which an error may name one in place of a file.
      guidance: whether lines that say what to run may follow an error's first line.
    """

    name: str
    make: Callable[[Path], list[Files]]
    uses: tuple[Use, ...]
    damaged: tuple[str, ...] = ("*",)
    names: tuple[str, ...] = ()
    guidance: bool = False


class _TimeOver(KeyboardInterrupt):
    """Hypothesis passes it on at once."""


class _Crashed(Exception):
    """Tells Hypothesis that a file fails."""


@dataclasses.dataclass
class _Figures:
    reader: str
    examples: int = 0
    accepted: int = 0
    refused: int = 0
    crashes: int = 0
    processor_seconds: float = 0.0


class _Session:
    """One reader's part of a job."""

    def __init__(
        self,
        reader: Reader,
        guard: Guard,
        scratch: Path,
        known: list[str],
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self._reader = reader
        self._guard = guard
        self._folder = scratch / CASE
        self._known = set(known)
        self._tell = tell
        self._figures = _Figures(reader.name)
        self._smallest: dict[str, tuple[int, Files, Crash]] = {}
        self._shrinking_until = float("inf")
        self._told = time.monotonic()
        self._began = time.process_time()
        made = scratch / "made"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        self._seeds = reader.make(made)

    def check_seeds(self) -> None:
        """Runs the undamaged files, so that everything is imported.

        Those of the first set are valid: the reader must take them.
        """
        for number, files in enumerate(self._seeds):
            with self._guard.lenient():
                crash, accepted = self.judge(files)
            if crash is not None or not (accepted or number):
                text = "refused" if crash is None else crash.text
                raise AssertionError(
                    f"{self._reader.name}: valid files {sorted(files)}: {text}"
                )

    def judge(self, files: Files) -> tuple[Crash | None, bool]:
        """Writes files and runs the reader; says whether it took them."""
        write_files(self._folder, files)
        accepted = False
        for use in self._reader.uses:
            outcome = self._guard.run(
                use, self._reader.names, guidance=self._reader.guidance
            )
            if outcome.crash is not None:
                return outcome.crash, False
            accepted |= outcome.accepted
        return None, accepted

    def run(self, seed: int, examples: int, over: float) -> None:
        """Runs examples until there are enough or the time is over."""
        cases = _cases(self._seeds, self._reader.damaged)
        batch = 0
        while self._figures.examples < examples and time.monotonic() < over:
            left = min(BATCH, examples - self._figures.examples)
            self._run_batch(cases, f"{seed} {batch}", left, over)
            batch += 1
        self._tell_figures(done=True)

    def _run_batch(self, cases: Any, seed: str, examples: int, over: float) -> None:
        self._shrinking_until = float("inf")
        self._smallest.clear()

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=tuple(HealthCheck),  # pyright: ignore[reportArgumentType]
            report_multiple_bugs=False,
            print_blob=False,
        )
        @hypothesis.given(cases)
        def example(files: Files) -> None:
            if time.monotonic() > min(over, self._shrinking_until):
                raise _TimeOver
            self._example(files)

        try:
            example()
        except (_TimeOver, _Crashed, HypothesisException):
            pass
        except BaseExceptionGroup as group:  # crashes of several kinds while shrinking
            if group.split(_Crashed)[1] is not None:
                raise
        for _, files, crash in self._smallest.values():
            self._known.add(crash.signature)
            self._figures.crashes += 1
            self._tell(
                {"crash": dataclasses.asdict(crash), "reader": self._reader.name}
                | {"files": {n: _hex(c) for n, c in files.items()}}
            )

    def _tell_figures(self, *, done: bool = False) -> None:
        self._figures.processor_seconds = time.process_time() - self._began
        self._tell({"figures": dataclasses.asdict(self._figures), "done": done})

    def _example(self, files: Files) -> None:
        crash, accepted = self.judge(files)
        self._figures.examples += 1
        self._figures.accepted += accepted
        self._figures.refused += not accepted and crash is None
        if time.monotonic() - self._told > _HEARTBEAT_SECONDS:
            self._told = time.monotonic()
            self._tell_figures()
        if crash is None or crash.signature in self._known:
            return
        if not self._smallest:
            self._shrinking_until = time.monotonic() + SHRINKING_SECONDS
        size = sum(len(content or b"") for content in files.values())
        before = self._smallest.get(crash.signature)
        if before is None or size <= before[0]:
            self._smallest[crash.signature] = (size, files, crash)
        raise _Crashed(crash.signature)


def _hex(content: bytes | None) -> str | None:
    return None if content is None else content.hex()


def write_files(folder: Path, files: Files) -> None:
    """Makes a folder that holds these files and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        if content is None:
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def read_files(folder: Path) -> Files:
    """Returns the files below a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


def _cases(seeds: list[Files], patterns: tuple[str, ...]) -> Any:
    """Returns a strategy for sets of files of which one or two are damaged."""
    kinds = []
    for files in seeds:
        names = [n for n in files if any(fnmatch.fnmatch(n, p) for p in patterns)]
        contents = functools.cache(lambda name, files=files: damaged(name, files[name]))
        # A flat map, since Hypothesis looks through all of a strategy when it begins.
        change = strategies.sampled_from(names).flatmap(
            lambda name, contents=contents: strategies.tuples(
                strategies.just(name), contents(name)
            )
        )
        gone = strategies.tuples(
            strategies.sampled_from(sorted(files)),
            strategies.sampled_from((None, b"", False)),
        )
        several = strategies.tuples(change, strategies.one_of(change, change, gone))
        kinds.append(
            strategies.builds(
                _changed,
                strategies.just(files),
                strategies.one_of(*[strategies.tuples(change)] * 5, several),
            )
        )
    return strategies.one_of(*kinds)


def _changed(files: Files, changes: tuple[tuple[str, Any], ...]) -> Files:
    result = dict(files)
    for name, content in changes:
        if content is False:
            result.pop(name, None)
        else:
            result[name] = content
    return result


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def run_job(job: dict[str, Any], answers: IO[str]) -> None:
    """Runs a job.

    Args:
      job: "module" with `READERS`, "scratch", "seconds" for all, and "parts", each with
        "reader", "seed", "examples" and "known", or with "replay", a folder of files.
      answers: gets the lines.
    """

    def tell(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    scratch = Path(job["scratch"])
    readers = {r.name: r for r in importlib.import_module(job["module"]).READERS}
    (scratch / CASE).mkdir(exist_ok=True)
    os.chdir(scratch)
    guard = Guard(scratch / CASE, **job["limits"])
    end = time.monotonic() + job["seconds"]
    for number, part in enumerate(job["parts"]):
        if _resident_bytes() > _LARGEST_RESIDENT:
            break  # a new process does the rest
        now = time.monotonic()
        over = now + (end - now) / (len(job["parts"]) - number)
        reader = readers[part["reader"]]
        session = _Session(reader, guard, scratch, part.get("known", []), tell)
        session.check_seeds()
        if part.get("replay"):
            crash, accepted = session.judge(read_files(Path(part["replay"])))
            shown = crash and dataclasses.asdict(crash)
            tell({"replayed": {"accepted": accepted, "crash": shown}})
        else:
            session.run(part["seed"], part["examples"], over)


def main() -> int:
    """Runs the job of the standard input; returns the exit status."""
    job = json.loads(sys.stdin.read())
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = job["scratch"]
    # Before the readers import JAX: one device, and no cache, which lies outside.
    os.environ |= {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2", "XLA_FLAGS": ""}
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        run_job(job, answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
