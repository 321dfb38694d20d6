"""Runs a reader on a file and judges what came of it.

Right are a result, or a named error: a ValueError or OSError whose text is one line
that names the file. Everything else is a crash: other exceptions, warnings and
tracebacks that are printed, more than some seconds or megabytes, writing outside of the
folder. Limits are those of Linux.
"""

import contextlib
import dataclasses
import os
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

SECONDS = 5.0  # of processor time for one file
BYTES = 512 << 20  # beyond what the process has before
LONGEST_LINE = 1000  # characters
ROOT = Path(__file__).resolve().parents[1]

# Warnings that Python does not show to users.
_UNSEEN = (
    DeprecationWarning,
    PendingDeprecationWarning,
    ImportWarning,
    ResourceWarning,
)
_WRITES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink")
_STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen")
_CONNECTS = ("socket.connect", "socket.getaddrinfo")


@dataclasses.dataclass(frozen=True)
class Crash:
    """What must not happen.

    Attributes:
      kind: "exception", "message", "hang", "memory", "writes", "prints" or "died".
      signature: the same for crashes of one cause.
      text: what is known of it.
    """

    kind: str
    signature: str
    text: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one file: accepted, refused, or a crash."""

    accepted: bool
    crash: Crash | None = None


class _Hang(BaseException):
    """Not an Exception, so that no reader takes it for one of its own."""


class Guard:
    """Watches one reader after the other.

    Args:
      folder: where the reader's files are, the only place where it may write.
      seconds: of processor time that it may take.
      spare_bytes: that it may allocate.
    """

    def __init__(
        self, folder: Path, *, seconds: float = SECONDS, spare_bytes: int = BYTES
    ) -> None:
        self._folder = folder
        self._seconds = seconds
        self._spare = spare_bytes
        self._outside: list[str] | None = None  # None: nothing is watched
        self._lenient = False
        sys.addaudithook(self._audit)
        signal.signal(signal.SIGPROF, _raise_hang)

    @contextlib.contextmanager
    def lenient(self) -> Iterator[None]:
        """For files that are not damaged: imports take time, and write and print."""
        before, self._lenient = self._lenient, True
        try:
            yield
        finally:
            self._lenient = before

    def run(
        self,
        use: Callable[[Path], list[str] | None],
        names: tuple[str, ...] = (),
        *,
        guidance: bool = False,
    ) -> Outcome:
        """Runs a reader.

        Args:
          use: reads the folder; may return lines about what it does not use.
          names: further words of which an error may name one in place of a file.
          guidance: whether more lines may follow an error's first one.

        Returns:
          What came of it.
        """
        outside: list[str] = []
        lines: list[str] | None = None
        caught: BaseException | None = None
        with _printed() as printed, warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            for category in _UNSEEN:
                warnings.simplefilter("ignore", category)
            try:
                if self._lenient:
                    lines = use(self._folder)
                else:
                    with _limits(self._seconds, self._spare):
                        self._outside = outside
                        lines = use(self._folder)
            except (Exception, _Hang, SystemExit) as error:
                caught = error
            finally:
                self._outside = None
        if outside:
            return _crashed("writes", outside[0].split()[0], ", ".join(outside[:5]))
        if caught is not None and not isinstance(caught, ValueError | OSError):
            return Outcome(False, _crash_of(caught))
        if caught is not None and _out_of_memory(caught):
            return Outcome(False, _crash_of(caught, kind="memory"))
        if "Traceback (most recent" in printed.text:
            return _crashed("prints", "traceback", printed.text[-3000:])
        if warned and not self._lenient:
            first = warned[0]
            text = f"{first.category.__name__}: {first.message}"
            place = f"{_relative(first.filename)}:{first.lineno}"
            return _crashed("prints", f"{first.category.__name__} {place}", text)
        messages = [str(caught)] if caught is not None else list(lines or [])
        for message in messages:
            message = message.partition("\n")[0] if guidance else message
            wrong = self._wrong(message, names)
            if wrong:
                where = "" if caught is None else f" {_innermost(caught)}"
                return _crashed("message", f"{wrong}{where}", message[:2000])
        return Outcome(accepted=not messages)

    def _wrong(self, message: str, names: tuple[str, ...]) -> str:
        """Says what is wrong with an error's text, empty where nothing is."""
        if len(message.splitlines()) != 1:
            return "not one line"
        if len(message) > LONGEST_LINE:
            return "a very long line"
        try:
            message.encode()
        except UnicodeEncodeError:
            return "cannot be printed"
        files = [path.name for path in self._folder.rglob("*")]
        known = (*names, str(self._folder), *files)
        return "" if any(name in message for name in known) else "names no file"

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Notes what a reader does to the world outside of its folder."""
        if self._outside is None:
            return
        if event in _STARTS or event in _CONNECTS:
            self._outside.append(f"{event} {arguments[0]!r}"[:200])
        elif event == "open" and _is_writing(arguments):
            self._note(event, arguments[0])
        elif event in _WRITES:
            self._note(event, arguments[0])

    def _note(self, event: str, path: Any) -> None:
        if isinstance(path, int) or self._outside is None:
            return
        full = os.path.realpath(os.fsdecode(path))
        if full not in (os.devnull, str(self._folder)) and not full.startswith(
            f"{self._folder}/"
        ):
            self._outside.append(f"{event} {full}")


def _is_writing(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    return bool(flags & writes) if mode is None else any(c in mode for c in "wax+")


def _crashed(kind: str, signature: str, text: str) -> Outcome:
    return Outcome(False, Crash(kind, f"{kind}: {signature}", text))


def _crash_of(error: BaseException, kind: str = "exception") -> Crash:
    if isinstance(error, _Hang):
        kind = "hang"
    elif _out_of_memory(error):
        kind = "memory"
    text = "".join(traceback.format_exception(error))
    return Crash(kind, f"{kind}: {type(error).__name__} {_innermost(error)}", text)


def _out_of_memory(error: BaseException | None) -> bool:
    """Whether an error is one of memory, or was raised in answer to one."""
    while error is not None:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _innermost(error: BaseException) -> str:
    """The last place of this repository that an error went through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if Path(f.filename).is_relative_to(ROOT)]
    own = [f for f in own if not Path(f.filename).name.startswith("fuzz_")] or own
    chosen = own[-1] if own else frames[-1]
    return f"{_relative(chosen.filename)}:{chosen.lineno}"


def _relative(name: str) -> str:
    path = Path(name)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def _raise_hang(number: int, frame: FrameType | None) -> None:
    raise _Hang


@contextlib.contextmanager
def _limits(seconds: float, spare_bytes: int) -> Iterator[None]:
    """Ends the block after some processor time, and gives it only so much memory."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + spare_bytes, before[1]))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_bytes() -> int:
    """Bytes of private memory that the process may write to."""
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("VmData:"))
    return int(line.split()[1]) << 10


class _Printed:
    text = ""


@contextlib.contextmanager
def _printed() -> Iterator[_Printed]:
    """Catches what is written to the standard streams, C libraries' included."""
    result = _Printed()
    with tempfile.TemporaryFile() as file:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = [os.dup(number) for number in (1, 2)]
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            yield result
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)
            file.seek(0)
            result.text = file.read(1 << 20).decode(errors="replace")
