"""Label schemas of one's own, from a JSON file."""

import re
from pathlib import Path
from typing import Any

from cmrjax.files import read_json, shorten
from cmrjax.labels import HEART_CLASSES, SCHEMAS, LabelSchema, get_schema

BACKGROUND = "background"
"""Name of the first class."""

_MAX_SOURCE_ID = 65535
_LONGEST_NAME = 100


def find_schema(name: str) -> LabelSchema:
    """Returns a schema of this library by name, or one of a file.

    Args:
        name: As "cavity", or the path of a schema file, which ends in .json.

    Raises:
        ValueError: If there is none (names those that exist), or the file is not
            usable (see ``read_schema``).
    """
    if name.endswith(".json"):
        return read_schema(name)[0]
    if name not in SCHEMAS:
        raise ValueError(
            f"no label schema {name!r}; there are {', '.join(SCHEMAS)}, or give the"
            " path of a schema file (.json)"
        )
    return get_schema(name)


def read_schema(path: str | Path) -> tuple[LabelSchema, dict[int, str]]:
    """Reads a schema of one's own, and what the ids in one's label files mean.

    The file is a JSON object:

    - ``"name"``: of the schema;
    - ``"class_names"``: first "background"; LV, MYO and RV are the names of the
      heart's classes, of which at least one is needed;
    - ``"ids"``, if the ids in the files are not the positions in ``class_names``: the
      class of each, ``{"0": "background", "500": "LV", ...}``. Several ids may go to
      one class.

    Args:
        path: The file.

    Returns:
        The schema, and the class name of each id.

    Raises:
        ValueError: If the file is missing or not as described; names it and the value.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such schema file")
    content = read_json(path)
    if not isinstance(content, dict) or not {"name", "class_names"} <= set(content):
        raise ValueError(
            f'{path}: expected a JSON object with "name" and "class_names" (see'
            " cmrjax.data.schema_file)"
        )
    if unknown := sorted(set(content) - {"name", "class_names", "ids"}):
        raise ValueError(
            f"{path}: unknown {shorten(', '.join(unknown))}; known are name,"
            " class_names, ids"
        )
    name, names = content["name"], _class_names(path, content["class_names"])
    if wrong := [n for n in (name, *names) if not _is_name(n)]:
        raise ValueError(
            f"{path}: {shorten(repr(wrong[0]))} is no name; give printable text of up"
            f" to {_LONGEST_NAME} characters"
        )
    try:
        schema = LabelSchema(name, tuple(names))
    except ValueError as error:
        raise ValueError(f"{path}: {shorten(error)}") from error
    if not schema.heart_ids:
        raise ValueError(
            f"{path}: class_names has none of {', '.join(HEART_CLASSES)}: name at"
            " least one, slices are kept by the heart they show"
        )
    ids = content.get("ids", {str(i): name for i, name in enumerate(names)})
    return schema, _checked_ids(path, ids, schema)


def _class_names(path: Path, names: Any) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
        raise ValueError(f"{path}: class_names must be a list of names")
    if not names or names[0] != BACKGROUND:
        raise ValueError(
            f"{path}: class_names begins with {shorten(repr((names or [''])[0]))},"
            f' expected "{BACKGROUND}" first: what no label covers and what is padded'
            " has position 0"
        )
    return names


def _is_name(name: Any) -> bool:
    is_text = isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME
    return is_text and name.isprintable()


def _checked_ids(path: Path, ids: Any, schema: LabelSchema) -> dict[int, str]:
    if not isinstance(ids, dict) or not ids:
        raise ValueError(f'{path}: ids must be a JSON object, {{"0": "background"}}')
    found: dict[int, str] = {}
    for key, name in ids.items():
        if not re.fullmatch(r"\d{1,5}", key) or int(key) > _MAX_SOURCE_ID:
            raise ValueError(
                f"{path}: ids has {shorten(repr(key))}, expected a number from 0 to"
                f" {_MAX_SOURCE_ID}"
            )
        if name not in schema.class_names:
            raise ValueError(
                f"{path}: id {key} is {shorten(repr(name))}, expected one of"
                " class_names"
            )
        if int(key) in found:
            raise ValueError(f"{path}: ids has {key} twice; keep one")
        found[int(key)] = name
    return found
