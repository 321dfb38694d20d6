"""From the ids of a label file to the ids that a model knows."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmrjax.data.schema_file import read_schema
from cmrjax.labels import (
    MULTI_TISSUE,
    SOURCE_LABELS,
    LabelSchema,
    as_integer_labels,
)

OWN_IDS = "schema"
LABEL_SOURCES = (OWN_IDS, *SOURCE_LABELS)


@dataclass(frozen=True)
class LabelInput:
    """How label files are read for a model.

    Attributes:
      schema: of the model.
      source: what the ids in the files mean: "schema", the ids of the schema itself, a
        key of `SOURCE_LABELS`, or a JSON file as prepare_data's --schema takes it
        (`cmrjax.data.schema_file`).
      merge: the files hold multi-tissue labels, which are merged to the model's coarser
        schema; what it does not have becomes background.

    Raises:
      ValueError: there is no such source, or its labels cannot become the model's.
    """

    schema: LabelSchema
    source: str = OWN_IDS
    merge: bool = False

    def __post_init__(self) -> None:
        """Checks that the source's classes can become the model's."""
        if self.source not in LABEL_SOURCES and not self.source.endswith(".json"):
            raise ValueError(
                f"label source is {self.source!r}; expected one of "
                f"{', '.join(LABEL_SOURCES)}, or a JSON file"
            )
        if self.merge:
            MULTI_TISSUE.merge_table(self.schema)
        unknown = [
            n for n in self._source_classes if n not in self._read_as.class_names
        ]
        if unknown:
            hint = "; add --merge" if self.schema.name != MULTI_TISSUE.name else ""
            raise ValueError(
                f"labels of source {self.source!r} have classes that the model's "
                f"schema {self.schema.name!r} lacks: {', '.join(unknown)}{hint}"
            )

    @functools.cached_property
    def _ids(self) -> Mapping[int, str]:
        """What each id of the files means; not for `OWN_IDS`."""
        if self.source in SOURCE_LABELS:
            return SOURCE_LABELS[self.source]
        return read_schema(self.source)[1]

    def settings(self) -> Any:
        """What decides how ids are read, as JSON types: the source, or a file's ids."""
        if self.source in LABEL_SOURCES:
            return self.source
        return {str(number): name for number, name in sorted(self._ids.items())}

    @property
    def missing_classes(self) -> tuple[str, ...]:
        """Classes of the model that files of this source never hold."""
        known = self._source_classes
        return tuple(name for name in self.schema.class_names if name not in known)

    def read(self, labels: np.ndarray, *, where: str) -> np.ndarray:
        """Translates labels.

        Args:
          labels: [..., h, w] integers, or floats that are whole numbers.
          where: the file; errors begin with it.

        Returns:
          Same shape, uint8, ids of the model's schema.

        Raises:
          ValueError: an id is not allowed; names file, slice, id and what is allowed.
        """
        if self.source != OWN_IDS:
            ids = self._read_as.remap(labels, self._ids, where=where)
        else:
            ids = as_integer_labels(labels, where=where)
            try:
                self._read_as.validate(ids, where=where)
            except ValueError as error:
                raise ValueError(f"{error}{self._hint(ids)}") from None
        return self._read_as.merge(ids, self.schema) if self.merge else ids.astype("u1")

    @property
    def _read_as(self) -> LabelSchema:
        return MULTI_TISSUE if self.merge else self.schema

    @property
    def _source_classes(self) -> tuple[str, ...]:
        if self.source == OWN_IDS:
            return self._read_as.class_names
        return tuple(self._ids.values())

    def _hint(self, ids: np.ndarray) -> str:
        """Suggests --merge where the ids are those of multi-tissue labels."""
        finer = self.schema.num_classes < MULTI_TISSUE.num_classes
        if finer and 0 <= ids.min() and ids.max() < MULTI_TISSUE.num_classes:
            return ". If these are multi-tissue labels, add --merge"
        return ""
