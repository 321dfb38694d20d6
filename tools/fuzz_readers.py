"""Gives damaged files to every reader, and saves those that are not answered rightly.

    python -m tools.fuzz_readers --minutes=60 --seed=0 [--reader=NAME] [--out=DIR]

Hypothesis damages tiny valid files, by their structure and by their bytes. A reader
must return, or refuse the file in one line that names it (see `tools.fuzz_guard`). What
does otherwise is a crash: it is made as small as possible and saved with a line that
says how to see it again. Readers run in processes of their own, so that one that dies
is found too. Needs Linux, and the extras `all`, `torch` and `dev`.
"""

import argparse
import collections
import dataclasses
import importlib.util
import json
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cmrjax.files import write_bytes

ROOT = Path(__file__).resolve().parents[1]
MODULE = "tools.fuzz_targets"
_SILENT_SECONDS = 300.0  # without a word: the process hangs where no signal helps
_ROUND_MINUTES = 15.0  # in which each reader has one turn
_MOST_DEATHS = 3  # of a reader's processes in one round
_ENDLESS = 1 << 40  # examples


@dataclasses.dataclass
class Report:
    """What became of a reader.

    Attributes:
      reader: its name.
      examples: files that it was given.
      accepted: of them, that it read.
      refused: of them, that it refused in one line.
      crashes: crashes of different causes.
      seconds: that it took, making its files included.
      processor_seconds: that its processes had a processor.
    """

    reader: str
    examples: int = 0
    accepted: int = 0
    refused: int = 0
    crashes: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Part:
    """What a process does with one reader: so many files, damaged by this seed."""

    reader: str
    seed: int
    examples: int = _ENDLESS


class Fuzzing:
    """Runs parts in processes and collects what they find.

    Args:
      out: folder for crashes; made when there is one.
      module: has `READERS`.
      say: takes lines for people.
      limits: of one file, see `tools.fuzz_guard.Guard`.
      silent_seconds: after which a process that says nothing is ended.
      most_deaths: of a reader's processes in one round, before it is left alone.
    """

    def __init__(
        self,
        out: Path,
        *,
        module: str = MODULE,
        say: Callable[[str], None] = print,
        limits: dict[str, Any] | None = None,
        silent_seconds: float = _SILENT_SECONDS,
        most_deaths: int = _MOST_DEATHS,
    ) -> None:
        self.reports: dict[str, Report] = {}
        self.crashes: list[dict[str, Any]] = []
        self._out = out
        self._module = module
        self._say = say
        self._limits = limits or {}
        self._silent = silent_seconds
        self._most_deaths = most_deaths

    def run(self, parts: Sequence[Part], *, seconds: float) -> None:
        """Runs parts one after the other in one process, in more where one dies.

        Args:
          parts: what is run.
          seconds: for all of them; each gets its share of what is left.
        """
        waiting = list(parts)
        deaths: collections.Counter[str] = collections.Counter()
        over = time.monotonic() + seconds
        while waiting and time.monotonic() < over:
            done, died = self._run_process(waiting, over - time.monotonic())
            waiting = waiting[done:]
            if died:
                part, *waiting = waiting
                deaths[part.reader] += 1
                if deaths[part.reader] < self._most_deaths:
                    again = dataclasses.replace(part, seed=part.seed + 1)
                    waiting = [*waiting, again]

    def _run_process(self, parts: Sequence[Part], seconds: float) -> tuple[int, bool]:
        """Returns how many parts were done, and whether the next one died."""
        with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
            scratch = Path(name).resolve()
            job = {
                "module": self._module,
                "scratch": str(scratch),
                "limits": self._limits,
                "seconds": seconds,
                "parts": [self._job(part) for part in parts],
            }
            with subprocess.Popen(
                [sys.executable, "-m", "tools.fuzz_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=ROOT,
            ) as process:
                try:
                    return self._follow(process, job, parts, scratch)
                finally:
                    process.kill()

    def _job(self, part: Part) -> dict[str, Any]:
        known = [c["signature"] for c in self.crashes if c["reader"] == part.reader]
        return {**dataclasses.asdict(part), "known": known}

    def _follow(
        self,
        process: subprocess.Popen,
        job: dict[str, Any],
        parts: Sequence[Part],
        scratch: Path,
    ) -> tuple[int, bool]:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(job).encode())
        process.stdin.close()
        done, started = 0, time.monotonic()
        before = self._report(parts[0].reader)
        while True:
            ready, _, _ = select.select([process.stdout], [], [], self._silent)
            line = process.stdout.readline() if ready else b""
            answer = json.loads(line) if line else {}
            if "crash" in answer:
                files = {
                    name: None if content is None else bytes.fromhex(content)
                    for name, content in answer["files"].items()
                }
                self._keep(answer["reader"], answer["crash"], files)
            if "figures" in answer:
                self._count(before, answer["figures"], time.monotonic() - started)
            if answer.get("done"):
                done, started = done + 1, time.monotonic()
                report = self.reports[before.reader]
                self._say(
                    f"{report.reader:20} {report.examples:7} files,"
                    f" {report.crashes} crashes"
                )
                if done == len(parts):
                    return done, False
                before = self._report(parts[done].reader)
            if line:
                continue
            if ready and process.wait() == 0:
                return done, False
            self._bury(process, parts[done].reader, hangs=not ready, scratch=scratch)
            return done, True

    def _report(self, reader: str) -> Report:
        report = self.reports.setdefault(reader, Report(reader))
        return dataclasses.replace(report)

    def _count(self, before: Report, figures: dict[str, Any], seconds: float) -> None:
        report = self.reports[before.reader]
        for name in ("examples", "accepted", "refused", "processor_seconds"):
            setattr(report, name, getattr(before, name) + figures[name])
        report.seconds = before.seconds + seconds

    def _bury(
        self, process: subprocess.Popen, reader: str, *, hangs: bool, scratch: Path
    ) -> None:
        """Keeps the file at which a process died, or fails if it was none."""
        process.kill()
        status = process.wait()
        assert process.stderr
        errors = process.stderr.read().decode(errors="replace")
        errors = errors if len(errors) < 6000 else f"{errors[:3000]}...{errors[-3000:]}"
        if not hangs and status == 1:  # the harness itself
            raise RuntimeError(f"{reader}: the fuzzing process failed: {errors}")
        kind = "hang" if hangs else "died"
        what = "no answer" if hangs else f"exit status {status}"
        crash = {"kind": kind, "signature": f"{kind}: {what}", "text": errors or what}
        folder = scratch / "case"
        paths = sorted(p for p in folder.rglob("*") if p.is_file())
        files: dict[str, bytes | None] = {
            p.relative_to(folder).as_posix(): p.read_bytes() for p in paths
        }
        self._keep(reader, crash, files)

    def _keep(
        self, reader: str, crash: dict[str, Any], files: dict[str, bytes | None]
    ) -> None:
        """Saves a crash with the files that lead to it."""
        self.crashes.append({"reader": reader, **crash})
        self._report(reader)
        self.reports[reader].crashes += 1
        number = self.reports[reader].crashes
        folder = self._out / f"{reader}-{number}"
        while folder.exists():
            number += 1
            folder = self._out / f"{reader}-{number}"
        for name, content in files.items():
            path = folder / "files" / name
            if content is None:
                path.mkdir(parents=True, exist_ok=True)
            else:
                write_bytes(path, content)
        command = f"python -m tools.fuzz_readers --reader={reader} --replay={folder}"
        text = f"{crash['signature']}\n\nagain: {command}\n\n{crash['text']}\n"
        # The text may be what cannot be printed.
        write_bytes(folder / "crash.txt", text.encode("utf-8", "backslashreplace"))
        self._say(f"crash  {reader}: {crash['signature'][:200]}; again: {command}")

    def replay(self, reader: str, folder: Path) -> dict[str, Any]:
        """Runs a saved crash again.

        Args:
          reader: its name.
          folder: what was saved.

        Returns:
          "accepted", and "crash" or None.
        """
        with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
            part = {"reader": reader, "replay": str((folder / "files").resolve())}
            scratch = str(Path(name).resolve())
            job = {"module": self._module, "scratch": scratch, "parts": [part]}
            job |= {"limits": self._limits, "seconds": 60.0}
            done = subprocess.run(
                [sys.executable, "-m", "tools.fuzz_worker"],
                input=json.dumps(job).encode(),
                capture_output=True,
                cwd=ROOT,
            )
        lines = done.stdout.decode().splitlines()
        if done.returncode or not lines:
            text = f"exit status {done.returncode}"
            crash = {"kind": "died", "signature": text, "text": done.stderr.decode()}
            return {"accepted": False, "crash": crash}
        return json.loads(lines[-1])["replayed"]


def table(reports: Sequence[Report]) -> str:
    """Returns the reports as a Markdown table, with their sum."""
    lines = [
        "| reader | examples | accepted | refused | crashes | s | s of processor |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    total = Report("all")
    for report in reports:
        for field in dataclasses.fields(Report)[1:]:
            value = getattr(total, field.name) + getattr(report, field.name)
            setattr(total, field.name, value)
    for r in [*reports, total]:
        lines.append(
            f"| {r.reader} | {r.examples} | {r.accepted} | {r.refused} | {r.crashes} |"
            f" {r.seconds:.0f} | {r.processor_seconds:.0f} |"
        )
    return "\n".join(lines)


def fuzz(
    fuzzing: Fuzzing,
    readers: Sequence[str],
    *,
    minutes: float,
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Gives each reader its turn until the time is over."""
    rounds = max(1, round(minutes / _ROUND_MINUTES))
    started = time.monotonic()
    for number in range(rounds):
        spent = time.monotonic() - started
        seconds = (60 * minutes - spent) / (rounds - number)
        if seconds < 1:
            break
        first = seed + 1000 * number
        parts = [Part(reader, first + 20 * i) for i, reader in enumerate(readers)]
        fuzzing.run(parts, seconds=seconds)
        left = minutes - (time.monotonic() - started) / 60
        say(table(list(fuzzing.reports.values())))
        say(f"round {number + 1} of {rounds}, {max(left, 0.0):.1f} minutes left")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status: 1 where there was a crash."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.fuzz_readers",
        description="Give damaged files to every reader of users' files.",
    )
    add = parser.add_argument
    add("--minutes", type=float, default=60.0, help="in all (60)")
    add("--seed", type=int, default=0, help="of the damage (0)")
    add("--reader", action="append", help="only this one; may be repeated")
    add("--out", type=Path, default=Path("fuzz_crashes"), help="folder for crashes")
    add("--replay", type=Path, help="saved crash to run again, with --reader")
    options = parser.parse_args(arguments)
    try:
        from tools.fuzz_targets import READERS
    except ImportError as error:
        print(f"fuzz_readers: {error}; install cmrjax[all,torch,dev]", file=sys.stderr)
        return 2
    known = [reader.name for reader in READERS]
    readers = options.reader or known
    if unknown := sorted(set(readers) - set(known)):
        print(
            f"fuzz_readers: --reader={unknown[0]}: there are {', '.join(known)}",
            file=sys.stderr,
        )
        return 2
    if "weights_pth" in readers and importlib.util.find_spec("torch") is None:
        print("fuzz_readers: install PyTorch: make test-torch", file=sys.stderr)
        return 2

    def say(line: str) -> None:
        print(line, flush=True)

    fuzzing = Fuzzing(options.out, say=say)
    if options.replay:
        answer = fuzzing.replay(readers[0], options.replay)
        say(answer["crash"]["text"] if answer["crash"] else "no crash")
        return 1 if answer["crash"] else 0
    fuzz(fuzzing, readers, minutes=options.minutes, seed=options.seed, say=say)
    return 1 if fuzzing.crashes else 0


if __name__ == "__main__":
    sys.exit(main())
