"""Ways to damage binary files, their structure in mind, as Hypothesis strategies."""

import gzip
import io
import json
import os
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable

import nibabel as nib
import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tools.fuzz_mutations import (
    FLOATS,
    INTEGERS,
    apply,
    byte_edits,
    damaged_bytes,
    damaged_json,
    damaged_lines,
    damaged_table,
    damaged_text,
    edit,
    edits_of,
    odd_json,
    odd_text,
)

_BOMB = 64 << 20  # bytes that a gzip stream unpacks to more than it should


def damaged(name: str, content: bytes) -> SearchStrategy[bytes]:
    """Returns files like this one, damaged in the way that its suffix asks for."""
    for suffix, kind in _KINDS.items():
        if name.endswith(suffix):
            return kind(content)
    return damaged_bytes(content)


def damaged_nifti(content: bytes) -> SearchStrategy[bytes]:
    """Returns NIfTI files with other header fields, and other bytes."""
    small = int.from_bytes(content[:4], "little") == 348
    small = small or int.from_bytes(content[:4], "big") == 348
    header = (nib.Nifti1Header if small else nib.Nifti2Header).template_dtype
    field = st.sampled_from(sorted(header.names or ()))
    often = st.sampled_from(("dim", "pixdim", "vox_offset", "datatype", "bitpix"))
    often = st.one_of(often, st.sampled_from(("scl_slope", "scl_inter", "srow_x")))
    place = st.integers(0, 7)
    codes = (2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048)
    value = st.one_of(
        st.sampled_from((*INTEGERS, *FLOATS, *codes)), st.integers(0, 20), st.floats()
    )
    order = "<" if int.from_bytes(content[:4], "little") in (348, 540) else ">"
    changes = edits_of(
        edit(_set_field, st.just(header.newbyteorder(order)), often, place, value),
        edit(_set_field, st.just(header.newbyteorder(order)), field, place, value),
    )
    structured = st.builds(apply, st.just(content), changes)
    both = st.builds(apply, structured, byte_edits(least=0))
    return st.one_of(structured, structured, both, damaged_bytes(content))


def _set_field(
    content: bytes, header: np.dtype, name: str, place: int, value: float
) -> bytes:
    """Writes a number into a header field, whatever its type."""
    if len(content) < header.itemsize:
        return content
    fields = np.frombuffer(content[: header.itemsize], header).copy()
    field = fields[name].reshape(-1)
    if field.dtype.kind == "S":
        field[:] = str(value).encode()
    else:
        with np.errstate(all="ignore"):
            number = np.float64(value)
            if field.dtype.kind in "iu":
                whole = _whole(value) % (1 << 8 * field.dtype.itemsize)
                wide = whole.to_bytes(field.dtype.itemsize, "little")
                number = np.frombuffer(wide, field.dtype.newbyteorder("<"))[0]
            field[place % len(field)] = number
    fields[name] = field.reshape(fields[name].shape)
    return fields.tobytes() + content[header.itemsize :]


def _whole(value: float) -> int:
    return int(value) if np.isfinite(value) else -1


def damaged_gzip(
    content: bytes, inner: Callable[[bytes], SearchStrategy[bytes]]
) -> SearchStrategy[bytes]:
    """Returns gzip files: of damaged content, damaged themselves, in several parts."""
    plain = gzip.decompress(content)
    packed = st.builds(_pack, inner(plain), st.integers(0, 3), st.integers(0, 9))
    whole = st.builds(_pack, st.just(plain), st.integers(0, 3), st.integers(0, 9))
    broken = st.builds(apply, whole, byte_edits())
    tails = (b"\0" * 64, b"\0" * 5 + b"x", b"more", _pack(bytes(_BOMB), 0, 9))
    followed = st.builds(lambda a, b: a + b, whole, st.sampled_from(tails))
    return st.one_of(packed, packed, packed, broken, followed, damaged_bytes(content))


def _pack(content: bytes, parts: int, level: int) -> bytes:
    """Packs into one gzip member, or several."""
    step = len(content) // (parts + 1) + 1
    pieces = [content[i : i + step] for i in range(0, max(len(content), 1), step)]
    return b"".join(gzip.compress(piece, level, mtime=0) for piece in pieces)


def damaged_npy(content: bytes) -> SearchStrategy[bytes]:
    """Returns .npy files with other headers, and other bytes."""
    length = struct.unpack("<H", content[8:10])[0]
    body = content[10 + length :]
    header = eval(content[10 : 10 + length], {"__builtins__": {}})  # one of np.save
    shapes = st.one_of(
        st.lists(st.sampled_from((0, 1, 2, 3, 8, -1, 2**40, 2**62)), max_size=4),
        st.just([10**12]),
        st.just([1] * 70),
    ).map(tuple)
    types = st.sampled_from(
        (
            *("<f8", "<f4", "<f2", "|u1", "|O", "|V9", "<U9", "|S0", "<M8[s]", "<c16"),
            *("?", "<f3", "", "x", "|V2000000000", [("a", "<i4")], [("a", "|O")], 5),
            None,
        )
    )
    changed = st.fixed_dictionaries(
        {},
        optional={
            "shape": st.one_of(shapes, odd_json()),
            "descr": st.one_of(types, types, odd_json()),
            "fortran_order": st.one_of(st.booleans(), odd_json()),
            "more": odd_json(),
        },
    )
    texts = st.one_of(
        changed.map(lambda change: repr({**header, **change})),
        st.sampled_from(("", "{}", "(" * 300, "[" * 5000, "1", "{'shape': 1e9999}")),
        odd_text(),
    )
    lengths = st.one_of(st.none(), st.none(), st.sampled_from((0, 1, 65535)))
    versions = st.sampled_from((1, 1, 1, 2, 3, 4, 255))
    written = st.builds(_npy, texts, st.just(body), versions, lengths)
    return st.one_of(written, written, damaged_bytes(content))


def _npy(text: str, body: bytes, version: int, length: int | None) -> bytes:
    encoded = text.encode("utf-8", "replace") + b"\n"
    kind = "<H" if version == 1 else "<I"
    limit = (1 << 8 * struct.calcsize(kind)) - 1
    stated = struct.pack(kind, min(len(encoded) if length is None else length, limit))
    return b"\x93NUMPY" + bytes([version, 0]) + stated + encoded + body


def damaged_zip(content: bytes) -> SearchStrategy[bytes]:
    """Returns zip files with other members, and other bytes around them."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    which = st.integers(0, len(members) - 1)
    kinds = [st.tuples(st.just(n), damaged(n, c)) for n, c in members]
    names = st.one_of(odd_text(), st.sampled_from([name for name, _ in members]))
    changes = edits_of(
        st.one_of(*(edit(_set_member, kind) for kind in kinds)),
        st.one_of(*(edit(_set_member, kind) for kind in kinds)),
        edit(_name_member, which, names),
        edit(_drop_member, which),
        edit(_add_member, names, st.binary(max_size=64)),
        most=2,
    )
    methods = (0, 0, 0, 8, 12, 14)  # stored, deflated, bzip2, lzma
    written = st.builds(
        lambda edits, method: _zip(apply(members, edits), method),
        changes,
        st.sampled_from(methods),
    )
    broken = st.builds(apply, st.one_of(written, st.just(content)), byte_edits())
    flagged = st.builds(_flag, written, st.sampled_from((1, 0x40, 0x800, 0x2000)))
    return st.one_of(written, written, written, broken, flagged)


Members = list[tuple[str, bytes]]


def _set_member(members: Members, changed: tuple[str, bytes]) -> Members:
    return [changed if name == changed[0] else (name, c) for name, c in members]


def _name_member(members: Members, which: int, name: str) -> Members:
    place = which % max(len(members), 1)
    return [(name if i == place else n, c) for i, (n, c) in enumerate(members)]


def _drop_member(members: Members, which: int) -> Members:
    return [m for i, m in enumerate(members) if i != which]


def _add_member(members: Members, name: str, content: bytes) -> Members:
    return [*members, (name, content)]


def _zip(members: Members, method: int) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members:
            safe = name.encode("utf-8", "replace").decode()[:60_000]
            info = zipfile.ZipInfo(safe or "empty")
            info.compress_type = method
            archive.writestr(info, content)
    return stream.getvalue()


def _flag(content: bytes, flag: int) -> bytes:
    """Sets a flag of every member (encrypted, strong encryption, UTF-8, masked)."""
    changed = bytearray(content)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(mark)
        while start >= 0:
            changed[start + place] |= flag & 0xFF
            changed[start + place + 1] |= flag >> 8
            start = content.find(mark, start + 4)
    return bytes(changed)


class _Calls:
    """What a hostile pickle calls when it is read."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Callable, tuple]:
        return self._call


def hostile_pickles() -> list[bytes]:
    """Returns pickles that make a folder, or try to, or waste memory or time."""
    harmful: list[object] = [
        _Calls(os.mkdir, "../made-by-a-pickle"),
        {"fc.weight": _Calls(eval, "open('../made-by-a-pickle', 'w')")},
        {"fc.weight": _Calls(bytearray, 1 << 33)},
        _Calls(zlib.decompress, zlib.compress(bytes(1 << 20))),
        [1, 2, 3],
        {1: 2},
        {"fc.weight": "text"},
        {"fc.weight": None},
        "text",
        None,
    ]
    deep = b"(" * 100_000 + b"l" * 100_000 + b"."
    refers_to_itself = b"]q\x00h\x00a."
    return [
        *(pickle.dumps(value, protocol=2) for value in harmful),
        b"",
        b".",
        b"\x80\x02.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f" + b"x.",  # text of 2^63 bytes
        b"\x80\x02r\xff\xff\xff\xff.",  # a memo far out
        deep,
        refers_to_itself,
    ]


def damaged_pickle(content: bytes) -> SearchStrategy[bytes]:
    """Returns damaged pickles and hostile ones."""
    hostile = st.sampled_from(hostile_pickles())
    return st.one_of(hostile, damaged_bytes(content), damaged_bytes(content))


def damaged_torch(content: bytes) -> SearchStrategy[bytes]:
    """Returns damaged files of torch.save, and bare pickles as its old format has."""
    if not content.startswith(b"PK"):
        return damaged_pickle(content)
    kinds = damaged_zip(content)
    return st.one_of(kinds, kinds, kinds, damaged_pickle(b"\x80\x02}q\x00."))


def damaged_safetensors(content: bytes) -> SearchStrategy[bytes]:
    """Returns .safetensors files with other headers, and other bytes."""
    length = struct.unpack("<Q", content[:8])[0]
    header, body = content[8 : 8 + length], content[8 + length :]

    def write(header: bytes, stated: int | None) -> bytes:
        size = len(header) if stated is None else stated
        return struct.pack("<Q", size) + header + body

    types = ("F64", "F16", "BF16", "I8", "BOOL", "F8_E4M3", "C64", "X", "", "F4")
    tree = json.loads(header)
    names = sorted(name for name in tree if name != "__metadata__")

    def retyped(name: str, dtype: str) -> bytes:
        changed = {**tree, name: {**tree[name], "dtype": dtype}}
        return json.dumps(changed).encode()

    headers = st.one_of(
        damaged_json(header),
        damaged_json(header),
        st.builds(retyped, st.sampled_from(names), st.sampled_from(types)),
    )
    sizes = st.one_of(st.none(), st.none(), st.sampled_from((0, 1, 2**40, 2**64 - 1)))
    return st.one_of(st.builds(write, headers, sizes), damaged_bytes(content))


def _nifti_gzip(content: bytes) -> SearchStrategy[bytes]:
    return damaged_gzip(content, damaged_nifti)


_KINDS: dict[str, Callable[[bytes], SearchStrategy[bytes]]] = {
    ".nii": damaged_nifti,
    ".nii.gz": _nifti_gzip,
    ".npy": damaged_npy,
    ".npz": damaged_zip,
    ".zip": damaged_zip,
    ".pth": damaged_torch,
    "data.pkl": damaged_pickle,
    ".safetensors": damaged_safetensors,
    ".json": damaged_json,
    ".jsonl": damaged_lines,
    ".csv": damaged_table,
    ".cfg": lambda content: damaged_text(content, ": "),
    ".par": lambda content: damaged_text(content, " = "),
    ".arguments": lambda content: damaged_text(content, "="),
    "_METADATA": damaged_json,
    ".zarray": damaged_json,
    "_sharding": damaged_json,
}
