"""The data sets that can be prepared: who reads them, and what their labels mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cmrjax.data import acdc, mnms, nifti_table
from cmrjax.data.records import Subjects
from cmrjax.labels import CAVITY, MULTI_TISSUE, SOURCE_LABELS, LabelSchema


class FindSubjects(Protocol):
    """Finds the subjects of a source folder."""

    def __call__(self, source: Path, *, table: str | Path | None = None) -> Subjects:
        """Returns the subjects; raises ValueError where nothing is usable."""
        ...


@dataclass(frozen=True)
class Dataset:
    """A kind of data set.

    Attributes:
        find: Finds its subjects.
        schema: Schema of its labels.
        label_ids: What the ids in its label files mean.
        own: Whether it is the user's own data: the table is given, and the schema can
            be.
    """

    find: FindSubjects
    schema: LabelSchema
    label_ids: Mapping[int, str]
    own: bool = False


DATASETS: dict[str, Dataset] = {
    "mnms": Dataset(mnms.find_subjects, CAVITY, SOURCE_LABELS["mnms"]),
    "acdc": Dataset(acdc.find_subjects, CAVITY, SOURCE_LABELS["acdc"]),
    "simulated": Dataset(mnms.find_subjects, MULTI_TISSUE, SOURCE_LABELS["simulated"]),
    "nifti": Dataset(
        nifti_table.find_subjects, CAVITY, SOURCE_LABELS["mnms"], own=True
    ),
}


def get_dataset(name: str) -> Dataset:
    """Returns a kind of data set by name.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in DATASETS:
        raise ValueError(f"no data set {name!r}; there are {', '.join(DATASETS)}")
    return DATASETS[name]
