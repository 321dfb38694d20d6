"""Label schemas as data: class names, ids, remapping, merging and checks.

A label map is an integer array whose values are class ids. Which id means what is
never written into code: it is a ``LabelSchema``, stored beside every array and
every model, so that a mismatch is found by name and before the first step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

HEART_CLASSES = ("LV", "MYO", "RV")
_LARGEST_FLOAT = 2.0**31  # of labels that are stored as floats
_LONGEST_NAME = 100
_MAX_CLASSES = 256  # label maps are stored as uint8


@dataclass(frozen=True)
class LabelSchema:
    """The classes of a label map; the id of a class is its position.

    Hashable, so that it can be static metadata of a pytree.

    Attributes:
        name: Name of the schema, for example ``"cavity"``.
        class_names: Names by id; position 0 is the background.
    """

    name: str
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuses schemas that cannot be stored or looked up by name."""
        object.__setattr__(self, "class_names", tuple(self.class_names))
        if not 2 <= len(self.class_names) <= _MAX_CLASSES:
            raise ValueError(
                f"schema {self.name!r} has {len(self.class_names)} class(es); expected"
                f" 2 to {_MAX_CLASSES} with the background first"
            )
        repeated = {c for c in self.class_names if self.class_names.count(c) > 1}
        if repeated:
            raise ValueError(
                f"schema {self.name!r} names {sorted(repeated)} more than once; give"
                " every class its own name"
            )

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.class_names)

    @property
    def heart_ids(self) -> tuple[int, ...]:
        """Ids of LV, MYO and RV, as far as the schema has them, ascending."""
        names = self.class_names
        return tuple(sorted(names.index(c) for c in HEART_CLASSES if c in names))

    def id_of(self, class_name: str) -> int:
        """Returns the id of a class.

        Raises:
            ValueError: If the schema has no class of that name.
        """
        if class_name not in self.class_names:
            raise ValueError(
                f"schema {self.name!r} has no class {class_name!r}; it has"
                f" {', '.join(self.class_names)}"
            )
        return self.class_names.index(class_name)

    def validate(self, label_map: Any, *, where: str = "label map") -> None:
        """Checks that a label map holds only ids of this schema.

        Args:
            label_map: [..., h, w] integers (NumPy, JAX or nested lists).
            where: What is checked, usually a file; the error begins with it.

        Raises:
            ValueError: If the type is not an integer type or an id is not allowed.
                Names ``where``, the slice (third axis from the end), the id, the
                number of its pixels and the allowed ids.
        """
        labels = np.asarray(label_map)
        if labels.dtype.kind not in "iu":
            raise ValueError(
                f"{where}: labels have type {labels.dtype}, expected integers (class"
                " ids). If the values are whole numbers, convert them first, for"
                " example with .astype('uint8')"
            )
        if labels.size == 0:
            raise ValueError(f"{where}: label map is empty, shape {labels.shape}")
        if labels.min() < 0 or labels.max() >= self.num_classes:
            allowed = dict(enumerate(self.class_names))
            bad = (labels < 0) | (labels >= self.num_classes)
            raise ValueError(
                _bad_id_text(labels, bad, where, allowed, f"schema {self.name!r}")
            )

    def remap(
        self,
        label_map: Any,
        source_names: Mapping[int, str],
        *,
        where: str = "label map",
    ) -> np.ndarray:
        """Turns a source's ids into this schema's, by class name.

        Args:
            label_map: [..., h, w] integers, or floats that are whole numbers (some
                label files are stored so).
            source_names: What each id of the source means.
            where: What is remapped, usually a file; errors begin with it.

        Returns:
            Array of the same shape, uint8, ids of this schema.

        Raises:
            ValueError: If an id is not in ``source_names`` (file, slice, id, allowed)
                or this schema lacks one of the names.
        """
        labels = as_integer_labels(label_map, where=where)
        table = np.zeros(max(source_names) + 1, np.uint8)
        for source_id, class_name in source_names.items():
            table[source_id] = self.id_of(class_name)
        bad = ~np.isin(labels, list(source_names))
        if bad.any():
            raise ValueError(_bad_id_text(labels, bad, where, source_names, "source"))
        return table[labels]

    def merge_table(self, target: "LabelSchema") -> np.ndarray:
        """Returns [num_classes] uint8: the id in ``target`` of each own id.

        Classes that ``target`` does not have become background.

        Raises:
            ValueError: If ``target`` has a class that this schema does not have: a
                merge cannot invent labels.
        """
        missing = [c for c in target.class_names if c not in self.class_names]
        if missing:
            raise ValueError(
                f"labels of schema {self.name!r} cannot be merged to {target.name!r}:"
                f" they have no {', '.join(missing)}. Use labels of a schema that has"
                f" these classes, or a target among {', '.join(self.class_names)}"
            )
        known = target.class_names
        ids = [known.index(c) if c in known else 0 for c in self.class_names]
        return np.asarray(ids, np.uint8)

    def merge(self, label_map: Any, target: "LabelSchema") -> np.ndarray:
        """Merges a label map to a coarser schema, for example multi to cavity.

        Args:
            label_map: [..., h, w] integers, ids of this schema.
            target: Schema whose classes are a subset of this one's.

        Returns:
            Array of the same shape, uint8, ids of ``target``.

        Raises:
            ValueError: If an id is not of this schema or ``target`` is not coarser.
        """
        self.validate(label_map)
        return self.merge_table(target)[np.asarray(label_map)]

    def to_dict(self) -> dict[str, Any]:
        """Returns the schema as plain JSON types."""
        return {"name": self.name, "class_names": list(self.class_names)}

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> "LabelSchema":
        """Reads what ``to_dict`` wrote.

        Raises:
            ValueError: If the names are no texts.
            KeyError, TypeError: If it is no description.
        """
        name, class_names = description["name"], description["class_names"]
        if not isinstance(class_names, list | tuple) or not all(
            isinstance(text, str) and text.isprintable() and len(text) <= _LONGEST_NAME
            for text in (name, *class_names)
        ):
            raise ValueError(
                f"schema {name!r}: class_names must be a list of printable names of up"
                f" to {_LONGEST_NAME} characters"
            )
        return cls(name, tuple(class_names))


def as_integer_labels(label_map: Any, *, where: str = "label map") -> np.ndarray:
    """Returns labels with an integer type; whole-numbered floats are converted.

    Args:
        label_map: [...] integers or floats.
        where: What is converted, usually a file; errors begin with it.

    Returns:
        Array of the same shape, an integer type.

    Raises:
        ValueError: If a value is not a whole number (NaN included).
    """
    labels = np.asarray(label_map)
    if labels.dtype.kind in "iu":
        return labels
    if labels.dtype.kind != "f":
        raise ValueError(f"{where}: labels have type {labels.dtype}, expected integers")
    whole = np.isfinite(labels) & (labels == np.round(labels))
    whole &= np.abs(labels) < _LARGEST_FLOAT
    if not whole.all():
        value = labels[~whole].flat[0]
        raise ValueError(
            f"{where}: holds the value {value:g}, expected whole numbers (class ids)."
            " Was the label map resampled with interpolation? Use nearest neighbour"
        )
    return labels.astype(np.int64)


def _bad_id_text(
    labels: np.ndarray,
    bad: np.ndarray,
    where: str,
    allowed: Mapping[int, str],
    allowed_by: str,
) -> str:
    """Describes the first bad id: where, slice, id, pixels, what is allowed."""
    first = np.unravel_index(int(np.argmax(bad)), labels.shape)
    bad_id = int(labels[first])
    count = int(np.count_nonzero(labels == bad_id))
    place = f"slice {int(first[-3])} holds" if labels.ndim >= 3 else "holds"
    total = " in all" if labels.ndim >= 3 else ""
    names = ", ".join(f"{i} {name}" for i, name in sorted(allowed.items()))
    return (
        f"{where}: {place} label id {bad_id} ({count} pixels{total}), which the"
        f" {allowed_by} does not have; allowed are {names}"
    )


CAVITY = LabelSchema("cavity", ("background", *HEART_CLASSES))
MULTI_TISSUE = LabelSchema(
    "multi_tissue",
    (
        "background",
        *HEART_CLASSES,
        "lung",
        "skeletal_muscle",
        "fat",
        "abdomen",
        "other_blood",
    ),
)
SCHEMAS: dict[str, LabelSchema] = {s.name: s for s in (CAVITY, MULTI_TISSUE)}

SOURCE_LABELS: dict[str, dict[int, str]] = {
    "mnms": {0: "background", 1: "LV", 2: "MYO", 3: "RV"},
    "acdc": {0: "background", 1: "RV", 2: "MYO", 3: "LV"},
    "simulated": dict(enumerate(MULTI_TISSUE.class_names)),
}
"""What the ids in a source's label files mean, by the name of the source."""


def get_schema(name: str) -> LabelSchema:
    """Returns a schema of this library by name.

    Raises:
        ValueError: If there is none; names those that exist.
    """
    if name not in SCHEMAS:
        raise ValueError(f"no label schema {name!r}; there are {', '.join(SCHEMAS)}")
    return SCHEMAS[name]
