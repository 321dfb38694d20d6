"""One labelling of real images: which subjects, and what is written of them."""

import dataclasses
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cmrjax.data import preconvert
from cmrjax.data.records import SubjectRecord
from cmrjax.data.subject import PreparedSubject, Recipe
from cmrjax.data.summary import Summary
from cmrjax.evaluation.labelling_pictures import montage_files
from cmrjax.evaluation.labelling_report import MONTAGES, write_labelling_report
from cmrjax.segmentation.label_store import NATIVE_FOLDER, LabelStore
from cmrjax.segmentation.labelling import (
    MIN_HEART_AREA,
    TissueModel,
    label_subject,
)

VERSION = 5  # another one may give other labels: it does not continue a stopped run


def choose_subjects(
    plan: preconvert.Plan, groups: Iterable[str], subjects: Iterable[str]
) -> preconvert.Plan:
    """Returns the plan with the chosen subjects only; nothing chosen means all.

    Raises:
        ValueError: If there is no such group or subject; names those that there are.
    """
    chosen = plan.records
    for option, values, key in (
        ("--groups", list(groups), lambda record: record.group),
        ("--subjects", list(subjects), lambda record: record.subject),
    ):
        have = sorted({key(record) for record in plan.records})
        unknown = sorted(set(values) - set(have))
        if unknown:
            more = f" and {len(have) - 12} more" if len(have) > 12 else ""
            raise ValueError(
                f"{option}: {plan.source} has no {', '.join(unknown)}; it has"
                f" {', '.join(have[:12])}{more}"
            )
        if values:
            chosen = tuple(record for record in chosen if key(record) in values)
    if not chosen:
        raise ValueError("--groups and --subjects: no subject is in both choices")
    return dataclasses.replace(plan, records=chosen)


def work_folder(out: str | Path) -> Path:
    """Returns the folder beside ``out`` that keeps subjects until all are labelled."""
    out = Path(out)
    return out.with_name(f".{out.name}.labelling")


class LabellingRun:
    """One run of the command: labels subject by subject, then writes the rest.

    Attributes:
        settings: All that decides the labels, JSON types.
        store: The subjects that are labelled.
        summary: Content of summary.json, after ``complete``.
    """

    def __init__(
        self,
        plan: preconvert.Plan,
        recipe: Recipe,
        model: TissueModel,
        expert: str,
        *,
        tidy: bool = True,
    ):
        """Opens the work folder.

        Args:
            plan: What to label.
            recipe: How; its schema is the model's.
            model: The network.
            expert: One of ``EXPERT_CHOICES``.
            tidy: Whether pieces that cannot be right are given away.

        Raises:
            ValueError: If the network has other classes, or the work folder was begun
                with other settings.
        """
        if model.schema != recipe.schema:
            raise ValueError(
                f"--model: its classes are those of schema {model.schema.name!r}, the"
                f" labels are to have {recipe.schema.name!r}; name a multi-tissue"
                " network"
            )
        self._plan, self._model, self._expert = plan, model, expert == "labels"
        self._tidy = tidy
        self.settings: dict[str, Any] = {
            "labelling_version": VERSION,
            "model_fingerprint": model.fingerprint,
            "expert": expert,
            "tidy": tidy,
            "min_heart_area_mm2": MIN_HEART_AREA,
        }
        decisive = {
            "dataset": plan.dataset,
            "source": str(plan.source.resolve()),
            "label_ids": {str(i): name for i, name in sorted(recipe.label_ids.items())},
            "transform": recipe.transform.to_dict(),
            "image_size": list(recipe.image_size),
            "spacing": list(recipe.spacing),
            "nominal_spacing": recipe.nominal_spacing,
            "nominal_except": sorted(recipe.nominal_except),
        }
        assert plan.out is not None, "label_real asks for --out"
        self.store = LabelStore(work_folder(plan.out), self.settings | decisive)
        self.summary: dict[str, Any] = {}

    def prepare(
        self, record: SubjectRecord, recipe: Recipe, *, labels_expected: bool
    ) -> PreparedSubject:
        """Labels a subject, or takes it from the work folder."""
        kept = self.store.load(record)
        if kept is not None:
            return kept
        labelled = label_subject(
            record,
            recipe,
            self._model,
            expert=self._expert,
            tidy=self._tidy,
            labels_expected=labels_expected,
        )
        self.store.save(record, labelled, montage_files(labelled, recipe.schema))
        return labelled.prepared

    def complete(self, folder: Path, summary: Summary) -> None:
        """Puts NIfTI labels, montages and the report beside the prepared arrays."""
        rows: list[dict[str, Any]] = []
        for code in dict.fromkeys(v["subject"] for v in summary.volumes):
            place = self.store.path(code)
            copies = {place / "montage.png": folder / MONTAGES / f"{code}.png"}
            for path in (place / NATIVE_FOLDER).iterdir():
                copies[path] = folder / "nifti" / code / path.name
            for source, target in copies.items():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            split = self._plan.splits[code]
            for row in self.store.rows(code):
                identity = {"subject": code, "group": row["group"], "split": split}
                rows.append(identity | row)
        self.summary = write_labelling_report(
            folder,
            rows,
            schema=self._model.schema,
            settings={"source": str(self._plan.source), **self.settings},
            problems=summary.problems,
            excerpt=lambda code: (self.store.path(code) / "excerpt.png").read_bytes(),
        )
