"""The one page that the demo ends with."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from cmrjax.data.choice import evenly_spaced
from cmrjax.data.nifti import read_volume
from cmrjax.evaluation.figures import panel, png_bytes
from cmrjax.evaluation.image_study import report_rows
from cmrjax.evaluation.report import write_report
from cmrjax.files import code_version
from cmrjax.synthesis.params import ModelParams, load_params
from cmrjax.training.process_age import process_age
from experiments.evaluate_gan import panel_scale

INTRO = (
    "{subjects} virtual subjects were simulated with exact labels of nine tissues, and"
    " a U-Net learned to segment them. {subjects} more, of another seed, stand for real"
    " scans: of their labels only the heart was used, as an expert would draw it; all"
    " other tissues come from the U-Net. On these pairs a SPADE GAN was trained, and"
    " images were synthesised from the labels of subjects that neither network has"
    " seen.\n\n"
    "Segmentation, mean Dice over the eight tissues: {database:.3f} on held-out"
    " subjects of the database, {scans:.3f} on the stand-in scans (whose exact labels"
    " are known).\n\n"
    "The class-mean image paints each class with its mean over the training set: the"
    " floor that a generator must beat."
)


def write_demo_report(
    workdir: Path,
    size: Any,
    result: dict[str, Any],
    segmentation: dict[str, float],
    volumes: list[Path],
) -> Path:
    """Writes report.html.

    Args:
      workdir: the demo's folder.
      size: see `experiments.demo.DemoSize`.
      result: of `experiments.evaluate_gan.evaluate_model`.
      segmentation: mean Dice by "database" and "scans".
      volumes: label files that images were synthesised from.

    Returns:
      The page.
    """
    params = load_params(workdir / "model")
    evaluation = workdir / "evaluation"
    picture = _volume_panel(volumes[0], workdir, params)
    return write_report(
        workdir / "report.html",
        title="cmrjax demo: cardiac MR images from labels",
        intro=INTRO.format(subjects=size.subjects, **segmentation),
        metrics=report_rows(result),
        pictures=[
            (
                "Segmentation of held-out subjects: image, U-Net, truth",
                (workdir / "segmentation" / "panel.png").read_bytes(),
            ),
            (
                "Slices of held-out subjects: label, stand-in scan, synthetic",
                (evaluation / "panel.png").read_bytes(),
            ),
            (
                "A volume as written to NIfTI, ED: label, stand-in scan, synthetic",
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


def _volume_panel(label_path: Path, workdir: Path, params: ModelParams) -> np.ndarray:
    """Label, scan and synthetic of one volume at ED, read from the NIfTI files."""
    code = label_path.parent.name
    made = workdir / "synthetic" / code / f"{code}_sa_frame00.nii.gz"
    scan = workdir / "scans" / code / f"{code}_sa.nii.gz"
    labels = read_volume(label_path, frame=0).array
    truth = read_volume(scan, frame=0).array
    truth = params.description.transform.apply(truth)
    with_heart = np.flatnonzero(labels.any(axis=(1, 2)))
    slices = evenly_spaced(with_heart, 6)
    return panel(
        labels[slices],
        truth[slices][..., None],
        read_volume(made).array[slices][..., None],
        schema=params.description.schema,
        captions=("label", "scan", "synthetic"),
        scale=panel_scale(labels.shape[-1]),
    )
