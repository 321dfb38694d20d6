"""Populations of virtual subjects on disk, in the layout of the M&Ms challenge."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cmrjax.output_folder import check_apart
from cmrjax.simulation.phantom_source import hash_source, open_source
from cmrjax.simulation.population_folder import (
    TableRow,
    claim_folder,
    is_complete,
    split_by_index,
    write_subject,
    write_tables,
)
from cmrjax.simulation.subject import (
    SIMULATION_VERSION,
    check_settings,
    simulate_subject,
)

ANATOMIES = ("free", "xcat")
_VENDOR, _CENTRE, _VENDOR_NAME = "S", "1", "Simulated"


def simulate_population(
    out: str | Path,
    subjects: int,
    seed: int,
    *,
    image_size: int = 192,
    spacing: float = 1.33,
    slice_distance: float | None = None,
    anatomy: str = "free",
    source: str | Path | None = None,
    style: str | None = None,
    jobs: int | None = 1,
    progress: bool = True,
) -> int:
    """Simulate a population into a folder; run again, it continues.

    Writes the subjects, ``dataset_information.csv``, ``split.csv`` (60 % train, 20 %
    development, 20 % test) and ``simulation.json`` (provenance of the first run).

    Args:
        out: The folder; made if need be.
        subjects: Number of subjects, 1 to 9999.
        seed: Seed of the population, >= 0. Subject i depends on (seed, i) alone.
        image_size: As in `simulate_subject`.
        spacing: As in `simulate_subject`, mm.
        slice_distance: As in `simulate_subject`, mm.
        anatomy: One of ``ANATOMIES``: "free" needs nothing, "xcat" makes the subjects
            of a phantom.
        source: The phantom, an XCAT zip file or folder; for "xcat" only. Nothing of it
            is written but the subjects made of it.
        style: Vendor-like style of all subjects; None draws one for each.
        jobs: Processes at work; None takes the number of processors.
        progress: Whether to show a progress bar.

    Returns:
        Number of subjects simulated now; the others were there already.

    Raises:
        ValueError: If an argument is out of range, the source cannot be used, or the
            folder holds something else, other settings or more subjects.
        FileNotFoundError: If there is no such source.
    """
    check_settings(image_size, spacing, slice_distance, style)
    jobs = (os.cpu_count() or 1) if jobs is None else jobs
    _check_numbers(subjects, seed, jobs)
    settings = {
        "version": SIMULATION_VERSION,
        "seed": seed,
        "image_size": image_size,
        "spacing": spacing,
        "slice_distance": slice_distance,
        "anatomy": anatomy,
        "source_sha256": _source_hash(anatomy, source),
        "style": style,
    }
    return _fill_folder(Path(out), subjects, settings, source, jobs, progress)


def _check_numbers(subjects: int, seed: int, jobs: int) -> None:
    """Raise ValueError for numbers out of range."""
    if not 1 <= subjects <= 9999 or seed < 0 or jobs < 1:
        raise ValueError(
            "expected subjects from 1 to 9999, seed >= 0 and jobs >= 1, got "
            f"subjects={subjects}, seed={seed}, jobs={jobs}"
        )


def _fill_folder(
    out: Path,
    subjects: int,
    settings: dict[str, Any],
    source: str | Path | None,
    jobs: int,
    progress: bool,
) -> int:
    """Simulate the subjects that the folder lacks; return how many these were."""
    if source is not None:  # what is wrong with it is said before anything is written
        check_apart(out, [Path(source)])
        open_source(source, sha256=settings["source_sha256"])
    claim_folder(out, subjects, settings)
    codes = [subject_code(index) for index in range(subjects)]
    todo = [i for i in range(subjects) if not is_complete(out, codes[i], settings)]
    tasks = [_Task(out, index, settings, source) for index in todo]
    bar = tqdm(total=subjects, initial=subjects - len(todo), disable=not progress)
    with bar:
        bar.set_description("subjects")
        with contextlib.closing(_run(tasks, jobs)) as done:
            for _ in done:
                bar.update()
    rows = [
        TableRow(code, _VENDOR_NAME, _VENDOR, _CENTRE, ("0", "1")) for code in codes
    ]
    write_tables(out, rows, split_by_index(codes))
    return len(todo)


def subject_code(index: int) -> str:
    """Return the code of a subject, for example ``SIM0007``."""
    return f"SIM{index:04d}"


@dataclass(frozen=True)
class _Task:
    """One subject to simulate and write."""

    out: Path
    index: int
    settings: dict[str, Any]
    source: str | Path | None


def _run(tasks: list[_Task], jobs: int) -> Generator[None]:
    """Work the tasks off, here or in ``jobs`` processes."""
    if jobs == 1 or len(tasks) < 2:
        yield from map(_simulate_task, tasks)
        return
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(
        min(jobs, len(tasks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_follow_parent,
    ) as pool:
        try:
            for future in [pool.submit(_work, task) for task in tasks]:
                yield future.result()
        except (KeyboardInterrupt, GeneratorExit, SystemExit):
            # Not waited for. Nothing is cancelled: Python 3.11 stumbles over that
            # when it finds the workers gone.
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            raise
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _follow_parent() -> None:
    """Make a worker end with its parent, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    # Last: what it raises would be printed by the pool from here.
    signal.signal(signal.SIGTERM, _abandon)


def _abandon(*_: object) -> None:
    """Leave the subject at work, which cleans up on its way.

    A second signal does not disturb that: the pool sends one to all workers when it
    finds the first of them gone.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def _work(task: _Task) -> None:
    """Simulate and write one subject in a worker, unless it is told to end."""

    def is_told_to_end() -> bool:
        return signal.getsignal(signal.SIGTERM) is signal.SIG_IGN

    try:
        if not is_told_to_end():  # by a signal that came between two subjects
            _simulate_task(task)
    finally:
        if is_told_to_end():
            # The pool would send SystemExit back as a result and go on with the next.
            os._exit(1)


def _simulate_task(task: _Task) -> None:
    """Simulate and write one subject."""
    settings = task.settings
    subject = simulate_subject(
        (settings["seed"], task.index),
        image_size=settings["image_size"],
        spacing=settings["spacing"],
        slice_distance=settings["slice_distance"],
        source=None
        if task.source is None
        else open_source(task.source, sha256=settings["source_sha256"]),
        style=settings["style"],
    )
    write_subject(
        task.out,
        subject_code(task.index),
        subject.images,
        subject.labels,
        subject.affine,
        description={"settings": settings, **subject.metadata},
    )


def _source_hash(anatomy: str, source: str | Path | None) -> str | None:
    """Return the hash of the source's files, None without one."""
    if anatomy not in ANATOMIES:
        raise ValueError(f"anatomy must be one of {', '.join(ANATOMIES)}: {anatomy!r}")
    if (source is None) != (anatomy == "free"):
        wrong = "needs a source" if source is None else "has no source"
        raise ValueError(
            f"anatomy {anatomy} {wrong}: an XCAT zip file or folder goes with"
            " anatomy xcat, and with no other"
        )
    return None if source is None else hash_source(source)
