"""The frames of an XCAT phantom that subjects are made of."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmrjax.files import sha256_file
from cmrjax.labels import HEART_CLASSES, MULTI_TISSUE
from cmrjax.simulation.phantom import Phantom, apex_first, prepare_phantom
from cmrjax.simulation.tissues import tissue_to_class
from cmrjax.simulation.xcat import XcatPhantom, open_xcat

_BEATS = 0.85  # a heart beats if its smallest volume is below this part of the largest
_TOLERANCE = 0.1  # of the stroke volume, for frames near end-diastole and end-systole
_BREATHING = 0.25  # of the range of breathing, for the two frames of a pair
_APEX_OPEN = 0.15  # of the largest section: a last section above it is a cut heart
_MAX_PAIRS = 4
_CHEST = [MULTI_TISSUE.id_of(n) for n in (*HEART_CLASSES, "lung", "other_blood")]


@dataclass(frozen=True)
class FrameFacts:
    """What tells frames of heart beat and breathing apart.

    Attributes:
        frame: Number of the frame.
        lv_ml: Volume of the left ventricle.
        chest_ml: Volume of lungs and heart in view: the state of breathing, the same
            at each phase of the heart.
        open_end: Area of the cavity in the last slice at the heart's tip over the
            largest area.
    """

    frame: int
    lv_ml: float
    chest_ml: float
    open_end: float


_FactsPair = tuple[FrameFacts, FrameFacts]


@dataclass(frozen=True)
class PhantomSource:
    """An opened phantom and the pairs of frames to use.

    Attributes:
        xcat: The files.
        sha256: Their hash, see `hash_source`.
        pairs: Pairs of frames at end-diastole and end-systole, in states of breathing
            from exhaled to inhaled; a frame twice where the phantom does not beat.
        beats: Whether the phantom's heart beats.
    """

    xcat: XcatPhantom
    sha256: str
    pairs: tuple[tuple[int, int], ...]
    beats: bool

    def load(self, pair: int) -> tuple[Phantom, Phantom]:
        """Prepares a pair; kept in memory once it is.

        Args:
            pair: Index into ``pairs``.

        Raises:
            ValueError: As `XcatPhantom.read_tissues` and `prepare_phantom`.
        """
        diastole, systole = (
            _load(self.xcat.path, self.sha256, frame) for frame in self.pairs[pair]
        )
        return diastole, systole


def open_source(path: str | Path, *, sha256: str | None = None) -> PhantomSource:
    """Opens an XCAT zip file or folder and chooses its frames.

    What was read is kept in memory as long as the files are the same.

    Args:
        path: See `xcat.open_xcat`.
        sha256: What `hash_source` returned for the path; None hashes the files.

    Raises:
        FileNotFoundError: If there is nothing at ``path``.
        ValueError: If it is no phantom, or no frame shows LV, MYO, RV and abdomen.
    """
    path = Path(path)
    return _open(path, hash_source(path) if sha256 is None else sha256)


def hash_source(path: str | Path) -> str:
    """Returns the SHA-256 of a file, or of the names and hashes of a folder's files.

    Raises:
        OSError: If a file cannot be read or there is none.
    """
    path = Path(path)
    if not path.is_dir():
        return sha256_file(path)
    parts = [
        f"{file.relative_to(path).as_posix()} {sha256_file(file)}"
        for file in sorted(path.rglob("*"))
        if file.is_file()
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@functools.lru_cache(maxsize=1)
def _open(path: Path, sha256: str) -> PhantomSource:
    """Open a phantom whose files have this hash."""
    xcat = open_xcat(path)
    facts = [found for f in xcat.frames if (found := measure_frame(xcat, f))]
    if not facts:
        names = ", ".join((*HEART_CLASSES, "abdomen"))
        raise ValueError(
            f"{path}: no frame shows all of {names}; use a phantom cut in short-axis"
            " slices through the heart"
        )
    pairs, beats = choose_pairs(facts)
    return PhantomSource(xcat, sha256, pairs, beats)


def measure_frame(xcat: XcatPhantom, frame: int) -> FrameFacts | None:
    """Measures one frame; None if it lacks LV, MYO, RV or abdomen."""
    labels = tissue_to_class()[xcat.read_tissues(frame)]
    wanted = (*HEART_CLASSES, "abdomen")
    if not all((labels == MULTI_TISSUE.id_of(name)).any() for name in wanted):
        return None
    voxel = float(np.prod(xcat.spacing)) / 1000
    area = (labels == MULTI_TISSUE.id_of("LV")).sum(axis=(1, 2))
    return FrameFacts(
        frame=frame,
        lv_ml=float(area.sum()) * voxel,
        chest_ml=float(np.isin(labels, _CHEST).sum()) * voxel,
        open_end=float((area[0] if apex_first(labels) else area[-1]) / area.max()),
    )


def choose_pairs(
    facts: list[FrameFacts],
) -> tuple[tuple[tuple[int, int], ...], bool]:
    """Chooses frames at end-diastole and end-systole, alike in breathing.

    End-diastole has the largest left ventricle and end-systole the smallest. Frames
    that cut the heart's tip are left out while others remain. Where volumes differ
    little, the phantom does not beat (XCAT with breathing alone, or with one frame per
    heart beat): each frame is then both, and the two phases are made by `morphing`.

    Args:
        facts: What was measured, one per frame; not empty.

    Returns:
        Up to four pairs, spread over the states of breathing, and whether the phantom
        beats.
    """
    whole = [f for f in facts if f.open_end <= _APEX_OPEN] or [
        min(facts, key=lambda f: f.open_end)
    ]
    largest, smallest = (g(f.lv_ml for f in whole) for g in (max, min))
    if smallest > _BEATS * largest:
        pairs = [(f, f) for f in whole]
    else:
        margin = _TOLERANCE * (largest - smallest)
        systoles = [f for f in whole if f.lv_ml <= smallest + margin]
        pairs = [
            (f, min(systoles, key=lambda s: abs(s.chest_ml - f.chest_ml)))
            for f in whole
            if f.lv_ml >= largest - margin
        ]
        pairs = _alike(pairs, facts)
    chosen = tuple((a.frame, b.frame) for a, b in _spread(pairs))
    return chosen, smallest <= _BEATS * largest


def _spread(pairs: list[_FactsPair]) -> list[_FactsPair]:
    """Take the pairs nearest to evenly spaced states of breathing, exhaled first."""
    left = sorted(pairs, key=lambda pair: (pair[0].chest_ml, pair[0].frame))
    count = min(_MAX_PAIRS, len(left))
    chosen = []
    for volume in np.linspace(left[0][0].chest_ml, left[-1][0].chest_ml, count):
        off = [abs(pair[0].chest_ml - volume) for pair in left]
        chosen.append(left.pop(int(np.argmin(off))))
    return sorted(chosen, key=lambda pair: (pair[0].chest_ml, pair[0].frame))


def _alike(pairs: list[_FactsPair], facts: list[FrameFacts]) -> list[_FactsPair]:
    """Keep the pairs whose two frames are nearly in one state of breathing."""
    mismatch = [abs(a.chest_ml - b.chest_ml) for a, b in pairs]
    volumes = [f.chest_ml for f in facts]
    limit = min(mismatch) + _BREATHING * (max(volumes) - min(volumes))
    return [p for p, off in zip(pairs, mismatch, strict=True) if off <= limit]


@functools.lru_cache(maxsize=2 * _MAX_PAIRS)
def _load(path: Path, sha256: str, frame: int) -> Phantom:
    """Prepares one frame of the phantom whose files have this hash."""
    xcat = _open(path, sha256).xcat
    try:
        return prepare_phantom(xcat.read_tissues(frame), xcat.spacing)
    except ValueError as error:
        raise ValueError(f"{path}, frame {frame}: {error}") from error
