"""The whole chain on built-in data: simulate, segment, label, train, synthesise.

    python -m experiments.demo --workdir=runs/demo

Needs no data and no weights. Repeated, it continues where it was; finished parts are
kept. Ends with an error where the held-out SSIM is not above the class-mean image's.
"""

import argparse
import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cmrjax.data.manifest import MANIFEST_FILE
from cmrjax.data.source import PreparedDataset
from cmrjax.evaluation.image_study import report_rows
from cmrjax.files import read_json
from cmrjax.segmentation.params import load_segmenter
from cmrjax.simulation.population import simulate_population
from cmrjax.synthesis.cases import Case, synthesize_cases
from cmrjax.synthesis.params import load_params
from cmrjax.synthesis.volume import Synthesizer
from cmrjax.training.console import configure_logging
from cmrjax.training.loop import LoopResult
from cmrjax.training.process_age import process_age
from experiments import label_real, prepare_data, train_gan, train_segmentation
from experiments.command_line import run_command
from experiments.configs import multi_demo, multi_tissue_demo
from experiments.demo_report import write_demo_report
from experiments.evaluate_gan import evaluate_model
from experiments.evaluate_segmentation import evaluate_network

logger = logging.getLogger(__name__)

GROUP, HELD_OUT = "S1", "test"
INTERRUPTED = 130  # exit status of the commands


@dataclasses.dataclass(frozen=True)
class DemoSize:
    """How large the demo is.

    Attributes:
      subjects: simulated subjects of each of the two populations; a fifth is held out.
      image_size: side in pixels.
      spacing: pixel spacing in mm.
      num_steps: of each training; 0: the configuration's.
      base_features: width of the networks; 0: the configuration's.
    """

    subjects: int = 30
    image_size: int = 96
    spacing: float = 2.66
    num_steps: int = 0
    base_features: int = 0


class DemoFailedError(RuntimeError):
    """The demo ran, and its result is not what it must be."""


def run_demo(workdir: str | Path, size: DemoSize) -> dict[str, Any]:
    """Runs all parts.

    Args:
      workdir: folder of everything that is written.
      size: how large.

    Returns:
      The evaluation, see `cmrjax.evaluation.image_study.evaluate_images`; "report" is
      the path of the page, "segmentation" the mean Dice by data.

    Raises:
      DemoFailedError: the held-out SSIM is not above the class-mean image's, or the
        training was stopped by a signal.
    """
    workdir = Path(workdir)
    logger.info("1/6 simulate %d subjects with exact labels", size.subjects)
    _simulate(workdir / "database", size, seed=0)
    zscore = ["--transform=zscore", "--all-slices"]
    _prepare(workdir / "database", workdir / "database_prepared", size, zscore)
    logger.info("2/6 train the segmentation network on them")
    config = _segmentation_config(workdir, size)
    _finish(train_segmentation.run(config, workdir / "segmenter"))
    logger.info("3/6 simulate %d more, which stand for real scans", size.subjects)
    _simulate(workdir / "scans", size, seed=1)
    logger.info("    label them: tissues by the network, heart by the expert")
    _label(workdir, size)
    segmentation = _measure_segmentation(workdir, size, zscore)
    logger.info("4/6 train the GAN on scans and labels")
    _finish(train_gan.run(_gan_config(workdir, size), workdir / "model"))
    logger.info("5/6 synthesise NIfTI volumes from the labels of held-out subjects")
    volumes = _synthesize(workdir)
    logger.info("6/6 measure on held-out subjects and write the report")
    result = evaluate_model(
        workdir / "model",
        workdir / "labelled",
        groups=[GROUP],
        splits=[HELD_OUT],
        out=workdir / "evaluation",
    )
    result["segmentation"] = segmentation
    result["report"] = write_demo_report(workdir, size, result, segmentation, volumes)
    _check(result)
    return result


def _simulate(out: Path, size: DemoSize, *, seed: int) -> None:
    simulate_population(
        out,
        size.subjects,
        seed=seed,
        image_size=size.image_size,
        spacing=size.spacing,
        jobs=2,
    )


def _prepare(
    source: Path, out: Path, size: DemoSize, options: Sequence[str] = ()
) -> None:
    """Prepares simulated subjects, unless they are."""
    if not out.exists():
        arguments = _data_arguments(source, out, size)
        _succeed(prepare_data.main([*arguments, *options]), f"{source}: not prepared")
    _check_size(out, size)


def _label(workdir: Path, size: DemoSize) -> None:
    """Labels the stand-in scans, unless this network did."""
    out, model = workdir / "labelled", workdir / "segmenter"
    arguments = [*_data_arguments(workdir / "scans", out, size), f"--model={model}"]
    if out.exists():
        _check_size(out, size)
        manifest = read_json(out / MANIFEST_FILE)
        labelled_by = manifest["provenance"]["config"].get("model_fingerprint")
        if labelled_by == load_segmenter(model).fingerprint:
            return
        arguments.append("--overwrite")
    _succeed(label_real.main(arguments), "the scans could not be labelled")
    _check_size(out, size)


def _succeed(status: int, failure: str) -> None:
    """Raises what the exit status of a command stands for."""
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    if status:
        raise DemoFailedError(f"{failure}, see above")


def _data_arguments(source: Path, out: Path, size: DemoSize) -> list[str]:
    return [
        "--dataset=simulated",
        f"--source={source}",
        f"--out={out}",
        f"--image-size={size.image_size}",
        f"--spacing={size.spacing}",
    ]


def _check_size(out: Path, size: DemoSize) -> None:
    """Refuses a prepared folder of another demo, or one that lacks subjects."""
    dataset = PreparedDataset.open(out)
    side, spacing = (size.image_size,) * 2, (size.spacing,) * 2
    if (dataset.image_size, dataset.spacing) != (side, spacing):
        raise ValueError(
            f"{out} holds slices of {dataset.image_size} at {dataset.spacing} mm, this "
            f"demo has {side} at {spacing}: use a new --workdir"
        )
    subjects = {info.subject for info in dataset.slices}
    if len(subjects) != size.subjects or dataset.manifest["problems"]:
        raise ValueError(
            f"{out} holds {len(subjects)} of {size.subjects} subjects, "
            f"{len(dataset.manifest['problems'])} problems: use a new --workdir"
        )


def _measure_segmentation(
    workdir: Path, size: DemoSize, options: Sequence[str]
) -> dict[str, float]:
    """Mean Dice of the network on the held-out database and on the scans."""
    scans, model = workdir / "scans_prepared", workdir / "segmenter"
    _prepare(workdir / "scans", scans, size, options)
    fingerprint = load_segmenter(model).fingerprint
    measured = {}
    for name, data, splits, out in (
        ("database", workdir / "database_prepared", [HELD_OUT], "segmentation"),
        ("scans", scans, ["train", "development", HELD_OUT], "segmentation_scans"),
    ):
        report = workdir / out / "segmentation.json"
        there = read_json(report) if report.exists() else {}
        if there.get("model_sha256") != fingerprint:
            evaluate_network(model, data, splits=splits, out=workdir / out)
        measured[name] = float(read_json(report)["mean_dice"])
        logger.info("    mean Dice on the %s: %.3f", name, measured[name])
    return measured


def _segmentation_config(workdir: Path, size: DemoSize) -> Any:
    config = multi_tissue_demo.get_config()
    config.data.paths = (str(workdir / "database_prepared"),)
    if size.num_steps:
        config.training.epochs, config.training.steps_per_epoch = 1, size.num_steps
    config.model.base_features = size.base_features or config.model.base_features
    return config


def _gan_config(workdir: Path, size: DemoSize) -> Any:
    config = multi_demo.get_config()
    config.data.path = str(workdir / "labelled")
    config.data.image_size = size.image_size
    config.training.num_steps = size.num_steps or config.training.num_steps
    config.model.base_features = size.base_features or config.model.base_features
    return config


def _finish(ended: LoopResult) -> None:
    """Raises where a training was stopped."""
    if ended.stopped_by:
        saved = f"training saved at step {ended.step}"
        if not ended.began:
            saved = "nothing new is saved of the training"
        raise DemoFailedError(
            f"{ended.stopped_by}: {saved}; the same command continues"
        )


def _synthesize(workdir: Path) -> list[Path]:
    """Makes NIfTI volumes of the held-out subjects; returns their label files."""
    dataset = PreparedDataset.open(workdir / "labelled")
    subjects = {info.subject for info in dataset.slices if info.split == HELD_OUT}
    source, out = workdir / "labelled" / "nifti", workdir / "synthetic"
    cases = [
        Case(source / subject / f"{subject}_sa_gt.nii.gz", out / subject)
        for subject in sorted(subjects)
    ]
    summary = synthesize_cases(
        tqdm(cases, unit="subject"),
        out,
        Synthesizer.create(load_params(workdir / "model")),
        warn=logger.warning,
    )
    if summary.problems:
        raise DemoFailedError("; ".join(summary.problems))
    return [case.label_path for case in cases]


def _check(result: dict[str, Any]) -> None:
    summary = result["summary"]
    model, floor = (summary[m]["ssim"]["mean"] for m in ("model", "class_mean"))
    if not model > floor:
        raise DemoFailedError(
            f"held-out SSIM {model:.3f} is not above the class-mean image's {floor:.3f}"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    configure_logging()
    parser = argparse.ArgumentParser(
        prog="python -m experiments.demo", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--workdir", default="runs/demo", help="folder of the outputs")
    for field in dataclasses.fields(DemoSize):
        name = "--" + field.name.replace("_", "-")
        parser.add_argument(name, type=type(field.default), default=field.default)
    arguments = vars(parser.parse_args(argv))
    workdir = Path(arguments.pop("workdir"))
    try:
        result = run_demo(workdir, DemoSize(**arguments))
    except (DemoFailedError, ValueError, OSError) as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        logger.info("interrupted; the same command continues")
        sys.exit(130)
    print(f"\nHeld-out subjects, {result['num_slices']} slices:")
    for name, model_value, floor in report_rows(result):
        print(f"  {name}: {model_value}, class-mean image {floor}")
    for name, dice in result["segmentation"].items():
        print(f"  mean Dice of the segmentation on the {name}: {dice:.3f}")
    print(f"Volumes:  {workdir / 'synthetic'}\nReport:   {result['report']}")
    print(f"Time:     {process_age():.0f} s")


if __name__ == "__main__":
    run_command("demo", main)
