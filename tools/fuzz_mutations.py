"""Ways to damage bytes, text, JSON and tables, as Hypothesis strategies.

An edit is a pair of a function and its arguments; it does not know the content that it
is applied to, so that Hypothesis can leave edits out when it looks for the smallest
input that fails.
"""

import copy
import csv
import io
import json
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Edit = tuple[Callable[..., Any], tuple]

INTEGERS = (0, 1, -1, 2, 3, 255, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**63 - 1)
FLOATS = (0.0, -1.0, 0.5, 1e-45, 1e38, math.nan, math.inf, -math.inf)
_NUMBER_FORMATS = ("<h", ">h", "<i", ">i", "<q", ">q", "<f", ">f", "<d", ">d")
_TEXTS = (
    *("", "x", " ", "0", "1", "2", "-1", "0.5", "1e400", "nan", "inf", "1_0", "0x10"),
    *("\u0661", "\u00b2", "ED", "ES", "LV", "a\nb", "a\rb", "a\u2028b", "\0", '"', "'"),
    *("../x", "/", "..", "x/y", "{subject}", "{phase}", "{x}", "%s", "\ud800", "\x1b["),
    *("()", "(1,)", "('B3',)", "[]", "None", "True", "64", "33", "dense", "zscore"),
    *("9" * 30, "9" * 5000, "1e9", "y" * 300, "z" * 20_000, "\u00e9" * 90, "(", "[a-"),
)
_DEPTH = 100_000
_LARGEST_TREE = 5000  # nodes of a JSON file that are looked at

_place = st.one_of(st.integers(0, 600), st.integers(0, 1 << 16))


def apply(content: Any, edits: Sequence[Edit]) -> Any:
    """Returns the content after the edits, one after the other."""
    for function, arguments in edits:
        content = function(content, *arguments)
    return content


def edit(function: Callable[..., Any], *arguments: SearchStrategy) -> SearchStrategy:
    """Returns a strategy for one kind of edit."""
    return st.tuples(st.just(function), st.tuples(*arguments))


def edits_of(*kinds: SearchStrategy, least: int = 1, most: int = 4) -> SearchStrategy:
    """Returns a strategy for several edits of some kinds."""
    return st.lists(st.one_of(*kinds), min_size=least, max_size=most)


def odd_text() -> SearchStrategy[str]:
    """Returns text that readers do not expect."""
    return st.one_of(st.sampled_from(_TEXTS), st.text(max_size=6))


def odd_json() -> SearchStrategy:
    """Returns JSON values of every kind, and of extreme size."""
    return st.one_of(
        st.sampled_from((None, True, False, *INTEGERS, 10**30, 1e308, *FLOATS)),
        st.sampled_from(([], {}, [[]], [None], [{}], {"": None}, {"a": {"b": []}})),
        st.builds(lambda v, n: [v] * n, st.sampled_from((0, "x", None)), _few),
        st.integers(-3, 300),
        odd_text(),
    )


_few = st.sampled_from((1, 2, 3, 4, 300))


def byte_edits(*, least: int = 1) -> SearchStrategy[list[Edit]]:
    """Returns edits of bytes: flips, numbers, cuts, insertions, splices."""
    numbers = st.one_of(st.sampled_from(INTEGERS), st.sampled_from(FLOATS))
    return edits_of(
        edit(_flip, _place, st.integers(0, 7)),
        edit(_put, _place, st.binary(min_size=1, max_size=8)),
        edit(_put_number, _place, st.sampled_from(_NUMBER_FORMATS), numbers),
        edit(_cut, _place),
        edit(_delete, _place, st.integers(1, 64)),
        edit(_insert, _place, st.binary(min_size=1, max_size=16)),
        edit(_repeat, _place, st.integers(1, 32), st.sampled_from((2, 9, 3000))),
        edit(_splice, _place, _place, st.integers(1, 200)),
        least=least,
    )


def _flip(content: bytes, place: int, bit: int) -> bytes:
    return _put(content, place, b"", flipped=1 << bit)


def _put(content: bytes, place: int, value: bytes, flipped: int = 0) -> bytes:
    if not content:
        return value
    place %= len(content)
    changed = bytearray(content)
    changed[place] ^= flipped
    changed[place : place + len(value)] = value
    return bytes(changed)


def _put_number(content: bytes, place: int, kind: str, value: float) -> bytes:
    if kind[1] in "fd":
        number = struct.pack(kind[0] + "d", float(value))
        if kind[1] == "f":
            number = struct.pack(kind, value) if abs(value) < 1e38 else number[:4]
    else:
        whole = int(value) if math.isfinite(value) else -1
        size = struct.calcsize(kind)
        order = "little" if kind[0] == "<" else "big"
        number = (whole % (1 << 8 * size)).to_bytes(size, order)
    return _put(content, place, number)


def _cut(content: bytes, place: int) -> bytes:
    return content[: place % (len(content) + 1)]


def _delete(content: bytes, place: int, count: int) -> bytes:
    place %= len(content) + 1
    return content[:place] + content[place + count :]


def _insert(content: bytes, place: int, value: bytes) -> bytes:
    place %= len(content) + 1
    return content[:place] + value + content[place:]


def _repeat(content: bytes, place: int, size: int, count: int) -> bytes:
    place %= len(content) + 1
    return _insert(content, place, content[place : place + size] * count)


def _splice(content: bytes, source: int, target: int, size: int) -> bytes:
    source %= len(content) + 1
    return _put(content, target, content[source : source + size] or b"\0")


def encodings() -> SearchStrategy[Callable[[str], bytes]]:
    """Returns ways to write text as bytes; most often UTF-8."""
    usual = st.just(_encoder("utf-8"))
    names = ("utf-8-sig", "utf-16", "latin-1", "cp037", "utf-32")
    return st.one_of(usual, usual, usual, st.sampled_from([_encoder(n) for n in names]))


def _encoder(name: str) -> Callable[[str], bytes]:
    errors = "surrogatepass" if name.startswith("utf-8") else "replace"
    return lambda text: text.encode(name, errors)


def damaged_json(content: bytes) -> SearchStrategy[bytes]:
    """Returns JSON files like this one, with another structure or other bytes."""
    tree = json.loads(content)
    nodes = edits_of(
        edit(replace_node, st.integers(0, _LARGEST_TREE), odd_json()),
        edit(drop_node, st.integers(0, _LARGEST_TREE)),
        edit(_rename_node, st.integers(0, _LARGEST_TREE), odd_text()),
        edit(_wrap_node, st.integers(0, _LARGEST_TREE), st.booleans()),
    )

    def write(edits: list[Edit], encode: Callable[[str], bytes], ascii: bool) -> bytes:
        changed = apply(json.loads(json.dumps(tree)), edits)
        return encode(json.dumps(changed, ensure_ascii=ascii))

    structured = st.builds(write, nodes, encodings(), st.booleans())
    return st.one_of(
        structured, structured, structured, damaged_bytes(content), _odd_json_files()
    )


def _odd_json_files() -> SearchStrategy[bytes]:
    deep = (b"[" * _DEPTH, b'{"a":' * _DEPTH, b"[" * 900 + b"]" * 900)
    files = (b"", b"null", b"[]", b"{}", b"1" * 5000, b'"x"', b"{}{}", b"NaN", *deep)
    return st.sampled_from(files)


def _nodes(tree: Any) -> list[tuple[Any, Any]]:
    """Every container and key below a tree, as (container, key)."""
    found: list[tuple[Any, Any]] = []
    pending = [tree]
    while pending and len(found) < _LARGEST_TREE:
        node = pending.pop()
        keys = range(len(node)) if isinstance(node, list) else node
        for key in list(keys) if isinstance(node, list | dict) else ():
            found.append((node, key))
            pending.append(node[key])
    return found


def _node(tree: Any, index: int) -> tuple[Any, Any]:
    nodes = _nodes(tree)
    return nodes[index % len(nodes)] if nodes else ([None], 0)


def replace_node(tree: Any, index: int, value: Any) -> Any:
    """Puts another value at a place of a JSON tree."""
    node, key = _node(tree, index)
    node[key] = copy.deepcopy(value)  # further edits may go into it
    return tree


def drop_node(tree: Any, index: int) -> Any:
    """Leaves out a place of a JSON tree."""
    node, key = _node(tree, index)
    del node[key]
    return tree


def _rename_node(tree: Any, index: int, name: str) -> Any:
    node, key = _node(tree, index)
    if isinstance(node, dict):
        node[name] = node.pop(key)
    else:
        node.append(name)
    return tree


def _wrap_node(tree: Any, index: int, as_list: bool) -> Any:
    node, key = _node(tree, index)
    node[key] = [node[key]] if as_list else {"value": node[key]}
    return tree


def damaged_lines(content: bytes) -> SearchStrategy[bytes]:
    """Returns files of JSON lines with damaged lines."""
    lines = content.splitlines()
    place = st.integers(0, len(lines) - 1)

    def write(place: int, line: bytes, ending: bytes) -> bytes:
        return b"\n".join([*lines[:place], line, *lines[place + 1 :]]) + ending

    kinds = st.one_of([damaged_json(line) for line in lines])
    written = st.builds(write, place, kinds, st.sampled_from((b"\n", b"", b"\r\n")))
    return st.one_of(written, written, damaged_bytes(content))


def damaged_table(content: bytes) -> SearchStrategy[bytes]:
    """Returns CSV files with other cells, columns, separators and encodings."""
    table = list(csv.reader(io.StringIO(content.decode(), newline="")))
    row, column = st.integers(0, len(table) - 1), st.integers(0, len(table[0]) - 1)
    cells = edits_of(
        edit(_set_cell, row, column, odd_text()),
        edit(_set_cell, row, column, odd_text()),
        edit(_drop_cell, row, column),
        edit(_add_cell, row, column, odd_text()),
        edit(_copy_item, row, row),
        edit(_drop_item, row),
        edit(_copy_cell, row, column, row, column),
    )

    def write(
        edits: list[Edit], delimiter: str, quoting: Any, end: str, encode: Callable
    ) -> bytes:
        stream = io.StringIO()
        rows = apply([list(r) for r in table], edits)
        if [""] in rows:  # cannot be written without quotes
            quoting = csv.QUOTE_MINIMAL
        options = {"delimiter": delimiter, "quoting": quoting, "escapechar": "\\"}
        csv.writer(stream, lineterminator=end, **options).writerows(rows)
        return encode(stream.getvalue())

    written = st.builds(
        write,
        cells,
        st.sampled_from(",,,,;\t|"),
        st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_NONE)),
        st.sampled_from(("\n", "\r\n", "\r", "\n\n")),
        encodings(),
    )
    return st.one_of(written, written, written, damaged_bytes(content))


def _cell(table: list[list[str]], row: int, column: int) -> tuple[list[str], int]:
    if not table:
        table.append([])
    cells = table[row % len(table)]
    if not cells:
        cells.append("")
    return cells, column % len(cells)


def _set_cell(table: list, row: int, column: int, text: str) -> list:
    cells, place = _cell(table, row, column)
    cells[place] = text
    return table


def _drop_cell(table: list, row: int, column: int) -> list:
    cells, place = _cell(table, row, column)
    del cells[place]
    return table


def _add_cell(table: list, row: int, column: int, text: str) -> list:
    cells, place = _cell(table, row, column)
    cells.insert(place, text)
    return table


def _copy_item(items: list, place: int, target: int) -> list:
    return [*items[:target], *items[place : place + 1], *items[target:]]


def _drop_item(items: list, place: int) -> list:
    return [*items[:place], *items[place + 1 :]]


def _copy_cell(table: list, row: int, column: int, to_row: int, to_col: int) -> list:
    cells, place = _cell(table, row, column)
    return _set_cell(table, to_row, to_col, cells[place])


def damaged_text(content: bytes, separator: str) -> SearchStrategy[bytes]:
    """Returns text files of lines `key SEPARATOR value` with other lines."""
    lines = content.decode().splitlines()
    place = st.integers(0, len(lines) - 1)
    keys = st.sampled_from([line.partition(separator)[0] for line in lines])
    changes = edits_of(
        edit(_set_value, place, st.just(separator), odd_text()),
        edit(_set_value, place, st.just(separator), odd_text()),
        edit(_set_key, place, st.just(separator), st.one_of(odd_text(), keys)),
        edit(_copy_item, place, place),
        edit(_drop_item, place),
    )

    def write(edits: list[Edit], end: str, encode: Callable[[str], bytes]) -> bytes:
        return encode(end.join(apply(list(lines), edits)))

    ends = st.sampled_from(("\n", "\n", "\r\n", "\r"))
    written = st.builds(write, changes, ends, encodings())
    return st.one_of(written, written, written, damaged_bytes(content))


def _set_value(lines: list[str], place: int, separator: str, value: str) -> list[str]:
    key = lines[place % len(lines)].partition(separator)[0] if lines else ""
    return [*lines[:place], f"{key}{separator}{value}", *lines[place + 1 :]]


def _set_key(lines: list[str], place: int, separator: str, key: str) -> list[str]:
    value = lines[place % len(lines)].partition(separator)[2] if lines else ""
    return [*lines[:place], f"{key}{separator}{value}", *lines[place + 1 :]]


def damaged_bytes(content: bytes) -> SearchStrategy[bytes]:
    """Returns files with other bytes, or with nothing of the original."""
    changed = st.builds(apply, st.just(content), byte_edits())
    return st.one_of(changed, changed, changed, st.binary(max_size=64))
