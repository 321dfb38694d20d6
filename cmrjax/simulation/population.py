"""Populations of virtual subjects on disk, in the layout of the M&Ms challenge."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
from tqdm import tqdm

from cmrjax.files import (
    atomic_directory,
    provenance,
    read_json,
    write_json,
    write_text,
)
from cmrjax.labels import MULTI_TISSUE
from cmrjax.simulation.subject import (
    SIMULATION_VERSION,
    VirtualSubject,
    check_sampling,
    simulate_subject,
)

_VENDOR, _CENTRE, _VENDOR_NAME = "S", "1", "Simulated"
# 60 % train, 20 % development, 20 % test; a longer population keeps the split of the
# shorter one, and three subjects already hold one of each.
_SPLIT_CYCLE = ("train", "development", "test", "train", "train")


def write_subject(
    out: str | Path, code: str, subject: VirtualSubject, *, settings: dict[str, Any]
) -> None:
    """Write one subject as ``out/code/code_sa.nii.gz``, ``_sa_gt.nii.gz``, ``.json``.

    The folder appears at once and complete. Arrays are [x, y, slice, time] with time 0
    end-diastole and 1 end-systole.

    Args:
        out: Folder of the population.
        code: The subject's code.
        subject: The subject.
        settings: What it was simulated with; kept in its JSON file.
    """
    with atomic_directory(Path(out) / code, overwrite=True) as folder:
        for suffix, array in (("sa", subject.images), ("sa_gt", subject.labels)):
            image = nib.Nifti1Image(array.transpose(3, 2, 1, 0), subject.affine)
            image.header.set_xyzt_units("mm", "sec")
            image.set_sform(subject.affine, code=1)
            image.set_qform(subject.affine, code=1)
            nib.save(image, folder / f"{code}_{suffix}.nii.gz")
        write_json(
            folder / f"{code}.json",
            {"code": code, "settings": settings, **subject.metadata},
        )


def simulate_population(
    out: str | Path,
    subjects: int,
    seed: int,
    *,
    image_size: int = 192,
    spacing: float = 1.33,
    slice_distance: float | None = None,
    jobs: int = 1,
    progress: bool = True,
) -> int:
    """Simulate a population into a folder; run again, it continues.

    Writes the subjects, ``dataset_information.csv``, ``split.csv`` (60 % train, 20 %
    development, 20 % test) and ``simulation.json`` (provenance).

    Args:
        out: The folder; made if need be.
        subjects: Number of subjects, 1 to 9999.
        seed: Seed of the population, >= 0. Subject i depends on (seed, i) alone.
        image_size: As in `simulate_subject`.
        spacing: As in `simulate_subject`, mm.
        slice_distance: As in `simulate_subject`, mm.
        jobs: Processes at work.
        progress: Whether to show a progress bar.

    Returns:
        Number of subjects simulated now; the others were there already.

    Raises:
        ValueError: If an argument is out of range, or the folder holds a population
            with other settings or more subjects.
    """
    check_sampling(image_size, spacing, slice_distance)
    if not 1 <= subjects <= 9999 or seed < 0 or jobs < 1:
        raise ValueError(
            "expected subjects from 1 to 9999, seed >= 0 and jobs >= 1, got "
            f"subjects={subjects}, seed={seed}, jobs={jobs}"
        )
    settings = {
        "version": SIMULATION_VERSION,
        "seed": seed,
        "image_size": image_size,
        "spacing": spacing,
        "slice_distance": slice_distance,
    }
    out = Path(out)
    _check_folder(out, subjects, settings)
    record = {"subjects": subjects, "settings": settings, "schema": MULTI_TISSUE.name}
    write_json(out / "simulation.json", {**record, **provenance(config=settings)})
    todo = [i for i in range(subjects) if not _is_complete(out, i, settings)]
    tasks = [(str(out), index, settings) for index in todo]
    bar = tqdm(total=subjects, initial=subjects - len(todo), disable=not progress)
    with bar:
        bar.set_description("subjects")
        for _ in _run(tasks, jobs):
            bar.update()
    _write_tables(out, subjects)
    return len(todo)


def subject_code(index: int) -> str:
    """Return the code of a subject, for example ``SIM0007``."""
    return f"SIM{index:04d}"


def _run(tasks: list[tuple[str, int, dict[str, Any]]], jobs: int) -> Iterator[None]:
    """Work the tasks off, here or in ``jobs`` processes."""
    if jobs == 1 or len(tasks) < 2:
        yield from map(_simulate_task, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=context) as pool:
        yield from pool.map(_simulate_task, tasks)


def _simulate_task(task: tuple[str, int, dict[str, Any]]) -> None:
    """Simulate and write one subject."""
    out, index, settings = task
    subject = simulate_subject(
        (settings["seed"], index),
        image_size=settings["image_size"],
        spacing=settings["spacing"],
        slice_distance=settings["slice_distance"],
    )
    write_subject(out, subject_code(index), subject, settings=settings)


def _check_folder(out: Path, subjects: int, settings: dict[str, Any]) -> None:
    """Raise ValueError if the folder holds another population."""
    if not (out / "simulation.json").exists():
        return
    there = read_json(out / "simulation.json")
    old = there.get("settings") or {}
    changed = [
        f"{key} {old.get(key)} there, {value} asked"
        for key, value in settings.items()
        if old.get(key) != value
    ]
    if there.get("subjects", 0) > subjects:
        changed.append(f"subjects {there['subjects']} there, {subjects} asked")
    if changed:
        raise ValueError(
            f"{out} holds a population with other settings ({'; '.join(changed)}): "
            "choose another folder with out, or delete this one"
        )


def _is_complete(out: Path, index: int, settings: dict[str, Any]) -> bool:
    """Return whether a subject was written with the same settings."""
    code = subject_code(index)
    folder = out / code
    names = (f"{code}_sa.nii.gz", f"{code}_sa_gt.nii.gz", f"{code}.json")
    if not all((folder / name).is_file() for name in names):
        return False
    return read_json(folder / f"{code}.json").get("settings") == settings


def _write_tables(out: Path, subjects: int) -> None:
    """Write dataset_information.csv and split.csv."""
    rows = ["External code,VendorName,Vendor,Centre,ED,ES"]
    split = ["External code,Vendor,Centre,split"]
    for index in range(subjects):
        code = subject_code(index)
        rows.append(f"{code},{_VENDOR_NAME},{_VENDOR},{_CENTRE},0,1")
        part = _SPLIT_CYCLE[index % len(_SPLIT_CYCLE)]
        split.append(f"{code},{_VENDOR},{_CENTRE},{part}")
    write_text(out / "dataset_information.csv", "\n".join(rows) + "\n")
    write_text(out / "split.csv", "\n".join(split) + "\n")
