"""The main job on built-in data: simulate, train, synthesise, report.

    python -m experiments.demo --workdir=runs/demo

Needs no data and no weights. Repeated, it continues where it was; finished parts are
kept. Ends with an error where the held-out SSIM is not above the class-mean image's.
"""

import argparse
import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cmrjax.data.intensity import get_transform
from cmrjax.data.nifti import read_volume
from cmrjax.data.preconvert import DATASETS, plan_preparation, run_preparation
from cmrjax.data.source import PreparedDataset
from cmrjax.data.subject import Recipe
from cmrjax.evaluation.figures import panel, png_bytes
from cmrjax.evaluation.image_study import report_rows
from cmrjax.evaluation.report import write_report
from cmrjax.files import code_version
from cmrjax.simulation.population import simulate_population
from cmrjax.synthesis.cases import Case, synthesize_cases
from cmrjax.synthesis.params import ModelParams, load_params
from cmrjax.synthesis.volume import Synthesizer
from cmrjax.training.console import configure_logging
from cmrjax.training.process_age import process_age
from experiments import train_gan
from experiments.configs import multi_demo
from experiments.evaluate_gan import evaluate_model, panel_scale
from experiments.gan_data import evenly_spaced

logger = logging.getLogger(__name__)

GROUP, HELD_OUT = "S1", "test"


@dataclasses.dataclass(frozen=True)
class DemoSize:
    """How large the demo is.

    Attributes:
      subjects: simulated subjects; a fifth of them is held out.
      image_size: side in pixels.
      spacing: pixel spacing in mm.
      num_steps: of training; 0: the configuration's.
      base_features: width nf of the networks; 0: the configuration's.
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
      the path of the page.

    Raises:
      DemoFailedError: the held-out SSIM is not above the class-mean image's, or the
        training was stopped by a signal.
    """
    workdir = Path(workdir)
    logger.info("1/5 simulate %d subjects", size.subjects)
    simulate_population(
        workdir / "simulated",
        size.subjects,
        seed=0,
        image_size=size.image_size,
        spacing=size.spacing,
        jobs=2,
    )
    logger.info("2/5 prepare them")
    _prepare(workdir, size)
    logger.info("3/5 train the GAN")
    ended = train_gan.run(_config(workdir, size), workdir / "model")
    if ended.stopped_by:
        raise DemoFailedError(
            f"{ended.stopped_by}: training saved at step {ended.step}; the same "
            "command continues"
        )
    logger.info("4/5 synthesise NIfTI volumes from the labels of held-out subjects")
    volumes = _synthesize(workdir)
    logger.info("5/5 measure on held-out subjects and write the report")
    result = evaluate_model(
        workdir / "model",
        workdir / "prepared",
        groups=[GROUP],
        splits=[HELD_OUT],
        out=workdir / "evaluation",
    )
    result["report"] = _report(workdir, size, result, volumes)
    _check(result)
    return result


def _prepare(workdir: Path, size: DemoSize) -> None:
    """Prepares the simulated subjects, unless they are."""
    recipe = Recipe(
        source_names="simulated",
        schema=DATASETS["simulated"],
        transform=get_transform("percentile"),
        image_size=(size.image_size, size.image_size),
        spacing=(size.spacing, size.spacing),
    )
    out = workdir / "prepared"
    if out.exists():
        dataset = PreparedDataset.open(out)
        subjects = {info.subject for info in dataset.slices}
        same = (dataset.image_size, dataset.spacing) == (
            recipe.image_size,
            recipe.spacing,
        )
        if same and len(subjects) == size.subjects:
            return
        raise ValueError(f"{workdir} holds a demo of another size; use a new --workdir")
    plan = plan_preparation("simulated", workdir / "simulated", out)
    run_preparation(
        plan, recipe, say=logger.info, progress=lambda r: tqdm(r, unit="subject")
    )


def _config(workdir: Path, size: DemoSize) -> Any:
    config = multi_demo.get_config()
    config.data.path = str(workdir / "prepared")
    config.data.image_size = size.image_size
    config.training.num_steps = size.num_steps or config.training.num_steps
    config.model.base_features = size.base_features or config.model.base_features
    return config


def _synthesize(workdir: Path) -> list[Path]:
    """Makes NIfTI volumes of the held-out subjects; returns their label files."""
    dataset = PreparedDataset.open(workdir / "prepared")
    subjects = {info.subject for info in dataset.slices if info.split == HELD_OUT}
    source, out = workdir / "simulated", workdir / "synthetic"
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


def _report(
    workdir: Path,
    size: DemoSize,
    result: dict[str, Any],
    volumes: list[Path],
) -> Path:
    params = load_params(workdir / "model")
    evaluation = workdir / "evaluation"
    picture = _volume_panel(volumes[0], workdir / "synthetic", params)
    return write_report(
        workdir / "report.html",
        title="cmrjax demo: cardiac MR images from labels",
        intro=(
            f"{size.subjects} subjects were simulated (an analytic torso with a "
            "beating heart, bSSFP contrast), a SPADE GAN was trained on three fifths "
            "of them, and images were synthesised from the labels of subjects that it "
            "has never seen.\n\nThe class-mean image paints each class with its mean "
            "over the training set: the floor that a generator must beat."
        ),
        metrics=report_rows(result),
        pictures=[
            (
                "Slices of held-out subjects: label, simulated (the truth), synthetic",
                (evaluation / "panel.png").read_bytes(),
            ),
            (
                "A volume as written to NIfTI, ED: label, truth, synthetic",
                png_bytes(picture),
            ),
            ("Losses over steps", (evaluation / "curves.png").read_bytes()),
        ],
        settings={
            "size": dataclasses.asdict(size),
            "training": json.loads((workdir / "model/run.json").read_text())["config"],
            "step": params.origin.step,
            "seconds of this run": round(process_age()),
            "code": code_version(),
        },
        schema=params.description.schema,
    )


def _volume_panel(label_path: Path, synthetic: Path, params: ModelParams) -> np.ndarray:
    """Label, truth and synthetic of one volume at ED, read from the NIfTI files."""
    code = label_path.parent.name
    made = synthetic / code / f"{code}_sa_frame00.nii.gz"
    labels = read_volume(label_path, frame=0).array
    truth = read_volume(label_path.with_name(f"{code}_sa.nii.gz"), frame=0).array
    truth = params.description.transform.apply(truth)
    slices = evenly_spaced(np.arange(len(labels)), 6)
    return panel(
        labels[slices],
        truth[slices][..., None],
        read_volume(made).array[slices][..., None],
        schema=params.description.schema,
        captions=("label", "truth", "synthetic"),
        scale=panel_scale(labels.shape[-1]),
    )


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
    print(f"Volumes:  {workdir / 'synthetic'}\nReport:   {result['report']}")
    print(f"Time:     {process_age():.0f} s")


if __name__ == "__main__":
    main()
